//! From messages to the engine's inputs, and who waits for their replies.

use super::Session;
use crate::inbox::Message;
use antiphon_engine::{Input, Reply, ReplyTo};
use antiphon_recorder::Error as StoreError;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

impl Session<'_> {
    pub(super) fn handle(&mut self, message: Message) -> Result<(), StoreError> {
        let now = self.now();
        let input = match message {
            Message::Start(request, caller) => {
                self.bring_in(&request.workflow)?;
                Input::Start(request, self.caller(caller))
            }
            Message::Run(request, caller) => {
                self.bring_in(&request.workflow)?;
                Input::Run(request, self.caller(caller))
            }
            Message::Signal { target, name, input, request_id, reply } => {
                self.bring_in(&target.workflow)?;
                Input::Signal { target, name, input, request_id, reply: self.caller(reply) }
            }
            Message::Cancel { target, reason, reply } => {
                self.bring_in(&target.workflow)?;
                Input::Cancel { target, reason, reply: self.caller(reply) }
            }
            Message::Terminate { target, by, reply } => {
                self.bring_in_to_end(&target.workflow)?;
                Input::Terminate { target, by, reply: self.caller(reply) }
            }
            Message::Wait { target, reply } => {
                self.bring_in(&target.workflow)?;
                Input::Wait { target, reply: self.caller(reply) }
            }
            Message::Repair(mut request, reply) => {
                if let Some(target) = request.target() {
                    self.bring_in(&target.workflow)?;
                }
                if let Some(number) = request.letter() {
                    self.bring_in_letter(number, &mut request)?;
                }
                if request.repairs_all() {
                    self.bring_in_stranded()?;
                }
                Input::Repair(request, self.caller(reply))
            }
            Message::Queues(request, reply) => Input::Queues(request, self.caller(reply)),
            Message::Routing(request, reply) => Input::Routing(request, self.caller(reply)),
            Message::Answered { conversation, leg, token, answer } => {
                Input::Answered { conversation, leg, token, answer }
            }
            Message::Heartbeat { conversation, leg, token, details } => {
                Input::Heartbeat { conversation, leg, token, details }
            }
            Message::Routines(request, caller) => {
                for need in self.partition.needs_of_request(&request, now) {
                    self.bring_in_needed(&need)?;
                }
                Input::Routines(*request, self.caller(caller))
            }
            Message::WorkerJoined(worker) => {
                let spec = worker.spec();
                self.shell.workers.insert(spec.name.clone(), worker);
                Input::WorkerJoined(spec)
            }
            Message::WorkerLeft { name } => {
                self.shell.workers.remove(&name);
                Input::WorkerLeft { name }
            }
            Message::WorkerDied { name, how } => {
                self.shell.workers.remove(&name);
                Input::WorkerDied { name, how }
            }
            Message::Workers(mut request, reply) => {
                self.look_up(&mut request)?;
                Input::Workers(*request, self.caller(reply))
            }
            Message::Archived { through } => {
                self.partition.step(Input::Archived { through }, now);
                self.forget_gone_callers();
                return Ok(());
            }
            Message::Inspect(reply) => {
                let syncs = self.progress.syncs.load(Ordering::Relaxed);
                let _ = reply.send((self.partition.stats(), self.partition.workers(), syncs));
                return Ok(());
            }
            Message::Look | Message::Stop | Message::Failed(_) | Message::Durable => return Ok(()),
        };
        self.partition.step(input, now);
        Ok(())
    }

    pub(super) fn caller(&mut self, sender: oneshot::Sender<Reply>) -> ReplyTo {
        self.next_caller += 1;
        let to = ReplyTo(self.next_caller);
        self.callers.insert(to, sender);
        to
    }

    /// Callers that no longer wait hold no memory: looked for when the archive has moved, which bounds the work.
    pub(super) fn forget_gone_callers(&mut self) {
        let gone: Vec<ReplyTo> =
            self.callers.iter().filter(|(_, sender)| sender.is_closed()).map(|(to, _)| *to).collect();
        for to in gone {
            self.callers.remove(&to);
            self.partition.step(Input::Forget(to), self.now());
        }
    }
}

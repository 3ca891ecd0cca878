//! Routines in a [`World`].

use crate::world::World;
use antiphon_engine::{Input, Need, Reply, RoutinesReply, RoutinesRequest};
use antiphon_history::{HistoryFile, Timestamp, WorkflowKey};

impl World {
    /// From now on, also behind restarts, the engine carries due routines out by itself. Before anything else is done.
    pub fn with_routines(mut self) -> World {
        self.config.run_routines = true;
        self.restart(None);
        self
    }

    /// Asks something about routines.
    pub fn routines(&mut self, request: RoutinesRequest) -> RoutinesReply {
        self.routines_at_once(vec![request]).pop().expect("a request is always answered")
    }

    /// Asks several things at once: they are decided in one batch, before any of them is durable.
    pub fn routines_at_once(&mut self, requests: Vec<RoutinesRequest>) -> Vec<RoutinesReply> {
        let mut asked = Vec::new();
        for request in requests {
            let to = self.reply_to();
            let input = Input::Routines(request, to);
            self.bring_in_needed(&input);
            self.partition.step(input, Timestamp(self.now));
            asked.push(to);
        }
        self.flush();
        let mut reply = |to: antiphon_engine::ReplyTo| match self.replies.remove(&to.0) {
            Some(Reply::Routines(reply)) => *reply,
            other => panic!("a request about routines was answered with {other:?}"),
        };
        asked.into_iter().map(&mut reply).collect()
    }

    /// Brings into memory what routines need there, as the runtime does.
    pub(crate) fn bring_in_needed(&mut self, input: &Input) {
        let now = Timestamp(self.now);
        let needs = match input {
            Input::Archived { .. } => {
                self.archived = true;
                return;
            }
            Input::Terminate { target, .. } => {
                let workflow = target.workflow.clone();
                return self.bring_in_to_end(&workflow);
            }
            Input::Tick => self.partition.tick_needs(now),
            Input::Routines(request, _) => self.partition.needs_of_request(request, now),
            _ => return,
        };
        // Only what the archive has can have left memory.
        if !self.archived {
            return;
        }
        for need in needs {
            match need {
                Need::Live(workflow) => self.bring_in(&workflow),
                Need::ToEnd(workflow) => self.bring_in_to_end(&workflow),
            }
        }
    }

    fn bring_in(&mut self, workflow: &WorkflowKey) {
        if self.partition.knows(workflow) {
            return;
        }
        if let Some(history) = self.newest(workflow) {
            self.load(&history);
        }
    }

    fn bring_in_to_end(&mut self, workflow: &WorkflowKey) {
        if !self.partition.knows(workflow)
            && let Some(history) = self.newest(workflow)
        {
            self.partition.bring_in_to_end(&history).expect("what the engine wrote can be read");
        }
    }

    /// The history of the newest run of a workflow id.
    fn newest(&self, workflow: &WorkflowKey) -> Option<HistoryFile> {
        self.runs().into_values().rev().find(|history| history.row().is_ok_and(|row| row.workflow == *workflow))
    }
}

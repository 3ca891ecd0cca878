//! Simulated workers: what they hold, and what they say about it, rightly or wrongly.

use crate::broken::{Broken, Checked};
use crate::interpret::{failure, payload};
use crate::plan::{Fault, Plan};
use crate::program::{KINDS, LABEL, activity_name, queue_name};
use crate::sometimes::Point;
use crate::told::Given;
use crate::world::World;
use antiphon_conversation::{Answer, Request};
use antiphon_engine::{Input, WorkerSpec};
use antiphon_history::{ConversationKey, Payload};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A leg that a worker has, or once had.
pub(crate) struct Held {
    pub(crate) worker: String,
    pub(crate) request: Request,
    /// It was told to stop.
    stopping: bool,
}

/// Most legs of the past that may still be answered.
pub(crate) const OLD_MAX: usize = 24;
/// Above the inline bound, so that a payload is kept beside its event.
const LARGE_BYTES: usize = 17_000;

/// What each worker of a plan announces, by its number.
pub(crate) fn specs(plan: &Plan) -> Vec<Arc<WorkerSpec>> {
    let missing = plan.has(Fault::Missing);
    let spec = |number: u32| {
        let first = number == 0;
        let queues = (0..2).filter(|queue| *queue == 0 || first || !missing);
        let activities = (0..KINDS).filter(|kind| !missing || u32::from(*kind) != number);
        Arc::new(WorkerSpec {
            name: format!("w{number}"),
            queues: queues.map(|queue| queue_name(queue).to_owned()).collect(),
            activities: activities.map(|kind| activity_name(kind).to_owned()).collect(),
            labels: if missing && !first { BTreeSet::new() } else { BTreeSet::from([LABEL.to_owned()]) },
            capacity: plan.capacity,
        })
    };
    (0..plan.workers).map(spec).collect()
}

impl World<'_> {
    /// A worker joins; one of its name that is there has begun anew.
    pub(crate) fn join(&mut self, number: u32) -> Checked {
        let spec = Arc::clone(&self.specs[number as usize]);
        self.connect(spec)
    }

    /// A worker that can take anything, for the time after all faults.
    pub(crate) fn join_healer(&mut self) -> Checked {
        let spec = WorkerSpec {
            name: "healer".to_owned(),
            queues: (0..2).map(|queue| queue_name(queue).to_owned()).collect(),
            activities: (0..KINDS).map(|kind| activity_name(kind).to_owned()).collect(),
            labels: BTreeSet::from([LABEL.to_owned()]),
            capacity: 1_000,
        };
        self.connect(Arc::new(spec))
    }

    fn connect(&mut self, spec: Arc<WorkerSpec>) -> Checked {
        self.forget_legs_of(&spec.name);
        let input = Input::WorkerJoined(WorkerSpec::clone(&spec));
        self.connected.insert(spec.name.clone(), spec);
        self.step(input)
    }

    pub(crate) fn leave(&mut self, number: u32) -> Checked {
        let name = self.specs[number as usize].name.clone();
        match self.disconnect(&name) {
            Some(_) => self.step(Input::WorkerLeft { name }),
            None => Ok(()),
        }
    }

    /// A worker is gone, and with it what it had; what it offered, if it was there.
    pub(crate) fn disconnect(&mut self, name: &str) -> Option<Arc<WorkerSpec>> {
        let gone = self.connected.remove(name)?;
        self.forget_legs_of(name);
        Some(gone)
    }

    fn forget_legs_of(&mut self, name: &str) {
        let (gone, held) = std::mem::take(&mut self.held).into_iter().partition(|held| held.worker == name);
        self.held = held;
        let gone: Vec<Held> = gone;
        gone.into_iter().for_each(|held| self.remember(held));
    }

    pub(crate) fn remember(&mut self, held: Held) {
        if self.old.len() == OLD_MAX {
            self.old.remove(0);
        }
        self.old.push(held);
    }

    /// A request has left the engine: its body begins. It must be on record (invariant 1).
    pub(crate) fn dispatched(&mut self, worker: &str, request: Request) -> Checked {
        let place = || format!("{:?} {} leg {}", request.conversation.run, request.conversation, request.leg);
        let Some((attempt, talk)) = self.book.sent(request.conversation, request.leg) else {
            return Err(
                Broken::new(1, "a request left before it was recorded", place()).in_run(request.conversation.run)
            );
        };
        let newest = (attempt, talk.leg) == (request.conversation.attempt, request.leg)
            && talk.phase == crate::talk::Phase::Sent;
        if newest && talk.token != request.token.hash() {
            return Err(Broken::new(5, "a request carries another token than was recorded", place()));
        }
        // A worker that has left takes nothing; its leg is lost by the record.
        if self.connected.contains_key(worker) {
            let forgiven = self.book.forgiven(request.conversation);
            if request.call.options.at_most_once && self.callers.begins(request.conversation, forgiven) > 1 {
                return Err(Broken::new(4, "a body that may run at most once began again", place()));
            }
            self.held.push(Held { worker: worker.to_owned(), request, stopping: false });
        }
        Ok(())
    }

    pub(crate) fn told_to_stop(&mut self, worker: &str, conversation: ConversationKey, leg: u32) {
        let of = |held: &&mut Held| {
            held.worker == worker && held.request.conversation == conversation && held.request.leg == leg
        };
        if let Some(held) = self.held.iter_mut().find(of) {
            held.stopping = true;
        }
    }

    /// A worker ends a leg that it has.
    pub(crate) fn answer(&mut self, which: u32, how: How, b: u32) -> Checked {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = self.held.remove(which as usize % self.held.len());
        let Request { conversation, leg, token, .. } = held.request;
        // Different for every leg, so that an outcome shows which answer it came from.
        let code = u64::from(b) << 32
            | u64::from(conversation.ordinal.0) << 16
            | u64::from(conversation.attempt) << 8
            | u64::from(leg);
        let (answer, given) = match how {
            How::Stop => (Answer::Stopped, Given::Nothing),
            How::Panic => (Answer::Panicked { message: "boom".to_owned() }, Given::Nothing),
            How::Fail => {
                let retryable = !b.is_multiple_of(8);
                (
                    Answer::Failed { failure: failure(code), retryable },
                    Given::Failed { code, retryable, retry_after_ms: None },
                )
            }
            How::Complete => {
                let mut result = code.to_le_bytes().to_vec();
                if b.is_multiple_of(97) {
                    self.sometimes.met(Point::LargePayload);
                    result.resize(LARGE_BYTES, 1);
                }
                (Answer::Completed { result: vec![Payload::binary(result)] }, Given::Completed(code))
            }
        };
        self.told.says_first((conversation, leg), given);
        let stale = self.partition.stats().stale_answers;
        self.step(Input::Answered { conversation, leg, token, answer })?;
        if held.stopping && self.partition.stats().stale_answers > stale {
            self.sometimes.met(Point::LateAnswerRefused);
        }
        self.remember(held);
        Ok(())
    }

    /// A worker says it is alive, and how far.
    pub(crate) fn heartbeat(&mut self, which: u32, b: u32) -> Checked {
        if self.held.is_empty() {
            return Ok(());
        }
        let Request { conversation, leg, token, .. } = self.held[which as usize % self.held.len()].request;
        let before = self.partition.batch_bytes();
        let details = b.is_multiple_of(2).then(|| payload(u64::from(b)));
        self.step(Input::Heartbeat { conversation, leg, token, details })?;
        if self.partition.batch_bytes() > before {
            self.sometimes.met(Point::HeartbeatRecorded);
        }
        Ok(())
    }

    /// What must change nothing: an answer for a leg that is over, or with a token that is not its own.
    pub(crate) fn wrong_answer(&mut self, a: u32, b: u32, wrong: Wrong) -> Checked {
        let held = match wrong {
            Wrong::Late | Wrong::StaleHeartbeat => &self.old,
            Wrong::Forged | Wrong::Foreign => &self.held,
        };
        let Some(chosen) = held.get(a as usize % held.len().max(1)) else { return Ok(()) };
        let Request { conversation, leg, mut token, .. } = chosen.request;
        let other = self.held.get(b as usize % self.held.len().max(1)).map(|held| held.request.token);
        match wrong {
            Wrong::Late | Wrong::StaleHeartbeat => {}
            // One byte is wrong, most often one of the last.
            Wrong::Forged => {
                token.0[if b.is_multiple_of(4) { b as usize / 4 % 16 } else { 15 }] ^= 1 + (b >> 8) as u8 % 255
            }
            Wrong::Foreign => match other.filter(|other| *other != token) {
                Some(other) => token = other,
                None => return Ok(()),
            },
        }
        let (answer, point) = match wrong {
            Wrong::Late if b.is_multiple_of(2) => {
                (Answer::Completed { result: vec![payload(0xdead)] }, Point::LateAnswerRefused)
            }
            Wrong::Late => (Answer::Failed { failure: failure(0xdead), retryable: true }, Point::SecondAnswerRefused),
            Wrong::Forged => (Answer::Completed { result: vec![payload(0xf0f0)] }, Point::ForgedTokenRefused),
            Wrong::Foreign => (Answer::Completed { result: vec![payload(0xfefe)] }, Point::ForeignTokenRefused),
            Wrong::StaleHeartbeat => (Answer::Stopped, Point::StaleHeartbeatRefused),
        };
        let input = match wrong {
            Wrong::StaleHeartbeat => Input::Heartbeat { conversation, leg, token, details: Some(payload(1)) },
            _ => Input::Answered { conversation, leg, token, answer },
        };
        self.changes_nothing(input, point)
    }

    /// Gives an input that must be refused: it is counted, and neither the record nor the workers hear of it.
    fn changes_nothing(&mut self, input: Input, point: Point) -> Checked {
        // What is due anyway happens first, so that what follows is the input's own doing.
        self.ticks()?;
        let before = (self.partition.batch_bytes(), self.partition.stats());
        let of = match &input {
            Input::Answered { conversation, leg, .. } | Input::Heartbeat { conversation, leg, .. } => {
                Some((*conversation, *leg))
            }
            _ => None,
        };
        self.step(input)?;
        let after = (self.partition.batch_bytes(), self.partition.stats());
        // Eviction goes on by itself, a few runs at each step.
        let same = before.0 == after.0
            && after.1.stale_answers == before.1.stale_answers + 1
            && (after.1.in_flight, after.1.waiting, after.1.ended)
                == (before.1.in_flight, before.1.waiting, before.1.ended);
        if !same {
            let what = format!("{point:?}: {of:?}");
            return Err(Broken::new(5, "a stale or forged word changed something, or was not counted", what));
        }
        self.sometimes.met(point);
        Ok(())
    }
}

/// How a worker ends a leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum How {
    Complete,
    Fail,
    Panic,
    Stop,
}

/// What is wrong with a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    Late,
    Forged,
    Foreign,
    StaleHeartbeat,
}

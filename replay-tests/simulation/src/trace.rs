//! What happened, as one digest: inputs, segments and effects in order. The same seed must give the same digest.

use antiphon_engine::{Effect, Input, Reply, WorkersReply};
use antiphon_history::{Bytes, Timestamp};

/// Collected before it is hashed: long pieces are hashed several blocks at a time.
const COLLECTED_BYTES: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    collected: Vec<u8>,
    /// For people: one line per input and effect.
    pub(crate) told: Option<Vec<String>>,
}

impl Trace {
    /// `told`: also as text.
    pub(crate) fn new(told: bool) -> Trace {
        Trace { told: told.then(Vec::new), ..Trace::default() }
    }

    pub(crate) fn input(&mut self, input: &Input, now: Timestamp) {
        let (kind, number): (u8, u64) = match input {
            Input::Start(_, to) => (1, to.0),
            Input::Run(_, to) => (2, to.0),
            Input::Signal { reply, .. } => (3, reply.0),
            Input::Cancel { reply, .. } => (4, reply.0),
            Input::Wait { reply, .. } => (5, reply.0),
            Input::Forget(to) => (6, to.0),
            Input::WorkerJoined(spec) => (7, spec.name.len() as u64),
            Input::WorkerLeft { name } => (8, name.len() as u64),
            Input::Answered { conversation, leg, .. } => {
                (9, conversation.run.0 << 32 | u64::from(conversation.ordinal.0) << 8 | u64::from(*leg))
            }
            Input::Heartbeat { conversation, leg, .. } => {
                (10, conversation.run.0 << 32 | u64::from(conversation.ordinal.0) << 8 | u64::from(*leg))
            }
            Input::Archived { through } => (11, *through),
            Input::Tick => (12, 0),
            Input::WorkerDied { name, how } => (13, (name.len() + how.len()) as u64),
            Input::Repair(_, to) => (14, to.0),
            Input::Routines(_, to) => (15, to.0),
            Input::Routing(_, to) => (16, to.0),
            Input::Workers(_, to) => (17, to.0),
            Input::Queues(_, to) => (18, to.0),
            Input::Terminate { reply, .. } => (19, reply.0),
        };
        self.note(kind, number);
        self.note(0, now.0 as u64);
        self.tell(|| format!("{} {input:?}", now.0));
    }

    pub(crate) fn segment(&mut self, body: &Bytes) {
        self.note(20, body.len() as u64);
        self.collected.extend_from_slice(body);
        self.drain();
    }

    pub(crate) fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Dispatch { worker, request } => {
                self.note(30, request.conversation.run.0 << 32 | u64::from(request.conversation.ordinal.0));
                self.note(request.leg as u8, u64::from(request.conversation.attempt));
                self.collected.extend_from_slice(worker.as_bytes());
                self.collected.extend_from_slice(&request.token.0);
            }
            Effect::CancelLeg { conversation, leg, .. } => {
                self.note(31, conversation.run.0 << 32 | u64::from(conversation.ordinal.0) << 8 | u64::from(*leg));
            }
            Effect::Reply { to, reply } => {
                let kind = match reply {
                    Reply::Started { existing, .. } => u8::from(*existing),
                    Reply::Accepted => 2,
                    Reply::Ended { .. } => 3,
                    Reply::Blocked { .. } => 4,
                    Reply::Refused(_) => 5,
                    Reply::Repair(_) => 6,
                    Reply::Routines(_) => 7,
                    Reply::Routing(_) => 8,
                    Reply::Workers(_) => 9,
                    Reply::Queues(_) => 10,
                };
                self.note(32 + kind, to.0);
                if let Reply::Workers(WorkersReply::Claimed(claims)) = reply {
                    for claim in claims {
                        self.note(60, claim.fencing);
                        self.collected.extend_from_slice(&claim.request.token.0);
                    }
                }
            }
        }
        self.tell(|| format!("    {effect:?}"));
    }

    /// Something that is neither: a death, a fold.
    pub(crate) fn other(&mut self, what: &'static str) {
        self.note(50, what.len() as u64);
        self.tell(|| format!("-- {what}"));
    }

    pub(crate) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(told) = &mut self.told {
            told.push(line());
        }
    }

    fn note(&mut self, kind: u8, number: u64) {
        self.collected.push(kind);
        self.collected.extend_from_slice(&number.to_le_bytes());
        self.drain();
    }

    fn drain(&mut self) {
        if self.collected.len() >= COLLECTED_BYTES {
            self.hasher.update(&self.collected);
            self.collected.clear();
        }
    }

    pub(crate) fn digest(&mut self) -> [u8; 32] {
        self.hasher.update(&self.collected);
        self.collected.clear();
        *self.hasher.finalize().as_bytes()
    }
}

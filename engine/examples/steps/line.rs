//! The next of many calls that wait.

use crate::driven::{Driven, offer, result};
use antiphon_engine::{ClaimRequest, Input, Reply, WorkersReply, WorkersRequest};
use antiphon_history::WorkerKind;

const PER_ROUND: u64 = 1_000;

impl Driven {
    /// One more call waits, of the next key.
    fn more(&mut self, keys: u64) {
        let key = format!("tenant-{}", self.started % keys);
        self.start(1, &key);
    }

    fn fill(&mut self, depth: u64, keys: u64) {
        (0..depth).for_each(|_| self.more(keys));
        self.take();
        self.archive();
    }
}

/// A worker with one place, which is free again with each answer.
pub(crate) fn push(depth: u64, keys: u64, rounds: u64) {
    let mut driven = Driven::new();
    driven.step(Input::WorkerJoined(offer("local", 1)));
    driven.fill(depth + 1, keys);
    for _ in 0..rounds {
        for _ in 0..PER_ROUND {
            let request = driven.requests.pop().expect("one is out");
            driven.answer(&request);
            driven.more(keys);
            driven.take();
        }
        driven.archive();
    }
}

/// A worker that asks for one call after the other.
pub(crate) fn pull(depth: u64, keys: u64, rounds: u64) {
    let mut driven = Driven::new();
    driven.fill(depth, keys);
    // Not before: until all of them wait it would have been silent for too long.
    let spec = offer("elsewhere", 1);
    driven.ask(|to| Input::Workers(WorkersRequest::Join { spec, kind: WorkerKind::Pull, instance: None }, to));
    for _ in 0..rounds {
        for _ in 0..PER_ROUND {
            let asks = ClaimRequest {
                worker: "elsewhere".to_owned(),
                instance: None,
                queues: Vec::new(),
                max: 1,
                lease_ms: 60_000,
                wait_ms: 0,
            };
            driven.ask(|to| Input::Workers(WorkersRequest::Claim(asks), to));
            driven.take();
            let Some(Reply::Workers(WorkersReply::Claimed(claims))) = driven.replies.pop() else {
                panic!("a call waits")
            };
            let leg = claims[0].leg();
            driven.ask(|to| Input::Workers(WorkersRequest::Complete { leg, result: result() }, to));
            driven.more(keys);
            driven.take();
        }
        driven.archive();
    }
}

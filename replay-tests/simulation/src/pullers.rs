//! Simulated workers that ask for their work: claims under leases, and what is said of them, rightly, late or wrongly.

use crate::broken::{Broken, Checked};
use crate::interpret::{failure, payload};
use crate::plan::Plan;
use crate::sometimes::Point;
use crate::told::{Given, LegKey};
use crate::workers::OLD_MAX;
use crate::world::World;
use antiphon_engine::{Claim, ClaimRequest, Input, LegRef, Past, ReplyTo, WorkerSpec, WorkersRequest};
use antiphon_history::{InstanceId, Payload, Timestamp, WorkerKind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every worker that asks, and what they have asked.
#[derive(Default)]
pub(crate) struct Pulling {
    pub(crate) workers: Vec<Puller>,
    /// What they have, by their own knowledge.
    pub(crate) taken: Vec<Taken>,
    /// What they once had.
    pub(crate) past: Vec<Taken>,
    pub(crate) waiting: BTreeMap<ReplyTo, Asked>,
}

/// One worker that asks.
pub(crate) struct Puller {
    pub(crate) spec: Arc<WorkerSpec>,
    pub(crate) instance: Option<InstanceId>,
    /// Which life of it: answers to an earlier one find nobody.
    pub(crate) life: u32,
}

/// A claim, and what its worker said of it last.
#[derive(Clone)]
pub(crate) struct Taken {
    pub(crate) claim: Claim,
    pub(crate) said: Option<Given>,
    /// The lease as the worker knows it.
    pub(crate) until: Timestamp,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Join {
        which: usize,
        instance: Option<InstanceId>,
    },
    Claim {
        which: usize,
        life: u32,
        max: u32,
    },
    Says {
        leg: LegKey,
        given: Given,
    },
    Hold {
        leg: LegKey,
        at: Timestamp,
    },
    Release {
        leg: LegKey,
    },
    /// It must be refused.
    Wrong(WrongClaim, LegKey),
    /// Whatever is said to it.
    Other,
}

/// What is wrong with a word of a worker that asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WrongClaim {
    Forged,
    Foreign,
    OtherWorker,
    Revision,
}

/// What the workers of a plan offer that ask for their work; none where the seed has none.
pub(crate) fn pullers(plan: &Plan) -> Vec<Puller> {
    let like = crate::workers::specs(plan);
    let named = |(number, spec): (usize, &Arc<WorkerSpec>)| {
        let spec = WorkerSpec { name: format!("p{number}"), ..WorkerSpec::clone(spec) };
        Puller { spec: Arc::new(spec), instance: None, life: 0 }
    };
    like.iter().enumerate().map(named).collect()
}

impl World<'_> {
    pub(crate) fn asks_for_work(&mut self, request: WorkersRequest, asked: Asked) -> Checked {
        let to = self.callers.number();
        self.pulling.waiting.insert(to, asked);
        self.step(Input::Workers(request, to))
    }

    fn puller(&self, a: u32) -> usize {
        a as usize % self.pulling.workers.len()
    }

    pub(crate) fn pull_join(&mut self, a: u32, b: u32) -> Checked {
        let which = self.puller(a);
        let worker = &mut self.pulling.workers[which];
        let instance = worker.instance.filter(|_| b.is_multiple_of(3));
        if instance.is_none() {
            worker.life += 1;
        }
        let spec = WorkerSpec::clone(&worker.spec);
        if instance.is_none() {
            self.forgets(which);
        }
        let request = WorkersRequest::Join { spec, kind: WorkerKind::Pull, instance };
        self.asks_for_work(request, Asked::Join { which, instance })
    }

    pub(crate) fn pull_leave(&mut self, a: u32, b: u32) -> Checked {
        let which = self.puller(a);
        let (worker, instance) = self.named(which, b);
        self.asks_for_work(WorkersRequest::Leave { worker, instance, reason: "enough".to_owned() }, Asked::Other)
    }

    pub(crate) fn pull_alive(&mut self, a: u32, b: u32) -> Checked {
        let which = self.puller(a);
        let (worker, instance) = self.named(which, b);
        self.asks_for_work(WorkersRequest::Alive { worker, instance }, Asked::Other)
    }

    pub(crate) fn pull_drain(&mut self, a: u32) -> Checked {
        let worker = self.pulling.workers[self.puller(a)].spec.name.clone();
        let (who, why) = ("ada".to_owned(), String::new());
        self.asks_for_work(WorkersRequest::Drain { worker, who, why }, Asked::Other)
    }

    fn named(&self, which: usize, b: u32) -> (String, Option<InstanceId>) {
        let worker = &self.pulling.workers[which];
        (worker.spec.name.clone(), worker.instance.filter(|_| b.is_multiple_of(2)))
    }

    pub(crate) fn claim(&mut self, a: u32, b: u32) -> Checked {
        let which = self.puller(a);
        let (worker, instance) = self.named(which, b >> 1);
        let spec = &self.pulling.workers[which].spec;
        let one = spec.queues.iter().nth(b as usize % spec.queues.len().max(1));
        let request = ClaimRequest {
            worker,
            instance,
            queues: one.filter(|_| b.is_multiple_of(5)).cloned().into_iter().collect(),
            max: 1 + (b >> 3) % 3,
            lease_ms: [1, 40, 300, 5_000, 60_000][(b >> 5) as usize % 5],
            wait_ms: [0, 0, 200, 5_000][(b >> 8) as usize % 4],
        };
        let asked = Asked::Claim { which, life: self.pulling.workers[which].life, max: request.max };
        self.asks_for_work(WorkersRequest::Claim(request), asked)
    }

    /// A worker ends a leg that it has, or gives it back.
    pub(crate) fn pull_answer(&mut self, a: u32, b: u32, how: PullHow) -> Checked {
        if self.pulling.taken.is_empty() {
            return Ok(());
        }
        let mut taken = self.pulling.taken.remove(a as usize % self.pulling.taken.len());
        let given = match how {
            PullHow::Complete => Given::Completed(code(&taken.claim, b)),
            PullHow::Fail => {
                let retry_after_ms = b.is_multiple_of(6).then_some(u64::from(b % 1_000));
                Given::Failed { code: code(&taken.claim, b), retryable: !b.is_multiple_of(8), retry_after_ms }
            }
            PullHow::Release => Given::Nothing,
        };
        taken.said = Some(given);
        let claim = taken.claim.clone();
        self.pull_remember(taken);
        self.says(&claim, given)
    }

    /// Says of a leg what its worker has to say, with the right token.
    fn says(&mut self, claim: &Claim, given: Given) -> Checked {
        let leg = (claim.request.conversation, claim.request.leg);
        let leg_ref = self.leg_ref(claim)?;
        let (request, asked) = match given {
            Given::Completed(code) => {
                let result = vec![payload(code)];
                (WorkersRequest::Complete { leg: leg_ref, result }, Asked::Says { leg, given })
            }
            Given::Failed { code, retryable, retry_after_ms } => {
                let failure = failure(code);
                let request = WorkersRequest::Fail { leg: leg_ref, failure, retryable, retry_after_ms };
                (request, Asked::Says { leg, given })
            }
            Given::Nothing => (WorkersRequest::Release { leg: leg_ref }, Asked::Release { leg }),
        };
        self.told.says(leg, given);
        self.asks_for_work(request, asked)
    }

    /// How a worker names its leg; what the store says of an attempt that is not in memory goes with it.
    fn leg_ref(&mut self, claim: &Claim) -> Checked<LegRef> {
        let mut leg = claim.leg();
        if !self.partition.knows_attempt(leg.conversation) {
            let history = self.store.history(leg.conversation.run).map_err(|error| Broken::of_store(&error))?;
            leg.past = history.map(|history| Past::of(&history, leg.conversation));
        }
        Ok(leg)
    }

    pub(crate) fn pull_hold(&mut self, a: u32, b: u32) -> Checked {
        if self.pulling.taken.is_empty() {
            return Ok(());
        }
        let claim = self.pulling.taken[a as usize % self.pulling.taken.len()].claim.clone();
        self.holds(&claim, b)
    }

    fn holds(&mut self, claim: &Claim, b: u32) -> Checked {
        let leg_key = (claim.request.conversation, claim.request.leg);
        let leg = self.leg_ref(claim)?;
        let details = b.is_multiple_of(2).then(|| payload(u64::from(b)));
        let lease_ms = b.is_multiple_of(4).then_some([1, 70, 20_000][(b >> 2) as usize % 3]);
        let at = self.latest.max(self.now());
        let asked = Asked::Hold { leg: leg_key, at };
        if let Some(ms) = lease_ms {
            self.told.asks_for(leg_key, at.plus_ms(ms));
        }
        self.asks_for_work(WorkersRequest::Heartbeat { leg, details, lease_ms }, asked)
    }

    /// A worker's program ends without a word, or loses its way to us for so long that it drops what it has.
    pub(crate) fn pull_vanish(&mut self, a: u32) {
        let which = self.puller(a);
        self.pulling.workers[which].life += 1;
        self.forgets(which);
    }

    fn forgets(&mut self, which: usize) {
        let name = self.pulling.workers[which].spec.name.clone();
        let (gone, taken) =
            std::mem::take(&mut self.pulling.taken).into_iter().partition(|taken| *taken.claim.worker == *name);
        self.pulling.taken = taken;
        let gone: Vec<Taken> = gone;
        gone.into_iter().for_each(|taken| self.pull_remember(taken));
    }

    pub(crate) fn pull_remember(&mut self, taken: Taken) {
        if self.pulling.past.len() == OLD_MAX {
            self.pulling.past.remove(0);
        }
        self.pulling.past.push(taken);
    }

    /// A word that comes late, again, or is not the worker's own.
    pub(crate) fn pull_wrong(&mut self, a: u32, b: u32) -> Checked {
        let of_past = b % 8 < 4;
        let from = if of_past { &self.pulling.past } else { &self.pulling.taken };
        let Some(place) = (a as usize).checked_rem(from.len()) else { return Ok(()) };
        let chosen = from[place].clone();
        let claim = &chosen.claim;
        let wrong = match b % 8 {
            // Again, word for word, as who got no answer.
            0 | 1 => {
                self.sometimes.met(Point::ClaimAnsweredAgain);
                return self.says(claim, chosen.said.unwrap_or(Given::Completed(code(claim, b))));
            }
            2 => {
                let given = Given::Completed(code(claim, b));
                self.pulling.past[place].said = Some(given);
                return self.says(claim, given);
            }
            3 => return self.holds(claim, b >> 3),
            4 => WrongClaim::Forged,
            5 => WrongClaim::Foreign,
            6 => WrongClaim::OtherWorker,
            _ => WrongClaim::Revision,
        };
        let mut leg = self.leg_ref(claim)?;
        match wrong {
            WrongClaim::Forged => leg.token.0[15 - (b >> 3) as usize % 16] ^= 1 + (b >> 8) as u8 % 255,
            WrongClaim::Foreign => {
                let others = self.pulling.taken.iter().chain(&self.pulling.past);
                let mut tokens = others.map(|other| other.claim.request.token).filter(|token| *token != leg.token);
                match tokens.nth((b >> 3) as usize % 4) {
                    Some(token) => leg.token = token,
                    None => return Ok(()),
                }
            }
            WrongClaim::OtherWorker => leg.worker = "w0".into(),
            WrongClaim::Revision => leg.revision = Some(claim.revision + 1_000),
        }
        let key = (claim.request.conversation, claim.request.leg);
        let request = match (b >> 4) % 3 {
            0 => WorkersRequest::Heartbeat { leg, details: None, lease_ms: None },
            1 => WorkersRequest::Release { leg },
            _ => WorkersRequest::Complete { leg, result: vec![payload(0xf0f0)] },
        };
        self.asks_for_work(request, Asked::Wrong(wrong, key))
    }
}

/// How a worker that asked for a leg ends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PullHow {
    Complete,
    Fail,
    Release,
}

/// Different for every leg, so that an outcome shows which answer it came from.
fn code(claim: &Claim, b: u32) -> u64 {
    let conversation = claim.request.conversation;
    u64::from(b) << 32
        | u64::from(conversation.ordinal.0) << 16
        | u64::from(conversation.attempt) << 8
        | u64::from(claim.request.leg)
}

/// What a completion of this kind returns.
pub(crate) fn result_of(code: u64) -> Vec<Payload> {
    vec![payload(code)]
}

//! Makes a plan that breaks something small: without the acts, faults and parts of programs that it does not need.

use crate::life::{Look, StoreKind, live};
use crate::plan::Plan;

/// Most lives that one shrinking takes.
const LIVES_MAX: usize = 3_000;

/// The smallest plan found that breaks the same promise in the same way.
pub fn shrunk(plan: &Plan, store: StoreKind) -> Plan {
    let look = Look { every_prefix: true, told: false };
    let Some(what) = live(plan, store, look).broken.map(|broken| broken.what) else { return plan.clone() };
    let mut shrinking = Shrinking { best: plan.clone(), store, what, left: LIVES_MAX };
    loop {
        let before = shrinking.best.clone();
        shrinking.faults();
        shrinking.acts();
        shrinking.programs();
        if shrinking.left == 0 || shrinking.best == before {
            return shrinking.best;
        }
    }
}

struct Shrinking {
    best: Plan,
    store: StoreKind,
    what: &'static str,
    left: usize,
}

impl Shrinking {
    /// Takes the plan over if it still breaks the same promise.
    fn take_if_broken(&mut self, plan: Plan) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let life = live(&plan, self.store, Look { every_prefix: true, told: false });
        let same = life.broken.is_some_and(|broken| broken.what == self.what);
        if same {
            self.best = plan;
        }
        same
    }

    fn faults(&mut self) {
        for fault in self.best.faults.clone() {
            self.take_if_broken(self.best.without(fault));
        }
        for feature in self.best.features.clone() {
            self.take_if_broken(self.best.without_feature(feature));
        }
    }

    /// Leaves out stretches of acts, long ones first.
    fn acts(&mut self) {
        let mut stretch = self.best.acts.len().div_ceil(2);
        while stretch > 0 {
            let mut at = 0;
            while at < self.best.acts.len() {
                let mut plan = self.best.clone();
                plan.acts.drain(at..(at + stretch).min(plan.acts.len()));
                if !self.take_if_broken(plan) {
                    at += stretch;
                }
            }
            stretch /= 2;
        }
    }

    fn programs(&mut self) {
        for place in 0..self.best.programs.len() {
            let mut again = true;
            while again {
                let smaller = self.best.programs[place].smaller();
                again = smaller.into_iter().any(|program| {
                    let mut plan = self.best.clone();
                    plan.programs[place] = program;
                    self.take_if_broken(plan)
                });
            }
        }
    }
}

//! What a seed may have besides. Drawn apart from all else, so that a seed without it means what it always meant.

use crate::broken::Checked;
use crate::deep;
use crate::plan::{Act, Kind, Plan, draw};
use crate::pullers::PullHow;
use crate::rng::Rng;
use crate::world::World;

/// What some seeds have besides programs that somebody starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Feature {
    /// Workers that ask for their work, under leases.
    Pull,
    /// Jobs that start programs by a schedule.
    Routines,
    /// An operator looks for what is stuck.
    Repair,
    /// Queues have rules, and operators who set, pause and resume them.
    Rules,
    /// Calls are held when their budgets are used up, and operators take care of dead letters.
    Letters,
    /// Processes of workers die, with a cause.
    Deaths,
    /// Words and repairs in the milliseconds around the end of a lease.
    Edges,
    /// Calls and queues have routes, and operators say how well workers are.
    Routes,
    /// Routines run by cron expressions in zones whose clocks change, and the clock leaps by days.
    Cron,
}

impl Feature {
    const ALL: [Feature; 3] = [Feature::Pull, Feature::Routines, Feature::Repair];
}

/// Every act of a feature, with its weight.
const KINDS: [(Kind, u32, Feature); 16] = [
    (Kind::PullJoin, 8, Feature::Pull),
    (Kind::PullLeave, 3, Feature::Pull),
    (Kind::PullAlive, 5, Feature::Pull),
    (Kind::PullDrain, 2, Feature::Pull),
    (Kind::Claim, 50, Feature::Pull),
    (Kind::PullComplete, 30, Feature::Pull),
    (Kind::PullFail, 12, Feature::Pull),
    (Kind::PullRelease, 6, Feature::Pull),
    (Kind::PullHold, 16, Feature::Pull),
    (Kind::PullVanish, 5, Feature::Pull),
    (Kind::PullWrong, 24, Feature::Pull),
    (Kind::RoutineCreate, 6, Feature::Routines),
    (Kind::RoutineVerb, 8, Feature::Routines),
    (Kind::RoutinesDue, 12, Feature::Routines),
    (Kind::Reconcile, 8, Feature::Repair),
    (Kind::Quiet, 6, Feature::Repair),
];

impl Plan {
    /// Draws what the seed has besides; nothing in half of the seeds.
    pub(crate) fn widen(&mut self) {
        let mut rng = Rng::new(self.seed ^ 0x7769_6465_7769_6465);
        if rng.chance(1, 2) {
            return;
        }
        self.features = Feature::ALL.into_iter().filter(|_| rng.chance(2, 3)).collect();
        let there = KINDS.into_iter().filter(|(_, _, feature)| self.features.contains(feature));
        let rare = |rng: &mut Rng, weight: u32| if rng.chance(1, 8) { weight.div_ceil(10) } else { weight };
        let weights: Vec<(Kind, u32)> = there.map(|(kind, weight, _)| (kind, rare(&mut rng, weight))).collect();
        if weights.is_empty() {
            return;
        }
        self.config.run_routines = rng.chance(1, 2);
        self.config.worker_silence_ms = *rng.pick(&[400, 5_000, 60_000]);
        self.config.parked_claims_max = *rng.pick(&[1, 4_096]);
        self.away = self.features.contains(&Feature::Pull) && rng.chance(1, 2);
        let share = 1 + rng.below(4);
        for act in std::mem::take(&mut self.acts) {
            self.acts.push(act);
            for _ in 0..rng.below(share + 1) {
                self.acts.push(draw(&weights, &mut rng));
            }
        }
    }

    /// The plan without a feature.
    pub(crate) fn without_feature(&self, feature: Feature) -> Plan {
        let mut plan = self.clone();
        plan.features.retain(|known| *known != feature);
        let kinds = || KINDS.iter().chain(&deep::KINDS);
        let belongs = |act: &Act| kinds().any(|(kind, _, of)| *kind == act.kind && *of == feature);
        plan.acts.retain(|act| !belongs(act));
        plan.away &= plan.features.contains(&Feature::Pull);
        plan
    }
}

impl World<'_> {
    pub(crate) fn wide_act(&mut self, Act { kind, a, b }: Act) -> Checked {
        match kind {
            Kind::PullJoin => self.pull_join(a, b),
            Kind::PullLeave => self.pull_leave(a, b),
            Kind::PullAlive => self.pull_alive(a, b),
            Kind::PullDrain => self.pull_drain(a),
            Kind::Claim => self.claim(a, b),
            Kind::PullComplete => self.pull_answer(a, b, PullHow::Complete),
            Kind::PullFail => self.pull_answer(a, b, PullHow::Fail),
            Kind::PullRelease => self.pull_answer(a, b, PullHow::Release),
            Kind::PullHold => self.pull_hold(a, b),
            Kind::PullVanish => {
                self.pull_vanish(a);
                Ok(())
            }
            Kind::PullWrong => self.pull_wrong(a, b),
            Kind::RoutineCreate => self.routine_create(a, b),
            Kind::RoutineVerb => self.routine_verb(a, b),
            Kind::RoutinesDue => self.routines_due(b),
            Kind::Reconcile => self.reconcile(b),
            Kind::Quiet => self.check_nobody_waits_in_vain(),
            _ => self.deep_act(Act { kind, a, b }),
        }
    }
}

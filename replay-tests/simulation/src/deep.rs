//! What a seed may have of dispatch: rules of queues, dead letters, workers that die, leases at their very end, routes.
//! Drawn apart from all else once more, so that a seed without it means what it always meant.

use crate::broken::Checked;
use crate::plan::{Act, Kind, Plan, draw};
use crate::program::More;
use crate::rng::Rng;
use crate::routes::ROUTES;
use crate::wide::Feature;
use crate::world::World;

/// What is drawn here.
const ALL: [Feature; 6] =
    [Feature::Rules, Feature::Letters, Feature::Deaths, Feature::Edges, Feature::Routes, Feature::Cron];

/// Every act of a feature, with its weight.
pub(crate) const KINDS: [(Kind, u32, Feature); 13] = [
    (Kind::QueueSet, 10, Feature::Rules),
    (Kind::QueuePause, 6, Feature::Rules),
    (Kind::QueueResume, 9, Feature::Rules),
    (Kind::QueueLook, 4, Feature::Rules),
    (Kind::LetterRetry, 10, Feature::Letters),
    (Kind::LetterDiscard, 5, Feature::Letters),
    (Kind::Die, 8, Feature::Deaths),
    (Kind::LeaseEdge, 20, Feature::Edges),
    (Kind::FoundEdge, 8, Feature::Edges),
    (Kind::RouteDefault, 4, Feature::Routes),
    (Kind::HealthSet, 10, Feature::Routes),
    (Kind::CronCreate, 8, Feature::Cron),
    (Kind::DaysPass, 8, Feature::Cron),
];

impl Plan {
    /// Draws what the seed has besides; nothing in half of the seeds.
    pub(crate) fn deepen(&mut self) {
        let mut rng = Rng::new(self.seed ^ 0x6465_6570_6465_6570);
        if rng.chance(1, 2) {
            return;
        }
        let drawn: Vec<Feature> = ALL.into_iter().filter(|_| rng.chance(1, 2)).collect();
        let needs = |one: &Feature| match one {
            Feature::Edges => self.features.contains(&Feature::Pull),
            Feature::Cron => self.features.contains(&Feature::Routines),
            _ => true,
        };
        let drawn: Vec<Feature> = drawn.into_iter().filter(needs).collect();
        let has = |feature: Feature| drawn.contains(&feature);
        let [urgency, shares, keys] = [(); 3].map(|()| has(Feature::Rules) && rng.chance(2, 3));
        let (holds, routes) = (has(Feature::Letters), has(Feature::Routes));
        let more = |rng: &mut Rng| More {
            priority: if urgency { 1 + rng.below(5) as u8 } else { More::default().priority },
            fairness: if shares { rng.below(4) as u8 } else { 0 },
            limit: if keys { rng.below(3) as u8 } else { 0 },
            hold: holds && rng.chance(1, 2),
            route: if routes && rng.chance(1, 2) { rng.below(ROUTES.into()) as u8 } else { 0 },
        };
        for program in &mut self.programs {
            program.each_step(&mut |step| step.more = Some(more(&mut rng)).filter(|more| *more != More::default()));
        }
        let there = KINDS.into_iter().filter(|(_, _, feature)| has(*feature));
        let rare = |rng: &mut Rng, weight: u32| if rng.chance(1, 8) { weight.div_ceil(10) } else { weight };
        let weights: Vec<(Kind, u32)> = there.map(|(kind, weight, _)| (kind, rare(&mut rng, weight))).collect();
        self.features.extend(drawn);
        if weights.is_empty() {
            return;
        }
        let share = 1 + rng.below(3);
        for act in std::mem::take(&mut self.acts) {
            self.acts.push(act);
            if rng.chance(share, 8) {
                self.acts.push(draw(&weights, &mut rng));
            }
        }
    }
}

impl World<'_> {
    pub(crate) fn deep_act(&mut self, Act { kind, a, b }: Act) -> Checked {
        match kind {
            Kind::QueueSet => self.queue_set(a, b),
            Kind::QueuePause => self.queue_pause(a, true),
            Kind::QueueResume => self.queue_pause(a, false),
            Kind::QueueLook => self.queue_look(),
            Kind::LetterRetry => self.settle_letter(a, b, true),
            Kind::LetterDiscard => self.settle_letter(a, b, false),
            Kind::Die => self.worker_dies(a, b),
            Kind::LeaseEdge => self.lease_edge(a, b),
            Kind::FoundEdge => self.found_edge(a, b),
            Kind::RouteDefault => self.route_default(a, b),
            Kind::HealthSet => self.health_set(a, b),
            Kind::CronCreate => self.cron_create(a, b),
            Kind::DaysPass => self.days_pass(a, b),
            _ => Ok(()),
        }
    }
}

//! What one seed means: which faults exist, which programs run, and what is done in which order.

use crate::program::Node;
use crate::rng::Rng;
use crate::wide::Feature;
use antiphon_engine::Config;
use std::fmt;

/// A kind of fault. Each seed first draws which of them exist at all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    Failures,
    Panics,
    Silence,
    Late,
    Forgery,
    Leaving,
    Missing,
    Crashes,
    Full,
    Busy,
    UnknownApplied,
    UnknownNotApplied,
    Slow,
    ClockJumps,
    Duplicates,
    Cancels,
    BrokenCode,
    LateWord,
}

impl Fault {
    pub(crate) const ALL: [Fault; 18] = [
        Fault::Failures,
        Fault::Panics,
        Fault::Silence,
        Fault::Late,
        Fault::Forgery,
        Fault::Leaving,
        Fault::Missing,
        Fault::Crashes,
        Fault::Full,
        Fault::Busy,
        Fault::UnknownApplied,
        Fault::UnknownNotApplied,
        Fault::Slow,
        Fault::ClockJumps,
        Fault::Duplicates,
        Fault::Cancels,
        Fault::BrokenCode,
        Fault::LateWord,
    ];
}

/// What is done. Its numbers choose among what is there at that moment, so that any act can be left out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    Start,
    StartAgain,
    StartOther,
    StartAndWait,
    Signal,
    SignalAgain,
    Cancel,
    Wait,
    Forget,
    Complete,
    Fail,
    Panic,
    Stop,
    AnswerLate,
    AnswerForged,
    AnswerForeign,
    Heartbeat,
    HeartbeatStale,
    Join,
    Leave,
    Pass,
    Due,
    Leap,
    Archive,
    Hear,
    SlowCommit,
    FailCommit,
    Crash,
    Deploy,
    PullJoin,
    PullLeave,
    PullAlive,
    PullDrain,
    Claim,
    PullComplete,
    PullFail,
    PullRelease,
    PullHold,
    PullVanish,
    PullWrong,
    RoutineCreate,
    RoutineVerb,
    RoutinesDue,
    Reconcile,
    Quiet,
    QueueSet,
    QueuePause,
    QueueResume,
    QueueLook,
    LetterRetry,
    LetterDiscard,
    Die,
    LeaseEdge,
    FoundEdge,
    RouteDefault,
    HealthSet,
    CronCreate,
    DaysPass,
}

/// Every kind of act with its weight, and the fault that it belongs to.
const KINDS: [(Kind, u32, Option<Fault>); 29] = [
    (Kind::Start, 14, None),
    (Kind::StartAgain, 6, Some(Fault::Duplicates)),
    (Kind::StartOther, 2, Some(Fault::Duplicates)),
    (Kind::StartAndWait, 4, None),
    (Kind::Signal, 20, None),
    (Kind::SignalAgain, 10, Some(Fault::Duplicates)),
    (Kind::Cancel, 5, Some(Fault::Cancels)),
    (Kind::Wait, 6, None),
    (Kind::Forget, 2, None),
    (Kind::Complete, 120, None),
    (Kind::Fail, 40, Some(Fault::Failures)),
    (Kind::Panic, 14, Some(Fault::Panics)),
    (Kind::Stop, 6, Some(Fault::Panics)),
    (Kind::AnswerLate, 20, Some(Fault::Late)),
    (Kind::AnswerForged, 20, Some(Fault::Forgery)),
    (Kind::AnswerForeign, 10, Some(Fault::Forgery)),
    (Kind::Heartbeat, 20, None),
    (Kind::HeartbeatStale, 8, Some(Fault::Late)),
    (Kind::Join, 6, None),
    (Kind::Leave, 8, Some(Fault::Leaving)),
    (Kind::Pass, 30, None),
    (Kind::Due, 40, None),
    (Kind::Leap, 2, Some(Fault::ClockJumps)),
    (Kind::Archive, 25, None),
    (Kind::Hear, 10, Some(Fault::LateWord)),
    (Kind::SlowCommit, 40, Some(Fault::Slow)),
    (Kind::FailCommit, 4, None),
    (Kind::Crash, 6, Some(Fault::Crashes)),
    (Kind::Deploy, 3, Some(Fault::BrokenCode)),
];

/// One thing that is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Act {
    pub(crate) kind: Kind,
    pub(crate) a: u32,
    pub(crate) b: u32,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({}, {})", self.kind, self.a, self.b)
    }
}

/// Everything that one seed stands for. The same plan gives the same life, whatever made it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    pub(crate) seed: u64,
    pub(crate) faults: Vec<Fault>,
    pub(crate) features: Vec<Feature>,
    /// Workers of the engine's process come later, if ever: work is left for those who ask.
    pub(crate) away: bool,
    /// One per workflow id.
    pub(crate) programs: Vec<Node>,
    pub(crate) acts: Vec<Act>,
    pub(crate) config: Config,
    /// A commit follows each act whose number this divides.
    pub(crate) batching: u32,
    /// How many workers may be connected, and how much each takes at once.
    pub(crate) workers: u32,
    pub(crate) capacity: u32,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut rng = Rng::new(seed);
        let faults = swarm(&mut rng);
        let runs = 3 + rng.below(6);
        let bugs = faults.contains(&Fault::BrokenCode);
        let programs = (0..runs).map(|_| Node::program(&mut rng, bugs)).collect();
        let config = Config {
            evict_after_ms: *rng.pick(&[0, 50, 5_000]),
            waiting_runs_max: *rng.pick(&[0, 1, 8_192]),
            heartbeat_record_ms: *rng.pick(&[0, 100, 10_000]),
            ..Config::default()
        };
        let batching = *rng.pick(&[1, 1, 2, 5]);
        let (workers, capacity) = (1 + rng.below(3), *rng.pick(&[1, 2, 8]));
        let weights = weights(&faults, &mut rng);
        let count = *rng.pick(&[60, 200, 400]);
        let acts = (0..count).map(|_| draw(&weights, &mut rng)).collect();
        let (features, away) = (Vec::new(), false);
        let mut plan = Plan { seed, faults, features, away, programs, acts, config, batching, workers, capacity };
        plan.widen();
        plan.deepen();
        plan
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// The plan without one kind of fault.
    pub(crate) fn without(&self, fault: Fault) -> Plan {
        let mut plan = self.clone();
        plan.faults.retain(|known| *known != fault);
        let belongs = |act: &Act| KINDS.iter().any(|(kind, _, of)| *kind == act.kind && *of == Some(fault));
        plan.acts.retain(|act| !belongs(act));
        plan
    }
}

/// Which faults exist: none in one of ten seeds, each with a chance of its own in the others.
fn swarm(rng: &mut Rng) -> Vec<Fault> {
    if rng.chance(1, 10) {
        return Vec::new();
    }
    let share = 1 + rng.below(9);
    Fault::ALL.into_iter().filter(|_| rng.chance(share, 10)).collect()
}

fn weights(faults: &[Fault], rng: &mut Rng) -> Vec<(Kind, u32)> {
    let store = [Fault::Full, Fault::Busy, Fault::UnknownApplied, Fault::UnknownNotApplied];
    let exists = |kind: Kind, of: Option<Fault>| match kind {
        Kind::FailCommit => store.iter().any(|fault| faults.contains(fault)),
        _ => of.is_none_or(|fault| faults.contains(&fault)),
    };
    let kinds = KINDS.into_iter().filter(|(kind, _, of)| exists(*kind, *of));
    // Some of what is not a fault is rare in some seeds: worlds of one kind of act reach what mixtures do not.
    kinds.map(|(kind, weight, _)| (kind, if rng.chance(1, 8) { weight.div_ceil(10) } else { weight })).collect()
}

pub(crate) fn draw(weights: &[(Kind, u32)], rng: &mut Rng) -> Act {
    let mut left = rng.below(weights.iter().map(|(_, weight)| weight).sum());
    let mut chosen = Kind::Due;
    for (kind, weight) in weights {
        if left < *weight {
            chosen = *kind;
            break;
        }
        left -= weight;
    }
    Act { kind: chosen, a: rng.small() >> 8, b: rng.small() >> 8 }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "faults: {:?}, besides: {:?}", self.faults, self.features)?;
        writeln!(
            f,
            "workers: {} of {} places; a commit after about every {} acts; evicted after {} ms, at most {} waiting",
            self.workers, self.capacity, self.batching, self.config.evict_after_ms, self.config.waiting_runs_max
        )?;
        for (index, program) in self.programs.iter().enumerate() {
            writeln!(f, "program of run-{index}: {program}")?;
        }
        write!(f, "acts:")?;
        for (index, act) in self.acts.iter().enumerate() {
            write!(f, "{}{act}", if index % 6 == 0 { "\n  " } else { " " })?;
        }
        Ok(())
    }
}

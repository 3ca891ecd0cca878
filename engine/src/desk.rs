use crate::divergence;
use crate::ordinals::Ordinals;
use antiphon_history::{
    ActivityCall, ActivityOutcome, BlockedReason, Ordinal, Payload, RunEvent, RunStarted, Site, Timestamp, planted,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

/// The desk between one workflow and the engine: what the workflow asked and what has arrived for it.
///
/// Commands go through [`Desk::command`], live and in replay alike: in replay each is compared with the record at the
/// moment it is asked, so the report can name the line that asked.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) started: Arc<RunStarted>,
    /// The time of the arrival that is being applied.
    pub(crate) now: Timestamp,
    next_ordinal: u32,
    pub(crate) draws: u64,
    mode: Mode,
    /// Commands of a live turn, to be written.
    commands: Vec<RunEvent>,
    pub(crate) outcomes: Ordinals<ActivityOutcome>,
    pub(crate) fired: BTreeSet<Ordinal>,
    pub(crate) signals: BTreeMap<String, VecDeque<Vec<Payload>>>,
    patches: BTreeMap<String, bool>,
    pub(crate) compensations: Vec<Arc<ActivityCall>>,
    /// Why the run is to be cancelled, once somebody asked.
    pub(crate) cancel: Option<String>,
    /// How many `cancelled()` waits are alive: with one, the workflow decides itself what a cancel means.
    pub(crate) cancel_watchers: u32,
    /// How many of our waits were polled and had to wait since the poll began. Zero with a pending workflow means that
    /// it awaits something that is not Antiphon's.
    pub(crate) waits: u32,
    pub(crate) halted: Option<Box<BlockedReason>>,
    /// The driver's own waker, with which it polls the workflow after every arrival.
    root: Waker,
    /// Who is to be polled when something arrives, where a combinator polls its futures only when they are woken; most runs
    /// have none.
    wakers: Option<Box<Wakers>>,
    /// Behind the record's end the workflow waits for a value that only the world could give: what else it would ask
    /// depends on that value, and is not collected.
    guessing: bool,
    /// The future is being dropped to free memory: what its destructors would ask does not count.
    pub(crate) closing: bool,
    /// Where the last call was made.
    pub(crate) last_site: Site,
}

/// Wakers of waits that a combinator polls on demand.
#[derive(Debug, Default)]
struct Wakers {
    calls: Ordinals<Waker>,
    signals: BTreeMap<String, Vec<Waker>>,
    cancel: Vec<Waker>,
}

/// What a wait waits for.
pub(crate) enum Awaited<'a> {
    /// The outcome of a call or the end of a timer.
    Call(Ordinal),
    /// A signal of this name.
    Signal(&'a str),
    /// A request to cancel the run.
    Cancel,
}

#[derive(Debug)]
enum Mode {
    /// Commands are new.
    Live,
    /// Commands must equal the script. With `frontier` the script is a prefix, and what follows it is new.
    Replay { script: VecDeque<(u64, RunEvent)>, next_seq: u64, frontier: bool },
}

impl Desk {
    pub(crate) fn new(started: Arc<RunStarted>, root: Waker) -> Desk {
        Desk {
            started,
            now: Timestamp::default(),
            next_ordinal: 1,
            draws: 0,
            mode: Mode::Live,
            commands: Vec::new(),
            outcomes: Ordinals::default(),
            fired: BTreeSet::new(),
            signals: BTreeMap::new(),
            patches: BTreeMap::new(),
            compensations: Vec::new(),
            cancel: None,
            cancel_watchers: 0,
            waits: 0,
            halted: None,
            root,
            wakers: None,
            guessing: false,
            closing: false,
            last_site: Site::default(),
        }
    }

    /// A wait was polled and has to wait. It is woken when what it awaits arrives; the driver itself needs no waking.
    pub(crate) fn waits_for(&mut self, awaited: Awaited<'_>, waker: &Waker) {
        self.waits += 1;
        if self.root.will_wake(waker) {
            return;
        }
        let add = |wakers: &mut Vec<Waker>| {
            if !wakers.iter().any(|known| known.will_wake(waker)) {
                wakers.push(waker.clone());
            }
        };
        let known = self.wakers.get_or_insert_default();
        match awaited {
            Awaited::Call(ordinal) => known.calls.insert(ordinal, waker.clone()),
            Awaited::Signal(name) => match known.signals.get_mut(name) {
                Some(wakers) => add(wakers),
                None => drop(known.signals.insert(name.to_owned(), vec![waker.clone()])),
            },
            Awaited::Cancel => add(&mut known.cancel),
        }
    }

    /// Something has arrived: who is to be woken for it, once the desk is free.
    pub(crate) fn woken_by(&mut self, awaited: Awaited<'_>) -> Vec<Waker> {
        let Some(known) = &mut self.wakers else { return Vec::new() };
        match awaited {
            Awaited::Call(ordinal) if ordinal.0 % 2 == 0 && planted!("combinator-not-woken") => Vec::new(),
            Awaited::Call(ordinal) => known.calls.remove(ordinal).into_iter().collect(),
            Awaited::Signal(name) => known.signals.remove(name).unwrap_or_default(),
            Awaited::Cancel => std::mem::take(&mut known.cancel),
        }
    }

    pub(crate) fn ordinal(&mut self) -> Ordinal {
        let ordinal = Ordinal(self.next_ordinal);
        self.next_ordinal += 1;
        ordinal
    }

    /// Expects exactly `script` from now on. `next_seq` is the sequence number behind its last event.
    pub(crate) fn expect(&mut self, script: VecDeque<(u64, RunEvent)>, next_seq: u64, frontier: bool) {
        self.mode = Mode::Replay { script, next_seq, frontier };
    }

    /// From now on commands are new.
    pub(crate) fn go_live(&mut self) {
        self.mode = Mode::Live;
    }

    /// The commands of the live turn, and an empty desk for the next.
    pub(crate) fn take_commands(&mut self) -> Vec<RunEvent> {
        std::mem::take(&mut self.commands)
    }

    /// What the record still expects of this turn.
    pub(crate) fn leftover(&self) -> Option<&(u64, RunEvent)> {
        match &self.mode {
            Mode::Live => None,
            Mode::Replay { script, .. } => script.front(),
        }
    }

    /// Whether nothing more may be asked: the turn has gone wrong, or the future is being let go of.
    pub(crate) fn is_shut(&self) -> bool {
        self.halted.is_some() || self.closing
    }

    /// The workflow asks. Live: it is noted for the record. In replay: it must be what the record says next.
    pub(crate) fn command(&mut self, attempted: RunEvent, site: &Site) {
        if self.is_shut() {
            return;
        }
        if !site.is_unknown() {
            self.last_site = site.clone();
        }
        let Mode::Replay { script, next_seq, frontier } = &mut self.mode else {
            self.commands.push(attempted);
            return;
        };
        let report = match script.pop_front() {
            Some((seq, recorded)) => match divergence::first_difference(&recorded, &attempted) {
                None => return,
                Some(field) => divergence::other(seq, &recorded, &attempted, &self.last_site, field),
            },
            None if *frontier => {
                if !self.guessing {
                    self.commands.push(attempted);
                }
                return;
            }
            None => divergence::extra(*next_seq, &attempted, &self.last_site),
        };
        self.halted = Some(Box::new(BlockedReason::Divergence(report)));
    }

    /// The recorded value of a side effect, if replay stands before one. Takes it off the script.
    pub(crate) fn recorded_side_effect(&mut self, ordinal: Ordinal) -> Option<Payload> {
        let Mode::Replay { script, .. } = &mut self.mode else { return None };
        match script.front() {
            Some((_, RunEvent::SideEffectRecorded { ordinal: recorded, value, .. })) if *recorded == ordinal => {
                let value = value.clone();
                script.pop_front();
                Some(value)
            }
            _ => None,
        }
    }

    /// Whether the turn is a new one, in which values may be taken from outside.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.mode, Mode::Live)
    }

    /// Whether replay stands behind a record that was cut inside a turn: what comes now is new, but must not happen. Then
    /// a value from outside is waited for.
    pub(crate) fn waits_at_frontier(&mut self) -> bool {
        let at_frontier = matches!(&self.mode, Mode::Replay { script, frontier: true, .. } if script.is_empty());
        if at_frontier {
            self.waits += 1;
            self.guessing = true;
        }
        at_frontier
    }

    /// Whether the run takes the new side of the change `name`. The first look decides for the whole run.
    pub(crate) fn patched(&mut self, name: &str, site: &Site) -> bool {
        if let Some(taken) = self.patches.get(name) {
            return *taken;
        }
        let marked = match &self.mode {
            Mode::Live => true,
            Mode::Replay { script, frontier, .. } => match script.front() {
                Some((_, RunEvent::PatchMarked { name: recorded })) => recorded == name,
                Some(_) => false,
                None => *frontier,
            },
        };
        if marked {
            self.command(RunEvent::PatchMarked { name: name.to_owned() }, site);
        }
        self.patches.insert(name.to_owned(), marked);
        marked
    }
}

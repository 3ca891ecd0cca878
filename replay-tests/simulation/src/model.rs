//! The model: carries a program out over the recorded arrivals without the engine's futures, desk or wakers, and says which
//! commands must stand behind each of them. The record must say the same, word for word.

use crate::interpret::{Outcome, mix, outcome_of, value};
use crate::program::{Node, Step};
use antiphon_history::{ActivityCall, Role, RunEvent, Timestamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Compares a whole run stream with what its program must have asked.
pub(crate) fn follow(tree: &Node, events: &[(Timestamp, RunEvent)]) -> Result<(), String> {
    let mut model = Model::new(tree, events);
    let mut held: VecDeque<&(Timestamp, RunEvent)> = VecDeque::new();
    let (mut blocked, mut next) = (false, 0);
    while let Some(entry) = events.get(next) {
        next += 1;
        match (&entry.1, entry.1.role()) {
            (RunEvent::Blocked(_), _) => blocked = true,
            (RunEvent::Unblocked, _) => blocked = false,
            (_, Role::Arrival) => held.push_back(entry),
            _ => return Err(format!("event {next}, {}, follows no arrival", entry.1)),
        }
        let first = next;
        next += events[first..].iter().take_while(|(_, event)| event.role() == Role::Command).count();
        // A block says how many of the latest arrivals the code had not taken in.
        let not_taken = match events.get(next) {
            Some((_, RunEvent::Blocked(block))) => block.held as usize,
            _ => 0,
        };
        while !blocked && held.len() > not_taken {
            let Some((at, arrival)) = held.pop_front() else { break };
            model.apply(*at, arrival);
        }
        let asked = std::mem::take(&mut model.sheet.asked);
        let recorded = &events[first..next];
        for (place, (_, event)) in recorded.iter().enumerate() {
            match asked.get(place) {
                Some(asked) if asked.is(event) => {}
                other => {
                    return Err(format!("event {}: the model asks {other:?}, recorded is {event}", first + place + 1));
                }
            }
        }
        if let Some(missing) = asked.get(recorded.len()) {
            return Err(format!("behind event {next}: the model asks {missing:?}, nothing is recorded"));
        }
    }
    Ok(())
}

/// A command as the model says it.
#[derive(Debug)]
enum Asked<'a> {
    Schedule(u32, &'a Step),
    Withdraw(u32),
    StartTimer(u32, i64),
    CancelTimer(u32),
    TakeValue(u32),
    Patch(u8),
    Push(u32, &'a Step),
    Complete(u64),
    Fail(u64),
    Cancelled,
}

impl Asked<'_> {
    fn is(&self, event: &RunEvent) -> bool {
        let is_call = |step: &Step, call: &ActivityCall| {
            value(call.input.first()) == u64::from(step.id) && call.options == step.options()
        };
        match (self, event) {
            (Asked::Schedule(own, step), RunEvent::ActivityScheduled { ordinal, call })
            | (Asked::Push(own, step), RunEvent::CompensationPushed { ordinal, call }) => {
                *own == ordinal.0 && is_call(step, call)
            }
            (Asked::Withdraw(own), RunEvent::ActivityCancelled { ordinal })
            | (Asked::CancelTimer(own), RunEvent::TimerCancelled { ordinal })
            | (Asked::TakeValue(own), RunEvent::SideEffectRecorded { ordinal, .. }) => *own == ordinal.0,
            (Asked::StartTimer(own, at), RunEvent::TimerStarted { ordinal, due, .. }) => {
                *own == ordinal.0 && *at == due.0
            }
            (Asked::Patch(own), RunEvent::PatchMarked { name }) => {
                ["one", "two", "three"][usize::from(*own)] == name.as_str()
            }
            (Asked::Complete(own), RunEvent::RunCompleted { result }) => *own == value(result.first()),
            (Asked::Fail(own), RunEvent::RunFailed { failure }) => *own == value(failure.details.as_ref()),
            (Asked::Cancelled, RunEvent::RunCancelled { .. }) => true,
            _ => false,
        }
    }
}

/// What the program knows and what it has asked.
struct Sheet<'a> {
    now: i64,
    ordinals: u32,
    outcomes: BTreeMap<u32, Outcome>,
    fired: BTreeSet<u32>,
    signals: [VecDeque<u64>; 3],
    cancelled: bool,
    watching: usize,
    patched: BTreeSet<u8>,
    pushed: Vec<&'a Step>,
    taken: BTreeMap<u32, u64>,
    asked: Vec<Asked<'a>>,
}

struct Model<'a> {
    sheet: Sheet<'a>,
    stage: Stage<'a>,
}

enum Stage<'a> {
    Workflow(Exec<'a>),
    Undoing(Option<u32>, Asked<'a>),
    Over,
}

impl<'a> Model<'a> {
    fn new(tree: &'a Node, events: &[(Timestamp, RunEvent)]) -> Model<'a> {
        let taken = events.iter().filter_map(|(_, event)| match event {
            RunEvent::SideEffectRecorded { ordinal, value: taken, .. } => Some((ordinal.0, value(Some(taken)))),
            _ => None,
        });
        let sheet = Sheet {
            now: 0,
            ordinals: 0,
            outcomes: BTreeMap::new(),
            fired: BTreeSet::new(),
            signals: Default::default(),
            cancelled: false,
            watching: 0,
            patched: BTreeSet::new(),
            pushed: Vec::new(),
            taken: taken.collect(),
            asked: Vec::new(),
        };
        Model { sheet, stage: Stage::Workflow(Exec::New(tree)) }
    }

    fn apply(&mut self, at: Timestamp, arrival: &RunEvent) {
        let sheet = &mut self.sheet;
        sheet.now = at.0;
        match arrival {
            RunEvent::ActivityResolved { ordinal, outcome } => {
                sheet.outcomes.insert(ordinal.0, outcome_of(outcome));
            }
            RunEvent::TimerFired { ordinal } => _ = sheet.fired.insert(ordinal.0),
            RunEvent::SignalReceived { name, input, .. } => {
                let place = (0..3).find(|place| crate::program::signal_name(*place) == name.as_str());
                sheet.signals[usize::from(place.unwrap_or(0))].push_back(value(input.first()));
            }
            RunEvent::CancelRequested { .. } => {
                sheet.cancelled = true;
                let dropped = sheet.watching == 0 && matches!(self.stage, Stage::Workflow(_));
                let stage = if dropped { Stage::Undoing(None, Asked::Cancelled) } else { return self.go_on() };
                if let Stage::Workflow(exec) = std::mem::replace(&mut self.stage, stage) {
                    exec.let_go(sheet);
                }
            }
            _ => {}
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        loop {
            let sheet = &mut self.sheet;
            match &mut self.stage {
                Stage::Over => return,
                Stage::Workflow(exec) => match exec.poll(sheet) {
                    None => return,
                    Some(Ok(value)) => {
                        sheet.asked.push(Asked::Complete(value));
                        self.stage = Stage::Over;
                    }
                    Some(Err(code)) => self.stage = Stage::Undoing(None, Asked::Fail(code)),
                },
                Stage::Undoing(current, _) => {
                    if current.is_some_and(|ordinal| sheet.outcomes.remove(&ordinal).is_none()) {
                        return;
                    }
                    *current = sheet.pushed.pop().map(|step| sheet.schedule(step));
                    if current.is_none()
                        && let Stage::Undoing(_, ending) = std::mem::replace(&mut self.stage, Stage::Over)
                    {
                        sheet.asked.push(ending);
                    }
                }
            }
        }
    }
}

impl<'a> Sheet<'a> {
    fn ordinal(&mut self) -> u32 {
        self.ordinals += 1;
        self.ordinals
    }

    fn schedule(&mut self, step: &'a Step) -> u32 {
        let ordinal = self.ordinal();
        self.asked.push(Asked::Schedule(ordinal, step));
        ordinal
    }
}

/// A part of the program under way.
enum Exec<'a> {
    New(&'a Node),
    Call(u32),
    Timer(u32, u32),
    Signal(u8),
    Seq {
        rest: &'a [Node],
        current: Box<Exec<'a>>,
        all: u64,
    },
    Join(Vec<(Exec<'a>, Option<Outcome>)>),
    Race(Vec<Exec<'a>>),
    Aware {
        body: Box<Exec<'a>>,
        then: &'a Node,
        watching: bool,
    },
    /// Behind a mark: its value is mixed with the mark's.
    Behind(u64, Box<Exec<'a>>),
    Try(Box<Exec<'a>>),
    Ready(Outcome),
}

impl<'a> Exec<'a> {
    fn begin(node: &'a Node, sheet: &mut Sheet<'a>) -> Exec<'a> {
        let new = |node| Box::new(Exec::New(node));
        match node {
            Node::Activity(step) => Exec::Call(sheet.schedule(step)),
            Node::Timer { ms } => {
                let ordinal = sheet.ordinal();
                sheet.asked.push(Asked::StartTimer(ordinal, sheet.now + i64::from(*ms)));
                Exec::Timer(ordinal, *ms)
            }
            Node::Signal { name } => Exec::Signal(*name),
            Node::SideEffect => {
                let ordinal = sheet.ordinal();
                sheet.asked.push(Asked::TakeValue(ordinal));
                Exec::Ready(Ok(sheet.taken.get(&ordinal).copied().unwrap_or(0)))
            }
            Node::Now => Exec::Ready(Ok(sheet.now as u64)),
            Node::Patched { name, then } => {
                if sheet.patched.insert(*name) {
                    sheet.asked.push(Asked::Patch(*name));
                }
                Exec::Behind(1, new(then))
            }
            Node::Seq(parts) => match parts.split_first() {
                Some((first, rest)) => Exec::Seq { rest, current: new(first), all: 0 },
                None => Exec::Ready(Ok(0)),
            },
            Node::Join { parts, .. } => Exec::Join(parts.iter().map(|part| (Exec::New(part), None)).collect()),
            Node::Race(parts) => Exec::Race(parts.iter().map(Exec::New).collect()),
            Node::Aware { body, then } => Exec::Aware { body: new(body), then, watching: false },
            Node::Undo(step) => {
                let ordinal = sheet.ordinal();
                sheet.asked.push(Asked::Push(ordinal, step));
                sheet.pushed.push(step);
                Exec::Ready(Ok(0))
            }
            Node::Try(body) => Exec::Try(new(body)),
            Node::Fail(id) => Exec::Ready(Err(mix(9, u64::from(*id)))),
            Node::Bug => Exec::Ready(Ok(8)),
        }
    }

    fn poll(&mut self, sheet: &mut Sheet<'a>) -> Option<Outcome> {
        if let Exec::New(node) = self {
            *self = Exec::begin(node, sheet);
        }
        match self {
            Exec::New(_) => None,
            Exec::Ready(outcome) => Some(*outcome),
            Exec::Call(ordinal) => {
                let outcome = sheet.outcomes.remove(ordinal)?;
                *self = Exec::Ready(outcome);
                Some(outcome)
            }
            Exec::Timer(ordinal, ms) => {
                let outcome = sheet.fired.remove(ordinal).then_some(Ok(u64::from(*ms)))?;
                *self = Exec::Ready(outcome);
                Some(outcome)
            }
            Exec::Signal(name) => {
                let value = sheet.signals[usize::from(*name)].pop_front()?;
                *self = Exec::Ready(Ok(value));
                Some(Ok(value))
            }
            Exec::Seq { rest, current, all } => loop {
                match current.poll(sheet)? {
                    Err(code) => return Some(Err(code)),
                    Ok(value) => *all = mix(*all, value),
                }
                let Some((first, others)) = rest.split_first() else { return Some(Ok(*all)) };
                (*rest, **current) = (others, Exec::New(first));
            },
            Exec::Join(parts) => {
                for (part, outcome) in parts.iter_mut().filter(|(_, outcome)| outcome.is_none()) {
                    *outcome = part.poll(sheet);
                }
                let done: Option<Vec<Outcome>> = parts.iter().map(|(_, outcome)| *outcome).collect();
                Some(done?.into_iter().try_fold(0, |all, outcome| Ok(mix(all, outcome?))))
            }
            Exec::Race(parts) => {
                let won = parts.iter_mut().enumerate().find_map(|(place, part)| Some((place, part.poll(sheet)?)));
                let (place, outcome) = won?;
                std::mem::take(parts).into_iter().for_each(|part| part.let_go(sheet));
                Some(outcome.map(|value| mix(place as u64, value)))
            }
            Exec::Aware { body, then, watching } => {
                let outcome = body.poll(sheet);
                if outcome.is_some() || sheet.cancelled {
                    sheet.watching -= usize::from(std::mem::take(watching));
                }
                if outcome.is_some() {
                    return outcome;
                }
                if !sheet.cancelled {
                    sheet.watching += usize::from(!std::mem::replace(watching, true));
                    return None;
                }
                let then = *then;
                let body = std::mem::replace(&mut **body, Exec::Ready(Ok(0)));
                body.let_go(sheet);
                *self = Exec::Behind(6, Box::new(Exec::New(then)));
                self.poll(sheet)
            }
            Exec::Behind(mark, then) => then.poll(sheet).map(|outcome| Ok(mix(*mark, outcome?))),
            Exec::Try(body) => body.poll(sheet).map(|outcome| Ok(outcome.unwrap_or_else(|code| mix(7, code)))),
        }
    }

    /// Drops the part: what it waits for is withdrawn, in the order of its places.
    fn let_go(self, sheet: &mut Sheet<'a>) {
        match self {
            Exec::New(_) | Exec::Signal(_) | Exec::Ready(_) => {}
            Exec::Call(ordinal) => {
                if sheet.outcomes.remove(&ordinal).is_none() {
                    sheet.asked.push(Asked::Withdraw(ordinal));
                }
            }
            Exec::Timer(ordinal, _) => {
                if !sheet.fired.remove(&ordinal) {
                    sheet.asked.push(Asked::CancelTimer(ordinal));
                }
            }
            Exec::Seq { current, .. } => current.let_go(sheet),
            Exec::Join(parts) => {
                parts.into_iter().filter(|(_, outcome)| outcome.is_none()).for_each(|(part, _)| part.let_go(sheet));
            }
            Exec::Race(parts) => parts.into_iter().for_each(|part| part.let_go(sheet)),
            Exec::Aware { body, watching, .. } => {
                body.let_go(sheet);
                sheet.watching -= usize::from(watching);
            }
            Exec::Behind(_, then) => then.let_go(sheet),
            Exec::Try(body) => body.let_go(sheet),
        }
    }
}

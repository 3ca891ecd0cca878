use crate::Config;
use crate::driver::{Driver, TurnEnd};
use crate::program::{Program, Programs};
use crate::recorded::{Recorded, RunStream, Talk};
use crate::state::{RunState, StateError};
use antiphon_history::{Blocked, BlockedReason, Role, RunEvent, RunStatus, Timestamp, planted};
use std::collections::VecDeque;
use std::sync::Arc;

/// One run in memory: what its records say, and its code at the place where it waits.
pub(crate) struct Run {
    pub(crate) state: RunState,
    driver: Option<Driver>,
    turn_bytes_max: usize,
    /// The segment that holds the run's latest event.
    pub(crate) last_segment: u64,
    /// When the run last took something in.
    pub(crate) touched_at: Timestamp,
    /// It is noted as one that may leave memory.
    pub(crate) resting: bool,
    /// What it counts for in the partition's sum of bytes held.
    pub(crate) counted_bytes: usize,
}

/// A run brought back from its records, and what has to be appended now: nothing, a block, or the end of one.
pub(crate) struct Resumed {
    pub(crate) run: Run,
    pub(crate) events: Vec<RunEvent>,
}

impl Run {
    /// A run whose first event is about to be recorded.
    pub(crate) fn begin(state: RunState, program: &dyn Program, config: &Config) -> Run {
        let driver = Some(Driver::new(program, &state.started, config));
        Run::new(state, driver, config, Timestamp::default())
    }

    /// A run to look at: what its records say, without its code.
    pub(crate) fn shown(state: RunState, touched_at: Timestamp) -> Run {
        Run::new(state, None, &Config::default(), touched_at)
    }

    fn new(state: RunState, driver: Option<Driver>, config: &Config, touched_at: Timestamp) -> Run {
        Run {
            state,
            driver,
            turn_bytes_max: config.turn_bytes_max,
            last_segment: 0,
            touched_at,
            resting: false,
            counted_bytes: 0,
        }
    }

    /// Drops its code: it is asked nothing any more.
    pub(crate) fn let_go_of_code(&mut self) {
        self.driver = None;
    }

    /// Applies an arrival that has been folded already. Returns what the workflow asks now, or the block that it ran
    /// into; either is to be appended behind the arrival.
    pub(crate) fn take_in(&mut self, arrival: RunEvent, at: Timestamp) -> Vec<RunEvent> {
        let Some(driver) = &mut self.driver else { return Vec::new() };
        match live_turn(driver, arrival, at, self.turn_bytes_max) {
            Ok((commands, ended)) => {
                if ended {
                    self.driver = None;
                }
                commands
            }
            Err(reason) => {
                self.driver = None;
                let held = u32::from(!planted!("block-forgets-its-arrival"));
                vec![RunEvent::Blocked(Box::new(Blocked { reason: *reason, held }))]
            }
        }
    }

    /// Brings a run back: folds its records, then replays its code along the run stream. Reads nothing else.
    pub(crate) fn resume(recorded: Recorded, programs: &Programs, config: &Config) -> Result<Resumed, StateError> {
        let mut run = Run::new(fold(&recorded)?, None, config, recorded.updated_at);
        let mut events = Vec::new();
        if !run.state.status.is_closed() {
            let resumption = Replayer::run(recorded.run, programs, config, Frontier::TurnEnd);
            match resumption {
                Ok(replayed) => (run.driver, events) = replayed.go_on(config.turn_bytes_max),
                // A block that is on record already is not written again: the run must not grow by being looked at.
                Err(_) if run.state.status == RunStatus::Blocked => {}
                Err(reason) => events.push(RunEvent::Blocked(Box::new(Blocked { reason: *reason, held: 0 }))),
            }
        }
        Ok(Resumed { run, events })
    }
}

/// Applies one arrival to code that is live. Returns what it asks and whether it has ended, or why it cannot go on; then
/// nothing of the turn counts.
fn live_turn(
    driver: &mut Driver,
    arrival: RunEvent,
    at: Timestamp,
    bytes_max: usize,
) -> Result<(Vec<RunEvent>, bool), Box<BlockedReason>> {
    let end = driver.apply(arrival, at);
    let commands = driver.take_commands();
    let bytes: u64 = commands.iter().map(command_bytes).sum();
    match end {
        TurnEnd::Halted(reason) => Err(reason),
        _ if bytes > bytes_max as u64 => Err(Box::new(BlockedReason::Oversized { bytes, max: bytes_max as u64 })),
        TurnEnd::Waiting => Ok((commands, false)),
        TurnEnd::Ended => Ok((commands, true)),
    }
}

/// About what a command takes on record, besides its payloads: names, options, place in the source.
const COMMAND_BYTES: u64 = 128;

fn command_bytes(command: &RunEvent) -> u64 {
    COMMAND_BYTES + command.payloads().iter().map(|payload| payload.len()).sum::<u64>()
}

/// Folds the records of a run: its run stream, then the conversations that are still open, which depend on nothing behind
/// their scheduling.
pub(crate) fn fold(recorded: &Recorded) -> Result<RunState, StateError> {
    let Some((_, _, RunEvent::RunStarted(started))) = recorded.run.front() else {
        return Err(StateError::AfterEnd { event: "nothing" });
    };
    let mut state = RunState::new(recorded.key, Arc::clone(started));
    for (_, at, event) in &recorded.run {
        state.apply_run(event, *at)?;
    }
    for Talk { at, ordinal, attempt, event } in &recorded.conversations {
        // The end of a conversation that outlived its run's need is folded by the catalogue alone.
        if state.activities.contains(*ordinal) {
            state.apply_conversation(*ordinal, *attempt, event, *at)?;
        }
    }
    if planted!("cancel-forgotten-on-load") {
        state.cancel_requested = false;
    }
    Ok(state)
}

/// What may follow the last recorded event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frontier {
    /// Nothing: the record ends where a turn ended, as every record in a store does.
    TurnEnd,
    /// More commands of the last turn: the record was cut at an arbitrary event (replay of prefixes).
    Anywhere,
}

/// Replays a run stream: hands every arrival to the code and demands the recorded commands.
pub(crate) struct Replayer {
    driver: Driver,
    /// Arrivals that the workflow has not taken in, because it was blocked when they came.
    held: VecDeque<(RunEvent, Timestamp)>,
    blocked: bool,
    /// Commands beyond the record's end, where [`Frontier::Anywhere`] allows them.
    pub(crate) beyond: Vec<RunEvent>,
    pub(crate) ended: bool,
}

impl Replayer {
    pub(crate) fn run(
        stream: RunStream,
        programs: &Programs,
        config: &Config,
        frontier: Frontier,
    ) -> Result<Replayer, Box<BlockedReason>> {
        let Some((_, _, RunEvent::RunStarted(started))) = stream.front() else {
            return Err(Box::new(BlockedReason::UnknownWorkflow { workflow_type: String::new() }));
        };
        let workflow_type = &started.workflow_type;
        let program = programs
            .get(workflow_type)
            .ok_or_else(|| Box::new(BlockedReason::UnknownWorkflow { workflow_type: workflow_type.clone() }))?;
        let driver = Driver::new(program.as_ref(), started, config);
        let mut replayer = Replayer { driver, held: VecDeque::new(), blocked: false, beyond: Vec::new(), ended: false };
        let mut stream = stream;
        while let Some(first) = stream.pop_front() {
            replayer.next(first, &mut stream, frontier)?;
        }
        Ok(replayer)
    }

    /// Replays one event and the commands that follow it, which are taken off `rest`.
    fn next(
        &mut self,
        (seq, time, event): (u64, Timestamp, RunEvent),
        rest: &mut RunStream,
        frontier: Frontier,
    ) -> Result<(), Box<BlockedReason>> {
        match (&event, event.role()) {
            (RunEvent::Blocked(_), _) => self.blocked = true,
            (RunEvent::Unblocked, _) => self.blocked = false,
            (_, Role::Arrival) => self.held.push_back((event, time)),
            (_, Role::Command | Role::Engine) => {}
        }
        let commands = rest.iter().take_while(|(_, _, next)| next.role() == Role::Command).count();
        let script: VecDeque<_> = rest.drain(..commands).map(|(seq, _, event)| (seq, event)).collect();
        // A block that follows says how many of the latest arrivals the workflow had not taken in.
        let held_after = match rest.front() {
            Some((_, _, RunEvent::Blocked(blocked))) => blocked.held as usize,
            _ => 0,
        };
        if self.blocked {
            return Ok(());
        }
        self.driver.expect(script, seq + commands as u64 + 1, frontier == Frontier::Anywhere && rest.is_empty());
        while self.held.len() > held_after {
            let Some((arrival, time)) = self.held.pop_front() else { break };
            match self.driver.apply(arrival, time) {
                TurnEnd::Halted(reason) => return Err(reason),
                TurnEnd::Ended => self.ended = true,
                TurnEnd::Waiting => {}
            }
        }
        if let Some(reason) = self.driver.missing() {
            return Err(Box::new(reason));
        }
        self.beyond.extend(self.driver.take_commands());
        Ok(())
    }

    /// Ends the replay and goes live: takes in what a block had held back. Returns the code, if it can go on, and the
    /// events to append.
    fn go_on(mut self, bytes_max: usize) -> (Option<Driver>, Vec<RunEvent>) {
        self.driver.go_live();
        if !self.blocked && self.held.is_empty() {
            return (Some(self.driver), Vec::new());
        }
        let mut events = vec![RunEvent::Unblocked];
        if planted!("held-arrivals-reversed") {
            self.held.make_contiguous().reverse();
        }
        while let Some((arrival, time)) = self.held.pop_front() {
            match live_turn(&mut self.driver, arrival, time, bytes_max) {
                Ok((commands, ended)) => {
                    events.extend(commands);
                    if ended {
                        return (None, events);
                    }
                }
                // Still broken at the same place: nothing is appended, the record already says so.
                Err(_) if events.len() == 1 => return (None, Vec::new()),
                Err(reason) => {
                    let held = u32::try_from(self.held.len() + 1).unwrap_or(u32::MAX);
                    events.push(RunEvent::Blocked(Box::new(Blocked { reason: *reason, held })));
                    return (None, events);
                }
            }
        }
        (Some(self.driver), events)
    }
}

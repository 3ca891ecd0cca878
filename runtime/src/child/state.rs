use super::settings::ChildSettings;
use crate::worker::Responder;
use antiphon_conversation::Request;
use antiphon_conversation::wire::{Down, LegKey};
use antiphon_engine::WorkerSpec;
use std::collections::BTreeMap;

/// Where a worker process stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// There is no process: the last one ended like this.
    Down { how: String },
    /// A process was started and has not registered.
    Starting,
    /// It takes requests.
    Up,
    /// It was told to leave.
    Draining,
}

/// What is to be said to a process.
#[derive(Debug)]
pub(crate) enum Out {
    Send(Box<Request>, Responder),
    Frame(Down),
}

/// How the words of a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// Its end of the link is closed.
    Closed,
    /// It said that it leaves, and why.
    Left(String),
    /// It broke the protocol.
    Broken(String),
}

/// All that is known of one worker process. Time comes in by [`State::pass`], so what follows from it needs no clock.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) stage: Stage,
    /// What it offers; what it is expected to offer before it has registered.
    pub(crate) spec: WorkerSpec,
    /// To be written, in order.
    pub(crate) out: Vec<Out>,
    /// The legs that it has, and how long ago it was told to stop them.
    pub(crate) legs: BTreeMap<LegKey, Option<u64>>,
    pub(crate) ended: Option<Ended>,
    /// Nothing is to be started any more.
    pub(crate) stopping: bool,
    /// Since the stage began.
    stage_ms: u64,
    /// Since the last ping.
    pinged_ms: u64,
    /// The last ping has not been followed by a word.
    unanswered: bool,
    pings: u64,
    left: Option<String>,
}

impl State {
    pub(crate) fn new(spec: WorkerSpec) -> State {
        State {
            stage: Stage::Down { how: "it has not been started".to_owned() },
            spec,
            out: Vec::new(),
            legs: BTreeMap::new(),
            ended: None,
            stopping: false,
            stage_ms: 0,
            pinged_ms: 0,
            unanswered: false,
            pings: 0,
            left: None,
        }
    }

    /// Begins a stage. Nothing of a process outlives it.
    pub(crate) fn enter(&mut self, stage: Stage) {
        if matches!(stage, Stage::Starting | Stage::Down { .. }) {
            self.out.clear();
            self.legs.clear();
            (self.ended, self.left) = (None, None);
        }
        (self.stage_ms, self.pinged_ms, self.unanswered) = (0, 0, false);
        self.stage = stage;
    }

    /// A frame has come: the process is there.
    pub(crate) fn heard(&mut self) {
        self.unanswered = false;
    }

    /// It says that it is about to end.
    pub(crate) fn leaves(&mut self, reason: String) {
        self.left = Some(reason);
    }

    /// No more frames will come.
    pub(crate) fn end(&mut self, ended: Ended) {
        let ended = match (ended, self.left.take()) {
            (Ended::Closed, Some(reason)) => Ended::Left(reason),
            (ended, _) => ended,
        };
        self.ended.get_or_insert(ended);
    }

    /// Tells it to stop a leg, if it has it.
    pub(crate) fn cancel(&mut self, leg: LegKey) {
        if let Some(stopping_ms) = self.legs.get_mut(&leg) {
            stopping_ms.get_or_insert(0);
            self.out.push(Out::Frame(Down::CancelLeg(leg)));
        }
    }

    /// Tells it to leave.
    pub(crate) fn drain(&mut self, within_ms: u64) {
        self.out.push(Out::Frame(Down::Drain { within_ms }));
        self.enter(Stage::Draining);
    }

    /// Lets time pass: pings when it is time to. Returns why the process must be killed, if it must.
    pub(crate) fn pass(&mut self, ms: u64, settings: &ChildSettings) -> Option<String> {
        self.stage_ms += ms;
        match self.stage {
            Stage::Down { .. } => return None,
            Stage::Starting => {
                let within = settings.register_within_ms;
                return (self.stage_ms >= within).then(|| format!("it did not register within {within} ms"));
            }
            Stage::Draining => {
                let within = settings.drain_within_ms;
                return (self.stage_ms >= within).then(|| format!("it did not leave within {within} ms"));
            }
            Stage::Up => {}
        }
        self.pinged_ms += ms;
        if self.unanswered && self.pinged_ms >= settings.ping_within_ms {
            return Some(format!("it answered no ping for {} ms", settings.ping_within_ms));
        }
        if !self.unanswered && self.pinged_ms >= settings.ping_every_ms {
            self.pings += 1;
            self.out.push(Out::Frame(Down::Ping { number: self.pings }));
            (self.unanswered, self.pinged_ms) = (true, 0);
        }
        let within = settings.stop_within_ms?;
        for (leg, stopping_ms) in &mut self.legs {
            let Some(waited) = stopping_ms else { continue };
            *waited += ms;
            if *waited >= within {
                let LegKey { conversation, leg } = leg;
                let run = conversation.run.0;
                return Some(format!(
                    "run {run} {conversation} leg {leg} did not stop within {within} ms of being told to"
                ));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use antiphon_history::{ConversationKey, Ordinal, RunKey};

    fn settings() -> ChildSettings {
        ChildSettings {
            register_within_ms: 100,
            ping_every_ms: 50,
            ping_within_ms: 30,
            stop_within_ms: Some(40),
            drain_within_ms: 20,
            ..ChildSettings::new("w", "w")
        }
    }

    fn up() -> State {
        let set = || ["a".to_owned()].into();
        let spec = WorkerSpec { name: "w-1".into(), queues: set(), activities: set(), labels: set(), capacity: 1 };
        let mut state = State::new(spec);
        state.enter(Stage::Starting);
        state.enter(Stage::Up);
        state
    }

    fn leg(leg: u32) -> LegKey {
        LegKey { conversation: ConversationKey { run: RunKey(7), ordinal: Ordinal(2), attempt: 1 }, leg }
    }

    #[test]
    fn a_process_that_does_not_register_or_does_not_leave_in_time_is_killed() {
        let mut state = up();
        state.enter(Stage::Starting);
        assert_eq!(state.pass(99, &settings()), None);
        assert_eq!(state.pass(1, &settings()).unwrap(), "it did not register within 100 ms");
        state.enter(Stage::Draining);
        assert_eq!(state.pass(19, &settings()), None);
        assert_eq!(state.pass(1, &settings()).unwrap(), "it did not leave within 20 ms");
    }

    #[test]
    fn any_word_answers_a_ping_and_silence_after_one_kills() {
        let mut state = up();
        for round in 1..=3 {
            assert_eq!(state.pass(50, &settings()), None);
            assert_eq!(state.out.len(), round, "one ping after each wait: {:?}", state.out);
            assert_eq!(state.pass(29, &settings()), None);
            state.heard();
            assert_eq!(state.pass(20, &settings()), None, "the next ping is counted from the last");
        }
        state.pass(50, &settings());
        assert_eq!(state.pass(29, &settings()), None);
        assert_eq!(state.pass(1, &settings()).unwrap(), "it answered no ping for 30 ms");
    }

    #[test]
    fn a_leg_that_goes_on_although_it_was_told_to_stop_kills_its_process() {
        let mut state = up();
        state.legs.insert(leg(1), None);
        state.legs.insert(leg(2), None);
        state.cancel(leg(2));
        state.cancel(leg(3));
        assert_eq!(state.out.len(), 1, "nothing is said about a leg that it does not have");
        assert_eq!(state.pass(39, &settings()), None);
        state.cancel(leg(2));
        let why = state.pass(1, &settings()).unwrap();
        assert_eq!(why, "run 7 #2.1 leg 2 did not stop within 40 ms of being told to");
        let never = ChildSettings { stop_within_ms: None, ..settings() };
        state.heard();
        assert_eq!(state.pass(1, &never), None);
    }

    #[test]
    fn a_leave_before_the_end_is_what_the_end_says() {
        let mut state = up();
        state.leaves("enough".to_owned());
        state.end(Ended::Closed);
        state.end(Ended::Broken("late".to_owned()));
        assert_eq!(state.ended, Some(Ended::Left("enough".to_owned())));
    }
}

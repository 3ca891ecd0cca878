//! What each act does to a world.

use crate::broken::Checked;
use crate::plan::{Act, Fault, Kind};
use crate::sometimes::Point;
use crate::wide::Feature;
use crate::workers::{How, Wrong};
use crate::world::{Death, World};
use antiphon_engine::Input;
use std::sync::atomic::Ordering;

/// Farther than any deadline of a program, both ways.
const LEAP_MS: i64 = 4_000_000;

impl World<'_> {
    pub(crate) fn act(&mut self, act: Act) -> Checked {
        let Act { kind, a, b } = act;
        self.trace.tell(|| format!("== {act}"));
        self.bring_back_due()?;
        match kind {
            Kind::Start => self.start(a, b, false)?,
            Kind::StartAgain => self.start_again(a)?,
            Kind::StartOther => self.start_other(a)?,
            Kind::StartAndWait => self.start(a, b, true)?,
            Kind::Signal => self.signal(a, b)?,
            Kind::SignalAgain => self.signal_again(a)?,
            Kind::Cancel => self.cancel(a)?,
            Kind::Wait => self.wait(a)?,
            Kind::Forget => self.forget(a)?,
            Kind::Complete => self.answer(a, How::Complete, b)?,
            Kind::Fail => self.answer(a, How::Fail, b)?,
            Kind::Panic => self.answer(a, How::Panic, b)?,
            Kind::Stop => self.answer(a, How::Stop, b)?,
            Kind::AnswerLate => self.wrong_answer(a, b, Wrong::Late)?,
            Kind::AnswerForged => self.wrong_answer(a, b, Wrong::Forged)?,
            Kind::AnswerForeign => self.wrong_answer(a, b, Wrong::Foreign)?,
            Kind::Heartbeat => self.heartbeat(a, b)?,
            Kind::HeartbeatStale => self.wrong_answer(a, b, Wrong::StaleHeartbeat)?,
            Kind::Join => self.join(a % self.plan.workers)?,
            Kind::Leave => self.leave(a % self.plan.workers)?,
            Kind::Pass => {
                self.clock += i64::from(a % [10, 300, 5_000][b as usize % 3]);
                self.step(Input::Tick)?;
            }
            Kind::Due => {
                // To the moment, one before it, or one after.
                if let Some(next) = self.next_moment() {
                    self.go_to(antiphon_history::Timestamp(next.0.saturating_add(i64::from(b % 4) - 1)));
                }
                self.bring_back_due()?;
                self.step(Input::Tick)?;
            }
            Kind::Leap => {
                let back = b.is_multiple_of(2);
                self.clock += if back { -(i64::from(a) % LEAP_MS) } else { i64::from(a) % LEAP_MS };
                if back {
                    self.sometimes.met(Point::ClockSetBack);
                }
                self.step(Input::Tick)?;
            }
            Kind::Archive => {
                self.archive()?;
                if self.plan.has(Fault::LateWord) && b.is_multiple_of(2) {
                    self.sometimes.met(Point::ArchivedWordLate);
                } else {
                    self.hear()?;
                }
            }
            Kind::Hear => self.hear()?,
            Kind::SlowCommit => return self.flush_slowly(),
            Kind::FailCommit => self.dies = self.store_fault(a).map(Death::Store),
            Kind::Crash => {
                let deaths = [
                    None,
                    Some(Death::AfterTake),
                    Some(Death::BeforeEffects),
                    Some(Death::AmongEffects),
                    Some(Death::AfterEffects),
                ];
                match deaths[a as usize % 5] {
                    Some(death) => self.dies = Some(death),
                    None => {
                        let settled = self.is_settled();
                        if settled {
                            self.compare_with_record()?;
                        }
                        return self.die(
                            if settled { Point::CrashAfterEffects } else { Point::CrashBeforeTake },
                            b.is_multiple_of(2),
                        );
                    }
                }
            }
            Kind::Deploy => {
                self.around.broken.store(a.is_multiple_of(2), Ordering::Relaxed);
                return self.die(Point::CrashBeforeTake, false);
            }
            _ => self.wide_act(act)?,
        }
        if b.is_multiple_of(self.plan.batching) { self.flush() } else { Ok(()) }
    }

    fn store_fault(&self, a: u32) -> Option<Fault> {
        let all = [Fault::Full, Fault::Busy, Fault::UnknownApplied, Fault::UnknownNotApplied];
        let there: Vec<Fault> = all.into_iter().filter(|fault| self.plan.has(*fault)).collect();
        there.get(a as usize % there.len().max(1)).copied()
    }

    /// Faults are over: good code, a worker that can take anything, answers, signals and time. Everything must come to an
    /// end within a bound (invariant 9).
    pub(crate) fn heal(&mut self) -> Checked {
        self.trace.tell(|| "== everything is healed".to_owned());
        self.dies = None;
        if self.plan.features.contains(&Feature::Routines) {
            self.routines_rest()?;
        }
        if self.around.broken.swap(false, Ordering::Relaxed) {
            self.die(Point::CrashBeforeTake, false)?;
        }
        self.join_healer()?;
        if self.plan.features.contains(&Feature::Rules) {
            self.rules_rest()?;
        }
        self.flush()?;
        // Each round ends something: at most some hundred activities and timers wait, one after the other.
        const ROUNDS: usize = 2_000;
        const QUIET_ROUNDS: usize = 12;
        for round in 0..ROUNDS {
            self.archive()?;
            self.hear()?;
            self.bring_back_due()?;
            while !self.held.is_empty() {
                self.answer(0, How::Complete, 1)?;
                self.flush()?;
            }
            self.flush()?;
            let open: Vec<String> =
                self.book.runs.values().filter(|run| !run.ended).map(|run| run.started.workflow_id.clone()).collect();
            if open.is_empty() {
                return Ok(());
            }
            if self.plan.features.contains(&Feature::Letters) {
                self.letters_rest(round)?;
                self.flush()?;
            }
            if self.held.is_empty() {
                // A leg whose worker is silent runs into its deadline, or waits for a worker that leaves: as here.
                if round == 20 {
                    for number in 0..self.plan.workers {
                        self.leave(number)?;
                    }
                }
                self.clock += if round < QUIET_ROUNDS { 0 } else { 600_000 };
                match self.next_moment() {
                    Some(next) => self.go_to(next),
                    None => self.clock += 600_000,
                }
                self.bring_back_due()?;
                self.step(Input::Tick)?;
                self.flush()?;
                self.check_timers()?;
                // At first nobody says anything: what only waits for time must end by itself.
                for workflow in open.iter().filter(|_| round >= QUIET_ROUNDS) {
                    self.signal_run(workflow, (round % 3) as u8)?;
                }
                self.flush()?;
            }
        }
        Err(self.not_ended(ROUNDS))
    }
}

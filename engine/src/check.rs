//! The invariants, as code. On in tests and in the simulation, after every step.
//!
//! 1. Nothing leaves before it is recorded; nothing is acknowledged before it is durable.
//! 2. Records are never changed or reordered; formats only grow.
//! 3. Replay reads the run stream and nothing else.
//! 4. A leg has at most one end, a conversation one close, an activity one resolution, a run one terminal event.
//! 5. Every write of a worker carries its token and is checked where it is folded; a stale, foreign or forged one changes
//!    nothing and is counted.
//! 6. All but the log (and what the archive took over from it) is derived; dropping it changes nothing.
//! 7. Every queue has a bound and every wait a deadline, in the configuration, with its unit.
//! 8. An illegal event is an anomaly that is reported, never a state change.
//! 9. With every notification switched off, everything still finishes.
//! 10. What people see (CLI, page, dump) is folded by the code that decides.

use crate::Partition;
use crate::partition::Due;
use crate::recorded::Recorded;
use crate::run::fold;
use crate::state::{Activity, RunState};
use antiphon_conversation::{Deadlines, Leg, Phase};
use antiphon_history::{ConversationKey, EntityState, HistoryFile, Name, Ordinal, RunKey};

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Invariant 8: events were produced that cannot follow.
    #[error("{count} events could not follow and were not recorded (invariant 8)")]
    Anomalies {
        /// How many.
        count: u64,
    },
    /// Invariant 9: an open attempt that nothing will ever move.
    #[error("activity {ordinal} of run {run:?} is {phase} but {problem} (invariant 9)")]
    Stuck {
        /// The run.
        run: RunKey,
        /// The activity.
        ordinal: Ordinal,
        /// Where its conversation stands.
        phase: Phase,
        /// What is missing.
        problem: &'static str,
    },
    /// Invariant 9: an attempt waits for nothing.
    #[error("activity {ordinal} of run {run:?} waits although {worker} could have it now (invariant 9)")]
    Forgotten {
        /// The run.
        run: RunKey,
        /// The activity.
        ordinal: Ordinal,
        /// A worker with a free place, or one that waits for work.
        worker: Name,
    },
    /// Invariant 4: a closed run with something open.
    #[error("run {run:?} has ended with {open} activities and timers open (invariant 4)")]
    OpenAfterEnd {
        /// The run.
        run: RunKey,
        /// How many.
        open: usize,
    },
    /// Invariant 7: a worker has more than it can take.
    #[error("a worker has more requests than its capacity (invariant 7)")]
    OverCapacity,
    /// Invariant 7: the bound on memory counts what is not there, or does not count what is.
    #[error("the runs in memory hold {held_bytes} bytes, {counted} are counted (invariant 7)")]
    Miscounted {
        /// What they hold.
        held_bytes: usize,
        /// What is counted.
        counted: usize,
    },
    /// Invariant 6: what is in memory does not follow from the record alone.
    #[error("run {run:?} in memory differs from its record in {field} (invariant 6)")]
    NotAsRecorded {
        /// The run.
        run: RunKey,
        /// What differs.
        field: String,
    },
    /// Invariant 9: a routine that nothing will ever move, or that moves when nothing is due.
    #[error("routine {id:?} {problem} (invariant 9)")]
    Routine {
        /// Its id.
        id: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Invariant 9: a timer that is in no index would never fire.
    #[error("timer {ordinal} of run {run:?} is in no index (invariant 9)")]
    LostTimer {
        /// The run.
        run: RunKey,
        /// The timer.
        ordinal: Ordinal,
    },
}

impl Partition {
    /// Checks that a run in memory is what its whole record says. Only where nothing is decided that is not in `history`;
    /// what a worker told and is not written (signs of life, progress between two samples) is not compared.
    pub fn check_recorded(&self, run: RunKey, history: &HistoryFile) -> Result<(), Broken> {
        let Some(held) = self.runs.get(&run) else { return Ok(()) };
        let differs = |field: &str| Err(Broken::NotAsRecorded { run, field: field.to_owned() });
        let recorded = match Recorded::read(history) {
            Ok(recorded) => recorded,
            Err(error) => return differs(&format!("everything: {error}")),
        };
        let (ours, told) = match fold(&recorded) {
            Ok(told) => (&held.state, told),
            Err(error) => return differs(&format!("everything: {error}")),
        };
        if (ours.status, ours.next_seq, &ours.outcome) != (told.status, told.next_seq, &told.outcome) {
            return differs("status");
        }
        if ours.timers != told.timers {
            return differs("timers");
        }
        if ours.signal_ids != told.signal_ids || ours.cancel_requested != told.cancel_requested {
            return differs("what was asked of it");
        }
        if ours.blocked != told.blocked {
            return differs("why it is blocked");
        }
        let of =
            |state: &RunState| state.activities.iter().map(|(ordinal, activity)| picture(ordinal, activity)).collect();
        let (in_memory, on_record): (Vec<_>, Vec<_>) = (of(ours), of(&told));
        match in_memory.iter().zip(&on_record).find(|(ours, told)| ours != told) {
            Some((ours, told)) => differs(&format!("activities: {ours} in memory, {told} on record")),
            None if in_memory.len() != on_record.len() => differs("the number of activities"),
            None => Ok(()),
        }
    }

    /// Checks the invariants that can be seen between two steps.
    pub fn check(&self) -> Result<(), Broken> {
        match self.stats().anomalies {
            0 => {}
            count => return Err(Broken::Anomalies { count }),
        }
        let held_bytes: usize = self.runs.values().filter(|run| !run.resting).map(|run| run.state.held_bytes()).sum();
        if held_bytes != self.stats().held_bytes {
            return Err(Broken::Miscounted { held_bytes, counted: self.stats().held_bytes });
        }
        if !self.core.dispatch.within_capacity() {
            return Err(Broken::OverCapacity);
        }
        self.check_routines()?;
        if let Some((run, ordinal, worker)) = self.forgotten() {
            return Err(Broken::Forgotten { run, ordinal, worker });
        }
        for (&run, held) in &self.runs {
            let state = &held.state;
            let open = state.activities.len() + state.timers.len();
            if state.status.is_closed() && open > 0 {
                return Err(Broken::OpenAfterEnd { run, open });
            }
            for (ordinal, due) in state.timers.iter() {
                if !self.core.deadlines.contains(&(*due, Due::Timer(run, ordinal))) {
                    return Err(Broken::LostTimer { run, ordinal });
                }
            }
            for (ordinal, activity) in state.activities.iter() {
                let phase = activity.conversation.phase();
                let stuck = |problem| Err(Broken::Stuck { run, ordinal, phase, problem });
                match phase {
                    Phase::InDoubt if activity.conversation.leg().is_some_and(|leg| leg.lease_ms.is_some()) => {
                        if activity.may_be_taken(self.core.now) && !self.core.dispatch.has(run, ordinal) {
                            return stuck("its lease has ended and it is not in line for a worker");
                        }
                    }
                    Phase::Queued if activity.conversation.visible_at() <= self.core.now => {
                        if !self.core.dispatch.has(run, ordinal) {
                            return stuck("is not in line for a worker");
                        }
                    }
                    Phase::Queued | Phase::Held => {}
                    Phase::InDoubt => {
                        let key = ConversationKey { run, ordinal, attempt: activity.attempt };
                        let held = |leg: &Leg| self.core.dispatch.holds(&leg.worker, key, leg.number);
                        if !activity.conversation.leg().is_some_and(held) {
                            return stuck("no connected worker has its leg");
                        }
                    }
                    _ => return stuck("that phase never outlasts a step"),
                }
                let wanted =
                    Deadlines::of(&activity.conversation, &activity.call.options, activity.scheduled_at, self.core.now);
                if let Some((at, _)) = wanted.next
                    && !self.core.deadlines.contains(&(at, Due::Activity(run, ordinal)))
                {
                    return stuck("its next deadline is in no index");
                }
            }
        }
        Ok(())
    }
}

impl Partition {
    /// Each routine stands in the index where its state says, and an open slot has an open run, as far as that is in memory.
    fn check_routines(&self) -> Result<(), Broken> {
        for (_, entity) in self.core.entities.iter() {
            let EntityState::Routine(Some(state)) = &entity.state else { continue };
            let broken = |problem| Err(Broken::Routine { id: state.id.clone(), problem });
            if !self.core.routines.agrees(state) {
                return broken("is not in the index where it is due");
            }
            for open in &state.open {
                let Some(run) = open.run else { return broken("has an open slot without a run") };
                if self.runs.get(&run).is_some_and(|run| run.state.status.is_closed()) {
                    return broken("has an open slot whose run has ended");
                }
            }
        }
        Ok(())
    }
}

/// What the record says of an open activity, as text.
fn picture(ordinal: Ordinal, activity: &Activity) -> String {
    let Activity { attempt, withdrawn, scheduled_at, conversation, .. } = activity;
    let leg = conversation.leg().map(|leg| (leg.number, &leg.worker, leg.token, leg.sent_at));
    format!(
        "{ordinal}.{attempt} {} since {}, visible {}, {} events, leg {leg:?}, {} losses by {:?}, next {}{}{:?}",
        conversation.phase(),
        scheduled_at.0,
        conversation.visible_at().0,
        conversation.events(),
        conversation.losses(),
        conversation.excluded(),
        conversation.next_leg(),
        if *withdrawn { ", withdrawn " } else { " " },
        conversation.no_worker(),
    )
}

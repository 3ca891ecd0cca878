use super::{Core, Due, Partition};
use crate::recorded::Recorded;
use crate::repair::{By, Thresholds};
use crate::run::{Resumed, Run};
use antiphon_conversation::Phase;
use antiphon_history::{ExitReason, HistoryFile, HistoryFileError, Ordinal, RunKey, Timestamp, planted};

/// A history that cannot be brought into memory. The run is left as it is on record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The history is damaged.
    #[error(transparent)]
    History(#[from] HistoryFileError),
    /// The records are sound, but do not follow from each other.
    #[error("run {run:?} cannot be folded: {problem}; run `antiphon verify` on the store")]
    Fold {
        /// The run.
        run: RunKey,
        /// What does not follow.
        problem: String,
    },
}

/// Runs that may leave memory at one step: more than one step can close, so that they cannot pile up.
const LEAVING_PER_STEP: usize = 8;

impl Partition {
    /// Brings a run into memory from its records: folds them, replays its code, and takes up its open conversations.
    ///
    /// A leg that was under way belonged to an engine that is gone: it ends as lost by an engine restart, unless its worker
    /// has it under a lease. A run that is in memory already is left alone. Errors change nothing.
    pub fn load(&mut self, history: &HistoryFile, now: Timestamp) -> Result<RunKey, LoadError> {
        let recorded = Recorded::read(history)?;
        let key = recorded.key;
        if self.runs.contains_key(&key) {
            return Ok(key);
        }
        self.advance(now.max(recorded.updated_at));
        let Resumed { run, events } = Run::resume(recorded, &self.core.programs, &self.core.config)
            .map_err(|problem| LoadError::Fold { run: key, problem: problem.to_string() })?;
        let mut run = Box::new(run);
        self.core.stats.loaded += 1;
        let held_bytes = run.state.held_bytes();
        self.core.count_bytes(&mut run, held_bytes);
        for (ordinal, due) in run.state.timers.iter().filter(|_| !planted!("timer-lost-on-load")) {
            self.core.deadlines.insert((*due, Due::Timer(key, ordinal)));
        }
        let open: Vec<Ordinal> = run.state.activities.iter().map(|(ordinal, _)| ordinal).collect();
        // An outcome that the restart itself gives comes behind what the replay came to: a block counts what is held back
        // from its own place, and what it had held back comes before anything new.
        let may_end =
            |ordinal: &Ordinal| run.state.activities.get(*ordinal).is_some_and(|activity| activity.may_end_now());
        let (ending, others): (Vec<Ordinal>, Vec<Ordinal>) = open.into_iter().partition(may_end);
        others.into_iter().for_each(|ordinal| self.core.take_up(&mut run, ordinal));
        self.core.carry_out(&mut run, events);
        self.core.return_slot(&run);
        ending.into_iter().for_each(|ordinal| self.core.take_up(&mut run, ordinal));
        self.ids.insert((run.state.workflow().fingerprint(), key));
        self.runs.insert(key, run);
        self.give_out();
        Ok(key)
    }

    /// Lets go of runs that the archive holds completely: closed ones at once, waiting ones when they have been idle or
    /// are too many. A few at each step, so that nobody waits while thousands leave.
    pub(super) fn let_go_of_some(&mut self) {
        for _ in 0..LEAVING_PER_STEP {
            match self.next_leaving() {
                Some(leaves_at) if leaves_at <= self.core.now => {}
                _ => break,
            }
            let closed = self.closed_leaves();
            let leaving = if closed { self.core.closed.pop_first() } else { self.core.parked.pop_first() };
            let Some((_, key)) = leaving else { break };
            self.core.stats.evicted += u64::from(!closed);
            self.let_go(key);
        }
    }

    fn closed_leaves(&self) -> bool {
        self.core.closed.first().is_some_and(|(segment, _)| *segment <= self.core.archived)
    }

    /// When the next run may leave memory; `None` if the archive does not hold it yet.
    pub(super) fn next_leaving(&self) -> Option<Timestamp> {
        if self.closed_leaves() {
            return Some(self.core.now);
        }
        let (segment, key) = self.core.parked.first()?;
        if *segment > self.core.archived && !planted!("evicted-before-archived") {
            return None;
        }
        if self.core.parked.len() > self.core.config.waiting_runs_max {
            return Some(self.core.now);
        }
        let touched_at = self.runs.get(key).map_or(self.core.now, |run| run.touched_at);
        Some(touched_at.plus_ms(self.core.config.evict_after_ms))
    }

    fn let_go(&mut self, key: RunKey) {
        let Some(mut run) = self.runs.remove(&key) else { return };
        self.core.count_bytes(&mut run, 0);
        for (ordinal, due) in run.state.timers.iter() {
            self.core.deadlines.remove(&(*due, Due::Timer(key, ordinal)));
            if !planted!("cold-timer-forgotten") {
                self.core.left_due = self.core.left_due.into_iter().chain([*due]).min();
            }
        }
        self.ids.remove(&(run.state.workflow().fingerprint(), key));
    }
}

impl Core {
    /// Takes up an open activity of a run that was just loaded.
    fn take_up(&mut self, run: &mut Run, ordinal: Ordinal) {
        let Some(activity) = run.state.activities.get(ordinal) else { return };
        // A record that ends in the middle of what always travels together is damaged or foreign. It is mended as the
        // reconciler would: there is no other way to go on, and nothing to wait for.
        if let Some(finding) = self.wrong(&run.state, ordinal, activity, Thresholds::NEVER) {
            self.repairs[finding.rule as usize].repaired += 1;
            return self.mend(run, &finding, &By::the_engine("found while loading"));
        }
        let conversation = &activity.conversation;
        // The first attempt after a person's retry has not begun: it waits for its part of the key like anybody.
        let first = activity.attempt == activity.attempts_forgiven + 1;
        let begun = !first || conversation.next_leg() > 1 || conversation.leg().is_some();
        if begun && conversation.phase() != Phase::Held {
            self.dispatch.hold_key(run.state.key, ordinal, &activity.call);
        }
        match activity.conversation.phase() {
            // Its worker lives elsewhere and may still be at it. It could not prolong its lease while nobody listened, so
            // the lease is counted anew.
            Phase::InDoubt if activity.conversation.leg().is_some_and(|leg| leg.lease_ms.is_some()) => {
                self.keep_leg(run, ordinal);
            }
            Phase::Selected | Phase::InDoubt => self.lost(run, ordinal, ExitReason::EngineRestart),
            Phase::Queued => {
                self.line_up(run, ordinal);
                self.reindex(run, ordinal);
            }
            Phase::Held => {}
            // Mended above; or of an ended run, which has no more use for it.
            Phase::New | Phase::Answered | Phase::Closed => {}
        }
    }

    /// Takes up a leg under a lease whose worker may still have it.
    fn keep_leg(&mut self, run: &mut Run, ordinal: Ordinal) {
        let now = self.now;
        let Some(conversation) = run.state.conversation_key(ordinal) else { return };
        let Some(activity) = run.state.activities.get_mut(ordinal) else { return };
        activity.conversation.heard(now);
        let Some(leg) = activity.conversation.leg() else { return };
        self.dispatch.take_back(&leg.worker, conversation, leg.number, &activity.call, now);
        self.reindex(run, ordinal);
    }

    /// Notes a run that may leave memory once the archive has all of it. From then on it is not counted in what is held: how
    /// much may wait for the archive has a bound of its own.
    pub(super) fn rest(&mut self, run: &mut Run) {
        let entry = (run.last_segment, run.state.key);
        if run.state.status.is_closed() {
            self.closed.insert(entry);
        } else if run.state.is_parked() {
            self.parked.insert(entry);
        } else {
            return;
        }
        run.resting = true;
        self.count_bytes(run, 0);
    }

    /// Takes a run off the notes: something is being recorded for it.
    pub(super) fn unrest(&mut self, run: &mut Run) {
        if std::mem::take(&mut run.resting) {
            let entry = (run.last_segment, run.state.key);
            self.closed.remove(&entry);
            self.parked.remove(&entry);
        }
    }
}

//! Ending runs by somebody's word alone: no workflow code is asked, no compensation runs.
//!
//! For what cancelling does not reach: a run whose code cannot follow its record, is not in this program, or does not end
//! when it is told to.

use super::{Core, Due, Partition};
use crate::recorded::Recorded;
use crate::repair::By;
use crate::run::{Run, fold};
use crate::{LoadError, Reply, ReplyTo, RequestError, Target};
use antiphon_conversation::Phase;
use antiphon_history::{HistoryFile, Ordinal, RunEvent, RunKey, Timestamp};

impl Partition {
    /// Brings a run in as its record says, without its code, for the next step to end it. If that step does not, it is let
    /// go of again, as if it had never been here. A run that is in memory already is left alone. Errors change nothing.
    pub fn bring_in_to_end(&mut self, history: &HistoryFile) -> Result<RunKey, LoadError> {
        let recorded = Recorded::read(history)?;
        let key = recorded.key;
        if self.runs.contains_key(&key) {
            return Ok(key);
        }
        let state = fold(&recorded).map_err(|problem| LoadError::Fold { run: key, problem: problem.to_string() })?;
        // Nothing is recorded before what is on record already.
        self.core.now = self.core.now.max(recorded.updated_at);
        let mut run = Box::new(Run::shown(state, recorded.updated_at));
        let held_bytes = run.state.held_bytes();
        self.core.count_bytes(&mut run, held_bytes);
        self.ids.insert((run.state.workflow().fingerprint(), key));
        self.runs.insert(key, run);
        self.core.without_code.push(key);
        Ok(key)
    }

    /// Lets go of the runs that were brought in to be ended and were not: without code they could go nowhere.
    pub(super) fn put_back(&mut self) {
        for key in std::mem::take(&mut self.core.without_code) {
            let ended_here = self.runs.get(&key).is_some_and(|run| run.resting);
            if !ended_here && let Some(mut run) = self.runs.remove(&key) {
                self.core.count_bytes(&mut run, 0);
                self.ids.remove(&(run.state.workflow().fingerprint(), key));
            }
        }
    }

    pub(super) fn terminate(&mut self, target: &Target, by: By, reply: ReplyTo) {
        let answer = self.try_terminate(target, by).map_or_else(Reply::Refused, |()| Reply::Accepted);
        self.core.reply(reply, answer);
    }

    /// Ends an open run. Errors: there is none of that id, another has it, or it has ended; nothing is written then.
    pub(super) fn try_terminate(&mut self, target: &Target, by: By) -> Result<(), RequestError> {
        let key = self.open_target(target)?;
        self.terminate_runs(&[key], &by);
        Ok(())
    }

    /// Ends runs, those of them that are in memory and open.
    pub(super) fn terminate_runs(&mut self, runs: &[RunKey], by: &By) {
        let By { who, why } = by.clone().bounded();
        for key in runs {
            if let Some(run) = self.runs.get_mut(key).filter(|run| !run.state.status.is_closed()) {
                self.core.terminate_run(run, RunEvent::RunTerminated { who: who.clone(), reason: why.clone() });
            }
        }
    }
}

impl Core {
    /// Records the end and closes what was open, in one segment: legs are told to stop, their late answers are stale.
    fn terminate_run(&mut self, run: &mut Run, end: RunEvent) {
        // Folding the end forgets the timers.
        let timers: Vec<(Timestamp, Ordinal)> = run.state.timers.iter().map(|(ordinal, due)| (*due, ordinal)).collect();
        if !self.record(run, &end) {
            return;
        }
        run.let_go_of_code();
        for (due, ordinal) in timers {
            self.deadlines.remove(&(due, Due::Timer(run.state.key, ordinal)));
        }
        let open: Vec<Ordinal> = run.state.activities.iter().map(|(ordinal, _)| ordinal).collect();
        for ordinal in open {
            self.close_answered(run, ordinal);
            // Only a damaged record has an activity without an open conversation: then nothing is there to be closed.
            let phase = run.state.activities.get(ordinal).map(|activity| activity.conversation.phase());
            if phase.is_some_and(|phase| !matches!(phase, Phase::New | Phase::Closed)) {
                self.withdraw(run, ordinal);
            }
        }
        self.ended(run);
        self.rest(run);
    }
}

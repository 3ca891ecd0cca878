//! What comes back into memory: runs that a request or a timer wants, and what else of the store a step needs.

use super::{DUE_AT_ONCE, Session};
use antiphon_engine::{LoadError, Need, Past, RepairRequest, WorkersRequest};
use antiphon_history::{RunKey, Timestamp, WorkflowKey};
use antiphon_recorder::Error as StoreError;

/// Most slots of routines that one repair looks after.
const SLOTS_AT_ONCE: usize = 1_000;

impl Session<'_> {
    /// Makes sure that the newest run of a workflow id is in memory, if the store has one.
    pub(super) fn bring_in(&mut self, workflow: &WorkflowKey) -> Result<(), StoreError> {
        if self.partition.knows(workflow) {
            return Ok(());
        }
        let Some(row) = self.reader.find(workflow)? else { return Ok(()) };
        self.load(row.key)
    }

    /// Makes sure that a run is in memory as something about routines needs it.
    pub(super) fn bring_in_needed(&mut self, need: &Need) -> Result<(), StoreError> {
        match need {
            Need::Live(workflow) => self.bring_in(workflow),
            Need::ToEnd(workflow) => self.bring_in_to_end(workflow),
        }
    }

    /// As [`Session::bring_in`], for a run that is to be ended by the very next step: its code is not asked.
    pub(super) fn bring_in_to_end(&mut self, workflow: &WorkflowKey) -> Result<(), StoreError> {
        if self.partition.knows(workflow) {
            return Ok(());
        }
        let Some(row) = self.reader.find(workflow)? else { return Ok(()) };
        if let Some(history) = self.reader.history(row.key)? {
            self.partition.bring_in_to_end(&history).map_err(|error| damaged(row.key, &error))?;
        }
        Ok(())
    }

    /// Looks after slots of routines whose run is not in memory: it is open, or the record is damaged.
    pub(super) fn bring_in_stranded(&mut self) -> Result<(), StoreError> {
        for run in self.partition.slot_runs_elsewhere(SLOTS_AT_ONCE) {
            match self.reader.row(run)? {
                Some(row) if row.status.is_closed() => self.load(run)?,
                Some(_) => {}
                None => self.partition.slot_without_run(run),
            }
        }
        Ok(())
    }

    /// Brings in what a request about a dead letter needs: the run of a held one, or the call of another one.
    pub(super) fn bring_in_letter(&mut self, number: u64, request: &mut RepairRequest) -> Result<(), StoreError> {
        let Some(letter) = self.partition.letter(number) else { return Ok(()) };
        let (run, ordinal, held) = (letter.run, letter.ordinal, letter.held);
        if held {
            return if self.partition.has_run(run) { Ok(()) } else { self.load(run) };
        }
        if let Some(key) = self.partition.retry_key(number) {
            self.bring_in(&key)?;
        }
        if let Some(history) = self.reader.history(run)? {
            request.give_call(&history, ordinal);
        }
        Ok(())
    }

    /// Gives what the store says of an attempt that a worker answers for, if the engine does not hold it any more.
    pub(super) fn look_up(&mut self, request: &mut WorkersRequest) -> Result<(), StoreError> {
        let (WorkersRequest::Complete { leg, .. } | WorkersRequest::Fail { leg, .. }) = request else { return Ok(()) };
        let run = leg.conversation.run;
        if run.is_entity() || self.partition.knows_attempt(leg.conversation) {
            return Ok(());
        }
        let Some(history) = self.reader.history(run)? else { return Ok(()) };
        let is_open = history.row().is_ok_and(|row| !row.status.is_closed());
        if is_open && !self.partition.has_run(run) {
            self.load(run)?;
        }
        leg.past = Some(Past::of(&history, leg.conversation));
        Ok(())
    }

    pub(super) fn load(&mut self, run: RunKey) -> Result<(), StoreError> {
        if let Some(history) = self.reader.history(run)? {
            self.partition.load(&history, self.now()).map_err(|error| damaged(run, &error))?;
        }
        Ok(())
    }

    /// Goes on bringing back the runs that need care, as far as the open batch has room.
    pub(super) fn bring_back_waiting(&mut self) -> Result<(), StoreError> {
        while !self.partition.is_full()
            && let Some(run) = self.loading.pop_front()
        {
            self.load(run)?;
        }
        if self.loading.is_empty() {
            self.partition.set_loading(false);
        }
        self.flush(false)
    }

    /// Brings back runs that wait in the store and whose timer is due.
    ///
    /// Goes through them by time, once: a run that is not in memory waits for something later than all that was looked
    /// at, since it was let go of after that.
    pub(super) fn bring_back_due(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let left = self.partition.take_left_due();
        self.cold_due = self.cold_due.into_iter().chain(left).min();
        if self.cold_due.is_none_or(|due| due > now) {
            return Ok(());
        }
        let page = self.reader.due_after(self.due_through, self.due_page)?;
        // The page may end within a moment; the whole of that moment then waits for the next page.
        let cut = page.last().filter(|_| page.len() == self.due_page).map(|(due, _)| *due);
        let is_taken = |due: Timestamp| due <= now && cut.is_none_or(|cut| due < cut);
        let (taken, rest) = page.split_at(page.partition_point(|(due, _)| is_taken(*due)));
        for (due, run) in taken {
            if !self.partition.has_run(*run) {
                self.load(*run)?;
            }
            self.due_through = *due;
        }
        self.cold_due = rest.first().map(|(due, _)| *due);
        let one_moment = taken.is_empty() && self.cold_due.is_some_and(|due| due <= now);
        self.due_page = if one_moment { self.due_page * 2 } else { DUE_AT_ONCE };
        self.tick(now)
    }
}

fn damaged(run: RunKey, error: &LoadError) -> StoreError {
    StoreError::damaged_run(run, error.to_string())
}

//! A routine, as its record tells of it: every moment of its grid is started, waits or is let go of exactly once, by its
//! policies. Written from the promises, apart from the engine's own fold.

use crate::broken::{Broken, Checked};
use crate::calendar::watched;
use crate::sometimes::{Point, Sometimes};
use antiphon_history::{
    CatchUp, Overlap, RoutineEvent, RoutineSpec, RunKey, Schedule, SkipReason, Slot, SlotOutcome, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// One routine.
pub(crate) struct SlotBook {
    pub(crate) id: String,
    spec: RoutineSpec,
    /// The next moment of the schedule about which nothing is on record.
    cursor: Option<Timestamp>,
    /// Moments that wait for an open run.
    buffer: Vec<Timestamp>,
    started: BTreeSet<(Slot, u32)>,
    /// Attempts that wait: which one, and from when on.
    retries: BTreeMap<Slot, (u32, Timestamp)>,
    pub(crate) open: BTreeMap<(Slot, u32), Option<RunKey>>,
    paused: bool,
    pub(crate) cancelled: bool,
    /// Moments of the schedule were let go of.
    skipped: bool,
}

fn wrong<T>(what: &'static str, detail: impl std::fmt::Debug) -> Checked<T> {
    Err(Broken::new(4, what, format!("{detail:?}")))
}

impl SlotBook {
    /// The first event.
    pub(crate) fn begin(event: &RoutineEvent) -> Checked<SlotBook> {
        let RoutineEvent::Created { id, spec, next, .. } = event else {
            return wrong("a routine does not begin with Created", event);
        };
        if let Schedule::Cron { expression, zone } = &spec.schedule
            && watched(expression, zone, Timestamp(next.0 - 1)) != Some(*next)
        {
            return wrong("a routine begins at a moment that its expression does not name", event);
        }
        Ok(SlotBook {
            id: id.clone(),
            paused: spec.paused.is_some(),
            spec: (**spec).clone(),
            cursor: Some(*next),
            buffer: Vec::new(),
            started: BTreeSet::new(),
            retries: BTreeMap::new(),
            open: BTreeMap::new(),
            cancelled: false,
            skipped: false,
        })
    }

    pub(crate) fn follow(&mut self, event: &RoutineEvent, at: Timestamp) -> Checked {
        use RoutineEvent as E;
        if self.cancelled {
            return wrong("something happened to a routine that was cancelled", event);
        }
        match event {
            E::Created { .. } => return wrong("a routine was created twice", event),
            E::Updated { patch, next, .. } => {
                patch.apply(&mut self.spec);
                self.cursor = *next;
            }
            E::Paused { .. } => self.paused = true,
            E::Resumed { .. } => self.paused = false,
            E::Cancelled { .. } => {
                self.cancelled = true;
                self.open.clear();
            }
            E::SlotStarted { slot, attempt, run, next, .. } => {
                self.starts(*slot, *attempt, *next, at)?;
                self.open.insert((*slot, *attempt), *run);
            }
            E::SlotEnded { slot, attempt, outcome, retry_at } => {
                if self.open.remove(&(*slot, *attempt)).is_none() {
                    return wrong("a slot ended that was not open", event);
                }
                let again = matches!(outcome, SlotOutcome::Failed { .. }) && *attempt < self.spec.retry.max_attempts;
                if let Some(retry_at) = retry_at {
                    if !again || *retry_at < at || slot.is_manual() {
                        return wrong("a slot is tried again without a cause", event);
                    }
                    self.retries.insert(*slot, (attempt + 1, *retry_at));
                } else if again && !slot.is_manual() {
                    return wrong("a slot that failed is not tried again", event);
                }
            }
            E::SlotsSkipped { from, through, reason, next } => {
                self.skipped = true;
                let allowed = match reason {
                    SkipReason::Missed => self.spec.catch_up != CatchUp::All,
                    SkipReason::Overlap => matches!(self.spec.overlap, Overlap::Skip | Overlap::BufferOne),
                    SkipReason::Full => matches!(self.spec.overlap, Overlap::BufferAll | Overlap::AllowAll),
                    SkipReason::Superseded => false,
                };
                if self.cursor != Some(*from) || *through > at || !allowed || self.paused {
                    return wrong("slots were let go of that the policies keep", (event, self.cursor));
                }
                self.goes_on(*through, *next)?;
            }
            E::SlotBuffered { slot, next } => {
                let waits = !self.open.is_empty() || !self.retries.is_empty();
                if self.cursor != Some(*slot) || *slot > at || self.paused || !waits {
                    return wrong("a slot waits without a cause", (event, self.cursor));
                }
                self.buffer.push(*slot);
                self.goes_on(*slot, *next)?;
            }
            E::SlotDropped { slot, .. } => {
                let before = self.buffer.len();
                self.buffer.retain(|waiting| Slot::Planned(*waiting) != *slot);
                if self.buffer.len() == before && self.retries.remove(slot).is_none() {
                    return wrong("a slot was given up that did not wait", event);
                }
            }
            E::BackfillAsked { from, to, .. } if from > to || *to > at => {
                return wrong("a backfill reaches into the future", event);
            }
            E::BackfillAsked { .. } => {}
        }
        Ok(())
    }

    /// What was met.
    pub(crate) fn meet(&self, sometimes: &mut Sometimes) {
        for (_, attempt) in &self.started {
            sometimes.met(if *attempt > 1 { Point::SlotRetried } else { Point::SlotStarted });
        }
        if matches!(self.spec.schedule, Schedule::Cron { .. }) && !self.started.is_empty() {
            sometimes.met(Point::CronSlotStarted);
        }
        if self.skipped {
            sometimes.met(Point::SlotSkipped);
        }
    }

    /// An attempt of a slot begins: its turn has come, and it never was before.
    fn starts(&mut self, slot: Slot, attempt: u32, next: Option<Timestamp>, at: Timestamp) -> Checked {
        if !self.started.insert((slot, attempt)) {
            return wrong("a slot's attempt began twice", (slot, attempt));
        }
        if self.spec.overlap != Overlap::AllowAll && !self.open.is_empty() {
            return wrong("a slot began beside another that its policy does not allow", (slot, &self.open));
        }
        if attempt > 1 {
            return match self.retries.remove(&slot) {
                Some((expected, from)) if expected == attempt && from <= at => Ok(()),
                waiting => wrong("a slot was tried again out of turn", (slot, attempt, waiting)),
            };
        }
        let Slot::Planned(moment) = slot else { return Ok(()) };
        if moment > at || self.paused {
            return wrong("a slot began before its time, or while its routine was paused", (slot, at));
        }
        if self.buffer.first() == Some(&moment) {
            self.buffer.remove(0);
            return if next.is_none() { Ok(()) } else { wrong("a slot that waited moved the schedule", slot) };
        }
        if self.cursor != Some(moment) {
            return wrong("a slot began that is not the next one", (slot, self.cursor));
        }
        self.goes_on(moment, next)
    }

    /// The schedule goes on behind a moment: to the next one of the grid, unless it is at its end.
    fn goes_on(&mut self, behind: Timestamp, next: Option<Timestamp>) -> Checked {
        let Some(from) = self.cursor else { return wrong("a schedule that is at its end went on", behind) };
        let expected = match &self.spec.schedule {
            Schedule::Interval { every_ms, .. } => {
                let passed = behind.since_ms(from) / every_ms + 1;
                Some(from.plus_ms(passed * every_ms))
            }
            Schedule::Cron { expression, zone } => watched(expression, zone, behind),
            Schedule::Once { .. } => None,
        };
        let expected = expected.filter(|expected| self.spec.end_at.is_none_or(|end| *expected <= end));
        let fits = next == expected || next.is_none() && self.spec.max_runs.is_some();
        self.cursor = next;
        if fits {
            Ok(())
        } else {
            wrong("a moment of the grid was passed over, or comes twice", (behind, next, expected))
        }
    }
}

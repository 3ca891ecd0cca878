//! What is said and done in the milliseconds around the end of a lease, and repairs of what was found before it.

use crate::broken::{Broken, Checked};
use crate::jobs::{GONE_MS, SILENT_MS, thresholds};
use crate::pulled::key;
use crate::pullers::PullHow;
use crate::rules::by;
use crate::sometimes::Point;
use crate::workers::How;
use crate::world::World;
use antiphon_engine::{Finding, Input, RepairRequest, ReplyTo, Rule};
use antiphon_history::Timestamp;
use std::collections::BTreeMap;

/// What somebody found, and what of it is being repaired.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) findings: Vec<Finding>,
    asked: BTreeMap<ReplyTo, Finding>,
}

impl Found {
    pub(crate) fn is_asked(&self, to: ReplyTo) -> bool {
        self.asked.contains_key(&to)
    }

    /// The engine is gone, and nobody knows what became of what was asked.
    pub(crate) fn lose_all(&mut self) {
        self.asked.clear();
    }
}

impl World<'_> {
    /// The clock goes to the end of a lease, or a moment of up to two milliseconds beside it; then its worker and others
    /// have a word, in any order.
    pub(crate) fn lease_edge(&mut self, a: u32, b: u32) -> Checked {
        let Some(place) = (a as usize).checked_rem(self.pulling.taken.len()) else { return Ok(()) };
        let taken = &self.pulling.taken[place];
        let until = self.told.held_until(key(&taken.claim)).unwrap_or(taken.until);
        self.go_to(Timestamp(until.0 - 2 + i64::from(b % 5)));
        if (self.latest.max(self.now()).0 - until.0).abs() <= 2 {
            self.sometimes.met(Point::LeaseEdge);
        }
        self.bring_back_due()?;
        let of = place as u32;
        for turn in 0..3 {
            let c = b >> (3 + 3 * turn);
            match c % 8 {
                0 | 1 => self.pull_answer(of, c >> 3, PullHow::Complete)?,
                2 => self.pull_answer(of, c >> 3, PullHow::Fail)?,
                3 => self.pull_hold(of, c >> 3)?,
                4 => self.claim(c >> 3, c >> 4)?,
                5 => self.reconcile(c >> 3)?,
                6 => self.repair_found(c >> 3)?,
                _ => self.step(Input::Tick)?,
            }
        }
        Ok(())
    }

    /// Somebody looks for what is stuck, something happens, and then what was found is to be repaired.
    pub(crate) fn found_edge(&mut self, a: u32, b: u32) -> Checked {
        self.clock += [GONE_MS, SILENT_MS, SILENT_MS + 1, 1][b as usize % 4] as i64;
        self.bring_back_due()?;
        self.reconcile(0)?;
        self.flush()?;
        let c = b >> 2;
        match c % 8 {
            0 | 1 => self.answer(a, How::Complete, c >> 3)?,
            2 => self.answer(a, How::Fail, c >> 3)?,
            3 => self.heartbeat(a, c >> 3)?,
            4 => self.pull_answer(a, c >> 3, PullHow::Complete)?,
            5 => self.reconcile(2)?,
            _ => {}
        }
        self.repair_found(c >> 6)
    }

    /// Somebody has something repaired that was found a while ago.
    pub(crate) fn repair_found(&mut self, a: u32) -> Checked {
        let Some(place) = (a as usize).checked_rem(self.found.findings.len()) else {
            return Ok(());
        };
        let finding = self.found.findings.remove(place);
        let to = self.callers.number();
        self.operators.insert(to);
        self.found.asked.insert(to, finding.clone());
        self.step(Input::Repair(Box::new(RepairRequest::Repair { finding, thresholds: thresholds(), by: by(to) }), to))
    }

    /// A repair was carried out: nothing may have happened since it was found.
    pub(crate) fn repaired(&mut self, to: ReplyTo, done: bool) -> Checked {
        let Some(finding) = self.found.asked.remove(&to) else { return Ok(()) };
        if !done {
            self.sometimes.met(Point::RepairRefused);
            return Ok(());
        }
        self.sometimes.met(Point::FoundRepaired);
        let leg = (finding.conversation, finding.leg);
        match self.book.mended.get(&leg) {
            _ if !matches!(finding.rule, Rule::WorkerGone | Rule::LegSilent) => Ok(()),
            Some(seq) if *seq == finding.events + 1 => Ok(()),
            other => {
                let detail = format!("{finding}: found at event {}, mended at {other:?}", finding.events);
                Err(Broken::new(5, "a repair was carried out although something had happened since", detail))
            }
        }
    }
}

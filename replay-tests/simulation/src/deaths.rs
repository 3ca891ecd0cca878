//! Processes of workers that die, and what that costs: one leg of each call that they had.

use crate::broken::{Broken, Checked};
use crate::sometimes::Point;
use crate::talk::Phase;
use crate::told::LegKey;
use crate::world::World;
use antiphon_engine::Input;
use antiphon_history::{ConversationKey, Ordinal};
use std::collections::BTreeSet;

impl World<'_> {
    /// The process of a worker dies. Where all was settled before, exactly the legs that it had must end by it.
    pub(crate) fn worker_dies(&mut self, a: u32, b: u32) -> Checked {
        let name = self.specs[(a % self.plan.workers) as usize].name.clone();
        if !self.connected.contains_key(&name) {
            return Ok(());
        }
        let looks = b.is_multiple_of(2);
        if looks {
            self.ticks()?;
            self.flush()?;
        }
        // The flush may have been the end of an engine.
        let looks = looks && self.is_settled() && self.connected.contains_key(&name);
        let had = if looks { self.legs_with(&name) } else { BTreeSet::new() };
        if self.disconnect(&name).is_none() {
            return Ok(());
        }
        let how = format!("signal 9, the {}th", self.steps);
        let openings = self.openings;
        self.step(Input::WorkerDied { name: name.clone(), how: how.clone() })?;
        self.sometimes.met(Point::WorkerDied);
        if !looks {
            return Ok(());
        }
        self.flush()?;
        let ended = self.book.deaths.get(&how).cloned().unwrap_or_default();
        // The end of one leg may be the end of its activity, whose workflow then lets go of another that it had.
        let let_go = |(of, _): &LegKey| {
            let run = &self.book.runs[&of.run];
            run.ended || run.activities.get(&of.ordinal.0).is_none_or(|activity| activity.withdrawn)
        };
        let fits = ended.is_subset(&had) && had.difference(&ended).all(let_go);
        if self.openings == openings && !fits {
            let detail = format!("{name} had {had:?}, and {ended:?} ended");
            return Err(Broken::new(4, "a worker's death did not end exactly the legs that it had", detail));
        }
        Ok(())
    }

    /// The legs without a lease that a worker has, by the record.
    fn legs_with(&self, worker: &str) -> BTreeSet<LegKey> {
        let mut found = BTreeSet::new();
        for (run, book) in self.book.runs.iter().filter(|(_, book)| !book.ended) {
            for (ordinal, activity) in &book.activities {
                let Some(talk) = activity.talk.as_ref().filter(|talk| talk.phase == Phase::Sent) else { continue };
                if talk.worker() == worker && talk.lease_ms.is_none() {
                    let ordinal = Ordinal(*ordinal);
                    found.insert((ConversationKey { run: *run, ordinal, attempt: activity.attempt }, talk.leg));
                }
            }
        }
        found
    }
}

//! Nothing waits for a worker that is there, may take it and has room (invariant 9).

use crate::broken::{Broken, Checked};
use crate::talk::Phase;
use crate::world::World;
use antiphon_engine::{Input, WorkerSpec};
use antiphon_history::{ActivityCall, Ordinal};
use std::collections::BTreeMap;

/// Whether a worker of this kind can take a call.
pub(crate) fn is_able(spec: &WorkerSpec, call: &ActivityCall) -> bool {
    spec.queues.contains(call.queue.as_str())
        && spec.activities.contains(call.activity_type.as_str())
        && call.options.needs.iter().all(|label| spec.labels.contains(label))
}

impl World<'_> {
    /// Lets everything decided become durable, and looks.
    pub(crate) fn check_nobody_waits_in_vain(&mut self) -> Checked {
        self.step(Input::Tick)?;
        self.flush()?;
        if !self.is_settled() {
            return Ok(());
        }
        let now = self.now();
        // Bodies whose leg is over by the record take their place until they stop.
        let mut under_way: BTreeMap<&str, u32> = BTreeMap::new();
        let mut bodies: BTreeMap<&str, u32> = BTreeMap::new();
        for held in &self.held {
            *under_way.entry(&held.worker).or_default() += 1;
            *bodies.entry(&held.request.call.queue).or_default() += 1;
        }
        for (key, run) in self.book.runs.iter().filter(|(_, run)| !run.ended && !run.blocked) {
            for (ordinal, activity) in &run.activities {
                let Some(talk) = activity.talk.as_ref().filter(|talk| talk.phase == Phase::Queued) else { continue };
                if talk.visible_at > now || activity.resolved || activity.withdrawn {
                    continue;
                }
                let bodies = bodies.get(activity.call.queue.as_str()).copied().unwrap_or(0);
                if !self.book.lines.lets_go((*key, *ordinal), &activity.call, bodies) {
                    continue;
                }
                let free = |spec: &WorkerSpec| under_way.get(&*spec.name).is_none_or(|legs| *legs < spec.capacity);
                let well = |spec: &WorkerSpec| self.book.lines.is_well(&spec.name);
                let able =
                    |spec: &&std::sync::Arc<WorkerSpec>| is_able(spec, &activity.call) && free(spec) && well(spec);
                let mut fit = self.connected.values().filter(able);
                if let Some(spec) = fit.find(|spec| !talk.lost_by(&spec.name)) {
                    let detail = format!("{} waits, and {} has room", Ordinal(*ordinal), spec.name);
                    return Err(Broken::new(9, "work waits for a worker that is free", detail).in_run(*key));
                }
            }
        }
        Ok(())
    }
}

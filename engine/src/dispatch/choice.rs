//! Who gets it: the choice of a worker for an attempt, and why the others were left out.

use super::workers::{Worker, Workers};
use antiphon_history::{ActivityCall, LeftOut, LeftOutReason, Name, Selection, planted};

/// A choice that was made.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) worker: Name,
    pub(crate) why: Option<Selection>,
}

/// Most names in a recorded choice. More would make the record grow with the fleet; sixteen show the pattern.
const LEFT_OUT_MAX: usize = 16;

/// Why a worker could never take the call; `None` if it could, when it has a free place.
pub(super) fn left_out(worker: &Worker, call: &ActivityCall) -> Option<LeftOutReason> {
    if !worker.spec.queues.contains(&*call.queue) || !worker.spec.activities.contains(&*call.activity_type) {
        Some(LeftOutReason::NoSuchActivity)
    } else if !call.options.needs.iter().all(|label| worker.spec.labels.contains(label)) {
        Some(LeftOutReason::MissingLabel)
    } else {
        None
    }
}

/// Filter, order by load, pick the first. Equal load: by name, so that the same state always gives the same choice.
///
/// A worker that lost an earlier leg is left out as long as another could take the call, even if that one is full.
pub(super) fn choose(workers: &Workers, call: &ActivityCall, excluded: &[Name]) -> Option<Choice> {
    let subscribes = |worker: &&Worker| worker.spec.queues.contains(&*call.queue) && worker.is_pushed_to();
    let mut subscribed = workers.values().filter(subscribes);
    if let (Some(only), None) = (subscribed.next(), subscribed.next())
        && !excluded.contains(&only.name)
    {
        // Nothing to weigh, and nothing to write down: the one pool of an embedded engine.
        let takes = left_out(only, call).is_none() && only.free() > 0;
        return takes.then(|| Choice { worker: only.name.clone(), why: None });
    }
    let subscribed: Vec<&Worker> = workers.values().filter(subscribes).collect();
    let able = |worker: &Worker| left_out(worker, call).is_none();
    let lost = |worker: &Worker| excluded.contains(&worker.name) && !planted!("excluded-worker-chosen");
    // One that asks for its work may yet do so.
    let keep_out = workers.values().any(|worker| able(worker) && !lost(worker));
    let mut left: Vec<LeftOut> = Vec::new();
    let mut best: Option<&Worker> = None;
    for worker in &subscribed {
        let reason = left_out(worker, call)
            .or_else(|| (keep_out && lost(worker)).then_some(LeftOutReason::LostEarlierLeg))
            .or_else(|| (worker.free() == 0).then_some(LeftOutReason::Full));
        match reason {
            Some(reason) => left.push(LeftOut { worker: worker.spec.name.clone(), reason }),
            None if best.is_none_or(|best| worker.free() > best.free()) => best = Some(worker),
            None => {}
        }
    }
    let best = best?;
    left.truncate(LEFT_OUT_MAX);
    let why = (subscribed.len() > 1).then(|| Selection {
        policy: "least_loaded".to_owned(),
        candidates: u32::try_from(subscribed.len()).unwrap_or(u32::MAX),
        free: best.free(),
        left_out: left,
        route: None,
    });
    Some(Choice { worker: best.name.clone(), why })
}

//! Who gets it: the choice of a worker for an attempt, and why the others were left out.

use super::line::Lane;
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

/// Why a worker could never take an attempt of the lane; `None` if it could, when it has a free place.
pub(super) fn left_out(worker: &Worker, lane: &Lane) -> Option<LeftOutReason> {
    if !worker.spec.queues.contains(&*lane.queue) || !worker.spec.activities.contains(&*lane.activity_type) {
        Some(LeftOutReason::NoSuchActivity)
    } else if !lane.needs.iter().all(|label| worker.spec.labels.contains(label)) {
        Some(LeftOutReason::MissingLabel)
    } else {
        None
    }
}

/// Filter, order by load, pick the first. Equal load: by name, so that the same state always gives the same choice.
///
/// A worker that lost an earlier leg is left out as long as another could take the call, even if that one is full.
pub(super) fn choose(workers: &Workers, lane: &Lane, excluded: &[Name]) -> Option<Choice> {
    let subscribes = |worker: &&Worker| worker.spec.queues.contains(&*lane.queue);
    let subscribed: Vec<&Worker> = workers.iter().filter(|worker| worker.is_pushed_to()).filter(subscribes).collect();
    let able = |worker: &Worker| left_out(worker, lane).is_none();
    let lost = |worker: &Worker| excluded.contains(&worker.name) && !planted!("excluded-worker-chosen");
    // One that asks for its work may yet do so.
    let keep_out = workers.iter().any(|worker| able(worker) && !lost(worker));
    let mut left: Vec<LeftOut> = Vec::new();
    let mut best: Option<&Worker> = None;
    for worker in &subscribed {
        let reason = left_out(worker, lane)
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

/// Why no connected worker could ever take a call; `None` if one could, when it has a free place.
pub(super) fn nobody(workers: &Workers, call: &ActivityCall) -> Option<String> {
    let lane = &Lane::of(call);
    let subscribed = || workers.iter().filter(|worker| worker.spec.queues.contains(&*lane.queue));
    if subscribed().any(|worker| left_out(worker, lane).is_none()) {
        return None;
    }
    Some(if subscribed().next().is_none() {
        format!("no worker subscribes to task queue {:?}", lane.queue)
    } else if subscribed().any(|worker| worker.spec.activities.contains(&*lane.activity_type)) {
        format!("no worker of task queue {:?} has all of the labels {}", lane.queue, call.options.needs.join(", "))
    } else {
        format!("no worker of task queue {:?} has the activity {:?}", lane.queue, lane.activity_type)
    })
}

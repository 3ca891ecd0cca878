use super::{Ask, Snapshot};
use antiphon_history::{Health, LeftOut, LeftOutReason, Liveness, Name, NoneAvailable, RouteError, planted};

/// Most names in a recorded choice. More would make the record grow with the fleet; sixteen show the pattern.
pub(super) const NAMES_MAX: usize = 16;

/// Which list of the request holds a worker: smaller comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Tier {
    Preferred,
    Fallback,
    Remaining,
}

/// What the request says of one worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) tier: Tier,
    /// Its place in its list.
    pub(super) place: u8,
    pub(super) health: Option<Health>,
    excluded: bool,
    lost: bool,
}

const UNMARKED: Mark = Mark { tier: Tier::Remaining, place: 0, health: None, excluded: false, lost: false };

/// What is true of all workers of one offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    subscribed: bool,
    reason: Option<LeftOutReason>,
    /// How many of the preferred labels it has.
    pub(super) labels: u8,
}

/// Who may have a call, in the order of names, and who may not.
#[derive(Debug)]
pub struct Filtered {
    /// Places in the snapshot.
    pub(super) candidates: Vec<u32>,
    pub(super) marks: Vec<Mark>,
    pub(super) fits: Vec<Fit>,
    /// Workers that subscribe to the queue.
    pub(super) subscribed: u32,
    pub(super) left_out: Vec<LeftOut>,
}

impl Filtered {
    /// Those who may have the call, by name.
    pub fn names(&self, snapshot: &Snapshot<'_>) -> Vec<Name> {
        self.candidates.iter().map(|at| snapshot.workers[*at as usize].name.clone()).collect()
    }
}

/// The first stage: who may have the call.
///
/// Errors: why nobody may. [`RouteError::is_full`] tells whether only places are missing.
pub fn filter(ask: &Ask<'_>, snapshot: &Snapshot<'_>) -> Result<Filtered, RouteError> {
    let named = ask.request.worker.as_ref().map(|worker| (worker, snapshot.find(worker)));
    if let Some((worker, None)) = named {
        let online = online(snapshot);
        return Err(RouteError::UnknownWorker { worker: worker.clone(), online });
    }
    let fits: Vec<Fit> = snapshot.offers.iter().map(|offer| fit(ask, offer)).collect();
    let marks = marks(ask, snapshot);
    let bound = ask.bound.and_then(|bound| snapshot.find(bound));
    let listed_only = !ask.request.takes_remaining();
    let seen_and_mark = || snapshot.workers.iter().zip(&marks);
    // Why each one could not have it, whoever else could and however full it is.
    let could_not = seen_and_mark().zip(0..).map(|((seen, mark), at)| {
        let other = named.is_some_and(|(_, named)| named != Some(at));
        let unlisted = listed_only && named.is_none() && mark.tier == Tier::Remaining && bound != Some(at);
        match mark.health.unwrap_or(seen.health) {
            _ if fits[seen.offer].reason.is_some() => fits[seen.offer].reason,
            _ if mark.excluded => Some(LeftOutReason::Excluded),
            _ if other || unlisted => Some(LeftOutReason::NotListed),
            _ if seen.liveness == Liveness::Draining => Some(LeftOutReason::Draining),
            _ if !seen.liveness.takes_calls() => Some(LeftOutReason::Away),
            health if !health.takes_calls() => Some(LeftOutReason::Unhealthy),
            _ => None,
        }
    });
    let could_not: Vec<Option<LeftOutReason>> = could_not.collect();
    // Whoever lost a leg is kept out only while another could take it: a lone worker gets another chance.
    let any_lost = !ask.lost.is_empty() && !planted!("excluded-worker-chosen");
    let keep_out = any_lost && marks.iter().zip(&could_not).any(|(mark, reason)| !mark.lost && reason.is_none());
    let mut out =
        Filtered { candidates: Vec::new(), marks: Vec::new(), fits: Vec::new(), subscribed: 0, left_out: Vec::new() };
    out.candidates.reserve_exact(snapshot.workers.len());
    let mut counts = NoneAvailable::default();
    let mut named_reason = None;
    for (((seen, mark), reason), at) in seen_and_mark().zip(could_not).zip(0..) {
        let reason = reason
            .or_else(|| (keep_out && mark.lost).then_some(LeftOutReason::LostEarlierLeg))
            .or_else(|| (seen.free() == 0 && !ask.even_if_full).then_some(LeftOutReason::Full));
        counts.online += u32::from(seen.liveness != Liveness::Gone);
        out.subscribed += u32::from(fits[seen.offer].subscribed);
        if named.is_some_and(|(_, named)| named == Some(at as usize)) {
            named_reason = reason;
        }
        let Some(reason) = reason else {
            out.candidates.push(at);
            continue;
        };
        counts.count(reason);
        if out.left_out.len() < NAMES_MAX && fits[seen.offer].subscribed {
            out.left_out.push(LeftOut { worker: seen.name.to_string(), reason });
        }
    }
    if !out.candidates.is_empty() {
        (out.marks, out.fits) = (marks, fits);
        return Ok(out);
    }
    if let (Some((worker, _)), Some(reason)) = (named, named_reason) {
        return Err(RouteError::NotEligible { worker: worker.clone(), reason });
    }
    Err(nobody(ask, snapshot, &fits, counts))
}

/// What an offer is worth to a call.
fn fit(ask: &Ask<'_>, offer: &super::Offer<'_>) -> Fit {
    let subscribed = offer.queues.contains(ask.queue);
    let reason = if !subscribed || !offer.activities.contains(ask.activity_type) {
        Some(LeftOutReason::NoSuchActivity)
    } else if !ask.labels().all(|label| offer.labels.contains(label)) {
        Some(LeftOutReason::MissingLabel)
    } else {
        None
    };
    let labels = ask.request.prefer.iter().filter(|label| offer.labels.contains(*label)).count();
    Fit { subscribed, reason, labels: u8::try_from(labels).unwrap_or(u8::MAX) }
}

/// What the lists of the request say, by place in the snapshot. Lists are short, so each name is looked for once, instead
/// of each worker in each list.
fn marks(ask: &Ask<'_>, snapshot: &Snapshot<'_>) -> Vec<Mark> {
    let mut marks = vec![UNMARKED; snapshot.workers.len()];
    let request = ask.request;
    // The later wins, so what weighs more comes later: a preferred worker that is also a fallback stays preferred.
    for (tier, list) in [(Tier::Fallback, &request.fallback), (Tier::Preferred, &request.preferred)] {
        for (place, name) in list.iter().enumerate().rev() {
            if let Some(at) = snapshot.find(name) {
                (marks[at].tier, marks[at].place) = (tier, u8::try_from(place).unwrap_or(u8::MAX));
            }
        }
    }
    request.excluded.iter().filter_map(|name| snapshot.find(name)).for_each(|at| marks[at].excluded = true);
    ask.lost.iter().filter_map(|name| snapshot.find(name)).for_each(|at| marks[at].lost = true);
    for (name, health) in &request.health {
        if let Some(at) = snapshot.find(name) {
            marks[at].health = Some(*health);
        }
    }
    marks
}

fn online(snapshot: &Snapshot<'_>) -> u32 {
    let there = snapshot.workers.iter().filter(|seen| seen.liveness != Liveness::Gone).count();
    u32::try_from(there).unwrap_or(u32::MAX)
}

/// Which of the reasons to tell: labels before all others, because no other worker of the kind will help.
fn nobody(ask: &Ask<'_>, snapshot: &Snapshot<'_>, fits: &[Fit], counts: NoneAvailable) -> RouteError {
    let somebody_fits = fits.iter().any(|fit| fit.reason.is_none());
    let lacks_label = fits.iter().any(|fit| fit.reason == Some(LeftOutReason::MissingLabel));
    if somebody_fits || !lacks_label {
        return RouteError::NoneAvailable(counts);
    }
    let has = |label: &String| {
        let there = snapshot.workers.iter().filter(|seen| seen.liveness != Liveness::Gone);
        there.into_iter().any(|seen| snapshot.offers[seen.offer].labels.contains(label))
    };
    match ask.labels().find(|label| !has(label)) {
        Some(label) => RouteError::UnknownLabel { label: label.clone() },
        None => RouteError::NoCapability { labels: ask.labels().cloned().collect() },
    }
}

trait Count {
    fn count(&mut self, reason: LeftOutReason);
}

impl Count for NoneAvailable {
    fn count(&mut self, reason: LeftOutReason) {
        match reason {
            LeftOutReason::NoSuchActivity | LeftOutReason::MissingLabel => return,
            LeftOutReason::Excluded | LeftOutReason::NotListed | LeftOutReason::LostEarlierLeg => self.excluded += 1,
            LeftOutReason::Draining | LeftOutReason::Away => self.absent += 1,
            LeftOutReason::Unhealthy => self.unhealthy += 1,
            LeftOutReason::Full => self.full += 1,
        }
        self.matching += 1;
    }
}

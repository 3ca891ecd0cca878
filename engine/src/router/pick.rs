use super::filter::{Filtered, NAMES_MAX, Tier, filter};
use super::order::{Ranked, compare, ranks};
use super::{Ask, Candidate, CustomAsk, Routed, Routes, Snapshot};
use antiphon_history::limits::bounded_text;
use antiphon_history::{LeftOutReason, Name, RouteDecision, RouteError, RoutePolicy, RouteReason, Selection};
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Chooses a worker for a call: filter, order, pick. The same arguments always give the same choice, but for what a
/// registered route makes of them.
///
/// Nothing moves: what the caller is to write down with the choice stands in [`Routed`]. Costs the order of the number of
/// workers, whatever their names.
///
/// Errors: [`RouteError`]. Those that [`RouteError::may_pass`] mean to wait.
pub fn route(ask: &Ask<'_>, snapshot: &Snapshot<'_>, routes: &Routes) -> Result<Routed, RouteError> {
    let filtered = filter(ask, snapshot)?;
    let mut ranked = ranks(ask, snapshot, &filtered);
    let policy = ask.request.policy();
    let reason = match policy {
        RoutePolicy::Explicit => {
            best(&mut ranked, compare);
            if ask.request.worker.is_some() { RouteReason::Named } else { by_tier(&ranked[0]) }
        }
        RoutePolicy::PreferredThenFallback => {
            best(&mut ranked, compare);
            by_tier(&ranked[0])
        }
        RoutePolicy::CapabilityFirst => {
            best(&mut ranked, compare);
            let labels = filtered.fits[snapshot.workers[ranked[0].at as usize].offer].labels;
            if labels > 0 { RouteReason::MostLabels } else { by_tier(&ranked[0]) }
        }
        RoutePolicy::LeastLoaded => {
            best(&mut ranked, compare);
            if ask.request.is_by_load() { RouteReason::LeastLoaded } else { by_tier(&ranked[0]) }
        }
        RoutePolicy::RoundRobin => {
            take_turns(ask, snapshot, &mut ranked);
            RouteReason::NextInTurn
        }
        RoutePolicy::Sticky => stick(ask, snapshot, &filtered, &mut ranked)?,
        RoutePolicy::Failover => fail_over(ask, snapshot, &mut ranked),
        RoutePolicy::Custom => choose_by_custom(ask, snapshot, &filtered, &mut ranked, routes)?,
    };
    let chain = ranked[1..].iter().take(NAMES_MAX);
    let chain = chain.map(|next| snapshot.workers[next.at as usize].name.clone()).collect();
    Ok(routed(ask, snapshot, filtered, (ranked[0].at, reason), ranked.len(), chain))
}

fn routed(
    ask: &Ask<'_>,
    snapshot: &Snapshot<'_>,
    filtered: Filtered,
    (at, reason): (u32, RouteReason),
    eligible: usize,
    chain: Vec<Name>,
) -> Routed {
    let seen = &snapshot.workers[at as usize];
    let decision = RouteDecision {
        reason,
        eligible: u32::try_from(eligible).unwrap_or(u32::MAX),
        chain,
        affinity: ask.request.affinity.clone(),
        guard: None,
        snapshot: snapshot.digest(),
    };
    let binds_key = matches!(reason, RouteReason::BoundKey | RouteReason::MovedKey);
    Routed {
        worker: seen.name.clone(),
        why: Selection {
            policy: ask.request.policy().word().to_owned(),
            candidates: filtered.subscribed,
            free: seen.free(),
            left_out: filtered.left_out,
            route: Some(Box::new(decision)),
        },
        moves_cursor: binds_key || reason == RouteReason::NextInTurn,
        binds_key,
    }
}

/// The choice where one worker asks for the call by itself: the same filters, and nobody to compare it with. `None` if it
/// may not have the call, or another has the key, or it failed last and another could take it.
pub fn claim(ask: &Ask<'_>, snapshot: &Snapshot<'_>, worker: &Name) -> Option<Routed> {
    let mut filtered = filter(&Ask { even_if_full: true, ..*ask }, snapshot).ok()?;
    let eligible = filtered.candidates.len();
    let candidate = |name: &str| {
        let at = u32::try_from(snapshot.find(name)?).ok()?;
        filtered.candidates.binary_search(&at).is_ok().then_some(at)
    };
    let at = candidate(worker)?;
    let policy = ask.request.policy();
    let bound = ask.bound.filter(|_| policy == RoutePolicy::Sticky).map(|bound| (bound == worker, candidate(bound)));
    let reason = match (policy, bound) {
        (RoutePolicy::Sticky, Some((true, _))) => RouteReason::KeptKey,
        (RoutePolicy::Sticky, Some((false, Some(_)))) => return None,
        (RoutePolicy::Sticky, Some((false, None))) => RouteReason::MovedKey,
        (RoutePolicy::Sticky, None) => RouteReason::BoundKey,
        (RoutePolicy::Failover, _) if ask.last() == Some(worker) && eligible > 1 => return None,
        (RoutePolicy::Failover, _) if ask.last() == Some(worker) => RouteReason::OnlyCandidate,
        (RoutePolicy::Failover, _) if ask.last().is_some() => RouteReason::FailedOver,
        (RoutePolicy::Explicit, _) if ask.request.worker.is_some() => RouteReason::Named,
        _ => {
            filtered.candidates = vec![at];
            by_tier(&ranks(ask, snapshot, &filtered)[0])
        }
    };
    Some(routed(ask, snapshot, filtered, (at, reason), eligible, Vec::new()))
}

/// Brings the best candidates to the front, in order, as many as are written down; the others stay behind them in any
/// order.
fn best(ranked: &mut [Ranked], order: impl Fn(&Ranked, &Ranked) -> Ordering) {
    let shown = NAMES_MAX + 1;
    if ranked.len() > shown {
        ranked.select_nth_unstable_by(shown - 1, &order);
        ranked[..shown].sort_unstable_by(&order);
    } else {
        ranked.sort_unstable_by(&order);
    }
}

fn by_tier(first: &Ranked) -> RouteReason {
    match first.tier() {
        Tier::Preferred => RouteReason::Preferred,
        Tier::Fallback => RouteReason::Fallback,
        Tier::Remaining => RouteReason::FirstEligible,
    }
}

/// Those who are equal in tier, health and labels take turns in the order of their names, beginning behind the cursor. A
/// name and no number is remembered: whoever comes or goes, nobody is passed over and nobody is asked twice.
fn take_turns(ask: &Ask<'_>, snapshot: &Snapshot<'_>, ranked: &mut [Ranked]) {
    let from = ask.cursor.map_or(0, |last| snapshot.workers.partition_point(|seen| seen.name <= last));
    let turn = |one: &Ranked| ((one.at as usize) < from, one.at);
    best(ranked, |one, other| one.group().cmp(&other.group()).then_with(|| turn(one).cmp(&turn(other))));
}

fn stick(
    ask: &Ask<'_>,
    snapshot: &Snapshot<'_>,
    filtered: &Filtered,
    ranked: &mut [Ranked],
) -> Result<RouteReason, RouteError> {
    if let Some(bound) = ask.bound {
        let at = snapshot.find(bound).filter(|at| filtered.candidates.binary_search(&(*at as u32)).is_ok());
        if let Some(at) = at {
            let kept = |one: &Ranked| one.at as usize != at;
            best(ranked, |one, other| kept(one).cmp(&kept(other)).then_with(|| compare(one, other)));
            return Ok(RouteReason::KeptKey);
        }
        // A worker that only has no place free keeps its keys: they would move to and fro with its load.
        let even_if_full = Ask { even_if_full: true, ..*ask };
        let only_full = filter(&even_if_full, snapshot)
            .is_ok_and(|all| snapshot.find(bound).is_some_and(|at| all.candidates.binary_search(&(at as u32)).is_ok()));
        if only_full {
            return Err(RouteError::NotEligible { worker: bound.clone(), reason: LeftOutReason::Full });
        }
    }
    take_turns(ask, snapshot, ranked);
    Ok(if ask.bound.is_some() { RouteReason::MovedKey } else { RouteReason::BoundKey })
}

fn fail_over(ask: &Ask<'_>, snapshot: &Snapshot<'_>, ranked: &mut [Ranked]) -> RouteReason {
    let Some(last) = ask.last() else {
        best(ranked, compare);
        return by_tier(&ranked[0]);
    };
    // Looked for once: comparing names at every step of the ordering would take longer than all the rest.
    let last = snapshot.find(last);
    let is_last = |one: &Ranked| last == Some(one.at as usize);
    best(ranked, |one, other| is_last(one).cmp(&is_last(other)).then_with(|| compare(one, other)));
    if is_last(&ranked[0]) { RouteReason::OnlyCandidate } else { RouteReason::FailedOver }
}

fn choose_by_custom(
    ask: &Ask<'_>,
    snapshot: &Snapshot<'_>,
    filtered: &Filtered,
    ranked: &mut [Ranked],
    routes: &Routes,
) -> Result<RouteReason, RouteError> {
    let custom = ask.request.custom.clone().unwrap_or_default();
    let Some(chooses) = routes.custom(&custom) else { return Err(RouteError::UnknownCustom { custom }) };
    ranked.sort_unstable_by(compare);
    let candidate = |one: &Ranked| {
        let seen = &snapshot.workers[one.at as usize];
        let health = filtered.marks[one.at as usize].health.unwrap_or(seen.health);
        Candidate { worker: seen.name.clone(), capacity: seen.capacity, in_flight: seen.in_flight, health }
    };
    let candidates: Vec<Candidate> = ranked.iter().map(candidate).collect();
    let asked = CustomAsk {
        queue: ask.queue,
        activity_type: ask.activity_type,
        affinity_key: ask.request.affinity.as_deref(),
        candidates: &candidates,
    };
    // The route is the author's code: a panic harms this choice only.
    let failed = |problem: &str| RouteError::CustomFailed { custom: custom.clone(), problem: bounded_text(problem) };
    let chosen = match catch_unwind(AssertUnwindSafe(|| chooses(&asked))) {
        Ok(chosen) => chosen,
        Err(panic) => return Err(failed(&format!("it panicked: {}", crate::driver::panic_message(panic.as_ref())))),
    };
    let Some(chosen) = chosen else { return Err(failed("it chose nobody")) };
    let is_chosen = |one: &Ranked| *snapshot.workers[one.at as usize].name == chosen;
    let Some(at) = ranked.iter().position(is_chosen) else {
        return Err(failed(&format!("{:?} is not among the {} candidates", &*chosen, candidates.len())));
    };
    ranked[..=at].rotate_right(1);
    Ok(RouteReason::Custom)
}

/// All candidates, best first, as `preferred_then_fallback` sees them: for people who ask what would be.
pub fn order(ask: &Ask<'_>, snapshot: &Snapshot<'_>) -> Result<Vec<Name>, RouteError> {
    let filtered = filter(ask, snapshot)?;
    let mut ranked = ranks(ask, snapshot, &filtered);
    ranked.sort_unstable_by(compare);
    Ok(ranked.iter().map(|one| snapshot.workers[one.at as usize].name.clone()).collect())
}

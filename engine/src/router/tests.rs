use super::*;
use antiphon_history::{FallbackPolicy, LeftOutReason, NoneAvailable, RouteError, RoutePolicy, RouteReason};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Workers as a test writes them down; a snapshot borrows from them.
#[derive(Clone, Debug, Default)]
struct Fleet {
    offers: Vec<(BTreeSet<String>, BTreeSet<String>, BTreeSet<String>)>,
    workers: BTreeMap<Name, (usize, u32, Option<u32>, Health, Liveness)>,
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn names(words: &[&str]) -> Vec<Name> {
    words.iter().map(|word| Name::from(*word)).collect()
}

impl Fleet {
    /// Equal, idle workers with two places each.
    fn of(words: &[&str]) -> Fleet {
        let mut fleet = Fleet { offers: vec![(set(&["q"]), set(&["a"]), set(&[]))], ..Fleet::default() };
        for word in words {
            fleet.workers.insert(Name::from(*word), (0, 2, Some(0), Health::Healthy, Liveness::Live));
        }
        fleet
    }

    fn offer(&mut self, worker: &str, queue: &str, activity: &str, labels: &[&str]) {
        self.offers.push((set(&[queue]), set(&[activity]), set(labels)));
        self.get(worker).0 = self.offers.len() - 1;
    }

    fn get(&mut self, worker: &str) -> &mut (usize, u32, Option<u32>, Health, Liveness) {
        self.workers.get_mut(worker).expect("a worker of the fleet")
    }

    fn snapshot(&self) -> Snapshot<'_> {
        let offers = self.offers.iter().map(|(queues, activities, labels)| Offer { queues, activities, labels });
        let workers = self.workers.iter().map(|(name, &(offer, capacity, in_flight, health, liveness))| {
            let digest = name.bytes().fold(u64::from(capacity), |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte));
            Seen { name, offer, capacity, in_flight, health, liveness, digest }
        });
        Snapshot { offers: offers.collect(), workers: workers.collect() }
    }
}

fn ask(request: &RouteRequest) -> Ask<'_> {
    Ask {
        queue: "q",
        activity_type: "a",
        needs: &[],
        request,
        lost: &[],
        last: None,
        cursor: None,
        bound: None,
        even_if_full: false,
    }
}

fn choose(fleet: &Fleet, ask: &Ask<'_>) -> Result<Routed, RouteError> {
    route(ask, &fleet.snapshot(), &Routes::default())
}

/// The worker, why, and the chain.
fn told(routed: &Routed) -> (String, RouteReason, Vec<String>) {
    let route = routed.why.route.as_ref().expect("a routed choice says why");
    (routed.worker.to_string(), route.reason, route.chain.iter().map(Name::to_string).collect())
}

#[test]
fn preferred_come_first_then_fallback_then_the_others_and_the_excluded_never() {
    let fleet = Fleet::of(&["w0", "w1", "w2", "w3"]);
    let request = RouteRequest {
        preferred: names(&["w2", "w3"]),
        fallback: names(&["w1"]),
        excluded: names(&["w2"]),
        ..RouteRequest::default()
    };
    let routed = choose(&fleet, &ask(&request)).unwrap();
    assert_eq!(told(&routed), ("w3".into(), RouteReason::Preferred, vec!["w1".into(), "w0".into()]));
    let left = routed.why.left_out;
    assert_eq!((left.len(), left[0].worker.as_str(), left[0].reason), (1, "w2", LeftOutReason::Excluded));
}

#[test]
fn strict_lists_mean_nobody_else_and_the_error_counts_why() {
    let mut fleet = Fleet::of(&["w1", "w2", "w3"]);
    fleet.get("w2").3 = Health::Down;
    let request = RouteRequest {
        preferred: names(&["w2"]),
        fallback_policy: Some(FallbackPolicy::None),
        ..RouteRequest::default()
    };
    let counts = NoneAvailable { online: 3, matching: 3, excluded: 2, unhealthy: 1, ..NoneAvailable::default() };
    assert_eq!(choose(&fleet, &ask(&request)), Err(RouteError::NoneAvailable(counts)));
    let empty = RouteRequest { fallback_policy: Some(FallbackPolicy::None), ..RouteRequest::default() };
    assert!(choose(&fleet, &ask(&empty)).is_err(), "with no list at all, strict means nobody too");
}

#[test]
fn a_named_worker_is_taken_or_nobody_is() {
    let mut fleet = Fleet::of(&["w1", "w2"]);
    let request = RouteRequest { worker: Some("w1".into()), ..RouteRequest::default() };
    assert_eq!(told(&choose(&fleet, &ask(&request)).unwrap()), ("w1".into(), RouteReason::Named, vec![]));
    for (health, liveness, busy, reason) in [
        (Health::Unhealthy, Liveness::Live, 0, LeftOutReason::Unhealthy),
        (Health::Healthy, Liveness::Draining, 0, LeftOutReason::Draining),
        (Health::Healthy, Liveness::Suspect, 0, LeftOutReason::Away),
        (Health::Healthy, Liveness::Live, 2, LeftOutReason::Full),
    ] {
        *fleet.get("w1") = (0, 2, Some(busy), health, liveness);
        let refused = choose(&fleet, &ask(&request)).unwrap_err();
        assert_eq!(refused, RouteError::NotEligible { worker: "w1".into(), reason });
        assert_eq!(refused.is_full(), reason == LeftOutReason::Full);
    }
    let gone = RouteRequest { worker: Some("w9".into()), ..RouteRequest::default() };
    assert_eq!(choose(&fleet, &ask(&gone)), Err(RouteError::UnknownWorker { worker: "w9".into(), online: 2 }));
}

#[test]
fn a_label_nobody_has_and_a_label_nobody_may_use_are_two_errors() {
    let mut fleet = Fleet::of(&["w1", "w2"]);
    fleet.offer("w2", "other", "a", &["gpu"]);
    let request = RouteRequest { require: vec!["gpu".to_owned()], ..RouteRequest::default() };
    let found = choose(&fleet, &ask(&request)).unwrap_err();
    assert_eq!(found, RouteError::NoCapability { labels: vec!["gpu".to_owned()] });
    let request = RouteRequest { require: vec!["gppu".to_owned()], ..RouteRequest::default() };
    assert_eq!(choose(&fleet, &ask(&request)).unwrap_err(), RouteError::UnknownLabel { label: "gppu".to_owned() });
}

#[test]
fn loads_are_compared_as_shares_and_the_name_breaks_a_tie() {
    let mut fleet = Fleet::of(&["w1", "w2", "w3"]);
    let request = RouteRequest {
        policy: Some(RoutePolicy::LeastLoaded),
        preferred: names(&["w1", "w3", "w2"]),
        ..RouteRequest::default()
    };
    for (worker, busy) in [("w1", 3), ("w2", 1), ("w3", 1)] {
        (fleet.get(worker).1, fleet.get(worker).2) = (4, Some(busy));
    }
    assert_eq!(told(&choose(&fleet, &ask(&request)).unwrap()).0, "w2");
    let listed = RouteRequest { by_load: Some(false), ..request.clone() };
    assert_eq!(
        told(&choose(&fleet, &ask(&listed)).unwrap()),
        ("w1".into(), RouteReason::Preferred, vec!["w3".into(), "w2".into()])
    );
    // 30 of 100 is less than 1 of 3.
    (fleet.get("w1").1, fleet.get("w1").2) = (100, Some(30));
    (fleet.get("w2").1, fleet.get("w2").2) = (3, Some(1));
    fleet.get("w3").2 = None;
    let routed = told(&choose(&fleet, &ask(&request)).unwrap());
    assert_eq!(routed, ("w1".into(), RouteReason::LeastLoaded, vec!["w2".into(), "w3".into()]), "unknown load is last");
}

#[test]
fn turns_go_round_by_name_whoever_comes_or_goes() {
    let mut fleet = Fleet::of(&["w1", "w3", "w5"]);
    let request = RouteRequest { policy: Some(RoutePolicy::RoundRobin), ..RouteRequest::default() };
    let mut cursor: Option<Name> = None;
    let mut next = |fleet: &Fleet| {
        let routed = choose(fleet, &Ask { cursor: cursor.as_ref(), ..ask(&request) }).unwrap();
        assert!(routed.moves_cursor && !routed.binds_key);
        cursor = Some(routed.worker.clone());
        told(&routed)
    };
    assert_eq!(next(&fleet), ("w1".into(), RouteReason::NextInTurn, vec!["w3".into(), "w5".into()]));
    assert_eq!(next(&fleet).0, "w3");
    fleet.workers.remove("w3");
    assert_eq!(next(&fleet), ("w5".into(), RouteReason::NextInTurn, vec!["w1".into()]));
    fleet.workers.extend(Fleet::of(&["w0", "w2"]).workers);
    assert_eq!(next(&fleet).0, "w0");
    fleet.get("w1").3 = Health::Degraded;
    assert_eq!((next(&fleet).0, next(&fleet).0, next(&fleet).0), ("w2".into(), "w5".into(), "w0".into()));
}

#[test]
fn a_key_stays_with_its_worker_until_that_one_may_not_have_the_call() {
    let mut fleet = Fleet::of(&["w1", "w2", "w3"]);
    let request = RouteRequest {
        policy: Some(RoutePolicy::Sticky),
        affinity: Some("k".into()),
        preferred: names(&["w3"]),
        fallback_policy: Some(FallbackPolicy::None),
        ..RouteRequest::default()
    };
    let bound = Name::from("w1");
    let routed = choose(&fleet, &Ask { bound: Some(&bound), ..ask(&request) }).unwrap();
    assert_eq!(told(&routed), ("w1".into(), RouteReason::KeptKey, vec!["w3".into()]), "even outside the lists");
    assert!(!routed.binds_key && !routed.moves_cursor);
    let routed = choose(&fleet, &ask(&request)).unwrap();
    assert_eq!((told(&routed).0, told(&routed).1, routed.binds_key), ("w3".into(), RouteReason::BoundKey, true));
    fleet.get("w1").2 = Some(2);
    let full = choose(&fleet, &Ask { bound: Some(&bound), ..ask(&request) }).unwrap_err();
    assert!(full.is_full(), "a worker without a free place keeps its key: {full}");
    fleet.get("w1").3 = Health::Down;
    let routed = choose(&fleet, &Ask { bound: Some(&bound), ..ask(&request) }).unwrap();
    assert_eq!((told(&routed).0, told(&routed).1, routed.binds_key), ("w3".into(), RouteReason::MovedKey, true));
}

#[test]
fn whoever_failed_last_comes_last_and_whoever_lost_a_leg_only_if_alone() {
    let mut fleet = Fleet::of(&["w1", "w2"]);
    let request = RouteRequest { policy: Some(RoutePolicy::Failover), ..RouteRequest::default() };
    let last = Name::from("w1");
    let routed = choose(&fleet, &Ask { last: Some(&last), ..ask(&request) }).unwrap();
    assert_eq!(told(&routed), ("w2".into(), RouteReason::FailedOver, vec!["w1".into()]));
    let lost = names(&["w2"]);
    let routed = choose(&fleet, &Ask { last: Some(&last), lost: &lost, ..ask(&request) }).unwrap();
    assert_eq!(told(&routed), ("w1".into(), RouteReason::OnlyCandidate, vec![]));
    // Full is no reason to go back to the one that lost it.
    fleet.get("w1").2 = Some(2);
    let refused = choose(&fleet, &Ask { lost: &lost, ..ask(&request) }).unwrap_err();
    assert!(refused.is_full(), "{refused}");
    fleet.workers.remove("w1");
    assert_eq!(told(&choose(&fleet, &Ask { lost: &lost, ..ask(&request) }).unwrap()).0, "w2");
}

#[test]
fn degraded_is_taken_only_where_nobody_healthy_is_in_the_tier() {
    let mut fleet = Fleet::of(&["w1", "w2", "w3"]);
    let request = RouteRequest { preferred: names(&["w1", "w2"]), ..RouteRequest::default() };
    fleet.get("w1").3 = Health::Degraded;
    assert_eq!(told(&choose(&fleet, &ask(&request)).unwrap()).2, ["w1", "w3"], "w2, then the degraded of its tier");
    let worse = RouteRequest { health: BTreeMap::from([("w2".into(), Health::Unhealthy)]), ..request };
    assert_eq!(told(&choose(&fleet, &ask(&worse)).unwrap()).0, "w1", "degraded and preferred before healthy and other");
}

#[test]
fn preferred_labels_count_within_the_tier_and_before_it_with_capability_first() {
    let mut fleet = Fleet::of(&["w1", "w2", "w3"]);
    fleet.offer("w3", "q", "a", &["near", "ssd"]);
    fleet.offer("w2", "q", "a", &["near"]);
    let request = RouteRequest {
        preferred: names(&["w1", "w2"]),
        prefer: vec!["near".to_owned(), "ssd".to_owned()],
        ..RouteRequest::default()
    };
    assert_eq!(
        told(&choose(&fleet, &ask(&request)).unwrap()),
        ("w2".into(), RouteReason::Preferred, vec!["w1".into(), "w3".into()])
    );
    let first = RouteRequest { policy: Some(RoutePolicy::CapabilityFirst), ..request };
    assert_eq!(
        told(&choose(&fleet, &ask(&first)).unwrap()),
        ("w3".into(), RouteReason::MostLabels, vec!["w2".into(), "w1".into()])
    );
}

#[test]
fn a_registered_route_chooses_among_the_candidates_and_its_faults_are_errors() {
    let fleet = Fleet::of(&["w1", "w2", "w3"]);
    let mut routes = Routes::default();
    let last = |ask: &CustomAsk<'_>| ask.candidates.last().map(|last| last.worker.clone());
    assert!(routes.add_custom("last", Arc::new(last)));
    assert!(!routes.add_custom("last", Arc::new(|_| None)), "a name is taken once");
    assert!(routes.add_custom("stranger", Arc::new(|_| Some("w9".into()))));
    assert!(routes.add_custom("nobody", Arc::new(|_| None)));
    assert!(routes.add_custom("panics", Arc::new(|_| panic!("out of dice"))));
    let with = |custom: &str| {
        let request = RouteRequest { custom: Some(custom.into()), excluded: names(&["w3"]), ..RouteRequest::default() };
        route(&ask(&request), &fleet.snapshot(), &routes)
    };
    assert_eq!(told(&with("last").unwrap()), ("w2".into(), RouteReason::Custom, vec!["w1".into()]));
    for (custom, says) in
        [("stranger", "\"w9\" is not among the 2"), ("nobody", "chose nobody"), ("panics", "out of dice")]
    {
        let found = with(custom).unwrap_err().to_string();
        assert!(found.contains(says) && found.ends_with("[A0038]"), "{custom}: {found}");
    }
    let all = RouteRequest { custom: Some("last".into()), ..RouteRequest::default() };
    let routed = route(&ask(&all), &fleet.snapshot(), &routes).unwrap();
    assert_eq!(told(&routed).2, ["w1", "w2"], "the others keep their order");
    assert_eq!(with("absent"), Err(RouteError::UnknownCustom { custom: "absent".into() }));
}

#[test]
fn the_digest_of_a_snapshot_tells_loads_and_health_apart() {
    let mut fleet = Fleet::of(&["w1", "w2"]);
    let first = fleet.snapshot().digest();
    assert_eq!(first, fleet.clone().snapshot().digest());
    fleet.get("w1").2 = Some(1);
    let second = fleet.snapshot().digest();
    fleet.get("w1").2 = None;
    let third = fleet.snapshot().digest();
    fleet.get("w1").4 = Liveness::Draining;
    assert_eq!(BTreeSet::from([first, second, third, fleet.snapshot().digest()]).len(), 4);
}

#[test]
fn whoever_asks_for_a_call_gets_it_if_it_may_and_no_other_has_the_better_claim() {
    let fleet = Fleet::of(&["w1", "w2"]);
    let claimed = |ask: &Ask<'_>, worker: &str| {
        let routed = claim(ask, &fleet.snapshot(), &worker.into())?;
        Some((told(&routed).1, routed.binds_key))
    };
    let listed = RouteRequest {
        preferred: names(&["w1"]),
        fallback_policy: Some(FallbackPolicy::None),
        ..RouteRequest::default()
    };
    assert_eq!(claimed(&ask(&listed), "w1"), Some((RouteReason::Preferred, false)));
    assert_eq!((claimed(&ask(&listed), "w2"), claimed(&ask(&listed), "w9")), (None, None));
    let sticky =
        RouteRequest { affinity: Some("k".into()), policy: Some(RoutePolicy::Sticky), ..RouteRequest::default() };
    assert_eq!(claimed(&ask(&sticky), "w2"), Some((RouteReason::BoundKey, true)));
    let (w1, gone) = (Name::from("w1"), Name::from("w9"));
    assert_eq!(claimed(&Ask { bound: Some(&w1), ..ask(&sticky) }, "w2"), None, "the key is w1's, which may have it");
    assert_eq!(claimed(&Ask { bound: Some(&w1), ..ask(&sticky) }, "w1"), Some((RouteReason::KeptKey, false)));
    assert_eq!(claimed(&Ask { bound: Some(&gone), ..ask(&sticky) }, "w2"), Some((RouteReason::MovedKey, true)));
    let failover = RouteRequest { policy: Some(RoutePolicy::Failover), ..RouteRequest::default() };
    assert_eq!(claimed(&Ask { last: Some(&w1), ..ask(&failover) }, "w1"), None);
    assert_eq!(claimed(&Ask { last: Some(&w1), ..ask(&failover) }, "w2"), Some((RouteReason::FailedOver, false)));
}

fn fleets() -> impl Strategy<Value = Fleet> {
    let worker = (0..3usize, 1..4u32, prop::option::of(0..4u32), 0..4usize, 0..5usize);
    prop::collection::btree_map("w[0-9]{1,2}", worker, 0..40).prop_map(|workers| {
        let offers = vec![
            (set(&["q"]), set(&["a"]), set(&[])),
            (set(&["q", "r"]), set(&["a", "b"]), set(&["near"])),
            (set(&["r"]), set(&["a"]), set(&["near", "gpu"])),
        ];
        let worker = |(name, (offer, capacity, load, health, liveness)): (String, (_, _, _, usize, usize))| {
            // Most are well and there, so that there is something to choose.
            let health = *[Health::Healthy, Health::Healthy, Health::Degraded, Health::Down].get(health).unwrap();
            let liveness = if liveness == 0 { Liveness::Draining } else { Liveness::Live };
            (name.into(), (offer, capacity, load, health, liveness))
        };
        Fleet { offers, workers: workers.into_iter().map(worker).collect() }
    })
}

fn requests() -> impl Strategy<Value = RouteRequest> {
    let list = || prop::collection::vec("w[0-9]{1,2}", 0..6);
    let policy = prop::sample::select(vec![
        RoutePolicy::Explicit,
        RoutePolicy::Sticky,
        RoutePolicy::RoundRobin,
        RoutePolicy::Failover,
        RoutePolicy::CapabilityFirst,
        RoutePolicy::PreferredThenFallback,
        RoutePolicy::LeastLoaded,
        RoutePolicy::Custom,
    ]);
    (policy, list(), list(), list(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(policy, preferred, fallback, excluded, strict, by_load, near)| RouteRequest {
            policy: Some(policy),
            custom: (policy == RoutePolicy::Custom).then(|| "middle".into()),
            affinity: (policy == RoutePolicy::Sticky).then(|| "k".into()),
            preferred: preferred.into_iter().map(Name::from).collect(),
            fallback: fallback.into_iter().map(Name::from).collect(),
            excluded: excluded.into_iter().map(Name::from).collect(),
            fallback_policy: strict.then_some(FallbackPolicy::None),
            by_load: Some(by_load),
            prefer: if near { vec!["near".to_owned()] } else { Vec::new() },
            ..RouteRequest::default()
        },
    )
}

proptest! {
    /// Whatever the policy: the choice and its chain are candidates, each once, none lost, and the same again.
    #[test]
    fn the_choice_and_the_chain_are_a_permutation_of_those_who_may_have_the_call(
        fleet in fleets(),
        request in requests(),
        lost in prop::collection::vec("w[0-9]{1,2}", 0..3),
        marked in "w[0-9]{1,2}",
    ) {
        let mut routes = Routes::default();
        let middle = |ask: &CustomAsk<'_>| Some(ask.candidates[ask.candidates.len() / 2].worker.clone());
        routes.add_custom("middle", Arc::new(middle));
        let lost: Vec<Name> = lost.into_iter().map(Name::from).collect();
        let marked = Name::from(marked);
        let asked = Ask { lost: &lost, last: Some(&marked), cursor: Some(&marked), bound: Some(&marked), ..ask(&request) };
        let snapshot = fleet.snapshot();
        let routed = route(&asked, &snapshot, &routes);
        prop_assert_eq!(&routed, &route(&asked, &snapshot, &routes), "stable");
        let order = order(&asked, &snapshot);
        let Ok(routed) = routed else {
            let waits_for_bound = request.policy() == RoutePolicy::Sticky && routed.is_err_and(|error| error.is_full());
            prop_assert!(order.is_err() || waits_for_bound);
            return Ok(());
        };
        let order = order.unwrap();
        let decision = routed.why.route.unwrap();
        let mut all = decision.chain.clone();
        all.push(routed.worker.clone());
        let unique: BTreeSet<&Name> = all.iter().collect();
        prop_assert_eq!(unique.len(), all.len(), "nobody twice");
        prop_assert!(unique.iter().all(|name| order.contains(*name)), "nobody who may not");
        prop_assert_eq!(decision.eligible as usize, order.len());
        prop_assert_eq!(all.len(), order.len().min(17), "nobody lost, up to the bound");
        if matches!(request.policy(), RoutePolicy::PreferredThenFallback | RoutePolicy::Explicit) {
            all.rotate_right(1);
            prop_assert_eq!(&all[..], &order[..all.len()], "the shown part is the head of the whole order");
        }
        prop_assert!(!request.excluded.contains(&routed.worker));
        let seen = &snapshot.workers[snapshot.find(&routed.worker).unwrap()];
        prop_assert!(seen.health.takes_calls() && seen.liveness.takes_calls() && seen.free() > 0);
        if lost.contains(&routed.worker) {
            prop_assert!(order.iter().all(|name| lost.contains(name)), "the lost ones only if alone");
        }
    }

    /// A full round gives every worker of the group exactly one turn, wherever the cursor stood.
    #[test]
    fn a_round_gives_everybody_one_turn(fleet in fleets(), start in "w[0-9]{1,2}") {
        let request = RouteRequest { policy: Some(RoutePolicy::RoundRobin), ..RouteRequest::default() };
        let mut cursor = Name::from(start);
        let turn = |cursor: &mut Name| {
            let routed = choose(&fleet, &Ask { cursor: Some(cursor), ..ask(&request) })?;
            *cursor = routed.worker.clone();
            Ok::<_, RouteError>(routed.worker)
        };
        let Ok(first) = turn(&mut cursor) else { return Ok(()) };
        let mut round = vec![first.clone()];
        loop {
            let next = turn(&mut cursor).unwrap();
            if next == first {
                break;
            }
            prop_assert!(!round.contains(&next), "{} has two turns in {:?}", next, round);
            round.push(next);
        }
        let degraded = |name: &Name| fleet.workers[name].3 == Health::Degraded;
        let eligible = order(&ask(&request), &fleet.snapshot()).unwrap();
        let group = eligible.iter().filter(|name| degraded(name) == degraded(&first)).count();
        prop_assert_eq!(round.len(), group);
    }
}

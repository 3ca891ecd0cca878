//! The choice of a worker among a thousand, by a route request.

use antiphon_engine::router::{Ask, Offer, Routes, Seen, Snapshot, digest, route};
use antiphon_history::{Health, Liveness, Name, RoutePolicy, RouteRequest};
use divan::{Bencher, black_box};
use std::collections::BTreeSet;

const WORKERS: usize = 1_000;

/// What eight kinds of workers offer, and their names.
struct Fleet {
    queues: BTreeSet<String>,
    activities: BTreeSet<String>,
    labels: Vec<BTreeSet<String>>,
    names: Vec<Name>,
}

impl Fleet {
    fn new() -> Fleet {
        let labels =
            |kind: usize| ["gpu", "near", "ssd"].iter().enumerate().filter(move |(bit, _)| kind >> bit & 1 == 1);
        Fleet {
            queues: BTreeSet::from(["default".to_owned()]),
            activities: (0..20).map(|n| format!("activity.{n}")).collect(),
            labels: (0..8).map(|kind| labels(kind).map(|(_, label)| (*label).to_owned()).collect()).collect(),
            names: (0..WORKERS).map(|n| Name::from(format!("worker-{n:04}"))).collect(),
        }
    }

    fn snapshot(&self) -> Snapshot<'_> {
        let (queues, activities) = (&self.queues, &self.activities);
        let offers: Vec<Offer<'_>> = self.labels.iter().map(|labels| Offer { queues, activities, labels }).collect();
        let workers = self.names.iter().enumerate().map(|(at, name)| {
            let (offer, capacity) = (at % offers.len(), 8);
            let health = if at % 10 == 0 { Health::Degraded } else { Health::Healthy };
            let liveness = if at % 50 == 0 { Liveness::Draining } else { Liveness::Live };
            let digest = digest(name, offers[offer], capacity);
            Seen { name, offer, capacity, in_flight: Some((at * 7 % 9) as u32), health, liveness, digest }
        });
        Snapshot { workers: workers.collect(), offers }
    }
}

#[divan::bench(args = ["least_loaded", "round_robin", "sticky", "failover", "preferred_then_fallback"])]
fn among_a_thousand(bencher: Bencher, policy: &str) {
    let fleet = Fleet::new();
    let snapshot = fleet.snapshot();
    let names = |from: usize| fleet.names[from..from + 8].to_vec();
    let policy: RoutePolicy = policy.parse().expect("a policy");
    let request = RouteRequest {
        policy: Some(policy),
        affinity: Some("customer-7".into()),
        preferred: if policy == RoutePolicy::PreferredThenFallback { names(500) } else { Vec::new() },
        excluded: names(600),
        require: vec!["near".to_owned()],
        ..RouteRequest::default()
    };
    let ask = Ask {
        queue: "default",
        activity_type: "activity.7",
        needs: &[],
        request: &request,
        lost: &[],
        last: Some(&fleet.names[2]),
        cursor: Some(&fleet.names[700]),
        bound: Some(&fleet.names[702]),
        even_if_full: false,
    };
    let routes = Routes::default();
    bencher.bench_local(|| route(black_box(&ask), black_box(&snapshot), &routes).expect("somebody may have it"));
}

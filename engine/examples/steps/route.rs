//! The choice of a worker among a thousand, by a route request.

use crate::driven::{Driven, offer};
use antiphon_engine::router::{RoutingReply, RoutingRequest};
use antiphon_engine::{Input, Reply, WorkerSpec};
use antiphon_history::{RoutePolicy, RouteRequest};

const WORKERS: usize = 1_000;
const PER_ROUND: u64 = 100;

/// A request with lists and labels, as one that wants something has them.
fn request(policy: RoutePolicy) -> RouteRequest {
    let names = |from: usize| (from..from + 8).map(|at| name(at).into()).collect();
    RouteRequest {
        policy: Some(policy),
        worker: (policy == RoutePolicy::Explicit).then(|| name(7).into()),
        affinity: (policy == RoutePolicy::Sticky).then(|| "customer-7".into()),
        preferred: if policy == RoutePolicy::PreferredThenFallback { names(500) } else { Vec::new() },
        excluded: names(600),
        require: vec!["near".to_owned()],
        prefer: vec!["ssd".to_owned()],
        last: (policy == RoutePolicy::Failover).then(|| name(6).into()),
        ..RouteRequest::default()
    }
}

fn name(at: usize) -> String {
    format!("worker-{at:04}")
}

/// Eight kinds of workers; one in three has nothing to do, the others more or less.
pub(crate) fn choose(policy: &str, rounds: u64) {
    let policy: RoutePolicy = policy.parse().expect("a policy");
    let mut driven = Driven::new();
    for at in 0..WORKERS {
        let labels = ["near", "gpu", "ssd"].into_iter().enumerate().filter(|(bit, _)| at >> bit & 1 == 0);
        let labels = labels.map(|(_, label)| label.to_owned()).collect();
        driven.step(Input::WorkerJoined(WorkerSpec { labels, ..offer(&name(at), 8) }));
    }
    (0..3_000).for_each(|_| driven.start(1, ""));
    driven.take();
    for _ in 0..rounds * PER_ROUND {
        let request = RoutingRequest::Would {
            queue: "default".into(),
            activity_type: "echo".into(),
            needs: Vec::new(),
            route: request(policy),
        };
        driven.ask(|to| Input::Routing(Box::new(request), to));
        driven.take();
        let Some(Reply::Routing(reply)) = driven.replies.pop() else { return };
        assert!(matches!(&*reply, RoutingReply::Would(Ok(_))), "{reply:?}");
    }
}

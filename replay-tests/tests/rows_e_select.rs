//! Who gets a call, by load, by labels and by how the workers are; and what operators do about it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use antiphon::{
    ActivityContext, Antiphon, CallError, Name, Never, Pool, Route, RouteError, RoutingReset, WorkflowContext,
    activity, workflow,
};
use antiphon_engine::router::{Ask, Offer, Routes, RoutingReply, RoutingRequest, Seen, Snapshot, route};
use antiphon_engine::{By, Context, Input, Reply, RunFuture, WorkerSpec, WorkersRequest};
use antiphon_history::{EntityName, Health, LeftOutReason, Liveness, NoneAvailable, Payload, RouteReason};
use antiphon_replay_tests::world::*;
use std::sync::Arc;

fn three() -> Vec<WorkerSpec> {
    ["w1", "w2", "w3"].map(|name| worker(name, &["echo"], 4)).to_vec()
}

fn world(workers: Vec<WorkerSpec>) -> World {
    World::new(&[("routed", routed)], workers)
}

fn operate(world: &mut World, request: RoutingRequest) -> Result<RoutingReply, String> {
    match world.ask(|to| Input::Routing(Box::new(request), to)) {
        Reply::Routing(reply) => Ok(*reply),
        Reply::Refused(error) => Err(error.to_string()),
        other => panic!("{other:?}"),
    }
}

fn ada(why: &str) -> By {
    By { who: "ada".to_owned(), why: why.to_owned() }
}

#[test]
fn e_t1_the_least_loaded_with_the_lower_name_each_time_and_the_list_where_load_does_not_count() {
    let mut world = world(three());
    for (at, to) in ["w1", "w1", "w1", "w2", "w3"].into_iter().enumerate() {
        world.start(&format!("busy-{at}"), "routed", &format!(r#"{{"worker": "{to}"}}"#));
    }
    let least = r#"{"policy": "least_loaded", "preferred": ["w1", "w3", "w2"]}"#;
    for round in 0..3 {
        world.start(&format!("least-{round}"), "routed", least);
        let (to, request) = world.sent.pop().unwrap();
        assert_eq!(to, "w2", "loads are 3, 1, 1");
        world.answer_to(&request, antiphon_conversation::Answer::Completed { result: vec![json("1")] });
    }
    assert!(world.text(6).contains("worker=w2 policy=least_loaded"), "{}", world.text(6));
    assert!(world.text(6).contains("reason=\"least loaded\" eligible=3 chain=w3+w1"), "{}", world.text(6));
    let listed = r#"{"policy": "least_loaded", "preferred": ["w1", "w3", "w2"], "by_load": false}"#;
    world.start("listed", "routed", listed);
    assert_eq!(world.sent.last().unwrap().0, "w1", "its order, not its load");
}

#[test]
fn e_t2_no_worker_says_how_many_were_there_and_how_many_matched() {
    let mut near = worker("w4", &["echo"], 1);
    near.labels = ["near".to_owned()].into();
    let mut world = world([three(), vec![near]].concat());
    world.start("a", "routed", r#"{"require": ["near"], "excluded": ["w4"]}"#);
    let text = world.text(1);
    assert!(text.contains("NoWorker no worker is left for this call: 4 online, 1 matching, 1 excluded"), "{text}");
    let would = RoutingRequest::Would {
        queue: "default".into(),
        activity_type: "echo".into(),
        needs: vec!["near".to_owned()],
        route: Route::preferred::<String>([]).excluding(["w4"]).into_request().unwrap(),
    };
    let counts = NoneAvailable { online: 4, matching: 1, excluded: 1, ..NoneAvailable::default() };
    assert_eq!(operate(&mut world, would), Ok(RoutingReply::Would(Err(RouteError::NoneAvailable(counts)))));
}

#[test]
fn an_operator_resets_what_was_remembered_and_the_audit_says_who_and_why() {
    let mut world = world(three());
    let sticky = r#"{"policy": "sticky", "affinity_key": "c7", "preferred": ["w3"]}"#;
    world.start("a", "routed", sticky);
    let reset = |what, why: &str| RoutingRequest::Reset { queue: "default".into(), what, by: ada(why) };
    let unknown = operate(&mut world, reset(RoutingReset::Key("c8".into()), "")).unwrap_err();
    assert!(unknown.contains("nobody has the key \"c8\"") && unknown.ends_with("[A0035]"), "{unknown}");
    let before = world.segments;
    let describe = RoutingRequest::Describe { queue: "default".into() };
    let Ok(RoutingReply::State(state)) = operate(&mut world, describe) else { panic!("it is described") };
    assert_eq!((state.affinities["c7"].worker.as_str(), world.segments), ("w3", before), "looking writes nothing");
    assert_eq!(operate(&mut world, reset(RoutingReset::All, "w3 is retired")), Ok(RoutingReply::Done));
    world.start("b", "routed", &sticky.replace("w3", "w2"));
    assert_eq!(world.sent.last().unwrap().0, "w2", "the key was forgotten");
    let told = world.entity_text(&EntityName::Routing(Name::from("default")));
    assert!(told.contains("RoutingReset all by ada: w3 is retired"), "{told}");
    let audit = world.entity_text(&EntityName::Audit);
    assert!(audit.contains("Done routing.reset queue default by ada: w3 is retired"), "{audit}");
    assert_eq!(audit.matches("Done").count(), 1, "a refused request is no deed: {audit}");
}

#[test]
fn keys_are_forgotten_at_their_age_and_a_use_keeps_them() {
    let mut world = world(three());
    let ttl =
        RoutingRequest::Set { queue: "default".into(), affinities_max: 10, affinity_ttl_ms: Some(1_000), by: ada("") };
    assert_eq!(operate(&mut world, ttl.clone()), Ok(RoutingReply::Done));
    let go = |world: &mut World, id: &str, first: &str| {
        let sticky = format!(r#"{{"policy": "sticky", "affinity_key": "c7", "preferred": ["{first}"]}}"#);
        world.start(id, "routed", &sticky);
        world.sent.last().unwrap().0.clone()
    };
    assert_eq!(go(&mut world, "a", "w1"), "w1");
    world.pass(900);
    assert_eq!(go(&mut world, "b", "w2"), "w1", "and this use is written down");
    world.pass(900);
    assert_eq!(go(&mut world, "c", "w2"), "w1");
    world.pass(1_000);
    assert_eq!(go(&mut world, "d", "w2"), "w2", "at its age it is anybody's");
    let zero = RoutingRequest::Set { queue: "default".into(), affinities_max: 0, affinity_ttl_ms: None, by: ada("") };
    assert!(operate(&mut world, zero).unwrap_err().contains("affinities_max"));
}

#[test]
fn a_queue_has_a_default_route_which_calls_lie_over_and_whose_guard_stays() {
    let mut programs = programs(&[("routed", routed), ("plain", plain)]);
    programs.routes.add_guard("day", Arc::new(|ask| if ask.worker == "w3" { Err("w3 sleeps".into()) } else { Ok(()) }));
    programs.routes.add_guard("mine", Arc::new(|_| Ok(())));
    let mut world = World::with_programs(programs, three());
    let default = |json: Option<&str>| {
        let route = json.map(|json| Route::from_json(json).unwrap().into_request().unwrap());
        RoutingRequest::Default { queue: "default".into(), route, by: ada("by day") }
    };
    let day = r#"{"policy": "sticky", "affinity_key": "all", "preferred": ["w2"], "excluded": ["w1"], "guard": "day"}"#;
    assert_eq!(operate(&mut world, default(Some(day))), Ok(RoutingReply::Done));
    world.restart(None);
    world.start("a", "plain", "0");
    assert_eq!(world.sent.last().unwrap().0, "w2");
    assert!(
        world.text(1).contains("policy=sticky") && world.text(1).contains("key=all guard=day"),
        "{}",
        world.text(1)
    );
    // Its own way to pick, and its own guard; the guard of the queue is asked all the same.
    world.start("b", "routed", r#"{"worker": "w1"}"#);
    assert!(world.text(2).contains("NoWorker the field excluded of a route request contradicts"), "{}", world.text(2));
    world.start("c", "routed", r#"{"policy": "round_robin", "preferred": ["w3"], "guard": "mine"}"#);
    assert!(world.text(3).contains("guard \"day\" refused worker \"w3\": w3 sleeps"), "{}", world.text(3));
    assert_eq!(operate(&mut world, default(None)), Ok(RoutingReply::Done));
    world.step(Input::Tick);
    assert_eq!(world.sent.last().unwrap().0, "w1", "b goes on by its own word");
    world.start("d", "plain", "0");
    assert!(world.text(4).contains("policy=least_loaded candidates=3 free=4"), "{}", world.text(4));
    let audit = world.entity_text(&EntityName::Audit);
    assert_eq!(audit.matches("Done routing.default queue default by ada: by day").count(), 2, "{audit}");
}

fn plain(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move { done(&format!("\"{}\"", context.activity(call("echo", "1")).await)) })
}

#[activity]
async fn whoami(act: ActivityContext) -> Result<u32, Never> {
    Ok(act.attempt())
}

#[workflow]
async fn round(ctx: WorkflowContext<'_>) -> antiphon::Result<u32, CallError<Never>> {
    let mut sum = 0;
    for _ in 0..4 {
        sum += ctx.call(whoami()).route(Route::round_robin()).await?;
    }
    Ok(sum + ctx.call(whoami()).route(Route::custom("last")).await?)
}

#[tokio::test]
async fn several_pools_of_one_program_take_turns_and_operators_see_who_would_be_next() {
    let last = |ask: &antiphon::CustomAsk<'_>| ask.candidates.last().map(|last| last.worker.clone());
    let app = Antiphon::test()
        .workflow(round)
        .activity(whoami)
        .worker_name("w1")
        .pool(Pool::named("w2").label("gpu").capacity(2))
        .pool(Pool::named("w3"))
        .custom_route("last", last)
        .start()
        .unwrap();
    assert_eq!(app.run("a", round()).await.unwrap(), 5);
    let text = text(&app.history("a").unwrap().unwrap());
    let went: Vec<&str> =
        text.lines().filter_map(|line| line.split(" worker=").nth(1)).map(|rest| &rest[..2]).collect();
    assert_eq!(went, ["w1", "w2", "w3", "w1", "w3"], "{text}");
    let next = app.routing("default").would_choose("whoami", Route::round_robin()).await.unwrap().unwrap();
    assert_eq!((&*next.worker, next.why.route.unwrap().reason), ("w2", RouteReason::NextInTurn));
    app.routing("default").reset(RoutingReset::Cursors, "ada", "").await.unwrap();
    let next = app.routing("default").would_choose("whoami", Route::round_robin()).await.unwrap().unwrap();
    assert_eq!(&*next.worker, "w1");
    let gpu = app.routing("default").would_choose("whoami", Route::round_robin().requires("gpu")).await.unwrap();
    assert_eq!(&*gpu.unwrap().worker, "w2");
    let twice = Antiphon::test().worker_name("w1").pool(Pool::named("w1")).start().unwrap_err().to_string();
    assert!(twice.contains("another pool of this process has this name"), "{twice}");
}

#[test]
fn e_t3_a_draining_worker_gets_no_new_dispatch_and_finishes_what_it_has() {
    let mut world = world(three());
    let to_w2 = r#"{"worker": "w2"}"#;
    world.start("a", "routed", to_w2);
    let drain = WorkersRequest::Drain { worker: "w2".into(), who: "ada".into(), why: "new version".into() };
    world.ask_workers(drain).unwrap();
    world.start("b", "routed", to_w2);
    assert_eq!(world.sent.len(), 1, "not even if it is named");
    assert!(world.text(2).contains("NoWorker worker \"w2\" may not have this call: draining"), "{}", world.text(2));
    world.start("c", "routed", r#"{"preferred": ["w2", "w3"]}"#);
    assert_eq!(world.sent.last().unwrap().0, "w3");
    assert!(world.text(3).contains("left_out=w2:draining"), "{}", world.text(3));
    world.complete("1");
    assert!(world.ended("a").is_some(), "what it had it finishes");
}

#[test]
fn e_t4_a_silent_worker_is_not_picked_and_one_of_unknown_load_is_picked_last() {
    let mut world = world(vec![]);
    for name in ["p1", "p2"] {
        world.puller(name, &["echo"], 2);
    }
    world.start("a", "routed", r#"{"worker": "p1"}"#);
    world.pass(30_000);
    world.ask_workers(WorkersRequest::Alive { worker: "p2".into(), instance: None }).unwrap();
    let would = |world: &mut World| {
        let route = Route::to("p1").into_request().unwrap();
        let asked =
            RoutingRequest::Would { queue: "default".into(), activity_type: "echo".into(), needs: vec![], route };
        operate(world, asked).unwrap()
    };
    // Whoever asks for its work is asked for nothing: what would be chosen among those to whom calls are sent is nobody.
    assert!(matches!(would(&mut world), RoutingReply::Would(Err(RouteError::UnknownWorker { .. }))));
    world.start("b", "routed", r#"{"worker": "p1"}"#);
    assert!(world.text(2).contains("NoWorker worker \"p1\" may not have this call: away"), "{}", world.text(2));
    assert_eq!(world.claim_as("p2", 4, 1_000).unwrap().len(), 0, "neither is p2's");
    assert_eq!(world.claim_as("p1", 4, 1_000).unwrap().len(), 2, "its asking is a sign of life");

    // Loads that nobody knows are the router's own matter: the engine knows those of its workers.
    let offers = worker("w", &["echo"], 1);
    let offer = Offer { queues: &offers.queues, activities: &offers.activities, labels: &offers.labels };
    let names = ["w1", "w2", "w3"].map(Name::from);
    let seen = |at: usize, in_flight| Seen {
        name: &names[at],
        offer: 0,
        capacity: 10,
        in_flight,
        health: Health::Healthy,
        liveness: if at == 1 { Liveness::Suspect } else { Liveness::Live },
        digest: 0,
    };
    let workers = vec![seen(0, None), seen(1, Some(0)), seen(2, Some(9))];
    let request = Route::least_loaded().into_request().unwrap();
    let ask = Ask {
        queue: "default",
        activity_type: "echo",
        needs: &[],
        request: &request,
        lost: &[],
        last: None,
        cursor: None,
        bound: None,
        even_if_full: false,
    };
    let routed = route(&ask, &Snapshot { offers: vec![offer], workers }, &Routes::default()).unwrap();
    assert_eq!((&*routed.worker, routed.why.route.unwrap().chain), ("w3", vec![Name::from("w1")]));
    assert_eq!(routed.why.left_out[0].reason, LeftOutReason::Away);
}

#[test]
fn whoever_asks_for_its_work_is_given_what_its_route_allows() {
    let mut programs = programs(&[("routed", routed)]);
    programs.routes.add_guard("not-p2", Arc::new(|ask| if ask.worker == "p2" { Err("no".into()) } else { Ok(()) }));
    let mut world = World::with_programs(programs, vec![]);
    for name in ["p1", "p2"] {
        world.puller(name, &["echo"], 8);
    }
    let claim = |world: &mut World, worker: &str| world.claim_as(worker, 8, 1_000).unwrap().len();
    // Its first asking makes it live.
    assert_eq!((claim(&mut world, "p1"), claim(&mut world, "p2")), (0, 0));
    world.start("named", "routed", r#"{"worker": "p2"}"#);
    assert_eq!((claim(&mut world, "p1"), claim(&mut world, "p2")), (0, 1));
    assert!(world.text(1).contains("worker=p2 lease_ms=1000 policy=explicit"), "{}", world.text(1));
    assert!(!world.text(1).contains("NoWorker"), "that nobody is sent to is no reason: {}", world.text(1));
    let sticky = r#"{"policy": "sticky", "affinity_key": "c7"}"#;
    world.start("first", "routed", sticky);
    assert_eq!(claim(&mut world, "p2"), 1);
    world.start("second", "routed", sticky);
    assert_eq!((claim(&mut world, "p1"), claim(&mut world, "p2")), (0, 1), "the key is p2's");
    assert!(world.text(3).contains("had the key before"), "{}", world.text(3));
    world.start("guarded", "routed", r#"{"guard": "not-p2"}"#);
    assert_eq!(claim(&mut world, "p2"), 0);
    assert!(world.text(4).contains("guard \"not-p2\" refused worker \"p2\": no [A0037]"), "{}", world.text(4));
    assert!(world.ended("guarded").is_some());
    assert!(world.entity_text(&EntityName::Audit).contains("Refused route echo of guarded"));
}

//! How a worker is chosen by a route request: what leaves, and what is on record of it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use antiphon_conversation::Answer;
use antiphon_engine::router::{CustomAsk, Routes};
use antiphon_engine::{Context, Input, Programs, Reply, RunFuture, RunOutcome, WorkerSpec};
use antiphon_history::{Health, Name, Payload, PayloadData, RetryPolicy, RouteError, RouteForm, RouteRequest};
use antiphon_replay_tests::world::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn routes(input: &[Payload]) -> Vec<RouteRequest> {
    let PayloadData::Inline(bytes) = &input[0].data else { panic!("routes are short") };
    let forms: Vec<RouteForm> = serde_json::from_slice(bytes).unwrap();
    forms.into_iter().map(|form| form.request().unwrap()).collect()
}

/// Calls `echo` once by each route of its input, one after the other; its result is the last outcome.
fn each(context: Context, input: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let mut last = String::new();
        for route in routes(&input) {
            let call = with("echo", "1", |options| options.route = Some(Box::new(route)));
            last = context.activity(call).await.to_string();
        }
        done(&format!("{last:?}"))
    })
}

/// The same, but ends at once where nobody could take the call, and tries a failed one again.
fn impatient(context: Context, input: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let route = routes(&input).remove(0);
        let call = with("echo", "1", |options| {
            options.route = Some(Box::new(route));
            options.fail_fast = true;
            options.retry = RetryPolicy { max_attempts: 3, initial_ms: 100, ..RetryPolicy::default() };
        });
        done(&format!("{:?}", context.activity(call).await.to_string()))
    })
}

fn three() -> Vec<WorkerSpec> {
    ["w1", "w2", "w3"].map(|name| worker(name, &["echo"], 4)).to_vec()
}

fn world(workers: Vec<WorkerSpec>) -> World {
    World::new(&[("each", each), ("impatient", impatient)], workers)
}

/// Where the newest request went; the activity completes.
fn goes_to(world: &mut World) -> String {
    let worker = world.sent.last().expect("a request left").0.clone();
    world.complete("1");
    worker
}

/// How the run ended, in words.
fn outcome(world: &mut World, id: &str) -> String {
    match world.ended(id) {
        Some(Reply::Ended { outcome: RunOutcome::Completed { result }, .. }) => match &result[0].data {
            PayloadData::Inline(bytes) => serde_json::from_slice(bytes).unwrap(),
            PayloadData::Stored(_) => panic!("an outcome is short"),
        },
        other => panic!("{other:?}"),
    }
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

#[test]
fn a_t1_the_pick_the_chain_and_the_excluded_stand_in_one_decision() {
    let mut world = world(three());
    world.start("a", "each", r#"[{"preferred": ["w2", "w3"], "fallback": "w1", "excluded": ["w2"]}]"#);
    assert_eq!(goes_to(&mut world), "w3");
    let text = world.text(1);
    assert_eq!(text.matches("WorkerSelected").count(), 1);
    let told = line(&text, "WorkerSelected");
    assert!(told.contains("worker=w3 policy=preferred_then_fallback candidates=3"), "{told}");
    assert!(told.contains("left_out=w2:excluded by the request"), "{told}");
    assert!(told.contains("reason=\"first of the preferred\" eligible=2 chain=w1 snapshot="), "{told}");
}

#[test]
fn a_t2_turns_go_on_after_a_restart_where_they_were() {
    let mut world = world(three());
    let turn = r#"[{"policy": "round_robin"}]"#;
    let mut went = Vec::new();
    for id in ["a", "b"] {
        world.start(id, "each", turn);
        went.push(goes_to(&mut world));
    }
    world.restart(None);
    for id in ["c", "d"] {
        world.start(id, "each", turn);
        went.push(goes_to(&mut world));
    }
    assert_eq!(went, ["w1", "w2", "w3", "w1"]);
    let text = world.entity_text(&routing());
    assert_eq!(text.matches("CursorMoved class=round_robin").count(), 4, "{text}");
    assert!(text.ends_with("CursorMoved class=round_robin worker=w1"), "{text}");
}

#[test]
fn a_t3_a_key_keeps_its_worker_until_it_goes_down_and_then_keeps_the_next() {
    let mut world = world(three());
    let sticky = |lists: &str| format!(r#"[{{"policy": "sticky", "affinity_key": "c7", {lists}}}]"#);
    let mut went = Vec::new();
    for (id, lists) in [("a", r#""preferred": ["w2", "w3"]"#), ("b", r#""preferred": ["w3", "w2"]"#)] {
        world.start(id, "each", &sticky(lists));
        went.push(goes_to(&mut world));
    }
    let down = format!(r#""health": {{"{}": "down"}}, "preferred": ["w2", "w3"]"#, went[0]);
    for id in ["c", "d"] {
        world.start(id, "each", &sticky(&down));
        went.push(goes_to(&mut world));
    }
    assert_eq!(went, ["w2", "w2", "w3", "w3"]);
    world.restart(None);
    world.start("e", "each", &sticky(r#""preferred": ["w1"]"#));
    assert_eq!(goes_to(&mut world), "w3", "a binding outlives the process");
    let text = world.entity_text(&routing());
    assert_eq!(text.matches("KeyBound").count(), 2, "{text}");
    assert!(world.text(1).contains("has the key from now on") && world.text(2).contains("had the key before"));
    assert!(world.text(3).contains("takes the key over"), "{}", world.text(3));
}

#[test]
fn a_t4_sticky_without_a_key_is_refused_and_nothing_is_written() {
    use antiphon::{ActivityContext, Antiphon, CallError, Never, Route, WorkflowContext, activity, workflow};
    #[activity]
    async fn echo(_act: ActivityContext) -> Result<u32, Never> {
        Ok(1)
    }
    #[workflow]
    async fn keyless(ctx: WorkflowContext<'_>) -> antiphon::Result<u32, CallError<Never>> {
        // What a JSON form of the same says.
        assert_eq!(Route::from_json(r#"{"policy": "sticky"}"#), Err(RouteError::StickyWithoutKey));
        Ok(ctx.call(echo()).route(Route::sticky("")).await?)
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let app = Antiphon::test().workflow(keyless).activity(echo).start().unwrap();
        let refused = app.run("a", keyless()).await.unwrap_err().to_string();
        assert!(refused.contains("affinity_key") && refused.contains("[A0035]"), "{refused}");
        let history = app.history("a").unwrap().unwrap();
        let text = text(&history);
        assert!(!text.contains("ActivityScheduled") && text.contains("RunFailed"), "{text}");
    });
}

#[test]
fn a_t5_failover_leaves_the_last_worker_unless_it_is_alone() {
    let fail = || Answer::Failed { failure: failure("no"), retryable: true };
    let mut world = world(three()[..2].to_vec());
    world.start("a", "impatient", r#"[{"policy": "failover"}]"#);
    assert_eq!(world.sent[0].0, "w1");
    world.answer(fail());
    world.pass(100);
    assert_eq!(world.sent[0].0, "w2");
    let text = world.text(1);
    let second = text.lines().filter(|line| line.contains("WorkerSelected")).nth(1).unwrap();
    assert!(second.contains("reason=\"not the one that failed last\" eligible=2 chain=w1"), "{second}");
    world.answer(fail());
    world.step(Input::WorkerLeft { name: "w1".into() });
    world.pass(200);
    assert_eq!(world.sent[0].0, "w2");
    assert!(
        world.text(1).contains("reason=\"failed last, but is the only one\" eligible=1 snapshot"),
        "{}",
        world.text(1)
    );
}

#[test]
fn a_t6_a_label_nobody_may_use_and_one_nobody_has_are_told_apart_by_name() {
    let mut elsewhere = worker("w4", &["echo"], 4);
    elsewhere.queues = ["other".to_owned()].into();
    elsewhere.labels = ["gpu".to_owned()].into();
    let mut world = world([three(), vec![elsewhere]].concat());
    world.start("a", "impatient", r#"[{"policy": "capability_first", "require": ["gpu"]}]"#);
    let told = outcome(&mut world, "a");
    assert!(told.contains("no worker that may have this call has all of the labels gpu [A0036]"), "{told}");
    world.start("b", "impatient", r#"[{"require": "gppu"}]"#);
    let told = outcome(&mut world, "b");
    assert!(told.contains(r#"no worker that is there has the label "gppu" [A0036]"#), "{told}");
}

#[test]
fn a_t7_strict_lists_mean_no_worker_although_others_are_well() {
    let mut world = world(three());
    let strict = r#"[{"preferred": ["w2"], "health": {"w2": "down"}, "fallback_policy": "none"}]"#;
    world.start("a", "impatient", strict);
    let told = outcome(&mut world, "a");
    assert!(told.contains("no worker is left for this call: 3 online, 3 matching, 2 excluded, 1 unhealthy"), "{told}");
    world.start("b", "each", strict);
    assert!(world.sent.is_empty(), "without fail_fast it waits");
    assert!(world.text(2).contains("NoWorker no worker is left"), "{}", world.text(2));
}

#[test]
fn a_t8_degraded_only_where_nobody_healthy_is_in_the_tier_and_unhealthy_never() {
    let mut world = world(three());
    let with = |health: &str| format!(r#"[{{"preferred": ["w1", "w2"], "health": {health}}}]"#);
    for (id, health, wanted) in [
        ("a", r#"{"w1": "degraded"}"#, "w2"),
        ("b", r#"{"w1": "degraded", "w2": "unhealthy"}"#, "w1"),
        ("c", r#"{"w1": "down", "w2": "unhealthy"}"#, "w3"),
    ] {
        world.start(id, "each", &with(health));
        assert_eq!(goes_to(&mut world), wanted, "{health}");
    }
    world.start("d", "each", r#"[{"health": {"w1": "down", "w2": "unhealthy", "w3": "down"}}]"#);
    assert!(world.sent.is_empty());
}

#[test]
fn a_t9_a_named_worker_that_may_not_have_the_call_is_no_way_to_another() {
    let named = RouteRequest { worker: Some("w2".into()), excluded: vec!["w2".into()], ..RouteRequest::default() };
    assert!(matches!(named.check(), Err(RouteError::Contradiction { field: "excluded", .. })));
    let mut world = world(three());
    world.start("a", "impatient", r#"[{"worker": "w2", "health": {"w2": "down"}}]"#);
    let told = outcome(&mut world, "a");
    assert!(told.contains(r#"worker "w2" may not have this call: unhealthy [A0036]"#), "{told}");
    world.start("b", "each", r#"[{"worker": "w9"}]"#);
    assert!(world.sent.is_empty() && world.text(2).contains("is not connected"), "{}", world.text(2));
    world.step(Input::WorkerJoined(worker("w9", &["echo"], 1)));
    assert_eq!(goes_to(&mut world), "w9", "it was waited for");
}

fn guarded() -> Programs {
    let mut programs = programs(&[("each", each), ("impatient", impatient)]);
    let night = |ask: &antiphon_engine::router::GuardAsk<'_>| {
        if ask.worker == "w1" { Err("w1 is for the day".to_owned()) } else { Ok(()) }
    };
    assert!(programs.routes.add_guard("night", Arc::new(night)));
    programs
}

#[test]
fn a_t10_a_denied_choice_moves_nothing_binds_nothing_and_is_in_the_audit() {
    let mut world = World::with_programs(guarded(), three());
    world.start("a", "each", r#"[{"policy": "sticky", "affinity_key": "c7", "guard": "night"}]"#);
    let told = outcome(&mut world, "a");
    assert!(told.contains("refused worker") && told.contains("w1 is for the day [A0037]"), "{told}");
    assert!(world.sent.is_empty() && !world.text(1).contains("WorkerSelected"), "{}", world.text(1));
    world.start("b", "each", r#"[{"policy": "round_robin", "guard": "day"}]"#);
    let told = outcome(&mut world, "b");
    assert!(told.contains("there is no guard") && told.contains("[A0037]"), "{told}");
    assert_eq!(world.entity_text(&routing()), "", "no cursor was moved, no key was bound");
    let audit = world.entity_text(&antiphon_history::EntityName::Audit);
    assert_eq!(
        audit.matches("Refused route echo of a by a: guard \"night\" refused worker \"w1\"").count(),
        1,
        "{audit}"
    );
    assert_eq!(audit.matches("Refused").count(), 2, "{audit}");
    // A guard that agrees is on record with the choice.
    world.start("c", "each", r#"[{"preferred": "w2", "guard": "night"}]"#);
    assert_eq!(goes_to(&mut world), "w2");
    assert!(line(&world.text(3), "WorkerSelected").contains("guard=night"));
}

#[test]
fn a_t11_replay_asks_no_router_guard_or_route() {
    static SHUT: AtomicBool = AtomicBool::new(false);
    fn open() {
        assert!(!SHUT.load(Ordering::SeqCst), "replay asked the router");
    }
    let mut programs = programs(&[("each", each)]);
    let first = |ask: &CustomAsk<'_>| {
        open();
        Some(ask.candidates[0].worker.clone())
    };
    programs.routes.add_custom("mine", Arc::new(first));
    programs.routes.add_guard(
        "g",
        Arc::new(|_| {
            open();
            Ok(())
        }),
    );
    let mut world = World::with_programs(programs.clone(), three());
    world.start("a", "each", r#"[{"custom": "mine", "guard": "g"}, {"policy": "round_robin", "guard": "g"}]"#);
    assert_eq!((goes_to(&mut world), goes_to(&mut world)), ("w1".to_owned(), "w1".to_owned()));
    SHUT.store(true, Ordering::SeqCst);
    let history = world.history(1);
    let replayed = antiphon_engine::replay(&programs, &history).unwrap();
    assert!(replayed.stopped.is_none() && replayed.events > 0);
    // The same doors with nobody behind them: what the record says is enough.
    programs.routes = Routes::default();
    assert!(antiphon_engine::replay(&programs, &history).unwrap().stopped.is_none());
    // The doors are really shut: a new choice finds them so, and the call waits with the panic on record.
    world.start("b", "each", r#"[{"custom": "mine"}]"#);
    assert!(world.sent.is_empty() && world.text(2).contains("it panicked: replay asked the router [A0038]"));
}

#[test]
fn a_t12_an_unknown_field_or_health_is_refused_by_its_name() {
    let refusal = |json: &str| serde_json::from_str::<RouteForm>(json).unwrap().request().unwrap_err().to_string();
    assert!(refusal(r#"{"prefered": ["w1"]}"#).contains("\"prefered\""));
    assert!(refusal(r#"{"health": {"w1": "sick"}}"#).contains("\"sick\" is no health"));
    let refused = antiphon::Route::from_json(r#"{"health": {"w1": "sick"}}"#).unwrap_err();
    assert_eq!(refused, RouteError::UnknownHealth { word: "sick".into() });
    assert_eq!("degraded".parse(), Ok(Health::Degraded));
}

#[test]
fn a_route_that_loses_its_worker_takes_another_that_it_may() {
    let mut world = world(three());
    world.start("a", "each", r#"[{"preferred": ["w2", "w3"], "fallback_policy": "none"}]"#);
    assert_eq!(world.sent[0].0, "w2");
    world.step(Input::WorkerLeft { name: "w2".into() });
    assert_eq!(world.sent[1].0, "w3", "at once: another may have it");
    world.step(Input::WorkerLeft { name: "w3".into() });
    assert_eq!(world.sent.len(), 2, "w1 is in no list");
    world.step(Input::WorkerJoined(worker("w2", &["echo"], 1)));
    world.pass(60_000);
    assert_eq!(world.sent[2].0, "w2", "the one that lost it, since nobody else may have it");
}

#[test]
fn a_call_without_a_route_leaves_nothing_but_what_it_always_left() {
    fn plain(context: Context, _: Vec<Payload>) -> RunFuture {
        Box::pin(async move { done(&format!("\"{}\"", context.activity(call("echo", "1")).await)) })
    }
    let mut world = World::new(&[("plain", plain)], three());
    world.start("a", "plain", "0");
    world.complete("1");
    let text = world.text(1);
    assert!(line(&text, "WorkerSelected").ends_with("policy=least_loaded candidates=3 free=4"), "{text}");
    assert!(world.entities().is_empty());
}

fn routing() -> antiphon_history::EntityName {
    antiphon_history::EntityName::Routing(Name::from("default"))
}

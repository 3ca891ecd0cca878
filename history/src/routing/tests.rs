use super::*;
use crate::codec;

fn names(names: &[&str]) -> Vec<Name> {
    names.iter().map(|name| Name::from(*name)).collect()
}

fn form(json: &str) -> Result<RouteRequest, RouteError> {
    serde_json::from_str::<RouteForm>(json).expect("a JSON object").request()
}

fn refusal(json: &str) -> String {
    form(json).expect_err(json).to_string()
}

fn full() -> RouteRequest {
    RouteRequest {
        policy: Some(RoutePolicy::Sticky),
        preferred: names(&["w2", "w3"]),
        fallback: names(&["w1"]),
        excluded: names(&["w4"]),
        fallback_policy: Some(FallbackPolicy::None),
        require: vec!["gpu".to_owned()],
        prefer: vec!["near".to_owned()],
        affinity: Some("customer-7".into()),
        health: BTreeMap::from([("w2".into(), Health::Degraded)]),
        by_load: Some(false),
        guard: Some("night".into()),
        ..RouteRequest::default()
    }
}

#[test]
fn a_request_is_written_and_read_in_both_of_its_forms() {
    let mut bytes = Vec::new();
    codec::write_event(&mut bytes, &full());
    let mut rest = &bytes[..];
    assert_eq!(codec::read_event::<RouteRequest>(&mut rest).unwrap(), full());
    assert!(rest.is_empty());
    let json = serde_json::to_string(&RouteForm::from(full())).unwrap();
    assert_eq!(form(&json).unwrap(), full(), "{json}");
    let mut empty = Vec::new();
    codec::write_event(&mut empty, &RouteRequest::default());
    assert_eq!(empty, [1, 0x80], "what is not set takes no bytes");
}

#[test]
fn lists_take_one_or_many_and_keep_each_name_once_in_order() {
    let request = form(r#"{"preferred": ["w2", "w3", "w2"], "excluded": "w1", "worker": " AUTO ", "guard": null}"#);
    let wanted = RouteRequest { preferred: names(&["w2", "w3"]), excluded: names(&["w1"]), ..RouteRequest::default() };
    assert_eq!(request.unwrap(), wanted);
}

#[test]
fn a_wrong_word_is_refused_by_its_name_with_those_that_there_are() {
    for (json, found, listed) in [
        (r#"{"polcy": "sticky"}"#, "\"polcy\"", "policy, worker, custom"),
        (r#"{"policy": "stiky"}"#, "\"stiky\"", "explicit, sticky, round_robin"),
        (r#"{"fallback_policy": "some"}"#, "\"some\"", "none, available"),
        (r#"{"health": {"w1": "poorly"}}"#, "\"poorly\"", "healthy, degraded, unhealthy, down"),
        (r#"{"preferred": [1]}"#, "preferred", "a text or a list of texts"),
        (r#"{"preferred": {"w1": "w2"}}"#, "preferred", "a text or a list of texts"),
        (r#"{"health": "down"}"#, "health", "an object from worker to health"),
        (r#"{"by_load": "yes"}"#, "by_load", "true or false"),
        (r#"{"affinity_key": 7}"#, "affinity_key", "a text"),
        (r#"{"policy": "sticky", "affinity_key": ""}"#, "affinity_key", "it is empty"),
        (r#"{"worker": "a\nb"}"#, "worker", "control character"),
    ] {
        let text = refusal(json);
        assert!(text.contains(found) && text.contains(listed) && text.ends_with("[A0035]"), "{json}: {text}");
    }
    let many = format!(r#"{{"preferred": {:?}}}"#, (0..65).map(|n| format!("w{n}")).collect::<Vec<_>>());
    assert!(
        refusal(&many).contains("field preferred of a route request cannot be: it has 65 entries"),
        "{}",
        refusal(&many)
    );
}

#[test]
fn what_contradicts_is_refused() {
    for (json, field) in [
        (r#"{"worker": "w1", "policy": "round_robin"}"#, "worker"),
        (r#"{"worker": "w1", "excluded": ["w1"]}"#, "excluded"),
        (r#"{"worker": "w1", "preferred": ["w2"]}"#, "worker"),
        (r#"{"custom": "mine", "policy": "sticky", "affinity_key": "k"}"#, "custom"),
        (r#"{"policy": "custom"}"#, "policy"),
        (r#"{"last_worker": "w1"}"#, "last_worker"),
    ] {
        let found = form(json).expect_err(json);
        assert!(matches!(&found, RouteError::Contradiction { field: named, .. } if *named == field), "{json}: {found}");
    }
    assert_eq!(form(r#"{"policy": "sticky"}"#), Err(RouteError::StickyWithoutKey));
    assert_eq!(form(r#"{"policy": "explicit"}"#).unwrap().policy(), RoutePolicy::Explicit);
    assert_eq!(form(r#"{"worker": "w1"}"#).unwrap().policy(), RoutePolicy::Explicit);
    assert_eq!(form("{}").unwrap().policy(), RoutePolicy::PreferredThenFallback);
    assert_eq!(form(r#"{"custom": "mine"}"#).unwrap().policy(), RoutePolicy::Custom);
}

#[test]
fn the_upper_layer_wins_field_by_field_but_keeps_the_guard_of_the_lower() {
    let lower = RouteRequest { excluded: names(&["w9"]), by_load: None, ..full() };
    let upper = RouteRequest {
        worker: Some("w5".into()),
        by_load: Some(true),
        guard: Some("mine".into()),
        ..RouteRequest::default()
    };
    let over = upper.over(&lower);
    assert_eq!((over.policy(), over.worker.as_deref()), (RoutePolicy::Explicit, Some("w5")));
    assert_eq!((over.by_load, over.guard.as_deref()), (Some(true), Some("night")));
    assert_eq!((&over.excluded, &over.require), (&lower.excluded, &lower.require));
    let key = RouteRequest { affinity: Some("customer-8".into()), ..RouteRequest::default() };
    let over = key.over(&lower);
    assert_eq!((over.policy(), over.affinity.as_deref()), (RoutePolicy::Sticky, Some("customer-8")));
    assert_eq!(RouteRequest::default().over(&full()), full());
    assert_eq!(RouteRequest { worker: Some("w5".into()), ..RouteRequest::default() }.over(&full()).check(), Ok(()));
    let listed = RouteRequest { preferred: names(&["w1"]), ..RouteRequest::default() };
    let over = listed.over(&RouteRequest { worker: Some("w5".into()), ..RouteRequest::default() });
    assert_eq!((over.worker, over.preferred), (None, names(&["w1"])));
}

#[test]
fn requests_of_one_class_share_a_cursor_and_keys_and_guards_make_no_class() {
    let plain = RouteRequest { policy: Some(RoutePolicy::RoundRobin), ..RouteRequest::default() };
    assert_eq!(&*plain.class(&[]), "round_robin");
    let narrowed = plain.class(&["gpu".to_owned()]);
    assert!(narrowed.starts_with("round_robin#") && narrowed.len() == 20, "{narrowed}");
    let listed = RouteRequest { preferred: names(&["w1"]), ..plain.clone() };
    assert_ne!(listed.class(&[]), narrowed);
    let other = RouteRequest { affinity: Some("k".into()), guard: Some("g".into()), ..listed.clone() };
    assert_eq!(other.class(&[]), listed.class(&[]));
}

#[test]
fn every_word_reads_back_and_no_two_are_alike() {
    for policy in RoutePolicy::ALL {
        assert_eq!(policy.word().parse(), Ok(*policy));
    }
    for health in Health::ALL {
        assert_eq!(health.word().parse(), Ok(*health));
    }
    for liveness in Liveness::ALL {
        assert_eq!(liveness.word().parse(), Ok(*liveness));
    }
    assert_eq!(FallbackPolicy::ALL.len(), 2);
}

#[test]
fn a_request_shows_its_policy_and_what_is_set() {
    assert_eq!(
        full().to_string(),
        "sticky key=customer-7 guard=night preferred=w2+w3 fallback=w1 excluded=w4 require=gpu prefer=near \
         health.w2=degraded fallback_policy=none by_load=false"
    );
    assert_eq!(RouteRequest::default().to_string(), "preferred_then_fallback");
}

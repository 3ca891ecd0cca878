//! Open attempts one by one, as whoever looks after a queue sees them.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_engine::{AttemptState, Attempts, AttemptsAsk, Context, QueuesReply, QueuesRequest, RunFuture};
use antiphon_history::{Payload, RetryPolicy, Timestamp};
use antiphon_replay_tests::world::{World, done, with};

fn one(context: Context, _: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let retry = RetryPolicy { max_attempts: 3, ..RetryPolicy::default() };
        context.activity(with("work", "7", |options| options.retry = retry)).await;
        done("1")
    })
}

#[test]
fn open_attempts_are_listed_as_they_stand_and_as_they_will() {
    use AttemptState::{BackingOff, InFlight, LeaseEnded, Waiting};
    let mut world = World::new(&[("one", one)], vec![]);
    world.puller("a", &["work"], 10);
    world.puller("b", &["work"], 10);
    world.start("failed", "one", "0");
    let failed = world.claim_one("a", 1_000);
    world.fail_claim(failed.leg(), "not yet", Some(5_000)).unwrap();
    world.start("taken", "one", "0");
    world.claim_one("b", 1_000);
    world.start("waits", "one", "0");
    let list = |world: &mut World, ask: AttemptsAsk| match world.queues(QueuesRequest::Attempts(Box::new(ask))) {
        Ok(QueuesReply::Attempts(found)) => found,
        other => panic!("{other:?} is no list"),
    };
    let all = || AttemptsAsk { limit: 10, ..AttemptsAsk::default() };
    let states = |found: &Attempts| found.attempts.iter().map(|attempt| attempt.state).collect::<Vec<_>>();
    let now = list(&mut world, all());
    assert_eq!((states(&now), now.more), (vec![BackingOff, InFlight, Waiting], false));
    let [failed, taken, waits] = &now.attempts[..] else { panic!("three are open") };
    assert_eq!((&*failed.workflow.id, failed.conversation.attempt, failed.why), ("failed", 2, None));
    assert_eq!((taken.worker.as_deref(), taken.lease_until), (Some("b"), Some(Timestamp(world.now + 1_000))));
    assert_eq!((waits.worker.as_deref(), waits.why), (None, Some("not_asking")));

    let at = |ms: i64, world: &World| AttemptsAsk { at: Some(Timestamp(world.now + ms)), ..all() };
    for (ms, will) in [(999, [BackingOff, InFlight, Waiting]), (1_000, [BackingOff, LeaseEnded, Waiting])] {
        let ask = at(ms, &world);
        assert_eq!(states(&list(&mut world, ask)), will);
    }
    let ask = AttemptsAsk { state: Some(Waiting), ..at(5_000, &world) };
    assert_eq!(list(&mut world, ask).attempts.len(), 2, "the one that failed has waited long enough then");
    let first = list(&mut world, AttemptsAsk { limit: 1, ..all() });
    assert_eq!((first.attempts.len(), first.more), (1, true));
    let rest = list(&mut world, AttemptsAsk { after: Some(first.attempts[0].conversation), ..all() });
    assert_eq!(rest.attempts, now.attempts[1..]);
    let elsewhere = list(&mut world, AttemptsAsk { queue: Some("elsewhere".into()), ..all() });
    assert_eq!(elsewhere, Attempts::default());
    let nameless = AttemptsAsk { queue: Some("".into()), ..all() };
    assert!(world.queues(QueuesRequest::Attempts(Box::new(nameless))).is_err());
}

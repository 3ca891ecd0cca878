//! Waiting for many things at once: nobody is forgotten, and nobody is asked for nothing.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use antiphon::{ActivityContext, Antiphon, CallError, Never, WorkflowContext, activity, hours, secs, workflow};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};

#[activity]
async fn echo(_act: ActivityContext, number: u64) -> Result<u64, Never> {
    Ok(number)
}

static POLLS: AtomicU64 = AtomicU64::new(0);

async fn counted<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|polling| {
        POLLS.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(polling)
    })
    .await
}

#[workflow]
async fn fan(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<u64, CallError<Never>> {
    let mut sum = 0;
    for echoed in ctx.join_all((0..n).map(|number| counted(ctx.call(echo(number))))).await {
        sum += echoed?;
    }
    Ok(sum)
}

type Branch<'a> = Pin<Box<dyn Future<Output = String> + 'a>>;

/// One of everything that can be waited for, in one join.
#[workflow]
async fn mixed(ctx: WorkflowContext<'_>) -> antiphon::Result<Vec<String>, CallError<Never>> {
    let branches: Vec<Branch<'_>> = vec![
        Box::pin(async move { format!("call {}", ctx.call(echo(7)).await.unwrap()) }),
        Box::pin(async move {
            ctx.sleep(hours(1)).await;
            "timer".to_owned()
        }),
        Box::pin(async move { format!("signal {}", ctx.signal::<String>("word").await) }),
        Box::pin(async move { format!("signal {}", ctx.signal::<String>("word").await) }),
        Box::pin(async move { format!("cancel {}", ctx.cancelled().await) }),
        Box::pin(async move {
            // Two joins, one in the other: a waker of a waker.
            let inner = ctx.join_all((0..3).map(|number| ctx.call(echo(number)))).await;
            format!("inner {}", inner.into_iter().map(Result::unwrap).sum::<u64>())
        }),
        Box::pin(async move {
            let mut yielded = false;
            poll_fn(|polling| {
                if std::mem::replace(&mut yielded, true) {
                    return Poll::Ready(());
                }
                polling.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            "yield".to_owned()
        }),
    ];
    Ok(ctx.join_all(branches).await)
}

/// The first branch waits for a word of the second, inside the program.
#[workflow]
async fn passing(ctx: WorkflowContext<'_>) -> antiphon::Result<Vec<String>, CallError<Never>> {
    let word: Rc<Cell<Option<u64>>> = Rc::default();
    let listener: Rc<Cell<Option<Waker>>> = Rc::default();
    let (heard, said) = ((Rc::clone(&word), Rc::clone(&listener)), (word, listener));
    let branches: Vec<Branch<'_>> = vec![
        Box::pin(poll_fn(move |polling| match heard.0.take() {
            Some(word) => Poll::Ready(format!("heard {word}")),
            None => {
                heard.1.set(Some(polling.waker().clone()));
                Poll::Pending
            }
        })),
        Box::pin(async move {
            said.0.set(Some(ctx.call(echo(9)).await.unwrap()));
            said.1.take().unwrap().wake();
            "said".to_owned()
        }),
    ];
    Ok(ctx.join_all(branches).await)
}

/// A window of three calls over many.
#[workflow]
async fn window(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<(u64, u64), CallError<Never>> {
    let mut set = ctx.each_as_done((0..3).map(|number| ctx.call(echo(number))));
    let (mut next, mut sum, mut indices) = (3, 0, 0);
    while let Some((index, result)) = set.next().await {
        assert_eq!(index as u64, result.as_ref().copied().unwrap());
        sum += result?;
        indices += 1;
        if next < n {
            assert_eq!(set.push(ctx.call(echo(next))) as u64, next);
            next += 1;
        }
        assert!(set.len() <= 3);
    }
    Ok((sum, indices))
}

fn app() -> Antiphon {
    Antiphon::test().workflow(fan).workflow(mixed).workflow(passing).workflow(window).activity(echo).start().unwrap()
}

#[tokio::test]
async fn a_joined_call_is_polled_when_it_is_asked_and_when_its_outcome_is_there() {
    let n = 300;
    assert_eq!(app().run("fan", fan(n)).await.unwrap(), n * (n - 1) / 2);
    assert_eq!(POLLS.load(Ordering::Relaxed), 2 * n);
}

#[tokio::test]
async fn calls_timers_signals_cancels_and_other_joins_are_all_heard_inside_a_join() {
    let app = app();
    let run = app.start("mixed", mixed()).await.unwrap();
    for word in ["one", "two"] {
        run.signal("word", &word).await.unwrap();
    }
    run.cancel("enough").await.unwrap();
    app.advance(secs(3_600)).await.unwrap();
    let told = ["call 7", "timer", "signal one", "signal two", "cancel enough", "inner 3", "yield"];
    assert_eq!(run.result().await.unwrap(), told);
}

#[tokio::test]
async fn a_branch_can_wait_for_another_branch() {
    assert_eq!(app().run("passing", passing()).await.unwrap(), ["heard 9", "said"]);
}

#[tokio::test]
async fn a_window_over_many_calls_hands_each_out_once() {
    assert_eq!(app().run("window", window(100)).await.unwrap(), (4_950, 100));
}

#[tokio::test]
async fn what_waits_on_demand_replays_to_the_same_end() {
    let app = app();
    app.run("window", window(20)).await.unwrap();
    app.run("passing", passing()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    for id in ["window", "passing"] {
        let file = folder.path().join(id);
        std::fs::write(&file, app.history(id).unwrap().unwrap().to_bytes()).unwrap();
        let builder = Antiphon::test().workflow(passing).workflow(window);
        builder.replay_every_prefix(&file).unwrap();
    }
}

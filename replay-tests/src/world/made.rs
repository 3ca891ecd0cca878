//! What a world is made of: workflows as bare functions, calls, payloads, workers.

use antiphon_engine::{Context, Ending, Program, Programs, RunFuture, WorkerSpec};
use antiphon_history::{ActivityCall, ActivityOptions, Failure, Payload, PayloadData, RouteForm, Site};
use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

/// The code of a workflow as a bare function.
pub type Begin = fn(Context, Vec<Payload>) -> RunFuture;

struct Scripted {
    name: &'static str,
    begin: Begin,
}

impl Program for Scripted {
    fn name(&self) -> &str {
        self.name
    }
    fn version(&self) -> u32 {
        1
    }
    fn site(&self) -> String {
        "world.rs:1".to_owned()
    }
    fn check_input(&self, _: &[Payload]) -> Result<(), String> {
        Ok(())
    }
    fn begin(&self, context: Context, input: Vec<Payload>) -> RunFuture {
        (self.begin)(context, input)
    }
}

/// Workflow types from bare functions.
pub fn programs(list: &[(&'static str, Begin)]) -> Programs {
    let mut programs = Programs::default();
    for &(name, begin) in list {
        programs.add(Arc::new(Scripted { name, begin })).expect("each name is given once");
    }
    programs
}

/// A JSON payload.
pub fn json(text: &str) -> Payload {
    Payload::json(text.as_bytes().to_vec())
}

/// A call with the default options, asked for at a made-up place.
pub fn call(name: &str, input: &str) -> ActivityCall {
    ActivityCall {
        activity_type: name.into(),
        queue: "default".into(),
        input: vec![json(input)],
        options: ActivityOptions::default(),
        site: Site(format!("flow.rs:{}", name.len()).into()),
    }
}

/// A call with some options set.
pub fn with(name: &str, input: &str, set: impl FnOnce(&mut ActivityOptions)) -> ActivityCall {
    let mut call = call(name, input);
    set(&mut call.options);
    call
}

/// A workflow's result.
pub fn done(text: &str) -> Ending {
    Ending::Completed(vec![json(text)])
}

/// Calls `echo` by the route of its input.
pub fn routed(context: Context, input: Vec<Payload>) -> RunFuture {
    Box::pin(async move {
        let PayloadData::Inline(bytes) = &input[0].data else { panic!("routes are short") };
        let form: RouteForm = serde_json::from_slice(bytes).expect("a route in JSON");
        let route = Box::new(form.request().expect("a possible route"));
        done(&format!("\"{}\"", context.activity(with("echo", "1", |options| options.route = Some(route))).await))
    })
}

/// A made-up place in workflow code.
pub fn site() -> Site {
    Site("flow.rs:9".into())
}

/// Polls both in order; the first that is ready wins, and the other is dropped.
pub async fn first<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> Result<A, B> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|context| {
        if let Poll::Ready(a) = a.as_mut().poll(context) {
            return Poll::Ready(Ok(a));
        }
        b.as_mut().poll(context).map(Err)
    })
    .await
}

/// An error as it is written down.
pub fn failure(message: &str) -> Failure {
    Failure { message: message.to_owned(), kind: "Test".to_owned(), details: None }
}

/// A worker on the default queue.
pub fn worker(name: &str, activities: &[&str], capacity: u32) -> WorkerSpec {
    WorkerSpec {
        name: name.to_owned(),
        queues: BTreeSet::from(["default".to_owned()]),
        activities: activities.iter().map(|name| (*name).to_owned()).collect(),
        labels: BTreeSet::new(),
        capacity,
    }
}

//! Carries a program out on the engine's own futures, as an author's `async fn` would.

use crate::combine::{Race, Together, until_cancelled};
use crate::program::{Node, Step, activity_name, queue_name, signal_name};
use antiphon_engine::{Context, Ending, Program, Programs, RunFuture};
use antiphon_history::{ActivityCall, ActivityOutcome, Failure, Payload, Site};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a part of a program comes to: a value, or a failure.
pub(crate) type Outcome = Result<u64, u64>;

/// The one workflow type of the simulation.
pub(crate) const WORKFLOW: &str = "tree";

/// Joins values so that each, and their order, shows in the result.
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    (a.rotate_left(23) ^ b).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(a)
}

pub(crate) fn payload(value: u64) -> Payload {
    Payload::binary(value.to_le_bytes().to_vec())
}

/// The value of a payload: its first eight bytes.
pub(crate) fn value(payload: Option<&Payload>) -> u64 {
    let bytes = payload.and_then(Payload::bytes).and_then(|bytes| bytes.first_chunk::<8>().copied());
    bytes.map_or(0, u64::from_le_bytes)
}

/// What an activity's outcome is worth to a program.
pub(crate) fn outcome_of(outcome: &ActivityOutcome) -> Outcome {
    match outcome {
        ActivityOutcome::Completed { result } => Ok(value(result.first())),
        ActivityOutcome::Failed { failure, attempts } => {
            Err(mix(mix(1, u64::from(*attempts)), value(failure.details.as_ref())))
        }
        ActivityOutcome::TimedOut { kind, attempts } => Err(mix(mix(2, *kind as u64), u64::from(*attempts))),
        ActivityOutcome::Lost { losses, .. } => Err(mix(3, u64::from(*losses))),
        ActivityOutcome::NoWorker { .. } => Err(4),
        ActivityOutcome::Cancelled => Err(5),
    }
}

pub(crate) fn failure(code: u64) -> Failure {
    Failure { message: String::new(), kind: "Simulated".to_owned(), details: Some(payload(code)) }
}

/// What surrounds the code of one simulated life.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    /// Whether the code that is deployed panics where the tree says so.
    pub(crate) broken: Arc<AtomicBool>,
    /// What side effects take their values from: never the same twice.
    pub(crate) outside: Arc<AtomicU64>,
}

impl Surroundings {
    pub(crate) fn programs(&self) -> Programs {
        let mut programs = Programs::default();
        let added = programs.add(Arc::new(Interpreter { around: self.clone(), site: Site("tree:1".into()) }));
        added.expect("there is one type");
        programs
    }
}

struct Interpreter {
    around: Surroundings,
    site: Site,
}

impl Program for Interpreter {
    fn name(&self) -> &str {
        WORKFLOW
    }

    fn version(&self) -> u32 {
        1
    }

    fn site(&self) -> String {
        self.site.to_string()
    }

    fn check_input(&self, input: &[Payload]) -> Result<(), String> {
        let tree = input.first().and_then(Payload::bytes).and_then(|bytes| Node::from_bytes(bytes));
        tree.map(|_| ()).ok_or_else(|| "it is no tree".to_owned())
    }

    fn begin(&self, context: Context, input: Vec<Payload>) -> RunFuture {
        let (around, site) = (self.around.clone(), self.site.clone());
        Box::pin(async move {
            let tree = input.first().and_then(Payload::bytes).and_then(|bytes| Node::from_bytes(bytes));
            let tree = tree.expect("the input was checked before the run began");
            let scope = Scope { context, around, site };
            match scope.eval(&tree).await {
                Ok(value) => Ending::Completed(vec![payload(value)]),
                Err(code) => Ending::Failed(failure(code)),
            }
        })
    }
}

/// A part of a program under way.
pub(crate) type Part<'a> = Pin<Box<dyn Future<Output = Outcome> + 'a>>;

struct Scope {
    context: Context,
    around: Surroundings,
    site: Site,
}

impl Scope {
    fn eval<'a>(&'a self, node: &'a Node) -> Part<'a> {
        let context = &self.context;
        match node {
            Node::Activity(step) => Box::pin(async move { outcome_of(&context.activity(self.call(step)).await) }),
            Node::Timer { ms } => Box::pin(async move {
                context.timer(u64::from(*ms), self.site.clone()).await;
                Ok(u64::from(*ms))
            }),
            Node::Signal { name } => {
                Box::pin(async move { Ok(value(context.signal(signal_name(*name)).await.first())) })
            }
            Node::SideEffect => Box::pin(async move {
                let take = || payload(self.around.outside.fetch_add(1, Ordering::Relaxed));
                Ok(value(Some(&context.side_effect(take, self.site.clone()).await)))
            }),
            Node::Now => Box::pin(async move { Ok(context.now().0 as u64) }),
            Node::Patched { name, then } => Box::pin(async move {
                let new = context.patched(["one", "two", "three"][usize::from(*name % 3)], &self.site);
                Ok(mix(u64::from(new), self.eval(then).await?))
            }),
            Node::Seq(parts) => Box::pin(async move {
                let mut all = 0;
                for part in parts {
                    all = mix(all, self.eval(part).await?);
                }
                Ok(all)
            }),
            Node::Join { parts, on_demand } => Box::pin(async move {
                let parts = parts.iter().map(|part| self.eval(part)).collect();
                let mut all = 0;
                for outcome in Together::new(context, parts, *on_demand).await {
                    all = mix(all, outcome?);
                }
                Ok(all)
            }),
            Node::Race(parts) => Box::pin(async move {
                let (winner, outcome) = Race(parts.iter().map(|part| self.eval(part)).collect()).await;
                Ok(mix(winner as u64, outcome?))
            }),
            Node::Aware { body, then } => Box::pin(async move {
                match until_cancelled(context, self.eval(body)).await {
                    Some(outcome) => outcome,
                    None => Ok(mix(6, self.eval(then).await?)),
                }
            }),
            Node::Undo(step) => Box::pin(async move {
                context.compensate(self.call(step));
                Ok(0)
            }),
            Node::Try(body) => Box::pin(async move { Ok(self.eval(body).await.unwrap_or_else(|code| mix(7, code))) }),
            Node::Fail(id) => Box::pin(async move { Err(mix(9, u64::from(*id))) }),
            Node::Bug => Box::pin(async move {
                if self.around.broken.load(Ordering::Relaxed) {
                    // Not `panic!`: that would tell the panic hook of a fault that is expected.
                    std::panic::resume_unwind(Box::new("the broken code is deployed"));
                }
                Ok(8)
            }),
        }
    }

    fn call(&self, step: &Step) -> ActivityCall {
        ActivityCall {
            activity_type: activity_name(step.kind).into(),
            queue: queue_name(step.queue).into(),
            input: vec![payload(u64::from(step.id))],
            options: step.options(),
            site: self.site.clone(),
        }
    }
}

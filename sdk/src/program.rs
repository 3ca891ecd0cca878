//! The bridge from typed definitions to what the engine and the pool know.

use crate::activity_context::States;
use crate::outcome::{encode_result, failure_of, failure_of_run};
use crate::{ActivityContext, ActivityDefinition, Args, WorkflowContext, WorkflowDefinition};
use antiphon_conversation::Answer;
use antiphon_engine::{Context, Ending, Program, RunFuture};
use antiphon_history::limits::bounded_text;
use antiphon_history::{Failure, Payload};
use antiphon_runtime::{ActivityBody, BodyFuture, Task};
use std::marker::PhantomData;

/// A workflow definition as the engine runs it.
pub(crate) struct TypedProgram<D>(PhantomData<fn() -> D>);

impl<D> TypedProgram<D> {
    pub(crate) fn new() -> TypedProgram<D> {
        TypedProgram(PhantomData)
    }
}

impl<D: WorkflowDefinition> Program for TypedProgram<D> {
    fn name(&self) -> &str {
        D::NAME
    }

    fn version(&self) -> u32 {
        D::VERSION
    }

    fn site(&self) -> String {
        D::SITE.to_owned()
    }

    fn check_input(&self, input: &[Payload]) -> Result<(), String> {
        D::Args::from_payloads(input).map(|_| ()).map_err(|error| error.to_string())
    }

    fn begin(&self, context: Context, input: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let args = match D::Args::from_payloads(&input) {
                Ok(args) => args,
                Err(error) => {
                    // The input was readable when the run was accepted: the code has changed since. Blocked, not failed.
                    context.block_undecodable(error.to_string(), antiphon_history::Site(D::SITE.into()));
                    return std::future::pending().await;
                }
            };
            match D::run(WorkflowContext::new(&context), args).await {
                Ok(output) => match encode_result(&output) {
                    Ok(result) => Ending::Completed(result),
                    Err(error) => Ending::Failed(unwritable(&error)),
                },
                Err(error) => Ending::Failed(failure_of_run(&error)),
            }
        })
    }
}

/// An activity definition as the local pool runs it.
pub(crate) struct TypedBody<D> {
    pub(crate) states: States,
    definition: PhantomData<fn() -> D>,
}

impl<D> TypedBody<D> {
    pub(crate) fn new(states: States) -> TypedBody<D> {
        TypedBody { states, definition: PhantomData }
    }
}

impl<D: ActivityDefinition> ActivityBody for TypedBody<D> {
    fn name(&self) -> &str {
        D::NAME
    }

    fn site(&self) -> String {
        D::SITE.to_owned()
    }

    fn run(&self, task: Task) -> BodyFuture {
        let args = D::Args::from_payloads(&task.request.call.input);
        let context = ActivityContext::new(task, self.states.clone());
        Box::pin(async move {
            let args = match args {
                Ok(args) => args,
                // Another attempt would read the same bytes.
                Err(error) => return Answer::Failed { failure: unwritable(&error), retryable: false },
            };
            match D::run(context, args).await {
                Ok(output) => match encode_result(&output) {
                    Ok(result) => Answer::Completed { result },
                    Err(error) => Answer::Failed { failure: unwritable(&error), retryable: false },
                },
                Err(error) => Answer::Failed { retryable: !D::is_fatal(&error), failure: failure_of(&error) },
            }
        })
    }
}

/// A value that cannot be written or read. It has no typed details: they are not of the author's error type.
fn unwritable(error: &dyn std::fmt::Display) -> Failure {
    Failure { message: bounded_text(&error.to_string()), kind: "CodecError".to_owned(), details: None }
}

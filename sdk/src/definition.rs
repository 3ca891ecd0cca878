//! What the attribute macros make of a function, and how a function item leads back to it.

use crate::error::{Error, Result as WorkflowResult};
use crate::{ActivityContext, Args, Call, WorkflowCall, WorkflowContext};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::future::Future;

/// An activity as the engine and the workers know it. Written by [`activity`](crate::activity).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity",
    note = "put `#[antiphon::activity]` on an `async fn` and use that function"
)]
pub trait ActivityDefinition: Sized + 'static {
    /// The recorded name.
    const NAME: &'static str;
    /// Where it is defined (`file:line`), for messages.
    const SITE: &'static str;
    /// The arguments, without the context.
    type Args: Args + Send;
    /// What it returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// The error that it returns. Its `Display` is recorded as the message, its serde form as the details.
    type Error: Serialize + DeserializeOwned + Display + Send + 'static;

    /// Begins the body. Nothing happens before the future is polled.
    fn run(
        act: ActivityContext,
        args: Self::Args,
    ) -> impl Future<Output = Result<Self::Output, Self::Error>> + Send + 'static;

    /// Whether another attempt would be of no use after `error`, so that none is made.
    fn is_fatal(error: &Self::Error) -> bool {
        let _ = error;
        false
    }
}

/// A workflow as the engine knows it. Written by [`workflow`](crate::workflow).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a workflow",
    note = "put `#[antiphon::workflow]` on an `async fn` and use that function"
)]
pub trait WorkflowDefinition: Sized + 'static {
    /// The recorded name.
    const NAME: &'static str;
    /// The version that new runs are stamped with, from 1.
    const VERSION: u32;
    /// Where it is defined (`file:line`), for messages.
    const SITE: &'static str;
    /// The arguments, without the context.
    type Args: Args;
    /// What it returns.
    type Output: Serialize + DeserializeOwned + 'static;
    /// The error that it returns. Its `Display` is recorded as the message, its serde form as the details.
    type Error: Serialize + DeserializeOwned + Display + 'static;

    /// Begins the body. Nothing happens before the future is polled. The future is not `Send`: it stays on the thread
    /// of its partition for life.
    fn run<'run>(
        ctx: WorkflowContext<'run>,
        args: Self::Args,
    ) -> impl Future<Output = WorkflowResult<Self::Output, Self::Error>> + 'run;
}

/// A function that makes calls of an activity: what [`activity`](crate::activity) leaves under the function's name.
///
/// `A` is the tuple of its parameters; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an activity",
    label = "expected a function with `#[antiphon::activity]`",
    note = "pass the function itself, as in `.activity(charge)`, without arguments"
)]
pub trait ActivityHandle<A> {
    /// The activity.
    type Definition: ActivityDefinition;
}

/// A function that makes starts of a workflow: what [`workflow`](crate::workflow) leaves under the function's name.
///
/// `A` is the tuple of its parameters; it is always inferred.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a workflow",
    label = "expected a function with `#[antiphon::workflow]`",
    note = "pass the function itself, as in `.workflow(order)`, without arguments"
)]
pub trait WorkflowHandle<A> {
    /// The workflow.
    type Definition: WorkflowDefinition;
}

macro_rules! handles {
    ($($Type:ident),*) => {
        impl<F, Definition, $($Type),*> ActivityHandle<($($Type,)*)> for F
        where
            F: Fn($($Type),*) -> Call<Definition>,
            Definition: ActivityDefinition,
        {
            type Definition = Definition;
        }

        impl<F, Definition, $($Type),*> WorkflowHandle<($($Type,)*)> for F
        where
            F: Fn($($Type),*) -> WorkflowCall<Definition>,
            Definition: WorkflowDefinition,
        {
            type Definition = Definition;
        }
    };
}

handles!();
handles!(A);
handles!(A, B);
handles!(A, B, C);
handles!(A, B, C, D);
handles!(A, B, C, D, E);
handles!(A, B, C, D, E, G);
handles!(A, B, C, D, E, G, H);
handles!(A, B, C, D, E, G, H, I);
handles!(A, B, C, D, E, G, H, I, J);
handles!(A, B, C, D, E, G, H, I, J, K);
handles!(A, B, C, D, E, G, H, I, J, K, L);
handles!(A, B, C, D, E, G, H, I, J, K, L, M);

/// What an activity's function may return. Lets the macro name both halves of a type that it cannot see through.
#[diagnostic::on_unimplemented(
    message = "an activity returns `Result<T, E>`, not `{Self}`",
    label = "not a `Result`",
    note = "an activity that cannot fail returns `Result<T, antiphon::Never>`"
)]
pub trait Fallible {
    /// What it returns where it succeeds.
    type Ok;
    /// What it returns where it fails.
    type Error;
}

impl<T, E> Fallible for Result<T, E> {
    type Ok = T;
    type Error = E;
}

/// What a workflow's function may return.
#[diagnostic::on_unimplemented(
    message = "a workflow returns `antiphon::Result<T, E>`, not `{Self}`",
    label = "not an `antiphon::Result`",
    note = "`antiphon::Result<T, E>` also holds the errors of the engine; `Err(error)?` makes one of an `E`"
)]
pub trait WorkflowFallible {
    /// What it returns where it succeeds.
    type Ok;
    /// The application's part of what it returns where it fails.
    type Error;
}

impl<T, E> WorkflowFallible for Result<T, Error<E>> {
    type Ok = T;
    type Error = E;
}

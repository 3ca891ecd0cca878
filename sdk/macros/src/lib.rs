//! The attribute macros of Antiphon. Use them through the crate `antiphon`, which re-exports both.
//!
//! ```text
//!  #[activity(..)] async fn charge(act, order, cents)
//!        │
//!        ├─▶ struct charge {}                   the definition: a type, so the function below can have the same name
//!        ├─▶ charge::run(act, order, cents)     the body, for unit tests
//!        ├─▶ impl ActivityDefinition for charge what the engine and the workers need
//!        └─▶ fn charge(order, cents) -> Call    the constructor of a typed call
//! ```
//!
//! A function and not a unit value carries the name, because `let charge = ..` would be a pattern on a unit value.
//!
//! This crate must not know what the definitions are used for; it only names items of `::antiphon`.

mod attribute;
mod expand;
mod signature;

use attribute::Kind;
use proc_macro::TokenStream;

/// Makes an activity of an `async fn`: work that a worker does, and whose outcome is recorded.
///
/// The function takes `ActivityContext` first, then up to twelve owned arguments that serde can write and read, and
/// returns `Result<T, E>`; one that cannot fail returns `Result<T, antiphon::Never>`. Under its name stands afterwards a
/// function of the arguments alone that makes a typed call; the body stays callable as `name::run(..)`.
///
/// | key | meaning | default |
/// |---|---|---|
/// | `name = "pay.charge"` | the recorded name, 1 to 255 bytes; it outlives renaming the function | the function's name |
/// | `fatal = Declined::is_final` | a `fn(&E) -> bool`; an error for which it is true is not retried | every error is retried, as often as the call allows |
///
/// ```ignore
/// #[antiphon::activity(name = "pay.charge", fatal = Declined::is_final)]
/// /// Charges the card.
/// async fn charge(act: ActivityContext, order: u64, cents: u64) -> Result<Receipt, Declined> {
///     act.state::<Gateway>().charge(cents, act.idempotency_key()).await
/// }
/// ```
#[proc_macro_attribute]
pub fn activity(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand::definition(Kind::Activity, attribute.into(), item.into()).into()
}

/// Makes a workflow of an `async fn`: code that the engine runs, records, and runs again from the record.
///
/// The function takes `WorkflowContext<'_>` first, then up to twelve owned arguments that serde can write and read, and
/// returns `antiphon::Result<T, E>`. Under its name stands afterwards a function of the arguments alone that makes a
/// typed start; the body stays callable as `name::run(..)`.
///
/// | key | meaning | default |
/// |---|---|---|
/// | `name = "order"` | the recorded name, 1 to 255 bytes; it outlives renaming the function | the function's name |
/// | `version = 3` | the version that new runs are stamped with, from 1 | 1 |
///
/// ```ignore
/// #[antiphon::workflow(name = "order", version = 3)]
/// async fn order(ctx: WorkflowContext<'_>, o: Order) -> antiphon::Result<Shipped, OrderError> {
///     let held = ctx.call(reserve(o.lines)).await.or_app(OrderError::Stock)?;
///     Ok(Shipped { id: held.id })
/// }
/// ```
#[proc_macro_attribute]
pub fn workflow(attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand::definition(Kind::Workflow, attribute.into(), item.into()).into()
}

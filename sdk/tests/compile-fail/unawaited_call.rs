//! A call that nobody awaits does nothing; forgetting the `.await` must be seen.
#![deny(unused_must_use)]

use antiphon::{ActivityContext, Never, WorkflowContext};

#[antiphon::activity]
async fn mail(_act: ActivityContext, address: String) -> Result<(), Never> {
    println!("{address}");
    Ok(())
}

#[antiphon::workflow]
async fn order(ctx: WorkflowContext<'_>) -> antiphon::Result<(), Never> {
    mail("a@example.org".to_owned());
    ctx.call(mail("b@example.org".to_owned()));
    Ok(())
}

fn main() {}

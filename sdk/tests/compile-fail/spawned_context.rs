//! A task would run outside the record, so nothing of the workflow may move into one.

use antiphon::{Never, WorkflowContext};

#[antiphon::workflow]
async fn order(ctx: WorkflowContext<'_>) -> antiphon::Result<(), Never> {
    tokio::spawn(async move {
        let ctx = ctx;
        std::future::ready(()).await;
        drop(ctx);
    });
    Ok(())
}

fn main() {}

//! Activities in processes of their own: one that aborts and one that overflows its stack cost a leg each.

use antiphon::{ActivityContext, Antiphon, CallError, ChildWorker, Never, WorkflowContext};

/// Stands for a library that is not to be trusted with the engine's process.
#[antiphon::activity]
async fn render(act: ActivityContext, scene: u32) -> Result<u32, Never> {
    match (scene, act.leg()) {
        (2, 1) => std::process::abort(),
        (3, 1) => Ok(endless(1)),
        (_, leg) => Ok(leg),
    }
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn endless(depth: u32) -> u32 {
    std::hint::black_box([depth; 256]);
    endless(depth + 1) + depth
}

#[antiphon::workflow]
async fn film(ctx: WorkflowContext<'_>, scenes: u32) -> antiphon::Result<Vec<u32>, CallError<Never>> {
    let mut legs = Vec::new();
    for scene in 1..=scenes {
        legs.push(ctx.call(render(scene)).queue("video").await?);
    }
    Ok(legs)
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    // What stands before `start()` is done by every worker process too, so there should be little of it.
    let renderers = ChildWorker::new("render").queue("video").activity(render).processes(2);
    let app = Antiphon::open("crash-data").workflow(film).child_worker(renderers).start()?;
    for (scene, leg) in (1..).zip(app.run("film-1", film(4)).await?) {
        println!("scene {scene}: done in leg {leg}");
    }
    app.stop();
    Ok(())
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crash: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

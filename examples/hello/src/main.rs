//! One workflow, one activity. Run it twice: the second time finds the run of the first.

use antiphon::{ActivityContext, Antiphon, CallError, Never, WorkflowContext};

#[antiphon::activity(name = "hello.greet")]
async fn greet(_act: ActivityContext, name: String) -> Result<String, Never> {
    println!("(greeting {name})");
    Ok(format!("Hello, {name}!"))
}

#[antiphon::workflow(name = "hello")]
async fn hello(ctx: WorkflowContext<'_>, name: String) -> antiphon::Result<String, CallError<Never>> {
    Ok(ctx.call(greet(name)).await?)
}

async fn run() -> Result<(), Box<dyn std::error::Error>> {
    let app = Antiphon::open("hello-data").workflow(hello).activity(greet).start()?;
    let run = app.start("hello-1", hello("world".to_owned())).await?;
    println!("{} ({})", run.result().await?, if run.existed() { "remembered" } else { "new" });
    app.stop();
    Ok(())
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        // By `Display`: it says what to do, and the code names a page of docs/errors.
        Err(error) => {
            eprintln!("hello: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

//! A store that a real engine wrote, read by the binary while the engine still has it open.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon::{ActivityContext, Antiphon, CallError, Never, WorkflowContext, activity, workflow};
use antiphon_server::cli::{Exit, ProgramCli};
use clap::Parser;
use std::path::Path;
use std::process::Command;

#[activity(name = "greet")]
async fn greet(_act: ActivityContext, name: String) -> Result<String, Never> {
    Ok(format!("Hello, {name}!"))
}

#[workflow(name = "hello")]
async fn hello(ctx: WorkflowContext<'_>, name: String) -> antiphon::Result<String, CallError<Never>> {
    let greeting = ctx.call(greet(name)).await?;
    ctx.signal::<u32>("go on").await;
    Ok(greeting)
}

fn antiphon(store: &Path, args: &[&str]) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_antiphon")).arg(args[0]).arg(store).args(&args[1..]).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_read_beside_the_engine_that_writes_it_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("data");
    let app = Antiphon::open(&store).workflow(hello).activity(greet).start().unwrap();
    let run = app.start("hello-1", hello("world".to_owned())).await.unwrap();

    let (code, list) = antiphon(&store, &["list"]);
    assert!(code == 0 && list.contains("hello-1") && list.contains("running"), "{list}");
    let (code, verify) = antiphon(&store, &["verify"]);
    assert!(code == 0 && verify.ends_with("whole\n"), "{verify}");

    run.signal("go on", &1u32).await.unwrap();
    assert_eq!(run.result().await.unwrap(), "Hello, world!");
    let (code, show) = antiphon(&store, &["show", "hello-1"]);
    assert!(code == 0 && show.starts_with("hello-1  hello v1  completed"), "{show}");
    assert!(show.contains("greet(\"world\") at ") && show.contains("tests/engine.rs:"), "{show}");
    assert!(show.contains("by local") && show.contains("local selected, the only one"), "{show}");
    app.stop();

    let (code, verify) = antiphon(&store, &["verify"]);
    assert!(code == 0 && verify.ends_with("whole\n"), "{verify}");
    let file = folder.path().join("hello.history");
    assert_eq!(antiphon(&store, &["export", "hello-1", file.to_str().unwrap()]).0, 0);
    let programs = Antiphon::test().workflow(hello).programs().unwrap();
    let cli = ProgramCli::parse_from(["hello", "replay", file.to_str().unwrap(), "--every-prefix"]);
    assert_eq!(cli.run_to(&programs, &mut Vec::new()).unwrap(), Exit::Done);
}

//! Routines from the command line: made, changed and ended without an engine, and carried out by one.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon::{Antiphon, Builder, Never, WorkflowContext, workflow};
use antiphon_engine::Ran;
use antiphon_server::cli::{Error, Exit, ProgramCli};
use clap::Parser;
use std::path::Path;
use std::process::Command;

#[workflow(name = "report")]
async fn report(ctx: WorkflowContext<'_>, day: String) -> antiphon::Result<String, Never> {
    let copies = ctx.signal::<u32>("print").await;
    Ok(format!("{copies} of {day}"))
}

fn builder(store: &Path) -> Builder {
    Antiphon::open(store).workflow(report)
}

/// The command line of the program that has the code.
fn program(store: &Path, args: &[&str]) -> Result<(Exit, String), Error> {
    let store = store.to_str().unwrap();
    let args = ["reports"].into_iter().chain(args.iter().map(|arg| if *arg == "data" { store } else { arg }));
    let mut out = Vec::new();
    let exit = ProgramCli::parse_from(args).run_to(&builder(Path::new(store)).programs().unwrap(), &mut out)?;
    Ok((exit, String::from_utf8(out).unwrap()))
}

fn done(store: &Path, args: &[&str]) -> String {
    let (exit, out) = program(store, args).unwrap();
    assert_eq!(exit, Exit::Done);
    out
}

fn refusal(store: &Path, args: &[&str]) -> (Exit, String) {
    let error = program(store, args).unwrap_err();
    (error.exit(), error.code().unwrap_or_else(|| error.to_string()))
}

fn one(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap()
}

const NIGHTLY: &[&str] = &[
    "routine",
    "create",
    "data",
    "nightly",
    "--workflow",
    "report",
    "--every",
    "1h",
    "--start-at",
    "2026-01-01",
    "--input",
    "\"today\"",
    "--overlap",
    "buffer_one",
    "--label",
    "team=books",
    "--who",
    "ada",
    "--why",
    "the boss wants it",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_routine_is_made_and_changed_without_an_engine_and_carried_out_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("data");
    builder(&store).start().unwrap().stop();

    let text = done(&store, NIGHTLY);
    assert!(text.starts_with("nightly  report  active\n  schedule  every 1h00m\n"), "{text}");
    let tip = |name: &str| one(&done(&store, &["routine", "show", "data", name, "--json"]));
    let made = tip("nightly");
    assert_eq!(made["spec"]["target"]["input"][0]["value"], "today");
    // The same again finds the same; another one under its name does not.
    assert_eq!(done(&store, NIGHTLY), text);
    assert_eq!(tip("nightly"), made);
    let other = [&NIGHTLY[..7], &["2h"], &NIGHTLY[8..]].concat();
    assert_eq!(refusal(&store, &other), (Exit::Refused, "A0051".to_owned()));
    let unreadable = ["routine", "create", "data", "odd", "--workflow", "report", "--every", "1h", "--input", "7"];
    assert_eq!(refusal(&store, &unreadable), (Exit::Usage, "A0016".to_owned()));

    // A binary without the code changes all but what the code must agree to.
    let plain = |args: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_antiphon")).args(args).current_dir(folder.path()).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), text)
    };
    let (code, text) = plain(&["routine", "update", "data", "nightly", "--every", "2h", "--max-runs", "5"]);
    assert!(code == 0 && text.contains("every 2h00m") && text.contains("0 of at most 5"), "{text}");
    let (code, text) = plain(&["routine", "update", "data", "nightly", "--input", "\"tomorrow\""]);
    assert!(code == 5 && text.contains("[A0061]"), "{text}");
    let (code, text) = plain(&["routine", "pause", "data", "nightly", "--why", "no paper", "--who", "bob"]);
    assert!(code == 0 && text.contains("  paused    no paper\n"), "{text}");
    let (_, text) =
        plain(&["routines", "data", "--status", "paused", "--label", "team=books", "--schedule", "interval"]);
    assert!(text.contains("nightly  paused  every 2h00m"), "{text}");
    assert_eq!(plain(&["routines", "data", "--status", "active"]).1, "no routine matches\n");
    let (_, text) = plain(&["dump", "data", "routine:nightly"]);
    assert!(
        text.contains("RoutinePaused") && text.contains("who=\"bob\"") && text.contains("the boss wants it"),
        "{text}"
    );
    assert!(plain(&["stats", "data"]).1.contains("\nroutines: 1 paused\n"));
    assert_eq!(plain(&["routine", "resume", "data", "nightly"]).0, 0);

    // An activity on its own needs no code.
    let (code, text) = plain(&["routine", "create", "data", "clean", "--activity", "sweep", "--cron", "0 4 * * *"]);
    assert!(code == 0 && text.starts_with("clean  sweep  active\n  schedule  0 4 * * * UTC\n"), "{text}");
    let (code, text) = plain(&["routine", "update", "data", "clean", "--queue", "yard", "--input", "1", "--json"]);
    assert!(code == 0 && one(&text)["spec"]["target"]["call"]["queue"] == "yard", "{text}");
    assert!(plain(&["routines", "data", "--target", "activity"]).1.contains("\nclean "));
    assert_eq!(plain(&["routine", "cancel", "data", "clean"]).0, 0);

    let app = builder(&store).start().unwrap();
    // Beside an engine: everything can be read, and nothing be done.
    let (code, text) = plain(&["routine", "pause", "data", "nightly"]);
    assert!(code == 3 && text.contains("[A0003]"), "{text}");
    assert!(plain(&["routines", "data", "--due-by", "now"]).1.contains("nightly  active"));
    let ran = app.routines().run_due(10).await.unwrap();
    let Ran::Started { workflow_id, .. } = &ran[0].ran else { panic!("{ran:?}") };
    assert!(plain(&["routine", "show", "data", "nightly"]).1.contains(&format!("  open      {workflow_id} since ")));
    app.stop();

    // Its run is open: that is an engine's business.
    assert_eq!(refusal(&store, &["routine", "cancel", "data", "nightly"]), (Exit::Refused, "A0060".to_owned()));
    assert_eq!(refusal(&store, &["routine", "update", "data", "nightly", "--every", "3h"]).1, "A0050");
    let app = builder(&store).start().unwrap();
    app.signal(workflow_id, "print", &3u32).await.unwrap();
    let run = app.get::<report>(workflow_id.as_str()).unwrap();
    assert_eq!(run.result().await.unwrap(), "3 of today");
    app.stop();
    let ended = one(&done(&store, &["routine", "cancel", "data", "nightly", "--json"]));
    assert_eq!((&ended["status"], &ended["last"]["outcome"]), (&"cancelled".into(), &"completed".into()));
    assert_eq!(refusal(&store, &["routine", "resume", "data", "nightly"]), (Exit::Refused, "A0050".to_owned()));
    let (code, text) = plain(&["verify", "data"]);
    assert!(code == 0 && text.ends_with("whole\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_and_a_guard_are_given_shown_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("data");
    builder(&store).start().unwrap().stop();
    done(&store, NIGHTLY);
    // Nobody in this program is the guard, so nobody agrees; a route belongs to a call.
    let guarded = [NIGHTLY, &["--guard", "boss"]]
        .concat()
        .iter()
        .map(|arg| if *arg == "nightly" { "other" } else { arg })
        .collect::<Vec<_>>();
    assert_eq!(refusal(&store, &guarded), (Exit::Refused, "A0066".to_owned()));
    let routed: Vec<_> = ["--route", r#"{"policy": "round_robin"}"#].into();
    let print = ["routine", "create", "data", "print", "--activity", "print", "--every", "1h", "--paused", "not yet"];
    let print = one(&done(&store, &[&print[..], &routed, &["--json"]].concat()));
    assert_eq!(print["spec"]["route"]["policy"], "round_robin");
    assert!(done(&store, &["routine", "show", "data", "print"]).contains("\n  route     round_robin"));
    let print = one(&done(&store, &["routine", "update", "data", "print", "--route", "none", "--json"]));
    assert_eq!(print["spec"]["route"], serde_json::Value::Null);
    let routed = [&["routine", "update", "data", "nightly"][..], &routed].concat();
    assert_eq!(refusal(&store, &routed), (Exit::Usage, "A0048".to_owned()));
}

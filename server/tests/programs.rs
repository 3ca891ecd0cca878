//! `replay` and `check`: what a binary with workflow code adds.
#![allow(clippy::unwrap_used, reason = "tests")]

mod story;

use antiphon_engine::{Context, Ending, Program, Programs, RunFuture};
use antiphon_history::*;
use antiphon_server::cli::{Exit, ProgramCli, ProgramCommand, View};
use clap::Parser;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use story::*;

type Begin = fn(Context) -> RunFuture;

struct Code(&'static str, Begin);

impl Program for Code {
    fn name(&self) -> &str {
        self.0
    }
    fn version(&self) -> u32 {
        3
    }
    fn site(&self) -> String {
        "programs.rs:1".into()
    }
    fn check_input(&self, _: &[Payload]) -> Result<(), String> {
        Ok(())
    }
    fn begin(&self, context: Context, _: Vec<Payload>) -> RunFuture {
        (self.1)(context)
    }
}

fn programs(code: &[(&'static str, Begin)]) -> Programs {
    let mut programs = Programs::default();
    for (name, begin) in code {
        programs.add(Arc::new(Code(name, *begin))).unwrap();
    }
    programs
}

fn call(activity_type: &str, input: &str) -> ActivityCall {
    ActivityCall {
        activity_type: activity_type.into(),
        queue: "default".into(),
        input: vec![json(input)],
        options: ActivityOptions::default(),
        site: Site("src/today.rs:7".into()),
    }
}

/// The code that [`order`] was recorded with.
fn as_recorded(context: Context) -> RunFuture {
    Box::pin(async move {
        context.activity(call("pay.charge", "1250")).await;
        context.timer(86_400_000, Site("src/today.rs:9".into())).await;
        Ending::Completed(vec![json("\"shipped\"")])
    })
}

/// Charges another amount.
fn other_amount(context: Context) -> RunFuture {
    Box::pin(async move {
        context.activity(call("pay.charge", "1300")).await;
        Ending::Completed(vec![])
    })
}

fn reserves(context: Context) -> RunFuture {
    Box::pin(async move {
        context.activity(call("reserve", "1")).await;
        Ending::Completed(vec![])
    })
}

fn prints(context: Context) -> RunFuture {
    Box::pin(async move {
        context.activity(call("print", "1")).await;
        Ending::Completed(vec![])
    })
}

fn run(programs: &Programs, folder: &Path, args: &[&str]) -> (Exit, String) {
    let paths = |arg: &&str| -> OsString {
        if arg.ends_with(".history") || *arg == "data" { folder.join(arg).into() } else { arg.into() }
    };
    let args = std::iter::once(OsString::from("orders")).chain(args.iter().map(paths));
    let cli = ProgramCli::try_parse_from(args).unwrap();
    let mut out = Vec::new();
    let exit = cli.run_to(programs, &mut out).unwrap();
    (exit, String::from_utf8(out).unwrap().replace(&format!("{}/", folder.display()), ""))
}

fn folder_with(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), bytes).unwrap();
    folder
}

#[test]
fn a_history_replays_on_the_code_it_was_recorded_with_at_every_prefix() {
    let folder = folder_with("order.history", &order(1, "order-7").to_bytes());
    let code = programs(&[("order", as_recorded)]);
    for args in [&["replay", "order.history"][..], &["replay", "order.history", "--every-prefix"]] {
        assert_eq!(run(&code, folder.path(), args), (Exit::Done, "ok       order.history  6 events\n".to_owned()));
    }
}

#[test]
fn a_history_that_does_not_replay_is_reported_in_full() {
    let folder = folder_with("order.history", &order(1, "order-7").to_bytes());
    let code = programs(&[("order", other_amount)]);
    let (exit, text) = run(&code, folder.path(), &["replay", "order.history"]);
    assert_eq!(exit, Exit::Problem);
    for line in [
        "diverges order.history",
        "  the code asks something else than the record says, at event 2 of the run",
        "    recorded:  ActivityScheduled #1 pay.charge(1250)",
        "               at src/order.rs:41",
        "    attempted: ActivityScheduled #1 pay.charge(1300)",
        "               at src/today.rs:7",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line:?} is missing:\n{text}");
    }
    let (exit, text) = run(&code, folder.path(), &["replay", "order.history", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((exit, &json["ok"], &json["stopped"]["seq"]), (Exit::Problem, &false.into(), &2.into()));
}

#[test]
fn code_that_depends_on_more_than_the_record_is_found_by_its_prefixes() {
    static BEGUN: AtomicU32 = AtomicU32::new(0);
    fn the_first_time_only(context: Context) -> RunFuture {
        match BEGUN.fetch_add(1, Ordering::SeqCst) {
            0 => as_recorded(context),
            _ => other_amount(context),
        }
    }
    let folder = folder_with("order.history", &order(1, "order-7").to_bytes());
    let code = programs(&[("order", the_first_time_only)]);
    let (exit, text) = run(&code, folder.path(), &["replay", "order.history", "--every-prefix"]);
    assert_eq!(exit, Exit::Problem, "{text}");
    // One event is the start alone: what is asked after it is beyond the prefix. With two the record answers.
    assert!(text.starts_with("diverges order.history (its first 2 events)"), "{text}");
}

#[test]
fn one_bad_file_hides_no_verdict_on_the_others() {
    let folder = folder_with("order.history", &order(1, "order-7").to_bytes());
    std::fs::write(folder.path().join("noise.history"), "noise").unwrap();
    let code = programs(&[("order", as_recorded)]);
    let (exit, text) = run(&code, folder.path(), &["replay", "gone.history", "noise.history", "order.history"]);
    assert_eq!(exit, Exit::Problem);
    let words: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["unreadable", "unreadable", "ok"], "{text}");
}

#[test]
fn check_says_which_open_runs_would_block_and_leaves_the_closed_alone() {
    let folder = store(&[order(1, "order-7"), blocked(2, "order-8"), stuck(3, "report-1")]);
    let mended = programs(&[("order", reserves), ("report", prints)]);
    let (exit, text) = run(&mended, folder.path(), &["check", "data"]);
    assert_eq!(exit, Exit::Done, "{text}");
    assert!(text.ends_with("2 open runs, 0 cannot go on with this code\n"), "{text}");
    assert!(!text.contains("order-7"), "{text}");

    let wrong = programs(&[("order", other_amount)]);
    let (exit, text) = run(&wrong, folder.path(), &["check", "data", "--problems"]);
    assert_eq!(exit, Exit::Problem);
    assert!(text.contains("diverges order-8  abc00002  order"), "{text}");
    assert!(text.contains("stops    report-1") && text.contains("this program has no workflow \"report\""), "{text}");
    let (_, text) = run(&wrong, folder.path(), &["check", "data", "--json"]);
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[1]["workflow_id"]), (2, &"order-8".into()));
}

#[test]
fn a_binary_with_code_reads_stores_as_well() {
    let folder = store(&[order(1, "order-7")]);
    let (exit, text) = run(&Programs::default(), folder.path(), &["show", "data", "order-7"]);
    assert_eq!((exit, text.as_str()), (Exit::Done, include_str!("golden/order.txt")));
}

#[test]
fn the_commands_stand_among_those_of_a_users_own_binary() {
    #[derive(clap::Parser)]
    struct Orders {
        #[command(flatten)]
        view: View,
        #[command(subcommand)]
        command: OrdersCommand,
    }
    #[derive(clap::Subcommand)]
    enum OrdersCommand {
        Serve,
        #[command(flatten)]
        Antiphon(ProgramCommand),
    }
    let folder = store(&[order(1, "order-7")]);
    let data = folder.path().join("data");
    assert!(matches!(Orders::parse_from(["orders", "serve"]).command, OrdersCommand::Serve));
    let parsed = Orders::parse_from(["orders", "check", data.to_str().unwrap(), "--json"]);
    let OrdersCommand::Antiphon(command) = parsed.command else { panic!("check is ours") };
    let cli = ProgramCli { view: parsed.view, command };
    assert_eq!(cli.run_to(&programs(&[]), &mut Vec::new()).unwrap(), Exit::Done);
}

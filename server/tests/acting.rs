//! Acting on a store that no engine has open, and what is seen of it afterwards.
#![allow(clippy::unwrap_used, reason = "tests")]

mod story;

use antiphon_history::HistoryFile;
use antiphon_recorder::sqlite;
use std::path::Path;
use std::process::Command;
use story::*;

/// Runs the binary in a folder as the user `ada`; the store is `data` in it.
fn antiphon(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_antiphon"))
        .args(args)
        .current_dir(folder)
        .env("LOGNAME", "ada")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    (output.status.code().unwrap(), out, err)
}

fn done(folder: &Path, args: &[&str]) -> String {
    let (code, out, err) = antiphon(folder, args);
    assert_eq!((code, err.as_str()), (0, ""), "{args:?}");
    out
}

/// What it remarks.
fn done_with(folder: &Path, args: &[&str]) -> String {
    let (code, out, err) = antiphon(folder, args);
    assert_eq!((code, out.as_str()), (0, ""), "{args:?}");
    err
}

/// The exit code, and the code of the error.
fn refusal(folder: &Path, args: &[&str]) -> (i32, String) {
    let (code, _, err) = antiphon(folder, args);
    let error = err.rsplit_once("[").and_then(|(_, tail)| tail.split_once(']')).map(|(code, _)| code.to_owned());
    (code, error.unwrap_or(err))
}

fn json(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))).collect()
}

fn tip(folder: &Path) -> u64 {
    sqlite::open(&folder.join("data"), &sqlite::Options::default()).unwrap().log.tip().id
}

fn lived_in() -> tempfile::TempDir {
    store(&[order(1, "order-7"), blocked(2, "order-8"), dead_letters(0), stuck(3, "report-1")])
}

#[test]
fn what_an_operator_sets_is_seen_with_who_and_why_and_changes_no_run() {
    let folder = lived_in();
    let folder = folder.path();
    let before = (done(folder, &["list", "data", "--json"]), tip(folder));
    let rows = |text: &str| -> Vec<_> {
        json(text).into_iter().map(|mut row| row.as_object_mut().unwrap().remove("duration_ms").map(|_| row)).collect()
    };
    assert_eq!(
        done(folder, &["routing", "set", "data", "mail", "--keys", "7", "--key-ttl", "1d", "--why", "fewer customers"]),
        "routing.set mail\n"
    );
    assert_eq!(tip(folder), before.1 + 1, "one segment");
    assert_eq!(rows(&done(folder, &["list", "data", "--json"])), rows(&before.0));
    assert!(done(folder, &["verify", "data"]).ends_with("whole\n"));

    let routing = &json(&done(folder, &["routing", "data", "mail", "--json"]))[0];
    assert_eq!((&routing["affinities_max"], &routing["affinity_ttl_ms"]), (&7.into(), &86_400_000.into()));
    // What is not named stays.
    done(folder, &["routing", "set", "data", "mail", "--key-ttl", "never", "--who", "bob"]);
    let routing = &json(&done(folder, &["routing", "data", "--json"]))[0];
    assert_eq!((&routing["affinities_max"], &routing["affinity_ttl_ms"]), (&7.into(), &serde_json::Value::Null));
    let route = r#"{"policy": "round_robin", "excluded": "press-1"}"#;
    done(folder, &["routing", "default", "data", "mail", "--route", route]);
    let routing = &json(&done(folder, &["routing", "data", "mail", "--json"]))[0];
    assert_eq!(
        (&routing["route"]["policy"], &routing["route"]["excluded"][0]),
        (&"round_robin".into(), &"press-1".into())
    );
    assert!(done(folder, &["routing", "data", "mail"]).contains("  calls that say nothing go by "));
    done(folder, &["routing", "default", "data", "mail", "--none", "--who", "eve"]);
    assert!(!done(folder, &["routing", "data", "mail"]).contains("say nothing"));
    done(folder, &["routing", "reset", "data", "mail", "--cursors"]);

    let audit = done(folder, &["audit", "data"]);
    let words: Vec<Vec<&str>> = audit.lines().map(|line| line.split_whitespace().skip(2).collect()).collect();
    assert_eq!(words[1][..], ["ada", "routing.reset", "queue", "mail"]);
    assert_eq!(words[2][..2], ["eve", "routing.default"]);
    assert_eq!(words[4][..], ["bob", "routing.set", "queue", "mail"]);
    assert_eq!(words[5][..], ["ada", "routing.set", "queue", "mail", "fewer", "customers"]);
    assert_eq!(json(&done(folder, &["audit", "data", "--who", "bob", "--json"])).len(), 1);
    let none = antiphon(folder, &["audit", "data", "--until", "2026-01-01"]);
    assert_eq!((none.0, none.1.as_str(), none.2.as_str()), (0, "", "nothing of that is in the audit\n"));
}

#[test]
fn a_run_is_terminated_without_its_code_and_says_by_whom_and_why() {
    let folder = lived_in();
    let folder = folder.path();
    let whys = ["--why", "paid by hand"];
    assert_eq!(done(folder, &[&["terminate", "data", "order-8"][..], &whys].concat()), "terminate order-8\n");
    // One of whose activities nobody takes.
    assert_eq!(done(folder, &["terminate", "data", "report-1", "--who", "bob"]), "terminate report-1\n");
    assert!(done(folder, &["verify", "data"]).ends_with("whole\n"));
    let listed = json(&done(folder, &["list", "data", "--status", "terminated", "--json"]));
    let ids: Vec<_> = listed.iter().map(|row| &row["workflow_id"]).collect();
    assert_eq!(ids, ["report-1", "order-8"]);
    assert!(listed.iter().all(|row| row["open_conversations"] == 0 && row["blocked"].is_null()), "{listed:?}");
    let dumped = json(&done(folder, &["dump", "data", "order-8", "--json"]));
    let last = dumped.last().unwrap();
    assert_eq!(last["event"], "RunTerminated");
    assert_eq!(last["fields"], serde_json::json!({ "who": "ada", "reason": "paid by hand" }));
    let shown = done(folder, &["show", "data", "order-8"]);
    assert!(shown.contains("terminated") && shown.contains("by \"ada\": \"paid by hand\""), "{shown}");
    assert_eq!(json(&done(folder, &["stats", "data", "--json"]))[0]["runs"]["terminated"], 2);

    let before = tip(folder);
    assert_eq!(refusal(folder, &["terminate", "data", "order-8"]), (5, "A0022".to_owned()));
    assert_eq!(refusal(folder, &["terminate", "data", "order-99"]), (4, "A0021".to_owned()));
    assert_eq!(tip(folder), before);
}

#[test]
fn entities_are_dumped_by_their_names_and_with_all_the_rest() {
    let folder = lived_in();
    let folder = folder.path();
    done(folder, &["routing", "reset", "data", "mail", "--why", "a test"]);
    let text = done(folder, &["dump", "data", "routing:mail"]);
    assert!(text.lines().next().unwrap().ends_with("1  Opened routing:mail"), "{text}");
    assert!(text.contains("RoutingReset all by ada: a test"), "{text}");
    let events = json(&done(folder, &["dump", "data", "routing:mail", "--json"]));
    assert_eq!((&events[1]["run"], &events[1]["fields"]["what"]), (&"routing:mail".into(), &"all".into()));
    let all = json(&done(folder, &["dump", "data", "--all", "--json"]));
    let named = |name: &str| all.iter().filter(|event| event["run"] == name).count();
    assert_eq!((named("routing:mail"), named("audit"), named("dead-letters")), (2, 2, 3));
    assert!(done(folder, &["dump", "data", "--all"]).contains("\ndead-letters 2026-01-01 00:00:00.010Z"));
    assert_eq!(refusal(folder, &["dump", "data", "routine:none"]), (4, "A0021".to_owned()));
}

#[test]
fn dead_letters_are_listed_and_those_that_were_told_can_be_discarded() {
    let folder = lived_in();
    let folder = folder.path();
    let text = done(folder, &["dead-letters", "data"]);
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        words[1][..9],
        ["1", "2026-01-01", "00:00:00.010Z", "order-7", "#3.2", "pay.charge", "pay", "held", "attempts"]
    );
    assert_eq!(words[2][7], "told");
    let numbers = |args: &[&str]| -> Vec<u64> {
        let text = antiphon(folder, &[&["dead-letters", "data", "--json"], args].concat()).1;
        json(&text).iter().map(|letter| letter["number"].as_u64().unwrap()).collect()
    };
    assert_eq!((numbers(&[]), numbers(&["--held"]), numbers(&["--queue", "mail"])), (vec![1, 2], vec![1], vec![]));
    assert_eq!((numbers(&["--after", "1"]), numbers(&["--type", "pay.charge", "--limit", "1"])), (vec![2], vec![1]));

    assert_eq!(refusal(folder, &["dead-letter", "discard", "data", "1"]), (5, "A0060".to_owned()));
    assert_eq!(refusal(folder, &["dead-letter", "retry", "data", "2"]), (5, "A0060".to_owned()));
    assert_eq!(refusal(folder, &["dead-letter", "discard", "data", "9"]), (4, "A0056".to_owned()));
    assert_eq!(done(folder, &["dead-letter", "discard", "data", "2"]), "dead-letter.discard 2\n");
    let again = done(folder, &["dead-letter", "discard", "data", "2", "--json"]);
    assert_eq!(json(&again)[0]["changed"], false);
    assert_eq!((numbers(&[]), numbers(&["--settled"])), (vec![1], vec![1, 2]));
    let stats = &json(&done(folder, &["stats", "data", "--json"]))[0];
    assert_eq!((&stats["dead_letters"]["held"], &stats["dead_letters"]["told"]), (&1.into(), &0.into()));
    assert!(done(folder, &["stats", "data"]).contains("dead letters: 1 held, 0 told to their workflows\n"));
    let settled = done(folder, &["dead-letters", "data", "--settled"]);
    assert!(settled.contains("discarded by ada"), "{settled}");
}

#[test]
fn workers_are_listed_as_they_are_on_record_and_looked_after() {
    let folder = store(&[workers(0), stuck(3, "report-1")]);
    let folder = folder.path();
    let text = done(folder, &["workers", "data"]);
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[1][..8], ["local", "pool", "there", "healthy", "2", "default", "print", "colour"]);
    assert_eq!(words[2][..2], ["press-1", "pull"]);
    let gone = done(folder, &["workers", "data", "--gone"]);
    assert!(gone.ends_with("press-9  pull  2026-01-01 00:00:00.005Z  silent for 60000 ms\n"), "{gone}");

    let drain = ["worker", "drain", "data", "press-2", "--why", "moves"];
    assert_eq!(done(folder, &drain), "worker.drain press-2\n");
    assert!(done(folder, &drain).ends_with("it was so before, and nothing was written\n"));
    done(folder, &["worker", "health", "data", "press-1", "degraded"]);
    assert_eq!(refusal(folder, &["worker", "drain", "data", "press-9"]), (4, "A0045".to_owned()));
    let (code, _, err) = antiphon(folder, &["worker", "health", "data", "press-1", "ill"]);
    assert!(code == 2 && err.contains("ill"), "{err}");

    let of_mail = &json(&done(folder, &["workers", "data", "--queue", "mail", "--json"]))[..];
    assert_eq!((of_mail.len(), &of_mail[0]["state"], &of_mail[0]["kind"]), (1, &"draining".into(), &"remote".into()));
    assert!(done(folder, &["workers", "data"]).contains("press-1  pull    there     degraded"));
    let stats = &json(&done(folder, &["stats", "data", "--json"]))[0];
    assert_eq!(stats["workers"], serde_json::json!({"there": 2, "draining": 1, "gone": 1}));
    assert!(done(folder, &["audit", "data"]).contains("worker.drain   press-2  moves\n"));
    let queues = json(&done(folder, &["queues", "data", "--json"]));
    assert_eq!(
        (&queues[0]["queue"], &queues[0]["waiting"], &queues[0]["workers"]),
        (&"default".into(), &1.into(), &2.into())
    );
    assert_eq!((&queues[1]["queue"], &queues[1]["waiting"]), (&"mail".into(), &0.into()));
    assert!(queues[0]["oldest_ms"].as_u64().unwrap() > 1_000_000, "it waits since new year");
    assert_eq!(done(folder, &["queues", "data", "mail"]).lines().count(), 2);
    assert_eq!(refusal(folder, &["queues", "data", "none"]), (4, "A0063".to_owned()));
    assert_eq!(stats["queues"][0]["waiting"], 1);
    let waiting = &json(&done(folder, &["attempts", "data", "default", "--state", "waiting", "--json"]))[0];
    assert_eq!(
        (&waiting["workflow_id"], &waiting["ordinal"], &waiting["attempt"]),
        (&"report-1".into(), &1.into(), &1.into())
    );
    assert_eq!((&waiting["worker"], &waiting["fairness_key"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    let text = done(folder, &["attempts", "data"]);
    assert!(text.contains("report-1 #1.1  print  default  waiting  2026-01-01 00:00:09.000Z"), "{text}");
    assert_eq!(done_with(folder, &["attempts", "data", "mail"]), "no open attempt matches\n");
    let (code, _, err) = antiphon(folder, &["attempts", "data", "--state", "lost"]);
    assert!(code == 2 && err.contains("waiting, backing_off, in_flight, lease_ended, held"), "{err}");
    // What the record says of workers is what an explanation goes by.
    let why = &json(&done(folder, &["explain", "data", "report-1", "--json"]))[0]["waits"][0]["why"];
    assert_eq!(why["state"], "waiting");
    assert!(!why["reason"].as_str().unwrap().contains("no worker subscribes"), "{why}");
}

#[test]
fn a_queue_is_paused_resumed_and_set_and_what_waits_says_so() {
    let folder = lived_in();
    let folder = folder.path();
    assert_eq!(done(folder, &["queue", "pause", "data", "default", "--why", "no paper"]), "queue.pause default\n");
    assert!(
        done(folder, &["queue", "pause", "data", "default"]).ends_with("it was so before, and nothing was written\n")
    );
    let text = done(folder, &["queues", "data", "default"]);
    assert!(text.contains("paused by ada: no paper"), "{text}");
    done(folder, &["queue", "set", "data", "default", "--in-flight", "3", "--rate", "100/1m", "--weight", "gold=5"]);
    done(folder, &["queue", "set", "data", "default", "--rate", "none", "--per-key", "1"]);
    done(folder, &["queue", "resume", "data", "default", "--who", "bob"]);
    let queue = &json(&done(folder, &["queues", "data", "default", "--json"]))[0];
    let settings = &queue["settings"];
    assert_eq!((&settings["in_flight_max"], &settings["per_key_max"]), (&3.into(), &1.into()));
    assert_eq!(
        (&settings["rate"], &settings["weights"][0][1], &queue["paused"]),
        (&serde_json::Value::Null, &5.into(), &serde_json::Value::Null)
    );
    assert!(done(folder, &["dump", "data", "queue:default"]).contains("QueuePaused"));
    let before = tip(folder);
    for setting in ["--in-flight", "--per-key", "--waiting-max"] {
        assert_eq!(refusal(folder, &["queue", "set", "data", "default", setting, "0"]), (2, "A0039".to_owned()));
    }
    assert_eq!(refusal(folder, &["queue", "set", "data", "default", "--rate", "0/1m"]), (2, "A0039".to_owned()));
    let (code, _, err) = antiphon(folder, &["queue", "set", "data", "default", "--rate", "often"]);
    assert!(code == 2 && err.contains("100/1m"), "{err}");
    assert_eq!(tip(folder), before);
}

#[test]
fn words_and_numbers_that_cannot_be_are_refused_by_name_and_write_nothing() {
    let folder = lived_in();
    let folder = folder.path();
    let before = tip(folder);
    for (args, exit, code) in [
        (&["routing", "set", "data", "mail", "--keys", "0"][..], 2, "A0035"),
        (&["routing", "reset", "data", "mail", "--key", "nobody"], 2, "A0035"),
        (&["routing", "reset", "data", ""], 2, "A0012"),
        (&["routing", "data", "mail"], 4, "A0063"),
        (&["routine", "show", "data", "nightly"], 4, "A0063"),
        (&["routine", "pause", "data", "nightly"], 4, "A0049"),
        (&["routing", "reset", "dta", "mail"], 3, "A0001"),
        (&["routine", "create", "data", "nightly", "--workflow", "report", "--every", "1h"], 5, "A0061"),
        (&["routine", "create", "data", "n", "--workflow", "report", "--cron", "61 * * * *"], 2, "A0048"),
        (
            &["routine", "create", "data", "n", "--workflow", "report", "--cron", "1 * * * *", "--zone", "Mars"],
            2,
            "A0048",
        ),
        (&["routine", "create", "data", "n", "--workflow", "report", "--every", "0s"], 2, "A0048"),
    ] {
        assert_eq!(refusal(folder, args), (exit, code.to_owned()), "{args:?}");
    }
    for (args, word) in [
        (&["routine", "create", "data", "n", "--workflow", "r", "--every", "1h", "--overlap", "maybe"][..], "maybe"),
        (&["routine", "create", "data", "n", "--workflow", "r", "--every", "1h", "--catch-up", "some"], "some"),
        (&["routine", "create", "data", "n", "--workflow", "r", "--every", "soon"], "soon"),
        (&["routine", "create", "data", "n", "--workflow", "r"], "--every"),
        (&["routines", "data", "--status", "idle"], "idle"),
        (&["routines", "data", "--label", "books"], "name=value"),
        (&["routing", "set", "data", "mail", "--key-ttl", "long"], "long"),
        (&["routing", "default", "data", "mail", "--route", r#"{"policy": "luck"}"#], "luck"),
        (&["routing", "default", "data", "mail", "--route", "{"], "EOF"),
    ] {
        let (code, _, err) = antiphon(folder, args);
        assert!(code == 2 && err.contains(word), "{args:?}: {err}");
    }
    assert_eq!(tip(folder), before);
    assert!(!folder.join("dta").exists());
}

#[test]
fn empty_answers_say_so() {
    let folder = store(&[] as &[HistoryFile]);
    for (args, remark) in [
        (&["routing", "data"][..], "nothing was ever routed by a request here\n"),
        (&["dead-letters", "data"], "no dead letter matches\n"),
        (&["routines", "data"], "no routine matches\n"),
        (&["workers", "data"], "no worker is there\n"),
        (&["attempts", "data"], "no open attempt matches\n"),
        (&["queues", "data"], "no task queue has work, or workers\n"),
        (&["audit", "data"], "nothing of that is in the audit\n"),
    ] {
        let (code, out, err) = antiphon(folder.path(), args);
        assert_eq!((code, out.as_str(), err.as_str()), (0, "", remark), "{args:?}");
    }
}

#[test]
fn a_run_says_what_it_waits_for() {
    let folder = lived_in();
    let folder = folder.path();
    let text = done(folder, &["explain", "data", "report-1"]);
    assert!(text.starts_with("report-1  report  running  "), "{text}");
    assert!(
        text.contains("  activity #1.1 print on default waits for a worker since 2026-01-01 00:00:09.000Z: "),
        "{text}"
    );
    let json = &json(&done(folder, &["explain", "data", "report-1", "--activity", "1", "--json"]))[0];
    assert_eq!(
        (&json["waits"][0]["why"]["state"], &json["waits"][0]["why"]["since"]),
        (&"waiting".into(), &"2026-01-01T00:00:09.000Z".into())
    );
    let blocked = done(folder, &["explain", "data", "order-8"]);
    assert!(blocked.contains("waits for code that can follow its record"), "{blocked}");
    assert!(done(folder, &["explain", "data", "order-7"]).ends_with("waits for nothing: it has ended\n"));
    assert_eq!(refusal(folder, &["explain", "data", "report-1", "--activity", "9"]), (4, "A0063".to_owned()));
    let (code, text, _) = antiphon(folder, &["reconcile", "data", "--dry-run", "--waiting", "1d"]);
    assert!(code == 1 && text.lines().count() == 2 && text.contains("waits-long  report-1 #1.1  0    "), "{text}");
    assert_eq!(done_with(folder, &["reconcile", "data", "--dry-run", "--waiting", "9999d"]), "nothing is stuck\n");
    assert_eq!(antiphon(folder, &["reconcile", "data"]).0, 2, "repairs are the engine's");
    assert_eq!(refusal(folder, &["explain", "data", "none"]), (4, "A0021".to_owned()));
}

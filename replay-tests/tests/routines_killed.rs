//! A store with routines whose engine is killed in the middle of their slots, again and again.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod process;

use antiphon::{
    ActivityContext, Antiphon, Builder, CallError, CatchUp, Config, Durability, Never, Overlap, RetryPolicy, Routine,
    RoutineStatus, WorkflowContext, activity, millis, secs, workflow,
};
use antiphon_history::{EntityEvent, EntityName, Events, Record, RoutineEvent, RunEvent, RunKey, Slot};
use antiphon_recorder::{Filter, Reader, sqlite};
use process::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How often the engine is killed. Each life sees some slots of each routine, and there are more than all lives see.
const KILLS: u64 = 10;
const SLOTS: u64 = 12 * KILLS;

#[activity]
async fn work(act: ActivityContext, fails: bool) -> Result<(), String> {
    let _ = act;
    say("begun");
    tokio::time::sleep(millis(3)).await;
    if fails { Err("on purpose".to_owned()) } else { Ok(()) }
}

#[workflow]
async fn job(ctx: WorkflowContext<'_>, fails: bool) -> antiphon::Result<(), CallError<String>> {
    Ok(ctx.call(work(fails)).attempts(1).await?)
}

#[activity]
async fn alone(act: ActivityContext) -> Result<(), Never> {
    let _ = act;
    say("begun");
    Ok(())
}

fn builder(folder: &Path) -> Builder {
    // A kill loses nothing that the system was given, so that syncs would show nothing here and only take time.
    let config = Config { archive_every_ms: 5, ..Config::default() };
    let builder = Antiphon::open(folder).durability(Durability::Process).config(config);
    builder.workflow(job).activity(work).activity(alone).wait_for_lock(secs(30))
}

/// One of each way to treat slots that overlap, all of them too many for their time.
fn routines() -> Vec<Routine> {
    let every = |id: &str, fails| Routine::every(millis(4), job(fails)).id(id).max_runs(SLOTS).catch_up(CatchUp::All);
    let retry = RetryPolicy { max_attempts: 2, initial_ms: 1, ..RetryPolicy::default() };
    vec![
        every("skip", false).overlap(Overlap::Skip),
        every("buffer", false).overlap(Overlap::BufferAll),
        every("cancel", false).overlap(Overlap::CancelOther),
        every("terminate", false).overlap(Overlap::TerminateOther),
        every("beside", false).overlap(Overlap::AllowAll),
        every("retried", true).overlap(Overlap::BufferOne).retry(retry),
        Routine::every(millis(4), alone()).id("alone").max_runs(SLOTS).catch_up(CatchUp::All),
    ]
}

/// The process that is killed; among the tests there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_another_process() {
    let Some((_, folder)) = role() else { return };
    let app = builder(&folder).run_routines().start().unwrap();
    for routine in routines() {
        app.routines().create(routine).await.unwrap();
    }
    // Until it is killed, or the tests are gone.
    tokio::task::spawn_blocking(wait).await.unwrap();
}

/// The same draws each time: how many bodies begin before the engine is killed.
fn draws() -> impl Iterator<Item = u64> {
    let mut state: u64 = 0x5eed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 40
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_slot_makes_one_run_for_each_attempt_and_none_stays_open_however_often_the_engine_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("data");
    let mut amid = 0;
    for bodies in draws().take(KILLS as usize) {
        let mut engine = Process::start("in_another_process", "engine", &store);
        // None: it is killed while it begins. Killed in what it does behind the last word, wherever that is by then.
        for _ in 0..bodies {
            engine.expect("begun");
        }
        engine.kill();
        // One that was not yet whole when its maker was killed has no slots.
        if let Ok(reader) = sqlite::snapshot(&store) {
            let (_, open) = slots_and_runs_agree(reader);
            amid += u64::from(!open.is_empty());
        }
    }
    assert!(amid > KILLS / 2, "most kills come in the middle of slots: {amid}");
    let app = builder(&store).run_routines().start().unwrap();
    for routine in routines() {
        let id = app.routines().create(routine).await.unwrap().state.id;
        while app.routines().get(&id).await.unwrap().status != RoutineStatus::Completed {
            tokio::time::sleep(millis(5)).await;
        }
        assert_eq!(app.routines().get(&id).await.unwrap().state.open.len(), 0);
    }
    app.stop();
    let (runs, open) = slots_and_runs_agree(sqlite::snapshot(&store).unwrap());
    assert!(open.is_empty(), "still open: {open:?}");
    assert!(runs as u64 > 7 * SLOTS, "all slots of seven routines, and second attempts: {runs}");
    let report = sqlite::verify(&store).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

/// Compares what routines say of their slots with the runs that there are. Returns how many runs there are, and the slots
/// that are open.
fn slots_and_runs_agree(mut reader: Box<dyn Reader>) -> (usize, BTreeSet<(String, Slot, u32)>) {
    let mut runs: BTreeMap<RunKey, (String, Slot, u32)> = BTreeMap::new();
    let mut closed = BTreeSet::new();
    for row in reader.list(&Filter { limit: usize::MAX, ..Filter::default() }).unwrap() {
        let history = reader.history(row.key).unwrap().unwrap();
        let Events::Run(events) = Record::read(&history.records[0]).unwrap().events else { panic!("a run begins so") };
        let RunEvent::RunStarted(started) = &events[0] else { panic!("a run begins so") };
        let of = started.routine.as_deref().expect("nobody else starts runs here");
        if row.status.is_closed() {
            closed.insert(row.key);
        }
        runs.insert(row.key, (of.routine.clone(), of.slot, of.attempt));
    }
    let distinct: BTreeSet<_> = runs.values().collect();
    assert_eq!(distinct.len(), runs.len(), "an attempt of a slot has one run");
    let mut open = BTreeSet::new();
    let mut told = BTreeSet::new();
    for row in reader.entities().unwrap() {
        let EntityName::Routine(id) = &row.entity.as_ref().unwrap().name else { continue };
        let history = reader.history(row.key).unwrap().unwrap();
        for bytes in &history.records {
            let Events::Entity(events) = Record::read(bytes).unwrap().events else { continue };
            for event in events {
                match event {
                    EntityEvent::Routine(RoutineEvent::SlotStarted { slot, attempt, run, .. }) => {
                        let run = run.expect("its code is there");
                        assert_eq!(runs.get(&run), Some(&(id.clone(), slot, attempt)), "its run is there");
                        assert!(told.insert(run), "a run carries out one slot");
                        assert!(open.insert((id.clone(), slot, attempt)), "{id} {slot} is started once");
                    }
                    EntityEvent::Routine(RoutineEvent::SlotEnded { slot, attempt, .. }) => {
                        assert!(open.remove(&(id.clone(), slot, attempt)), "{id} {slot} ends once, after its start");
                    }
                    _ => {}
                }
            }
        }
    }
    assert_eq!(told.len(), runs.len(), "each run has its slot");
    for (run, slot) in &runs {
        assert_eq!(closed.contains(run), !open.contains(slot), "{slot:?} and its run are open, or over, both");
    }
    (runs.len(), open)
}

//! One request of an operator on a store that no engine has open.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_engine::router::{RoutingReply, RoutingRequest};
use antiphon_engine::{By, Operation, OperationError, Programs, Reply, RoutinesRequest, Target};
use antiphon_history::{
    EntityState, Events, Ordinal, Record, RoutingState, RunEvent, RunId, RunKey, RunStarted, RunStatus, Segment,
    SegmentBody, Site, Timestamp, WorkflowKey,
};
use antiphon_recorder::memory::{FailKind, MemoryStore};
use antiphon_recorder::{Error, sqlite};
use antiphon_runtime::{ManualClock, MemorySource, OperateError, Operated, SqliteFolder, StoreSource, operate};
use std::sync::Arc;

fn keep(keys: u32) -> Operation {
    let by = By { who: "ada".to_owned(), why: "fewer customers".to_owned() };
    Operation::Routing(RoutingRequest::Set { queue: "mail".into(), affinities_max: keys, affinity_ttl_ms: None, by })
}

fn ask(source: &dyn StoreSource, operation: Operation) -> Result<Operated, OperateError> {
    operate(source, &ManualClock::new(Timestamp(1_000)), Programs::default(), operation)
}

/// The routing of the queue, as anybody finds it who looks now.
fn routing(source: &dyn StoreSource) -> Option<RoutingState> {
    let rows = source.snapshot().unwrap().entities().unwrap();
    rows.into_iter().find_map(|row| match row.entity?.state {
        EntityState::Routing(state) => Some(*state),
        _ => None,
    })
}

fn on_disk() -> (tempfile::TempDir, SqliteFolder) {
    let folder = tempfile::tempdir().unwrap();
    let source = SqliteFolder::new(folder.path().join("data"), sqlite::Options::default());
    drop(source.open().unwrap());
    (folder, source)
}

#[test]
fn an_operation_is_durable_archived_and_anchored_when_it_is_answered() {
    let (_folder, source) = on_disk();
    let done = ask(&source, keep(7)).unwrap();
    assert!(done.written && matches!(&done.reply, Reply::Routing(reply) if **reply == RoutingReply::Done));
    assert_eq!(routing(&source).unwrap().affinities_max, 7);
    let report = sqlite::verify(source.folder()).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
    let head = || std::fs::read_to_string(source.folder().join("head")).unwrap();
    let anchored = head();
    assert_eq!(source.open().unwrap().log.tip().id, 1, "one segment");
    assert_eq!(head(), anchored, "whoever opens it has nothing to make up for");

    let asked = ask(&source, Operation::Routing(RoutingRequest::Describe { queue: "mail".into() })).unwrap();
    assert!(!asked.written);
    assert_eq!(source.open().unwrap().log.tip().id, 1, "a question writes nothing");
}

#[test]
fn a_refusal_writes_nothing() {
    let (_folder, source) = on_disk();
    let refused = ask(&source, keep(0)).unwrap_err();
    assert!(refused.to_string().contains("[A0035]"), "{refused}");
    let due = Operation::Routines(RoutinesRequest::RunDue { now: None, limit: 1 });
    let refused = ask(&source, due).unwrap_err();
    assert!(matches!(refused, OperateError::Refused(OperationError::NeedsEngine { .. })), "{refused}");
    assert_eq!(source.open().unwrap().log.tip().id, 0);
}

#[test]
fn a_run_is_terminated_with_no_engine_and_no_code_at_hand() {
    let (_folder, source) = on_disk();
    let started = RunEvent::RunStarted(Arc::new(RunStarted {
        namespace: "default".into(),
        workflow_id: "order-7".into(),
        run_id: RunId([7; 16]),
        workflow_type: "gone".into(),
        version: 1,
        input: vec![],
        semantics: 1,
        driver: "native".into(),
        request_id: None,
        routine: None,
    }));
    let timer = RunEvent::TimerStarted { ordinal: Ordinal(1), due: Timestamp(9_000), site: Site::default() };
    let events = Events::Run(vec![started, timer]);
    let record = Record { run: RunKey(1), first_seq: 1, at: Timestamp(500), events };
    let mut body = SegmentBody::default();
    body.push(&record);
    let mut store = source.open().unwrap();
    store.log.append(&Segment::seal(store.log.tip().digest, 1, Timestamp(500), body.to_bytes())).unwrap();
    drop(store);

    let workflow = WorkflowKey::new("order-7").unwrap();
    let terminate = |run| {
        let by = By { who: "ada".into(), why: "its code is gone".into() };
        ask(&source, Operation::Terminate { target: Target { workflow: workflow.clone(), run }, by })
    };
    let refused = terminate(Some(RunId([9; 16]))).unwrap_err();
    assert!(refused.to_string().contains("[A0023]"), "{refused}");
    let done = terminate(None).unwrap();
    assert!(done.written && done.reply == Reply::Accepted);
    let mut reader = source.snapshot().unwrap();
    let row = reader.find(&workflow).unwrap().unwrap();
    assert_eq!((row.status, row.run_events, row.due()), (RunStatus::Terminated, 3, None));
    assert_eq!(reader.due_after(Timestamp(0), 9).unwrap(), []);
    drop(reader);
    let refused = terminate(None).unwrap_err();
    assert!(refused.to_string().contains("[A0022]"), "{refused}");
    assert_eq!(source.open().unwrap().log.tip().id, 2, "a refusal writes nothing");
    let report = sqlite::verify(source.folder()).unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

#[test]
fn while_an_engine_has_the_store_it_is_refused() {
    let (_folder, source) = on_disk();
    let engine = source.open().unwrap();
    let refused = ask(&source, keep(7)).unwrap_err();
    assert!(matches!(refused, OperateError::Store(Error::OpenElsewhere { .. })), "{refused}");
    drop(engine);
    ask(&source, keep(7)).unwrap();
}

#[test]
fn a_mistyped_folder_does_not_become_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let source = SqliteFolder::new(folder.path().join("dta"), sqlite::Options::default());
    let refused = ask(&source, keep(7)).unwrap_err();
    assert!(refused.to_string().contains("[A0001]"), "{refused}");
    assert!(!source.folder().exists());
}

#[test]
fn what_could_not_be_written_was_not_done_and_can_be_asked_for_again() {
    let store = MemoryStore::new([1; 16]);
    let source = MemorySource(store.clone());
    store.fail_next_append(FailKind::Full);
    let failed = ask(&source, keep(7)).unwrap_err();
    assert!(matches!(failed, OperateError::Store(Error::Full { .. })), "{failed}");
    assert_eq!(routing(&source), None);
    ask(&source, keep(7)).unwrap();
    assert_eq!(routing(&source).unwrap().affinities_max, 7);
}

#[test]
fn when_nobody_knows_whether_it_was_written_the_log_knows() {
    for (how, done) in [(FailKind::UnknownApplied, true), (FailKind::UnknownNotApplied, false)] {
        let store = MemoryStore::new([1; 16]);
        let source = MemorySource(store.clone());
        store.fail_next_append(how);
        let failed = ask(&source, keep(7)).unwrap_err();
        assert!(failed.to_string().contains("[A0009]"), "{failed}");
        assert_eq!(routing(&source).is_some(), done);
    }
}

#[test]
fn what_is_recorded_holds_although_the_archive_failed() {
    let store = MemoryStore::new([1; 16]);
    let source = MemorySource(store.clone());
    store.fail_next_fold(FailKind::UnknownNotApplied);
    let failed = ask(&source, keep(7)).unwrap_err();
    assert!(matches!(failed, OperateError::Recorded { .. }), "{failed}");
    assert_eq!(routing(&source).unwrap().affinities_max, 7);
    ask(&source, keep(8)).unwrap();
    assert_eq!(routing(&source).unwrap().affinities_max, 8);
    assert_eq!(source.open().unwrap().archive.watermark().segment, 2);
}

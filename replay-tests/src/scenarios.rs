//! How each history in `fixtures/histories` came about: a name, and what happened, by hand.

use crate::programs::{ACTIVITIES, changed, today};
use crate::world::{World, failure, target, worker};
use antiphon_conversation::{Answer, Request};
use antiphon_engine::{By, Input, RepairRequest, RoutinesRequest, StartRequest, Thresholds, Which};
use antiphon_engine::{IdReuse, ReplyTo};
use antiphon_history::{
    HistoryFile, Payload, RetryPolicy, RoutineSpec, RoutineTarget, Schedule, Timestamp, WorkflowKey,
};

/// One recording.
pub struct Scenario {
    /// The name of its files.
    pub name: &'static str,
    /// Plays it and returns the history of its run.
    pub play: fn() -> HistoryFile,
}

/// All recordings, in the order of their names.
pub const ALL: &[Scenario] = &[
    Scenario { name: "cancelled-with-compensation", play: cancelled },
    Scenario { name: "diverged-then-mended", play: diverged },
    Scenario { name: "evicted-and-reloaded", play: evicted },
    Scenario { name: "failed-with-compensation", play: failed },
    Scenario { name: "heartbeat-timeout", play: heartbeat },
    Scenario { name: "held-then-retried", play: held },
    Scenario { name: "outside-values-and-large-payload", play: outside },
    Scenario { name: "panicked-leg-second-worker", play: panicked },
    Scenario { name: "parallel-join", play: fan },
    Scenario { name: "redriven-then-discarded", play: redriven },
    Scenario { name: "restart-in-the-middle", play: restarted },
    Scenario { name: "retry-then-success", play: retried },
    Scenario { name: "routine-second-attempt", play: routine },
    Scenario { name: "schedule-to-close-timeout", play: schedule_to_close },
    Scenario { name: "schedule-to-start-timeout", play: schedule_to_start },
    Scenario { name: "signal-beats-timer", play: signal_first },
    Scenario { name: "start-to-close-timeout", play: start_to_close },
    Scenario { name: "success", play: success },
    Scenario { name: "terminated-with-a-leg-under-way", play: terminated },
    Scenario { name: "timer-beats-signal", play: timer_first },
    Scenario { name: "worker-lost-second-leg", play: worker_lost },
];

fn world(workers: &[(&str, u32)]) -> World {
    let workers = workers.iter().map(|(name, capacity)| worker(name, &ACTIVITIES, *capacity)).collect();
    World::with_programs(today(), workers)
}

fn start(world: &mut World, workflow_type: &str, input: &[&str]) {
    let request = StartRequest {
        workflow: WorkflowKey::new("recorded").expect("a usable id"),
        workflow_type: workflow_type.to_owned(),
        input: input.iter().map(|text| Payload::json(text.as_bytes().to_vec())).collect(),
        id_reuse: IdReuse::Never,
        request_id: None,
    };
    world.step(Input::Start(request, ReplyTo(0)));
}

/// Answers every waiting request as the activities' bodies would.
fn serve(world: &mut World) {
    while let Some((_, request)) = world.sent.first().cloned() {
        world.sent.remove(0);
        let answer = body(&request);
        world.answer_to(&request, answer);
    }
}

fn body(request: &Request) -> Answer {
    let argument = |index: usize| -> String {
        let bytes = request.call.input[index].bytes().expect("requests carry their payloads");
        String::from_utf8(bytes.to_vec()).expect("arguments are JSON")
    };
    let result = match request.call.activity_type.as_str() {
        "pay.charge" if argument(1) == "0" => {
            let details = Some(Payload::json(b"\"Stolen\"".to_vec()));
            let failure = antiphon_history::Failure { details, ..failure("the card is stolen") };
            return Answer::Failed { failure, retryable: false };
        }
        "pay.charge" => format!("{}", argument(0).parse::<u64>().unwrap_or(0) * 1_000),
        "pay.refund" => "null".to_owned(),
        _ => argument(0),
    };
    Answer::Completed { result: vec![Payload::json(result.into_bytes())] }
}

fn busy() -> Answer {
    let details = Some(Payload::json(b"\"Busy\"".to_vec()));
    let failure = antiphon_history::Failure { details, ..failure("the bank is busy") };
    Answer::Failed { failure, retryable: true }
}

fn success() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "one", &["\"hello\""]);
    world.now += 3;
    serve(&mut world);
    world.history(1)
}

fn retried() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "guarded", &["7"]);
    world.now += 5;
    world.answer(busy());
    world.pass(200);
    serve(&mut world);
    world.history(1)
}

fn by() -> By {
    By { who: "ann".to_owned(), why: "for the fixture".to_owned() }
}

fn held() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "patient", &["7"]);
    world.now += 5;
    world.answer(busy());
    world.pass(60_000);
    world.repair(RepairRequest::Retry { which: Which::Letter(1), call: None, by: by() }).expect("it is held");
    serve(&mut world);
    world.history(1)
}

fn redriven() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "patient", &["7"]);
    for _ in 0..2 {
        world.pass(301_000);
        let thresholds = Thresholds::default();
        world
            .repair(RepairRequest::Reconcile { thresholds, dry_run: false, by: by() })
            .expect("a look is never refused");
    }
    world.repair(RepairRequest::Discard { which: Which::Letter(1), by: by() }).expect("it is held");
    world.history(1)
}

fn routine() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    let target = RoutineTarget::Workflow {
        workflow_type: "guarded".into(),
        id_prefix: "charges".into(),
        input: vec![Payload::json(b"7".to_vec())],
    };
    let retry = RetryPolicy { max_attempts: 2, ..RetryPolicy::default() };
    let spec = RoutineSpec { retry, ..RoutineSpec::new(Schedule::Once { at: Timestamp(0) }, target) };
    let (id, who, why) = (Some("nightly".to_owned()), "ada".to_owned(), String::new());
    world.routines(RoutinesRequest::Create { id, spec: Box::new(spec), who, why });
    let due = || RoutinesRequest::RunDue { now: None, limit: 1 };
    world.routines(due());
    world.answer(Answer::Failed { failure: failure("the card is stolen"), retryable: false });
    world.pass(1_000);
    world.routines(due());
    serve(&mut world);
    world.history(2)
}

/// Lets time pass while the worker of `request` tells of itself.
fn work_on(world: &mut World, request: &Request, ms: i64) {
    let (conversation, leg, token) = (request.conversation, request.leg, request.token);
    let mut left = ms;
    while left > 0 {
        let step = left.min(500);
        world.pass(step);
        left -= step;
        let details = Some(Payload::json(b"\"authorising\"".to_vec()));
        world.step(Input::Heartbeat { conversation, leg, token, details });
    }
}

/// Lets time pass until the next request is out, and returns it.
fn next_request(world: &mut World) -> Request {
    for _ in 0..100 {
        if !world.sent.is_empty() {
            break;
        }
        world.pass(50);
    }
    world.sent.remove(0).1
}

fn start_to_close() -> HistoryFile {
    let mut world = world(&[("w1", 1)]);
    start(&mut world, "guarded", &["7"]);
    for _ in 0..3 {
        let request = next_request(&mut world);
        work_on(&mut world, &request, 1_900);
        world.pass(100);
        world.answer_to(&request, Answer::Stopped);
    }
    world.history(1)
}

fn heartbeat() -> HistoryFile {
    let mut world = world(&[("w1", 8)]);
    start(&mut world, "guarded", &["7"]);
    world.pass(1_000);
    world.pass(200);
    world.sent.remove(0);
    serve(&mut world);
    world.history(1)
}

fn schedule_to_start() -> HistoryFile {
    let mut world = world(&[]);
    start(&mut world, "guarded", &["7"]);
    world.pass(5_000);
    world.history(1)
}

fn schedule_to_close() -> HistoryFile {
    let mut world = world(&[("w1", 1)]);
    start(&mut world, "guarded", &["7"]);
    // Losses do not count as attempts, but their time counts: the overall deadline ends it.
    for _ in 0..3 {
        let request = next_request(&mut world);
        work_on(&mut world, &request, 1_900);
        world.answer_to(&request, Answer::Panicked { message: "out of memory".to_owned() });
    }
    let request = next_request(&mut world);
    work_on(&mut world, &request, 1_900);
    world.pass(1_000);
    world.history(1)
}

fn worker_lost() -> HistoryFile {
    let mut world = world(&[("w1", 1), ("w2", 1)]);
    start(&mut world, "one", &["\"hello\""]);
    world.now += 40;
    world.sent.clear();
    world.step(Input::WorkerLeft { name: "w1".to_owned() });
    world.now += 2;
    serve(&mut world);
    world.history(1)
}

fn panicked() -> HistoryFile {
    let mut world = world(&[("w1", 1), ("w2", 1)]);
    start(&mut world, "one", &["\"hello\""]);
    world.answer(Answer::Panicked { message: "index out of bounds".to_owned() });
    serve(&mut world);
    world.history(1)
}

fn restarted() -> HistoryFile {
    let mut world = world(&[("w1", 2)]);
    start(&mut world, "fan", &["3"]);
    let (_, request) = world.sent.remove(1);
    let answer = body(&request);
    world.answer_to(&request, answer);
    world.now += 1_000;
    world.restart_with(None);
    serve(&mut world);
    world.history(1)
}

fn cancelled() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "order", &["7", "100"]);
    serve(&mut world);
    world.now += 60_000;
    world.cancel("recorded", "the customer changed their mind");
    serve(&mut world);
    world.history(1)
}

fn terminated() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "order", &["7", "100"]);
    serve(&mut world);
    world.now += 60_000;
    world.cancel("recorded", "the customer changed their mind");
    world.now += 5_000;
    world.ask(|reply| Input::Terminate { target: target("recorded"), by: by(), reply });
    world.history(1)
}

fn failed() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "order", &["7", "100"]);
    serve(&mut world);
    world.pass(30 * 60_000);
    serve(&mut world);
    world.history(1)
}

fn signal_first() -> HistoryFile {
    let mut world = world(&[]);
    start(&mut world, "parcel", &[]);
    world.now += 3_600_000;
    world.signal("recorded", "packed", "\"Ada\"", Some("request-1"));
    world.history(1)
}

fn timer_first() -> HistoryFile {
    let mut world = world(&[]);
    start(&mut world, "parcel", &[]);
    world.pass(48 * 3_600_000);
    world.history(1)
}

fn fan() -> HistoryFile {
    let mut world = world(&[("w1", 4), ("w2", 4)]);
    start(&mut world, "fan", &["5"]);
    // The last one sent is answered first: the record, not the order of the calls, says who was done when.
    while let Some((_, request)) = world.sent.pop() {
        world.now += 1;
        let answer = body(&request);
        world.answer_to(&request, answer);
    }
    world.history(1)
}

fn outside() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "outside", &["20000"]);
    serve(&mut world);
    world.pass(1_000);
    world.history(1)
}

fn evicted() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "order", &["7", "100"]);
    serve(&mut world);
    world.now += 20 * 60_000;
    let through = world.segments;
    world.step(Input::Archived { through });
    assert_eq!(world.partition.stats().live_runs, 0, "the waiting run left memory");
    let history = world.history(1);
    world.partition.load(&history, antiphon_history::Timestamp(world.now)).expect("it comes back");
    world.signal("recorded", "packed", "\"Ada\"", None);
    world.history(1)
}

fn diverged() -> HistoryFile {
    let mut world = world(&[("w1", 4)]);
    start(&mut world, "twice", &["7"]);
    let (_, request) = world.sent.remove(0);
    let answer = body(&request);
    world.answer_to(&request, answer);
    // A change is deployed that this run cannot follow; its second charge is answered all the same, and kept.
    world.restart_with(Some(changed()));
    serve(&mut world);
    world.restart_with(Some(today()));
    serve(&mut world);
    world.history(1)
}

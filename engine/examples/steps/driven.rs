//! A partition that is driven by hand, with one workflow: so many activities in a row.

use antiphon_conversation::{Answer, Request};
use antiphon_engine::{
    Batch, Config, Context, Effect, Ending, IdReuse, Input, Origin, Partition, Program, Programs, Reply, ReplyTo,
    RunFuture, StartRequest, WorkerSpec,
};
use antiphon_history::{ActivityCall, ActivityOptions, Payload, Site, Timestamp, WorkflowKey};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Its input says how many activities there are, and how many fairness keys: `[1, 0]`. With keys, each run has one of
/// them, in turn by the third number.
struct Sequence;

impl Program for Sequence {
    fn name(&self) -> &str {
        "sequence"
    }
    fn version(&self) -> u32 {
        1
    }
    fn site(&self) -> String {
        "steps.rs:1".to_owned()
    }
    fn check_input(&self, _: &[Payload]) -> Result<(), String> {
        Ok(())
    }
    fn begin(&self, context: Context, input: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let text = input[0].bytes().and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
            let (length, key) = text.trim_matches('"').split_once(' ').unwrap_or((text, ""));
            for _ in 0..length.parse().unwrap_or(1) {
                let options = ActivityOptions { fairness_key: key.to_owned(), ..ActivityOptions::default() };
                context.activity(call(options)).await;
            }
            Ending::Completed(vec![json("\"hello-world\"")])
        })
    }
}

fn json(text: &str) -> Payload {
    Payload::json(text.as_bytes().to_vec())
}

fn call(options: ActivityOptions) -> ActivityCall {
    let input = vec![json("\"hello-world\"")];
    ActivityCall {
        activity_type: "echo".into(),
        queue: "default".into(),
        input,
        options,
        site: Site("steps.rs:2".into()),
    }
}

/// What a worker offers that has `echo`.
pub(crate) fn offer(name: &str, capacity: u32) -> WorkerSpec {
    WorkerSpec {
        name: name.to_owned(),
        queues: BTreeSet::from(["default".to_owned()]),
        activities: BTreeSet::from(["echo".to_owned()]),
        labels: BTreeSet::new(),
        capacity,
    }
}

/// A partition, the requests that it has sent and the replies to what was asked.
pub(crate) struct Driven {
    partition: Partition,
    now: i64,
    pub(crate) started: u64,
    asked: u64,
    pub(crate) requests: Vec<Request>,
    pub(crate) replies: Vec<Reply>,
}

impl Driven {
    /// A partition without workers.
    pub(crate) fn new() -> Driven {
        const NOW: i64 = 1_767_225_600_000;
        let origin = Origin { store_id: [1; 16], secret: [2; 32], last_segment: 0, last_run: 0, now: Timestamp(NOW) };
        let mut programs = Programs::default();
        programs.add(Arc::new(Sequence)).expect("one workflow has no rival");
        let config = Config { held_bytes_max: usize::MAX, ..Config::default() };
        let partition = Partition::new(config, programs, origin);
        Driven { partition, now: NOW, started: 0, asked: 0, requests: Vec::new(), replies: Vec::new() }
    }

    /// One worker that takes all there is.
    pub(crate) fn pool() -> Driven {
        let mut driven = Driven::new();
        driven.step(Input::WorkerJoined(offer("local", 100_000)));
        driven
    }

    pub(crate) fn step(&mut self, input: Input) {
        self.now += 1;
        self.partition.step(input, Timestamp(self.now));
    }

    /// A step whose reply is wanted; it is there after [`Driven::take`].
    pub(crate) fn ask(&mut self, input: impl FnOnce(ReplyTo) -> Input) {
        self.asked += 1;
        let to = ReplyTo(self.asked);
        self.step(input(to));
    }

    /// Closes the batch: its segment is durable and its requests are out when this returns.
    pub(crate) fn take(&mut self) {
        let Batch { effects, .. } = self.partition.take();
        for effect in effects {
            match effect {
                Effect::Dispatch { request, .. } => self.requests.push(*request),
                Effect::Reply { reply, .. } => self.replies.push(reply),
                Effect::CancelLeg { .. } => {}
            }
        }
    }

    /// Starts a run of so many activities in a row, with a fairness key if it is not empty.
    pub(crate) fn start(&mut self, length: u64, key: &str) {
        self.started += 1;
        let request = StartRequest {
            workflow: WorkflowKey::new(format!("run-{}", self.started)).expect("the id is short"),
            workflow_type: "sequence".to_owned(),
            input: vec![json(&format!("\"{length} {key}\""))],
            id_reuse: IdReuse::Never,
            request_id: None,
        };
        self.ask(|to| Input::Start(request, to));
    }

    pub(crate) fn answer(&mut self, request: &Request) {
        let (conversation, leg, token) = (request.conversation, request.leg, request.token);
        self.step(Input::Answered { conversation, leg, token, answer: Answer::Completed { result: result() } });
    }

    /// The engine forgets what has ended, as it does once the archive has it.
    pub(crate) fn archive(&mut self) {
        self.replies.clear();
        self.step(Input::Archived { through: u64::MAX });
    }

    /// Rounds of so many runs, each from the start to the end of all.
    pub(crate) fn rounds(mut self, rounds: u64, runs: u64, length: u64) {
        for _ in 0..rounds {
            (0..runs).for_each(|_| self.start(length, ""));
            self.take();
            while !self.requests.is_empty() {
                for request in std::mem::take(&mut self.requests) {
                    self.answer(&request);
                }
                self.take();
            }
            self.archive();
        }
        assert_eq!(self.partition.stats().ended, rounds * runs, "every run has come to its end");
    }
}

/// What an activity returns.
pub(crate) fn result() -> Vec<Payload> {
    vec![json("\"hello-world\"")]
}

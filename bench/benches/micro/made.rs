//! Records, segments and histories for the benches, made by a partition that is driven by hand.

use antiphon::{ActivityContext, Antiphon, CallError, Never, WorkflowContext, activity, workflow};
use antiphon_conversation::{Answer, Request};
use antiphon_engine::{
    Batch, Config, Effect, IdReuse, Input, Origin, Partition, Programs, ReplyTo, StartRequest, WorkerSpec,
};
use antiphon_history::{
    Bytes, Digest, HistoryFile, Payload, Record, RunKey, Segment, SegmentBody, Timestamp, WorkflowKey,
};
use std::collections::BTreeSet;

#[activity]
async fn echo(_act: ActivityContext, text: String) -> Result<String, Never> {
    Ok(text)
}

#[workflow]
async fn sequence(ctx: WorkflowContext<'_>, n: u64) -> antiphon::Result<String, CallError<Never>> {
    let mut last = String::new();
    for _ in 0..n {
        last = ctx.call(echo("hello-world".to_owned())).await?;
    }
    Ok(last)
}

pub(crate) fn programs() -> Programs {
    Antiphon::test().workflow(sequence).programs().expect("one workflow has no rival")
}

/// A partition, the requests that it has sent and the segments that it has written.
pub(crate) struct Made {
    partition: Partition,
    now: i64,
    started: u64,
    requests: Vec<Request>,
    bodies: Vec<Bytes>,
}

impl Made {
    /// A partition with one worker that takes all there is.
    pub(crate) fn new() -> Made {
        const NOW: i64 = 1_767_225_600_000;
        let origin = Origin { store_id: [1; 16], secret: [2; 32], last_segment: 0, last_run: 0, now: Timestamp(NOW) };
        let partition = Partition::new(Config::default(), programs(), origin);
        let mut made = Made { partition, now: NOW, started: 0, requests: Vec::new(), bodies: Vec::new() };
        made.step(Input::WorkerJoined(WorkerSpec {
            name: "local".to_owned(),
            queues: BTreeSet::from(["default".to_owned()]),
            activities: BTreeSet::from(["echo".to_owned()]),
            labels: BTreeSet::new(),
            capacity: 100_000,
        }));
        made
    }

    fn step(&mut self, input: Input) {
        self.now += 1;
        self.partition.step(input, Timestamp(self.now));
    }

    /// Closes the batch: its segment is durable and its requests are out when this returns.
    pub(crate) fn take(&mut self) {
        let Batch { segment, effects, .. } = self.partition.take();
        self.bodies.extend(segment);
        for effect in effects {
            if let Effect::Dispatch { request, .. } = effect {
                self.requests.push(*request);
            }
        }
    }

    /// Starts a run of `n` activities in a row.
    pub(crate) fn start(&mut self, n: u64) {
        self.started += 1;
        let parts = sequence(n).into_parts().expect("a number can be written");
        let request = StartRequest {
            workflow: WorkflowKey::new(format!("run-{}", self.started)).expect("the id is short"),
            workflow_type: parts.workflow_type.to_owned(),
            input: parts.input,
            id_reuse: IdReuse::Never,
            request_id: None,
        };
        self.step(Input::Start(request, ReplyTo(self.started)));
    }

    /// Answers all requests that are out.
    pub(crate) fn answer(&mut self) {
        for request in std::mem::take(&mut self.requests) {
            let (conversation, leg, token) = (request.conversation, request.leg, request.token);
            let answer = Answer::Completed { result: vec![Payload::json(b"\"hello-world\"".to_vec())] };
            self.step(Input::Answered { conversation, leg, token, answer });
        }
    }

    /// Lets every run go on to its end, a segment for each round of answers.
    pub(crate) fn finish(&mut self) {
        self.take();
        while !self.requests.is_empty() {
            self.answer();
            self.take();
        }
    }

    /// Lets the engine forget the runs that have ended, as it does once the archive has them.
    pub(crate) fn archive(&mut self) {
        self.step(Input::Archived { through: u64::MAX });
        self.bodies.clear();
    }
}

/// The chain of segments that `runs` runs of `n` activities leave.
pub(crate) fn segments(runs: u64, n: u64) -> Vec<Segment> {
    let mut made = Made::new();
    (0..runs).for_each(|_| made.start(n));
    made.finish();
    let (mut segments, mut tip) = (Vec::new(), Digest::START);
    for (body, id) in made.bodies.into_iter().zip(1..) {
        let segment = Segment::seal(tip, id, Timestamp(made.now), body);
        tip = segment.digest;
        segments.push(segment);
    }
    segments
}

/// The history of one run of `n` activities.
pub(crate) fn history(n: u64) -> HistoryFile {
    let segments = segments(1, n);
    let bodies = segments.iter().map(|segment| SegmentBody::read(&segment.body).expect("it was just written"));
    let records = bodies.flat_map(|body| body.records);
    let own = records.filter(|record| Record::run_of(record).is_ok_and(|run| run == RunKey(1)));
    HistoryFile { records: own.collect(), ..HistoryFile::default() }
}

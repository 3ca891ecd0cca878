//! One request of an operator while no run is in memory, or only the one that is to be ended.

use super::Partition;
use crate::router::RoutingRequest;
use crate::{
    By, QueuesRequest, RepairRequest, Reply, RequestError, RoutineError, RoutinesReply, RoutinesRequest, Target, Which,
    WorkersReply, WorkersRequest,
};
use antiphon_history::Timestamp;

/// What an operator may ask of a store that no engine has open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// To end a run without its code. It must have been brought in by [`Partition::bring_in_to_end`].
    Terminate {
        /// Which run.
        target: Target,
        /// Who, and why, for the record.
        by: By,
    },
    /// About dead letters.
    Repair(RepairRequest),
    /// About the routing of a queue.
    Routing(RoutingRequest),
    /// About routines.
    Routines(RoutinesRequest),
    /// About task queues.
    Queues(QueuesRequest),
    /// About workers: [`Drain`](WorkersRequest::Drain) and [`SetHealth`](WorkersRequest::SetHealth).
    Workers(WorkersRequest),
}

/// Why an operation was not carried out. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// A0060. It would change a run, or needs what only a running engine knows.
    #[error(
        "{what} takes a running engine, because {why}: ask for it in the program that runs the engine, or start that program [A0060]"
    )]
    NeedsEngine {
        /// What was asked for.
        what: String,
        /// Why it cannot be done on the store alone.
        why: &'static str,
    },
    /// The request was refused. See the error's own code.
    #[error(transparent)]
    Refused(#[from] RequestError),
    /// The request was refused. See the error's own code.
    #[error(transparent)]
    Routine(RoutineError),
}

impl From<RoutineError> for OperationError {
    fn from(error: RoutineError) -> OperationError {
        match error {
            RoutineError::Start(error) => OperationError::Refused(error),
            error => OperationError::Routine(error),
        }
    }
}

impl Partition {
    /// Carries out one operation on what was loaded, and does nothing else: no deadline passes, no routine
    /// starts a slot, nothing goes to a worker. What follows is in the next [`Partition::take`]; the answer holds once that
    /// is durable.
    ///
    /// For a partition without runs, but one that is to be terminated. Errors: [`OperationError::NeedsEngine`] for whatever
    /// else would change a run.
    pub fn operate(&mut self, operation: Operation, now: Timestamp) -> Result<Reply, OperationError> {
        self.core.now = self.core.now.max(now);
        if let Some((what, why)) = self.needs_engine(&operation) {
            return Err(OperationError::NeedsEngine { what, why });
        }
        Ok(match operation {
            Operation::Terminate { target, by } => {
                self.try_terminate(&target, by)?;
                Reply::Accepted
            }
            Operation::Repair(request) => Reply::Repair(Box::new(self.answer_repair(request)?)),
            Operation::Routing(request) => Reply::Routing(Box::new(self.core.routing_reply(request)?)),
            Operation::Routines(request) => match self.answer_routines(request)? {
                RoutinesReply::Refused(error) => return Err(error.into()),
                reply => Reply::Routines(Box::new(reply)),
            },
            Operation::Queues(request) => Reply::Queues(Box::new(self.queues_reply(request)?)),
            Operation::Workers(request) => Reply::Workers(self.look_after_worker(request)?),
        })
    }

    fn look_after_worker(&mut self, request: WorkersRequest) -> Result<WorkersReply, OperationError> {
        let done = match request {
            WorkersRequest::Drain { worker, who, why } => self.core.drain_worker(&worker, who, why),
            WorkersRequest::SetHealth { worker, health, who, why } => {
                self.core.set_worker_health(&worker, health, who, why)
            }
            _ => {
                let (what, why) = workers_need_engine();
                return Err(OperationError::NeedsEngine { what, why });
            }
        };
        Ok(done.map_err(RequestError::from)?)
    }

    /// What of an operation cannot be done without runs, and why.
    fn needs_engine(&self, operation: &Operation) -> Option<(String, &'static str)> {
        match operation {
            Operation::Repair(request) => self.repair_needs_engine(request),
            Operation::Routing(RoutingRequest::Would { .. }) => {
                Some(("choosing a worker".to_owned(), "the workers are connected to it"))
            }
            Operation::Terminate { .. } | Operation::Routing(_) | Operation::Queues(_) => None,
            Operation::Routines(request) => self.routines_need_engine(request),
            Operation::Workers(WorkersRequest::Drain { .. } | WorkersRequest::SetHealth { .. }) => None,
            Operation::Workers(_) => Some(workers_need_engine()),
        }
    }

    fn repair_needs_engine(&self, request: &RepairRequest) -> Option<(String, &'static str)> {
        let told = "its workflow has to be told";
        match request {
            RepairRequest::DeadLetters { .. } => None,
            RepairRequest::Retry { which: Which::Letter(number), .. } => self
                .is_open_letter(*number, false)
                .then(|| (format!("retrying dead letter {number}"), "a run goes on with it")),
            RepairRequest::Discard { which: Which::Letter(number), .. } => self
                .is_open_letter(*number, true)
                .then(|| (format!("discarding dead letter {number}, which is held,"), told)),
            RepairRequest::Retry { which, .. } => Some((format!("retrying {which}"), "a run goes on with it")),
            RepairRequest::Discard { which, .. } => Some((format!("discarding {which}"), told)),
            RepairRequest::Explain { .. }
            | RepairRequest::Scan(_)
            | RepairRequest::Repair { .. }
            | RepairRequest::Reconcile { .. } => Some((
                "looking for what is stuck".to_owned(),
                "runs and workers are looked at where they are in memory",
            )),
        }
    }

    fn routines_need_engine(&self, request: &RoutinesRequest) -> Option<(String, &'static str)> {
        match request {
            RoutinesRequest::RunDue { .. } => Some(("carrying out routines".to_owned(), "workflows are started")),
            RoutinesRequest::RunNow { id, .. } => Some((format!("running routine {id:?}"), "a workflow is started")),
            RoutinesRequest::Cancel { id, .. } if !self.core.routine(id)?.open.is_empty() => {
                Some((format!("cancelling routine {id:?}"), "a run of it is open and has to be cancelled with it"))
            }
            _ => None,
        }
    }
}

fn workers_need_engine() -> (String, &'static str) {
    ("a word of a worker, or to all of them,".to_owned(), "they are connected to it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Input, Origin, Programs, ReplyTo, Thresholds};
    use antiphon_history::{
        DeadCause, DeadLetter, DeadLettersEvent, EntityEvent, EntityName, Ordinal, RoutineSpec, RoutineTarget, RunId,
        RunKey, Schedule,
    };

    fn partition() -> Partition {
        let origin = Origin { store_id: [1; 16], secret: [2; 32], last_segment: 0, last_run: 0, now: Timestamp(1_000) };
        Partition::new(Config { run_routines: true, ..Config::default() }, Programs::default(), origin)
    }

    fn noted(partition: &mut Partition, held: bool) {
        let letter = DeadLetter {
            run: RunKey(7),
            run_id: RunId([7; 16]),
            namespace: "default".into(),
            workflow_id: "order-7".into(),
            ordinal: Ordinal(1),
            attempt: 1,
            activity_type: "charge".into(),
            queue: "default".into(),
            cause: DeadCause::Attempts,
            reason: "busy".into(),
            held,
        };
        let event = EntityEvent::DeadLetters(DeadLettersEvent::Noted(Box::new(letter)));
        assert!(partition.core.tell(&EntityName::DeadLetters, &event));
    }

    fn by() -> By {
        By { who: "ada".to_owned(), why: String::new() }
    }

    fn letter(number: u64, discard: bool) -> Operation {
        let (which, by) = (Which::Letter(number), by());
        Operation::Repair(if discard {
            RepairRequest::Discard { which, by }
        } else {
            RepairRequest::Retry { which, call: None, by }
        })
    }

    fn code(error: &OperationError) -> String {
        let text = error.to_string();
        text[text.len() - 6..].trim_matches(['[', ']']).to_owned()
    }

    fn refusal(partition: &mut Partition, operation: Operation) -> String {
        let code = code(&partition.operate(operation, Timestamp(2_000)).unwrap_err());
        assert!(!partition.has_work(), "a refusal writes nothing");
        code
    }

    #[test]
    fn what_would_change_a_run_is_refused_and_nothing_is_written() {
        let mut partition = partition();
        noted(&mut partition, true);
        noted(&mut partition, false);
        partition.take();
        assert_eq!(refusal(&mut partition, letter(1, true)), "A0060");
        assert_eq!(refusal(&mut partition, letter(1, false)), "A0060");
        assert_eq!(refusal(&mut partition, letter(2, false)), "A0060");
        assert_eq!(refusal(&mut partition, letter(9, true)), "A0056");
        let scan = Operation::Repair(RepairRequest::Scan(Thresholds::default()));
        assert_eq!(refusal(&mut partition, scan), "A0060");
        let due = Operation::Routines(RoutinesRequest::RunDue { now: None, limit: 1 });
        assert_eq!(refusal(&mut partition, due), "A0060");
        assert_eq!(refusal(&mut partition, Operation::Workers(WorkersRequest::Quiesce)), "A0060");
        let drain = WorkersRequest::Drain { worker: "w1".into(), who: "ada".into(), why: String::new() };
        assert_eq!(refusal(&mut partition, Operation::Workers(drain)), "A0045");
        let pause = RoutinesRequest::Pause { id: "none".into(), note: String::new(), who: String::new() };
        assert_eq!(refusal(&mut partition, Operation::Routines(pause)), "A0049");
    }

    #[test]
    fn a_letter_that_its_workflow_was_told_of_is_discarded_once() {
        let mut partition = partition();
        noted(&mut partition, false);
        partition.take();
        let reply = |changed| Ok(Reply::Repair(Box::new(crate::RepairReply::Done { changed })));
        assert_eq!(partition.operate(letter(1, true), Timestamp(2_000)), reply(true));
        assert!(partition.take().segment.is_some());
        assert_eq!(partition.operate(letter(1, true), Timestamp(3_000)), reply(false));
        assert!(partition.take().segment.is_none());
        assert_eq!(refusal(&mut partition, letter(1, false)), "A0059");
    }

    #[test]
    fn nothing_happens_that_was_not_asked_for() {
        let mut partition = partition();
        // A routine that is long due, in an engine that would start it by itself.
        let target =
            RoutineTarget::Workflow { workflow_type: "report".into(), id_prefix: String::new(), input: Vec::new() };
        let spec = RoutineSpec::new(Schedule::Once { at: Timestamp(1_500) }, target);
        let created = antiphon_history::RoutineEvent::Created {
            id: "nightly".into(),
            request: spec.digest(None),
            spec: Box::new(spec),
            next: Timestamp(1_500),
            who: String::new(),
            why: String::new(),
        };
        assert!(partition.core.record_routine("nightly", created));
        partition.take();
        let describe = Operation::Routing(RoutingRequest::Describe { queue: "mail".into() });
        partition.operate(describe.clone(), Timestamp(9_000)).unwrap();
        assert!(partition.take().segment.is_none(), "a question writes nothing");
        partition.step(Input::Forget(ReplyTo(1)), Timestamp(9_000));
        partition.step(Input::Tick, Timestamp(9_000));
        assert!(partition.has_work(), "an engine at work would have started the routine");
    }
}

use super::Partition;
use crate::run::Run;
use crate::state::RunState;
use crate::{IdReuse, Program, Reply, ReplyTo, RequestError, SEMANTICS, StartRequest, Target};
use antiphon_history::limits::{PAYLOAD_MAX_BYTES, bounded_text};
use antiphon_history::{
    ActivityCall, IdError, Payload, RESERVED_PREFIX, RoutineSlot, RunEvent, RunId, RunKey, RunStarted, RunStatus,
    STANDALONE, WorkflowKey, planted,
};
use std::sync::Arc;

impl Partition {
    pub(super) fn start(&mut self, request: StartRequest, reply: ReplyTo) {
        let answer = match self.try_start(request) {
            Ok((key, existing)) => Reply::Started { run_id: self.runs[&key].state.started.run_id, existing },
            Err(error) => Reply::Refused(error),
        };
        self.core.reply(reply, answer);
    }

    pub(super) fn run(&mut self, request: StartRequest, reply: ReplyTo) {
        match self.try_start(request) {
            Ok((key, _)) => self.core.await_end(&self.runs[&key], reply),
            Err(error) => self.core.reply(reply, Reply::Refused(error)),
        }
    }

    /// Starts a run, or finds the one that has the id. Returns it and whether it existed before.
    pub(super) fn try_start(&mut self, request: StartRequest) -> Result<(RunKey, bool), RequestError> {
        check_workflow(&request.workflow)?;
        check_payloads(&request.input)?;
        let program = self.find_program(&request.workflow_type)?;
        if let Some(run) = self.newest(&request.workflow)
            && !may_replace(run.state.status, request.id_reuse)
            && !planted!("second-run-for-one-id")
        {
            return same_or_conflict(run, &request).map(|()| (run.state.key, true));
        }
        check_readable(program.as_ref(), &request.workflow_type, &request.input)?;
        self.check_room()?;
        if request.workflow_type == STANDALONE
            && let Ok(call) = ActivityCall::from_standalone(&request.input)
        {
            self.check_queue(&call)?;
        }
        Ok((self.begin(request, program.as_ref(), None), false))
    }

    fn find_program(&self, workflow_type: &str) -> Result<Arc<dyn Program>, RequestError> {
        self.core.programs.get(workflow_type).cloned().ok_or_else(|| {
            let known = self.core.programs.names().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            RequestError::UnknownWorkflow { workflow_type: workflow_type.to_owned(), known }
        })
    }

    /// The code of a workflow type, if it is there and can read this input.
    pub(super) fn program_for(&self, workflow_type: &str, input: &[Payload]) -> Result<Arc<dyn Program>, RequestError> {
        let program = self.find_program(workflow_type)?;
        check_readable(program.as_ref(), workflow_type, input)?;
        Ok(program)
    }

    fn check_room(&self) -> Result<(), RequestError> {
        if self.core.held_bytes > self.core.config.held_bytes_max {
            return Err(RequestError::Overloaded { runs: self.runs.len() });
        }
        Ok(())
    }

    /// The code for a run that a routine starts under an id which nobody may have had before.
    pub(super) fn startable(&self, request: &StartRequest) -> Result<Arc<dyn Program>, RequestError> {
        check_workflow(&request.workflow)?;
        self.check_room()?;
        if let Some(run) = self.newest(&request.workflow) {
            let (workflow_id, run_id) = (request.workflow.to_string(), run.state.started.run_id);
            return Err(RequestError::Conflict { workflow_id, run_id, what: "starter" });
        }
        self.program_for(&request.workflow_type, &request.input)
    }

    /// Begins a run; everything has been checked.
    pub(super) fn begin(
        &mut self,
        request: StartRequest,
        program: &dyn Program,
        routine: Option<Box<RoutineSlot>>,
    ) -> RunKey {
        let key = RunKey(self.core.next_run);
        self.core.next_run += 1;
        let run_id = self.core.run_id(key);
        let started = Arc::new(RunStarted {
            namespace: request.workflow.namespace.clone(),
            workflow_id: request.workflow.id.clone(),
            run_id,
            workflow_type: request.workflow_type,
            version: program.version(),
            input: request.input,
            semantics: SEMANTICS,
            driver: "native".to_owned(),
            request_id: request.request_id,
            routine,
        });
        let state = RunState::new(key, Arc::clone(&started));
        let mut run = Box::new(Run::begin(state, program, &self.core.config));
        self.core.arrive(&mut run, RunEvent::RunStarted(started));
        self.core.stats.started += 1;
        self.runs.insert(key, run);
        self.ids.insert((request.workflow.fingerprint(), key));
        key
    }

    pub(super) fn signal(
        &mut self,
        target: &Target,
        name: String,
        input: Vec<Payload>,
        request_id: Option<String>,
        reply: ReplyTo,
    ) {
        let checked = IdError::check("signal name", &name)
            .map_err(RequestError::from)
            .and_then(|()| check_payloads(&input))
            .and_then(|()| self.open_target(target));
        let answer = match checked {
            Err(error) => Reply::Refused(error),
            Ok(key) => {
                let run = self.runs.get_mut(&key).expect("open_target returns runs in memory");
                let repeated = request_id.as_ref().is_some_and(|id| run.state.signal_ids.contains(id));
                if !repeated {
                    self.core.arrive(run, RunEvent::SignalReceived { name, input, request_id });
                }
                Reply::Accepted
            }
        };
        self.core.reply(reply, answer);
    }

    pub(super) fn cancel(&mut self, target: &Target, reason: String, reply: ReplyTo) {
        let answer = match self.open_target(target) {
            Err(error) => Reply::Refused(error),
            Ok(key) => {
                let run = self.runs.get_mut(&key).expect("open_target returns runs in memory");
                // The first request counts; a second one says nothing new.
                if !run.state.cancel_requested {
                    self.core.arrive(run, RunEvent::CancelRequested { reason: bounded_text(&reason) });
                }
                Reply::Accepted
            }
        };
        self.core.reply(reply, answer);
    }

    pub(super) fn wait(&mut self, target: &Target, reply: ReplyTo) {
        match self.target(target) {
            Err(error) => self.core.reply(reply, Reply::Refused(error)),
            Ok(key) => self.core.await_end(&self.runs[&key], reply),
        }
    }

    pub(super) fn target(&self, target: &Target) -> Result<RunKey, RequestError> {
        let workflow_id = || target.workflow.to_string();
        let run = self.newest(&target.workflow).ok_or_else(|| RequestError::NotFound { workflow_id: workflow_id() })?;
        let found = run.state.started.run_id;
        match target.run {
            Some(expected) if expected != found => {
                Err(RequestError::OtherRun { workflow_id: workflow_id(), found, expected })
            }
            _ => Ok(run.state.key),
        }
    }

    pub(super) fn open_target(&self, target: &Target) -> Result<RunKey, RequestError> {
        let key = self.target(target)?;
        let run = &self.runs[&key];
        if run.state.status.is_closed() {
            let (workflow_id, run_id) = (target.workflow.to_string(), run.state.started.run_id);
            return Err(RequestError::AlreadyEnded { workflow_id, run_id });
        }
        Ok(key)
    }
}

impl super::Core {
    /// An id for a routine that was given none: ordered by the time of creation, unique across stores.
    pub(super) fn new_routine_id(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("antiphon 2026 routine id");
        hasher.update(&self.store_id);
        // Routines are never forgotten, so their number is never the same again.
        hasher.update(&(self.routines.len() as u64).to_le_bytes());
        let mut unique = [0u8; 16];
        unique.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        RunId::from_parts(self.now, unique).to_string()
    }

    /// A run id that no other run of any store has: over the store's id and the run's key, under the store's clock.
    fn run_id(&self, key: RunKey) -> RunId {
        let mut hasher = blake3::Hasher::new_derive_key("antiphon 2026 run id");
        hasher.update(&self.store_id);
        hasher.update(&key.0.to_le_bytes());
        let mut unique = [0u8; 16];
        unique.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        RunId::from_parts(self.now, unique)
    }
}

fn may_replace(status: RunStatus, reuse: IdReuse) -> bool {
    match reuse {
        IdReuse::Never => false,
        IdReuse::AfterFailure => status.is_closed() && status != RunStatus::Completed,
        IdReuse::Always => status.is_closed(),
    }
}

fn same_or_conflict(run: &Run, request: &StartRequest) -> Result<(), RequestError> {
    let started = &run.state.started;
    let same_input = started.input.len() == request.input.len()
        && started.input.iter().zip(&request.input).all(|(a, b)| a.same_value(b));
    let what = if started.workflow_type != request.workflow_type {
        "workflow type"
    } else if !same_input {
        "input"
    } else {
        return Ok(());
    };
    Err(RequestError::Conflict { workflow_id: request.workflow.to_string(), run_id: started.run_id, what })
}

/// Read before anything is written: a run that can never begin would be blocked for ever.
fn check_readable(program: &dyn Program, workflow_type: &str, input: &[Payload]) -> Result<(), RequestError> {
    program.check_input(input).map_err(|problem| RequestError::Undecodable {
        workflow_type: workflow_type.to_owned(),
        problem: bounded_text(&problem),
    })
}

fn check_workflow(workflow: &WorkflowKey) -> Result<(), RequestError> {
    IdError::check("namespace", &workflow.namespace)?;
    IdError::check("workflow id", &workflow.id)?;
    if workflow.namespace.starts_with(RESERVED_PREFIX) {
        return Err(RequestError::Reserved { namespace: workflow.namespace.clone() });
    }
    Ok(())
}

fn check_payloads(payloads: &[Payload]) -> Result<(), RequestError> {
    match payloads.iter().find(|payload| !payload.is_within_limit()) {
        Some(large) => Err(RequestError::TooLarge { bytes: large.len(), max: PAYLOAD_MAX_BYTES as u64 }),
        None => Ok(()),
    }
}

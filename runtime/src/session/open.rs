//! From a folder to an engine that serves.

use super::{DUE_AT_ONCE, Session};
use crate::StartError;
use crate::backlog::backlog;
use crate::keeper::Keeper;
use crate::shell::Shell;
use crate::sync::mpsc::sync_channel;
use crate::writer::{Progress, Work, Writer};
use antiphon_engine::{Input, Origin, Partition, Programs};
use antiphon_history::{RunKey, Timestamp, planted};
use antiphon_recorder::{Reader, Store};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;

impl<'a> Session<'a> {
    pub(crate) fn open(shell: &'a mut Shell) -> Result<Session<'a>, StartError> {
        let Store { id, log, archive, mut reader, anchor, space, checkpoint, guard } = shell.source.open()?;
        let tip = log.tip();
        let origin = Origin {
            store_id: id,
            secret: random_secret()?,
            last_segment: tip.id,
            last_run: reader.last_run_key()?,
            now: shell.clock.now().max(tip.at),
        };
        // A clock that was set back between two starts must not stand still until it has caught up: time goes on from the
        // latest recorded moment.
        let ahead_ms = tip.at.since_ms(shell.clock.now());
        let now = || shell.clock.now().plus_ms(ahead_ms);
        if !shell.allow_unknown_workflows {
            refuse_missing(&shell.programs, reader.as_mut())?;
        }
        let mut partition = Partition::new(shell.config.engine, shell.programs.clone(), origin);
        #[cfg(feature = "cron")]
        {
            partition = partition.with_calendar(Arc::new(crate::WallCalendar::default()));
        }
        for row in reader.entities()? {
            partition.load_entity(&row);
        }
        partition.set_loading(true);
        // Workers first: what is taken up from the record can then leave in the same batch.
        for worker in shell.workers.values() {
            partition.step(Input::WorkerJoined(worker.spec()), now());
        }
        partition.settle_workers();
        let mut loading: VecDeque<RunKey> = reader.needs_loading()?.into();
        if planted!("open-runs-forgotten") {
            loading.clear();
        }
        // As many as fit into one batch now, so that a damaged one keeps the engine from starting; the rest, if there are
        // so many, as batches become durable.
        while !partition.is_full()
            && let Some(run) = loading.pop_front()
        {
            if let Some(history) = reader.history(run)? {
                partition.load(&history, now())?;
            }
        }
        if loading.is_empty() {
            partition.set_loading(false);
        }

        let progress = Arc::new(Progress::default());
        let (work, works) = sync_channel::<Work>(1);
        let (durable, durables) = backlog(shell.config.backlog_segments);
        let writer = Writer::new(log, durable, Arc::clone(&shell.inbox), Arc::clone(&progress));
        let writing = {
            let (writer, inbox) = (writer.clone(), Arc::clone(&shell.inbox));
            thread("antiphon-writer", move || writer.run(&works, &inbox))?
        };
        let keeper = Keeper {
            archive,
            anchor,
            checkpoint,
            space,
            config: shell.config,
            inbox: Arc::clone(&shell.inbox),
            progress: Arc::clone(&progress),
            full: Arc::clone(&shell.full),
        };
        let keeper = thread("antiphon-keeper", move || keeper.run(&durables, tip))?;
        Ok(Session {
            shell,
            partition,
            reader,
            callers: HashMap::new(),
            next_caller: 0,
            work: Some(work),
            writer,
            ahead_ms,
            busy: false,
            writer_gone: false,
            stopping: false,
            draining: false,
            loading,
            cold_due: Some(Timestamp(i64::MIN)),
            due_through: Timestamp(i64::MIN),
            due_page: DUE_AT_ONCE,
            threads: vec![writing, keeper],
            progress,
            _guard: guard,
        })
    }
}

fn refuse_missing(programs: &Programs, reader: &mut dyn Reader) -> Result<(), StartError> {
    let missing: Vec<String> = reader
        .open_workflow_types()?
        .into_iter()
        .filter(|workflow_type| programs.get(workflow_type).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(StartError::MissingWorkflows { missing: missing.join(", ") })
}

fn random_secret() -> Result<[u8; 32], StartError> {
    use std::io::Read;
    let mut secret = [0u8; 32];
    let mut source = std::fs::File::open("/dev/urandom").map_err(StartError::Random)?;
    source.read_exact(&mut secret).map_err(StartError::Random)?;
    Ok(secret)
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartError::Thread)
}

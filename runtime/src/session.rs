//! One opening of the store: takes all waiting messages, steps the engine, hands over one batch at a time.

use crate::StartError;
use crate::backlog::backlog;
use crate::inbox::{Message, Wanted};
use crate::keeper::Keeper;
use crate::release::Release;
use crate::shell::Shell;
use crate::sync::LOOK;
use crate::sync::mpsc::{SyncSender, sync_channel};
use crate::writer::{Halt, Progress, Work, Writer};
use antiphon_engine::{
    Effect, Input, LoadError, Origin, Partition, Past, Programs, RepairRequest, Reply, ReplyTo, WorkersRequest,
};
use antiphon_history::{RunKey, Timestamp, WorkflowKey, planted};
use antiphon_recorder::{Error as StoreError, Reader, Store};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// Why a store was left.
pub(crate) enum Left {
    Stopped,
    Failed(StoreError),
    /// The writer's thread ended without a word: it panicked. What the log holds is unknown.
    WriterGone,
}

/// Most parked runs that one look at the clock brings into memory, unless more are due in the same millisecond.
const DUE_AT_ONCE: usize = 256;

/// Most slots of routines that one repair looks after.
const SLOTS_AT_ONCE: usize = 1_000;

/// Largest segment that the partition's thread commits itself when nothing else waits for it: about a dozen activities.
/// Deciding so few takes less time than waking the writer's thread and being woken by it, so nothing is lost by not
/// deciding on meanwhile.
const WRITTEN_HERE_MAX_BYTES: usize = 4 * 1024;

/// A batch of this size goes to a free writer although more is waiting to be decided: deciding and committing then go on
/// side by side.
const WORTH_A_COMMIT_BYTES: usize = 16 * 1024;

/// A partition on an open store.
pub(crate) struct Session<'a> {
    shell: &'a mut Shell,
    partition: Partition,
    reader: Box<dyn Reader>,
    callers: HashMap<ReplyTo, oneshot::Sender<Reply>>,
    next_caller: u64,
    work: Option<SyncSender<Work>>,
    writer: Writer,
    /// How far the record is ahead of the clock.
    ahead_ms: u64,
    /// A batch is with the writer.
    busy: bool,
    /// The writer took no batch any more.
    writer_gone: bool,
    /// No more requests are taken.
    stopping: bool,
    /// No more messages are taken in: what is decided is made durable, and that is all.
    draining: bool,
    /// Runs that need care and are not in memory yet.
    loading: VecDeque<RunKey>,
    /// When a run that is not in memory is next due.
    cold_due: Option<Timestamp>,
    /// Runs that are due up to this moment are in memory.
    due_through: Timestamp,
    /// How many due runs to look for at once.
    due_page: usize,
    threads: Vec<JoinHandle<()>>,
    progress: Arc<Progress>,
    /// Held for the sake of the lock: the folder is ours as long as this lives.
    _guard: antiphon_recorder::Guard,
}

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

    pub(crate) fn run(mut self) -> Left {
        let left = self.serve();
        // Closing the writer's door ends its thread after the batch it has; with the last of the writer goes the keeper's
        // door, and the keeper folds what is left and writes the anchor.
        let Session { shell, threads, work, writer, reader, .. } = self;
        // The reader goes first: SQLite removes a write-ahead log when the last connection closes, and the keeper's is to
        // be that one.
        drop((work, writer, reader));
        for thread in threads {
            let _ = thread.join();
        }
        // Their legs are forgotten; at the next opening they count as lost and go out again.
        shell.workers.values().for_each(|worker| worker.reset());
        left
    }

    fn serve(&mut self) -> Left {
        self.try_serve().unwrap_or_else(Left::Failed)
    }

    fn try_serve(&mut self) -> Result<Left, StoreError> {
        let mut taken = Vec::new();
        let mut pending = VecDeque::new();
        loop {
            self.flush(!pending.is_empty())?;
            if self.stopping && !self.busy && !self.partition.has_work() {
                return Ok(Left::Stopped);
            }
            if !self.stopping {
                self.bring_back_waiting()?;
                self.bring_back_due()?;
            }
            // A full batch waits for the writer: stepping on would only make it larger.
            let stalled = self.busy && self.partition.is_full();
            // What cannot be handled yet stays in the inbox, where it is counted and bounded.
            let wanted = if pending.is_empty() && !stalled { Wanted::All } else { Wanted::Urgent };
            let idle = (pending.is_empty() && (self.busy || !self.partition.has_work())) || stalled;
            let timeout = if idle && !self.writer_gone { self.timeout() } else { Some(Duration::ZERO) };
            self.shell.inbox.take(&mut taken, wanted, timeout);
            // Nothing is under way and a test waits: its clock skips to the next moment at which something happens.
            if taken.is_empty() && pending.is_empty() && self.skip_time()? {
                continue;
            }
            for message in taken.drain(..) {
                match message {
                    // Words of our own threads go first: they have no order among the requests, and free the writer.
                    Message::Stop => {
                        self.stopping = true;
                        self.shell.inbox.refuse();
                    }
                    Message::Failed(error) => return Err(error),
                    Message::Durable => self.busy = false,
                    // What comes after the stop is not taken in: with busy workers there would be no end to it.
                    _ if self.draining => {}
                    other => pending.push_back(other),
                }
            }
            if self.writer_gone {
                return Ok(Left::WriterGone);
            }
            while !(self.busy && self.partition.is_full()) {
                let Some(message) = pending.pop_front() else { break };
                self.handle(message)?;
                if self.partition.batch_bytes() >= WORTH_A_COMMIT_BYTES {
                    self.flush(true)?;
                }
                // The writer is free again: what is decided goes to it before more is decided.
                if self.shell.inbox.has_urgent() {
                    break;
                }
            }
            self.draining = self.stopping && pending.is_empty();
            if !self.draining {
                self.tick(self.now())?;
            }
        }
    }

    /// Engine time: the clock, never before what was recorded when the store was opened.
    fn now(&self) -> Timestamp {
        self.shell.clock.now().plus_ms(self.ahead_ms)
    }

    /// The clock's own time at a moment of the engine's.
    fn on_clock(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_sub_unsigned(self.ahead_ms))
    }

    /// How long to sleep: until the next deadline of a run in memory or in the store. `None`: until a message comes.
    fn timeout(&self) -> Option<Duration> {
        let can_jump = || self.next_jump().is_some() || self.partition.stuck().is_some();
        if self.can_skip() && !self.stopping && can_jump() {
            return Some(Duration::ZERO);
        }
        if !self.shell.clock.runs() {
            return None;
        }
        let next = [self.partition.next_deadline(), self.cold_due].into_iter().flatten().min();
        let wait = next.map(|next| Duration::from_millis(next.since_ms(self.now())));
        Some(wait.unwrap_or(LOOK).min(LOOK))
    }

    fn can_skip(&self) -> bool {
        !self.shell.clock.runs()
            && self.loading.is_empty()
            && !self.busy
            && !self.partition.has_work()
            && self.partition.has_waiters()
            && self.partition.stats().in_flight == 0
            && self.partition.pullers_wait()
    }

    /// Where to a clock that stands still may jump.
    fn next_jump(&self) -> Option<Timestamp> {
        [self.partition.next_jump(), self.cold_due].into_iter().flatten().min()
    }

    /// Lets a clock that stands still jump to the next moment at which something happens. If there is none, whoever waits
    /// for a run that can never go on is told.
    fn skip_time(&mut self) -> Result<bool, StoreError> {
        if !self.can_skip() || !self.shell.inbox.is_empty() {
            return Ok(false);
        }
        match self.next_jump() {
            Some(next) if self.shell.clock.skip_to(self.on_clock(next)) => {
                self.tick(self.now())?;
                Ok(true)
            }
            Some(_) => Ok(false),
            None => Ok(self.partition.tell_stuck()),
        }
    }

    /// Lets time pass. Routines that are due by themselves look for the runs of their ids: those must be in memory.
    fn tick(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let needs = self.partition.tick_needs(now);
        if !needs.is_empty() && self.shell.full.load(Ordering::Relaxed) {
            self.partition.hold_routines();
        } else {
            needs.iter().try_for_each(|workflow| self.bring_in(workflow))?;
        }
        self.partition.step(Input::Tick, now);
        Ok(())
    }

    fn handle(&mut self, message: Message) -> Result<(), StoreError> {
        let now = self.now();
        let input = match message {
            Message::Start(request, caller) => {
                self.bring_in(&request.workflow)?;
                Input::Start(request, self.caller(caller))
            }
            Message::Run(request, caller) => {
                self.bring_in(&request.workflow)?;
                Input::Run(request, self.caller(caller))
            }
            Message::Signal { target, name, input, request_id, reply } => {
                self.bring_in(&target.workflow)?;
                Input::Signal { target, name, input, request_id, reply: self.caller(reply) }
            }
            Message::Cancel { target, reason, reply } => {
                self.bring_in(&target.workflow)?;
                Input::Cancel { target, reason, reply: self.caller(reply) }
            }
            Message::Wait { target, reply } => {
                self.bring_in(&target.workflow)?;
                Input::Wait { target, reply: self.caller(reply) }
            }
            Message::Repair(mut request, reply) => {
                if let Some(target) = request.target() {
                    self.bring_in(&target.workflow)?;
                }
                if let Some(number) = request.letter() {
                    self.bring_in_letter(number, &mut request)?;
                }
                if request.repairs_all() {
                    self.bring_in_stranded()?;
                }
                Input::Repair(request, self.caller(reply))
            }
            Message::Queues(request, reply) => Input::Queues(request, self.caller(reply)),
            Message::Routing(request, reply) => Input::Routing(request, self.caller(reply)),
            Message::Answered { conversation, leg, token, answer } => {
                Input::Answered { conversation, leg, token, answer }
            }
            Message::Heartbeat { conversation, leg, token, details } => {
                Input::Heartbeat { conversation, leg, token, details }
            }
            Message::Routines(request, caller) => {
                for workflow in self.partition.needs_of_request(&request, now) {
                    self.bring_in(&workflow)?;
                }
                Input::Routines(*request, self.caller(caller))
            }
            Message::WorkerJoined(worker) => {
                let spec = worker.spec();
                self.shell.workers.insert(spec.name.clone(), worker);
                Input::WorkerJoined(spec)
            }
            Message::WorkerLeft { name } => {
                self.shell.workers.remove(&name);
                Input::WorkerLeft { name }
            }
            Message::WorkerDied { name, how } => {
                self.shell.workers.remove(&name);
                Input::WorkerDied { name, how }
            }
            Message::Workers(mut request, reply) => {
                self.look_up(&mut request)?;
                Input::Workers(*request, self.caller(reply))
            }
            Message::Archived { through } => {
                self.partition.step(Input::Archived { through }, now);
                self.forget_gone_callers();
                return Ok(());
            }
            Message::Inspect(reply) => {
                let syncs = self.progress.syncs.load(Ordering::Relaxed);
                let _ = reply.send((self.partition.stats(), self.partition.workers(), syncs));
                return Ok(());
            }
            Message::Look | Message::Stop | Message::Failed(_) | Message::Durable => return Ok(()),
        };
        self.partition.step(input, now);
        Ok(())
    }

    fn caller(&mut self, sender: oneshot::Sender<Reply>) -> ReplyTo {
        self.next_caller += 1;
        let to = ReplyTo(self.next_caller);
        self.callers.insert(to, sender);
        to
    }

    /// Callers that no longer wait hold no memory: looked for when the archive has moved, which bounds the work.
    fn forget_gone_callers(&mut self) {
        let gone: Vec<ReplyTo> =
            self.callers.iter().filter(|(_, sender)| sender.is_closed()).map(|(to, _)| *to).collect();
        for to in gone {
            self.callers.remove(&to);
            self.partition.step(Input::Forget(to), self.now());
        }
    }

    /// Makes sure that the newest run of a workflow id is in memory, if the store has one.
    fn bring_in(&mut self, workflow: &WorkflowKey) -> Result<(), StoreError> {
        if self.partition.knows(workflow) {
            return Ok(());
        }
        let Some(row) = self.reader.find(workflow)? else { return Ok(()) };
        self.load(row.key)
    }

    /// Looks after slots of routines whose run is not in memory: it is open, or the record is damaged.
    fn bring_in_stranded(&mut self) -> Result<(), StoreError> {
        for run in self.partition.slot_runs_elsewhere(SLOTS_AT_ONCE) {
            match self.reader.row(run)? {
                Some(row) if row.status.is_closed() => self.load(run)?,
                Some(_) => {}
                None => self.partition.slot_without_run(run),
            }
        }
        Ok(())
    }

    /// Brings in what a request about a dead letter needs: the run of a held one, or the call of another one.
    fn bring_in_letter(&mut self, number: u64, request: &mut RepairRequest) -> Result<(), StoreError> {
        let Some(letter) = self.partition.letter(number) else { return Ok(()) };
        let (run, ordinal, held) = (letter.run, letter.ordinal, letter.held);
        if held {
            return if self.partition.has_run(run) { Ok(()) } else { self.load(run) };
        }
        if let Some(key) = self.partition.retry_key(number) {
            self.bring_in(&key)?;
        }
        if let Some(history) = self.reader.history(run)? {
            request.give_call(&history, ordinal);
        }
        Ok(())
    }

    /// Gives what the store says of an attempt that a worker answers for, if the engine does not hold it any more.
    fn look_up(&mut self, request: &mut WorkersRequest) -> Result<(), StoreError> {
        let (WorkersRequest::Complete { leg, .. } | WorkersRequest::Fail { leg, .. }) = request else { return Ok(()) };
        let run = leg.conversation.run;
        if run.is_entity() || self.partition.knows_attempt(leg.conversation) {
            return Ok(());
        }
        let Some(history) = self.reader.history(run)? else { return Ok(()) };
        let is_open = history.row().is_ok_and(|row| !row.status.is_closed());
        if is_open && !self.partition.has_run(run) {
            self.load(run)?;
        }
        leg.past = Some(Past::of(&history, leg.conversation));
        Ok(())
    }

    fn load(&mut self, run: RunKey) -> Result<(), StoreError> {
        if let Some(history) = self.reader.history(run)? {
            self.partition.load(&history, self.now()).map_err(|error| match error {
                LoadError::History(_) | LoadError::Fold { .. } => StoreError::damaged_run(run, error.to_string()),
            })?;
        }
        Ok(())
    }

    /// Goes on bringing back the runs that need care, as far as the open batch has room.
    fn bring_back_waiting(&mut self) -> Result<(), StoreError> {
        while !self.partition.is_full()
            && let Some(run) = self.loading.pop_front()
        {
            self.load(run)?;
        }
        if self.loading.is_empty() {
            self.partition.set_loading(false);
        }
        self.flush(false)
    }

    /// Brings back runs that wait in the store and whose timer is due.
    ///
    /// Goes through them by time, once: a run that is not in memory waits for something later than all that was looked
    /// at, since it was let go of after that.
    fn bring_back_due(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        let left = self.partition.take_left_due();
        self.cold_due = self.cold_due.into_iter().chain(left).min();
        if self.cold_due.is_none_or(|due| due > now) {
            return Ok(());
        }
        let page = self.reader.due_after(self.due_through, self.due_page)?;
        // The page may end within a moment; the whole of that moment then waits for the next page.
        let cut = page.last().filter(|_| page.len() == self.due_page).map(|(due, _)| *due);
        let is_taken = |due: Timestamp| due <= now && cut.is_none_or(|cut| due < cut);
        let (taken, rest) = page.split_at(page.partition_point(|(due, _)| is_taken(*due)));
        for (due, run) in taken {
            if !self.partition.has_run(*run) {
                self.load(*run)?;
            }
            self.due_through = *due;
        }
        self.cold_due = rest.first().map(|(due, _)| *due);
        let one_moment = taken.is_empty() && self.cold_due.is_some_and(|due| due <= now);
        self.due_page = if one_moment { self.due_page * 2 } else { DUE_AT_ONCE };
        self.tick(now)
    }

    /// Hands the open batch to the writer, if it is free; writes it right here if that is quicker.
    fn flush(&mut self, more_waits: bool) -> Result<(), StoreError> {
        if self.busy || !self.partition.has_work() {
            return Ok(());
        }
        let batch = self.partition.take();
        let small = batch.segment.as_ref().is_none_or(|segment| segment.len() <= WRITTEN_HERE_MAX_BYTES);
        let releases = batch.effects.into_iter().filter_map(|effect| self.resolve(effect)).collect();
        let work = Work { segment: batch.segment, at: batch.at, releases };
        if small && !more_waits && self.shell.inbox.is_empty() {
            match self.writer.write(work) {
                Ok(()) => {}
                Err(Halt::Failed(error)) => return Err(error),
                Err(Halt::KeeperGone) => self.writer_gone = true,
            }
            return Ok(());
        }
        // Busy also if the writer is gone: it has posted why, or its end is noticed below, and nothing may be stepped
        // on as if this batch had been written.
        self.busy = true;
        self.writer_gone = self.work.as_ref().is_none_or(|door| door.send(work).is_err());
        Ok(())
    }

    fn resolve(&mut self, effect: Effect) -> Option<Release> {
        match effect {
            Effect::Dispatch { worker, request } => {
                let worker = Arc::clone(self.shell.workers.get(&*worker)?);
                Some(Release::Send { worker, request })
            }
            Effect::CancelLeg { worker, conversation, leg } => {
                let worker = Arc::clone(self.shell.workers.get(&*worker)?);
                Some(Release::Cancel { worker, conversation, leg })
            }
            Effect::Reply { to, reply } => Some(Release::Reply { caller: self.callers.remove(&to)?, reply }),
        }
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

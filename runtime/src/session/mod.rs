//! One opening of the store: takes all waiting messages, steps the engine, hands over one batch at a time.

mod memory;
mod open;
mod requests;

use crate::inbox::{Message, Wanted};
use crate::release::Release;
use crate::shell::Shell;
use crate::sync::LOOK;
use crate::sync::mpsc::SyncSender;
use crate::tell;
use crate::writer::{Halt, Progress, Work, Writer};
use antiphon_engine::{Effect, Input, Partition, Reply, ReplyTo};
use antiphon_history::{RunKey, Timestamp};
use antiphon_recorder::{Error as StoreError, Reader};
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
            needs.iter().try_for_each(|need| self.bring_in_needed(need))?;
        }
        self.partition.step(Input::Tick, now);
        Ok(())
    }

    /// Hands the open batch to the writer, if it is free; writes it right here if that is quicker.
    fn flush(&mut self, more_waits: bool) -> Result<(), StoreError> {
        if self.busy || !self.partition.has_work() {
            return Ok(());
        }
        let batch = self.partition.take();
        let small = batch.segment.as_ref().is_none_or(|segment| segment.len() <= WRITTEN_HERE_MAX_BYTES);
        let told = tell::of(batch.segment.as_ref(), &self.partition).map(Release::Tell);
        let effects = batch.effects.into_iter().filter_map(|effect| self.resolve(effect));
        let releases = told.into_iter().chain(effects).collect();
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

//! Durable segments on their way to the keeper: a bounded queue that wakes it by time or by size, not for each segment.
//!
//! ```text
//!  whoever commits ── Feed::push ──▶ waiting segments ── Intake::take ──▶ keeper
//!                     waits while they are too many      waits for its time, or until there is a batch's worth
//! ```

use crate::sync::{LOOK, Mutex, MutexGuard, WakeUp};
use antiphon_history::Segment;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Most bytes of segments folded in one transaction: bounds its length. A larger segment is folded alone.
pub(crate) const FOLD_BYTES: usize = 3 * 1024 * 1024;

/// Above this many bytes commits wait for the archive, however few segments they are: a bound on memory.
const BACKLOG_BYTES: usize = FOLD_BYTES + FOLD_BYTES / 2;

/// The keeper has ended, so nothing may be made durable any more.
#[derive(Debug)]
pub(crate) struct Gone;

/// Where durable segments are put in. The keeper ends when the last of these is gone.
pub(crate) struct Feed(Arc<Backlog>);

/// Where the keeper takes them out.
pub(crate) struct Intake(Arc<Backlog>);

struct Backlog {
    state: Mutex<State>,
    /// Something that the keeper sleeps for is there.
    filled: WakeUp,
    /// The keeper has taken something out.
    emptied: WakeUp,
    max_segments: usize,
}

struct State {
    waiting: VecDeque<Segment>,
    bytes: usize,
    feeds: usize,
    sleep: Sleep,
    intake_gone: bool,
}

/// What wakes the keeper.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    /// Anything: it had nothing to do.
    Idle,
    /// A batch's worth: it has set itself a time.
    Timed,
}

/// The two ends of a queue for at most `max_segments` segments.
pub(crate) fn backlog(max_segments: usize) -> (Feed, Intake) {
    let state = State { waiting: VecDeque::new(), bytes: 0, feeds: 1, sleep: Sleep::Awake, intake_gone: false };
    let backlog = Backlog {
        state: Mutex::new(state),
        filled: WakeUp::default(),
        emptied: WakeUp::default(),
        max_segments: max_segments.max(1),
    };
    let backlog = Arc::new(backlog);
    (Feed(Arc::clone(&backlog)), Intake(backlog))
}

impl Feed {
    /// Puts a durable segment in. Waits while as many wait as may: that makes commits wait, which is the back-pressure
    /// that is wanted.
    pub(crate) fn push(&self, segment: Segment) -> Result<(), Gone> {
        let backlog = &*self.0;
        let mut state = backlog.lock();
        while backlog.is_full(&state) && !state.intake_gone {
            let full = |state: &mut State| backlog.is_full(state) && !state.intake_gone;
            state = backlog.emptied.wait(state, Some(LOOK), full);
        }
        if state.intake_gone {
            return Err(Gone);
        }
        state.bytes += segment.body.len();
        state.waiting.push_back(segment);
        let wake = match state.sleep {
            Sleep::Awake => false,
            Sleep::Idle => true,
            Sleep::Timed => backlog.is_batch(&state),
        };
        if wake {
            state.sleep = Sleep::Awake;
            drop(state);
            backlog.filled.one();
        }
        Ok(())
    }
}

impl Clone for Feed {
    fn clone(&self) -> Feed {
        self.0.lock().feeds += 1;
        Feed(Arc::clone(&self.0))
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.feeds -= 1;
        state.sleep = Sleep::Awake;
        drop(state);
        self.0.filled.one();
    }
}

impl Intake {
    /// Waits for anything at all, at most `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) {
        self.0.sleep(Sleep::Idle, timeout, |backlog, state| !state.waiting.is_empty() || backlog.is_over(state));
    }

    /// Waits for a batch's worth of segments, at most `timeout`.
    pub(crate) fn wait_for_batch(&self, timeout: Duration) {
        self.0.sleep(Sleep::Timed, timeout, |backlog, state| backlog.is_batch(state) || backlog.is_over(state));
    }

    /// Moves segments into `into`, in order, until that holds at least [`FOLD_BYTES`]. False when nothing is left and
    /// nothing can come any more.
    pub(crate) fn take(&self, into: &mut Vec<Segment>) -> bool {
        let mut held: usize = into.iter().map(|segment| segment.body.len()).sum();
        let mut state = self.0.lock();
        while held < FOLD_BYTES
            && let Some(segment) = state.waiting.pop_front()
        {
            held += segment.body.len();
            state.bytes -= segment.body.len();
            into.push(segment);
        }
        let open = !(self.0.is_over(&state) && state.waiting.is_empty());
        drop(state);
        self.0.emptied.all();
        open
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        self.0.lock().intake_gone = true;
        self.0.emptied.all();
    }
}

impl Backlog {
    fn is_full(&self, state: &State) -> bool {
        state.waiting.len() >= self.max_segments || state.bytes >= BACKLOG_BYTES
    }

    fn is_batch(&self, state: &State) -> bool {
        state.bytes >= FOLD_BYTES || self.is_full(state)
    }

    fn is_over(&self, state: &State) -> bool {
        state.feeds == 0
    }

    fn sleep(&self, how: Sleep, timeout: Duration, enough: impl Fn(&Backlog, &State) -> bool) {
        let mut state = self.lock();
        if enough(self, &state) {
            return;
        }
        state.sleep = how;
        let mut state = self.filled.wait(state, Some(timeout), |state| state.sleep == how);
        state.sleep = Sleep::Awake;
    }

    // A thread that panicked while it held the lock left the list whole: a push either happened or did not.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use antiphon_history::{Digest, Timestamp};
    use std::sync::mpsc::channel;

    /// Longer than any test may take: a wait that ends only by its timeout hangs the test instead of passing it.
    const NEVER: Duration = Duration::from_secs(3600);

    fn segment(id: u64, bytes: usize) -> Segment {
        Segment { id, at: Timestamp(1), digest: Digest::START, body: vec![0; bytes].into() }
    }

    fn ids(segments: &[Segment]) -> Vec<u64> {
        segments.iter().map(|segment| segment.id).collect()
    }

    #[test]
    fn what_goes_in_comes_out_in_order_and_the_end_is_told_only_behind_the_last() {
        let (feed, intake) = backlog(10);
        let other = feed.clone();
        feed.push(segment(1, 1)).unwrap();
        other.push(segment(2, FOLD_BYTES)).unwrap();
        feed.push(segment(3, 1)).unwrap();
        drop((feed, other));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        intake.wait(NEVER);
        assert!(intake.take(&mut first));
        assert_eq!(ids(&first), [1, 2], "a batch's worth, and the rest stays");
        intake.wait_for_batch(NEVER);
        assert!(!intake.take(&mut second));
        assert_eq!(ids(&second), [3]);
    }

    #[test]
    fn an_idle_keeper_wakes_for_anything_and_one_with_a_time_for_a_batch_or_a_full_queue() {
        let (feed, intake) = backlog(3);
        let (woken, wakes) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut taken = Vec::new();
                intake.wait(NEVER);
                woken.send("anything").unwrap();
                intake.wait_for_batch(NEVER);
                woken.send("a full queue").unwrap();
                intake.take(&mut taken);
                taken.clear();
                intake.wait_for_batch(NEVER);
                woken.send("a batch").unwrap();
            });
            feed.push(segment(1, 1)).unwrap();
            assert_eq!(wakes.recv(), Ok("anything"));
            feed.push(segment(2, 1)).unwrap();
            assert!(wakes.try_recv().is_err());
            feed.push(segment(3, 1)).unwrap();
            assert_eq!(wakes.recv(), Ok("a full queue"));
            feed.push(segment(4, FOLD_BYTES)).unwrap();
            assert_eq!(wakes.recv(), Ok("a batch"));
        });
    }

    #[test]
    fn a_full_queue_holds_its_feeder_until_there_is_room_and_lets_it_go_when_the_keeper_is_gone() {
        for (max_segments, bytes) in [(1, 1), (9, BACKLOG_BYTES)] {
            let (feed, intake) = backlog(max_segments);
            let (told, tells) = channel();
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    (1..=2).for_each(|id| feed.push(segment(id, bytes)).unwrap());
                    told.send("both are in").unwrap();
                    assert!(feed.push(segment(3, bytes)).is_err());
                });
                let mut taken = Vec::new();
                while taken.is_empty() {
                    assert!(tells.try_recv().is_err(), "the second waits until the first is out");
                    intake.wait_for_batch(NEVER);
                    intake.take(&mut taken);
                }
                assert_eq!(tells.recv(), Ok("both are in"));
                drop(intake);
            });
        }
    }
}

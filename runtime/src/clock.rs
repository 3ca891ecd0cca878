use antiphon_history::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the engine's time comes from.
pub trait Clock: Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// Called when nothing is under way, somebody waits for a run to end, and `next` is the next moment at which
    /// something will happen. A clock that skips moves there and returns true; a real one lets time pass.
    fn skip_to(&self, next: Timestamp) -> bool {
        let _ = next;
        false
    }

    /// Whether time passes by itself. If not, the engine waits for messages only.
    fn runs(&self) -> bool {
        true
    }
}

/// The machine's clock: wall time when it was made, and from then on a clock that only runs forward, at its own pace. A
/// leap of the wall clock while the engine runs therefore neither fires a timer early nor delays one.
///
/// On Linux that clock also counts the time a machine is suspended, so timers that came due meanwhile fire on waking.
#[derive(Debug, Clone)]
pub struct SystemClock {
    wall: i64,
    since: Duration,
}

#[cfg(target_os = "linux")]
fn running() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn running() -> Duration {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

impl SystemClock {
    /// Reads the wall clock once.
    pub fn new() -> SystemClock {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        SystemClock { wall: i64::try_from(wall).unwrap_or(i64::MAX), since: running() }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let elapsed = running().saturating_sub(self.since);
        Timestamp(self.wall).plus_ms(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A clock for tests: stands still, and skips to the next deadline while a test waits for a run that is idle.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> ManualClock {
        ManualClock(AtomicI64::new(start.0))
    }

    /// Moves the clock ahead. The engine notices at its next message.
    pub fn advance_ms(&self, ms: u64) {
        self.0.fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn skip_to(&self, next: Timestamp) -> bool {
        self.0.fetch_max(next.0, Ordering::SeqCst);
        true
    }

    fn runs(&self) -> bool {
        false
    }
}

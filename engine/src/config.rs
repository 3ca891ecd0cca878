use crate::repair::Thresholds;

/// The replay rules that new runs are stamped with. A run keeps the number of its first event for ever; rules under an
/// old number are never changed.
pub const SEMANTICS: u32 = 1;

/// Bounds and waits of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// A run that waits only for timers, signals or nothing the engine holds is let go of after this many milliseconds
    /// without a message, once the archive has all of it. It costs no memory until something arrives for it.
    pub evict_after_ms: u64,
    /// Most such runs kept in memory. Above it those that have waited longest are let go of without regard to
    /// `evict_after_ms`.
    pub waiting_runs_max: usize,
    /// About how many bytes the runs with open activities may hold together: themselves, their inputs, the activities and
    /// their arguments. Above it no run is started; those under way go on.
    pub held_bytes_max: usize,
    /// A batch that has grown to this many bytes is closed before further input is taken.
    pub segment_bytes: usize,
    /// A workflow that asks for more than about this many bytes in one turn is blocked: a turn is durable as a whole, and a
    /// segment has a bound (`history::limits::SEGMENT_MAX_BYTES`).
    pub turn_bytes_max: usize,
    /// Heartbeat details are written at most this often per leg, in milliseconds; in between they are kept in memory.
    pub heartbeat_record_ms: u64,
    /// A worker elsewhere that says nothing for so many milliseconds is taken for gone; after half of it, for suspect.
    /// 0: silence means nothing.
    pub worker_silence_ms: u64,
    /// Requests for work that may wait for some at once. Above it they are refused.
    pub parked_claims_max: usize,
    /// Polls of one workflow within one turn before it is blocked as spinning.
    pub polls_max: u32,
    /// The engine carries due routines out by itself. Without it somebody calls `run_due`.
    pub run_routines: bool,
    /// The engine looks for what is stuck by itself, and repairs it, every so many milliseconds, as long as a leg is under
    /// way. `None`: somebody asks for it.
    pub reconcile_every_ms: Option<u64>,
    /// When something counts as stuck for a look by itself.
    pub thresholds: Thresholds,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            // Long enough that a chatty run is not replayed again and again, short enough that sleepers leave.
            evict_after_ms: 5_000,
            // Some 1.5 KiB each: what only waits takes some 12 MiB, and is back within tens of microseconds.
            waiting_runs_max: 8_192,
            // Some 17,000 runs with an activity each. With the bounds of the queues it keeps the whole engine under 256 MiB.
            held_bytes_max: 40 * 1024 * 1024,
            // A 1 MiB append costs about ten times a small one; larger groups only lengthen the wait of all in them.
            segment_bytes: 1024 * 1024,
            // A quarter of a segment: the conversations that a turn opens take up to twice its own bytes.
            turn_bytes_max: 16 * 1024 * 1024,
            heartbeat_record_ms: 10_000,
            // Some lost heartbeats and a restart of a network are not an end; a minute of waiting for a dead one is bearable.
            worker_silence_ms: 60_000,
            // A request for each worker of a large fleet; some 200 bytes each.
            parked_claims_max: 4_096,
            // A workflow that yields to itself a few times is odd but fine; a thousand times in one turn is a loop.
            polls_max: 1_000,
            run_routines: false,
            // What is honest and long looks like what is stuck; only its owner knows the difference.
            reconcile_every_ms: None,
            thresholds: Thresholds::default(),
        }
    }
}

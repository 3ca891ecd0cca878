use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

/// The variable that tells a process whose worker it is.
pub const WORKER_OF: &str = "ANTIPHON_WORKER_OF";

/// What a pool of worker processes is. Every wait is here, with its unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChildSettings {
    /// The pool's name; its processes are the workers `name-1`, `name-2`, ….
    pub name: String,
    /// The task queues that its workers may subscribe to.
    pub queues: BTreeSet<String>,
    /// The activities that each of its workers must have code for. It may have further ones.
    pub activities: BTreeSet<String>,
    /// The labels that its workers have.
    pub labels: BTreeSet<String>,
    /// Requests that one process takes at once, at least 1.
    pub capacity: u32,
    /// How many processes, at least 1.
    pub processes: u32,
    /// What is started.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables that it gets besides those of this process and [`WORKER_OF`].
    pub env: Vec<(OsString, OsString)>,
    /// A process must have registered by then, in milliseconds, or it is killed.
    pub register_within_ms: u64,
    /// How often a process is asked whether it is there, in milliseconds.
    pub ping_every_ms: u64,
    /// A process that says nothing for so long after a ping is killed, in milliseconds.
    pub ping_within_ms: u64,
    /// A process in which a body does not end for so long after it was told to stop is killed, in milliseconds. `None`:
    /// the body keeps its place.
    pub stop_within_ms: Option<u64>,
    /// A process that has not ended so long after it was told to leave is killed, in milliseconds.
    pub drain_within_ms: u64,
    /// The wait before a dead process is started again, in milliseconds; it doubles up to `restart_max_ms` with every
    /// process that does not live as long as that.
    pub restart_first_ms: u64,
    /// The longest such wait, in milliseconds.
    pub restart_max_ms: u64,
}

impl ChildSettings {
    /// One process of `program` under the name `name`, on the queue `default`, with one place.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> ChildSettings {
        ChildSettings {
            name: name.into(),
            queues: BTreeSet::from(["default".to_owned()]),
            activities: BTreeSet::new(),
            labels: BTreeSet::new(),
            capacity: 1,
            processes: 1,
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            // Long enough for a program that loads models or opens connections before it serves.
            register_within_ms: 30_000,
            ping_every_ms: 5_000,
            // A machine that swaps is slow, not dead; a frozen process costs this long once.
            ping_within_ms: 30_000,
            stop_within_ms: Some(30_000),
            drain_within_ms: 5_000,
            restart_first_ms: 100,
            restart_max_ms: 10_000,
        }
    }
}

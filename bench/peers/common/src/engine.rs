use std::future::Future;

/// Why a peer could not do what it was asked, in its own words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The workflows that every driver defines. Activities return `hello-world`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// `n` activities, one after the other.
    Sequence,
    /// The same, each activity taking [`Options::slow_ms`](crate::Options).
    Slow,
    /// `n` activities at once, joined.
    Fan,
    /// Waits for one signal, then returns.
    Park,
}

impl Work {
    /// The name under which a driver registers it.
    pub fn name(self) -> &'static str {
        match self {
            Work::Sequence => "sequence",
            Work::Slow => "slow",
            Work::Fan => "fan",
            Work::Park => "park",
        }
    }
}

/// One peer, as an external caller sees it.
pub trait Engine: Send + Sync + 'static {
    /// Starts a workflow and waits for its result.
    fn run(&self, work: Work, id: &str, n: u64) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Starts a workflow; returns when the peer has acknowledged it.
    fn start(&self, work: Work, id: &str, n: u64) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Wakes a workflow of [`Work::Park`]; returns when the peer has acknowledged it.
    fn signal(&self, id: &str) -> impl Future<Output = Result<(), Failure>> + Send;

    /// How many workflows of the whole store have completed.
    fn completed(&self) -> impl Future<Output = Result<u64, Failure>> + Send;
}

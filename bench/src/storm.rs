//! The process that is overloaded: measures its calm, is flooded, and tells how it stands five times a second.

use crate::Failure;
use crate::flows::{carry, engine, sequence};
use crate::load::{Until, sequences, warm};
use crate::measure::resident_mib;
use crate::{child, limit, proc};
use antiphon::{Antiphon, RequestError};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Args, Debug)]
pub(crate) struct Storm {
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    seconds: u64,
    /// How many times the calm rate is offered.
    #[arg(long)]
    times: f64,
    /// One start in so many carries a large payload; 0 for none.
    #[arg(long)]
    large_every: u64,
    #[arg(long)]
    large_kib: usize,
    #[arg(long)]
    group: Option<PathBuf>,
    #[arg(long)]
    data_mib: Option<u64>,
}

/// What the child tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Told {
    /// Before the storm: the rate with 64 callers, and a lone run's latency.
    Calm { rate: f64, p50_us: u64, p99_us: u64 },
    /// Five times a second.
    Beat(Beat),
    /// After it: until the first run was answered at all, and until one took no longer than usual; then until all that
    /// was acknowledged had ended.
    After { answered_ms: u64, usual_ms: Option<u64>, ended_s: Option<f64> },
}

/// One look.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Beat {
    pub(crate) at_s: f64,
    pub(crate) offered: u64,
    pub(crate) acknowledged: u64,
    /// With an error that says to try again.
    pub(crate) retryable: u64,
    /// With any other error.
    pub(crate) refused: u64,
    /// Handed to the engine and not answered yet: what it holds.
    pub(crate) unanswered: u64,
    /// Not handed to the engine yet: what the callers hold, at most [`CALLERS_BACKLOG`].
    pub(crate) behind: u64,
    pub(crate) live_runs: Option<usize>,
    pub(crate) resident_mib: Option<f64>,
    pub(crate) data_mib: Option<f64>,
    pub(crate) log_mib: f64,
    pub(crate) store_mib: f64,
}

#[derive(Default)]
struct Counts {
    /// Callers that were made.
    offered: AtomicU64,
    /// Of them, those that have handed their request over.
    asked: AtomicU64,
    acknowledged: AtomicU64,
    retryable: AtomicU64,
    refused: AtomicU64,
}

/// The numbers of acknowledged starts go into this file beside the store, 8 bytes each, before they are counted as such.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";

/// Callers that may wait for a core at once. Beyond it the flood waits for them, so that what piles up is the engine's, not
/// that of the scheduler in front of it.
const CALLERS_BACKLOG: u64 = 1_024;

struct Flood {
    app: Arc<Antiphon>,
    counts: Arc<Counts>,
    acknowledged: Arc<Mutex<BufWriter<File>>>,
    large: Arc<str>,
    large_every: u64,
}

pub(crate) async fn run(options: &Storm) -> Result<(), Failure> {
    limit::obey(options.group.as_deref(), options.data_mib)?;
    let store = options.folder.join("store");
    std::fs::create_dir_all(&store)?;
    let app = Arc::new(engine(&store).start()?);
    warm(&app, &store).await?;
    let rate = sequences(&app, &store, "calm", 64, Until::Passed(Duration::from_secs(3)), 1).await?.runs_per_s;
    let rate = rate.ok_or("the calm has no rate")?;
    let lone = sequences(&app, &store, "lone", 1, Until::Asked(300), 1).await?;
    let (p50_us, p99_us) = (lone.p50_us.unwrap_or(0), lone.p99_us.unwrap_or(0));
    child::say(&Told::Calm { rate, p50_us, p99_us })?;

    let flood = Flood {
        app: Arc::clone(&app),
        counts: Arc::default(),
        acknowledged: Arc::new(Mutex::new(BufWriter::new(File::create(options.folder.join(ACKNOWLEDGED))?))),
        large: "x".repeat(options.large_kib * 1024).into(),
        large_every: options.large_every,
    };
    let begun = Instant::now();
    let seconds = Duration::from_secs(options.seconds);
    let looking = tokio::spawn(look(Arc::clone(&app), Arc::clone(&flood.counts), store.clone(), begun, seconds));
    flood.run(rate * options.times, begun, seconds).await;
    let over = Instant::now();
    looking.await?.map_err(|error| error.to_string())?;
    let (answered_ms, usual_ms) = answered_again(&app, over, p99_us).await;
    let ended_s = ended(&app, over).await;
    flood.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
    child::say(&Told::Beat(beat(&app, &flood.counts, &store, begun).await))?;
    child::say(&Told::After { answered_ms, usual_ms, ended_s })?;
    // Callers that still wait for an answer hold the engine; it goes with the process.
    drop(flood);
    if let Some(app) = Arc::into_inner(app) {
        app.stop();
    }
    Ok(())
}

impl Flood {
    /// Asks for `rate` starts a second whether or not earlier ones were answered.
    async fn run(&self, rate: f64, begun: Instant, seconds: Duration) {
        // What could not be asked in time is left out beyond this, so that a pause is not followed by a burst without end.
        let most_behind = (rate / 10.0) as u64;
        let (mut index, mut skipped) = (0u64, 0u64);
        while begun.elapsed() < seconds {
            let due = (begun.elapsed().as_secs_f64() * rate) as u64;
            skipped += due.saturating_sub(skipped + index).saturating_sub(most_behind);
            let now = due.saturating_sub(skipped + index);
            for _ in 0..now {
                self.ask(index);
                index += 1;
                while self.counts.behind() > CALLERS_BACKLOG && begun.elapsed() < seconds {
                    tokio::task::yield_now().await;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn ask(&self, index: u64) {
        let (app, counts, file) = (Arc::clone(&self.app), Arc::clone(&self.counts), Arc::clone(&self.acknowledged));
        let large = (self.large_every > 0 && index.is_multiple_of(self.large_every)).then(|| Arc::clone(&self.large));
        counts.offered.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let id = format!("storm-{index}");
            // The first poll of a start hands it over; nothing is awaited in between.
            counts.asked.fetch_add(1, Ordering::Relaxed);
            let started = match large {
                // Equal payloads would be stored once.
                Some(large) => app.start(id, carry(format!("{index}{large}"))).await.map(drop),
                None => app.start(id, sequence(1)).await.map(drop),
            };
            counts.count(started, index, &file);
        });
    }
}

impl Counts {
    fn behind(&self) -> u64 {
        self.offered.load(Ordering::Relaxed).saturating_sub(self.asked.load(Ordering::Relaxed))
    }

    fn count(&self, started: Result<(), RequestError>, index: u64, file: &Mutex<BufWriter<File>>) {
        let counter = match started {
            Ok(()) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                // A full disk shows as fewer numbers than were counted.
                let _ = file.write_all(&index.to_le_bytes());
                &self.acknowledged
            }
            Err(error) if error.retryable() => &self.retryable,
            Err(_) => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

async fn look(
    app: Arc<Antiphon>,
    counts: Arc<Counts>,
    store: PathBuf,
    begun: Instant,
    seconds: Duration,
) -> Result<(), String> {
    while begun.elapsed() < seconds {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let beat = beat(&app, &counts, &store, begun).await;
        child::say(&Told::Beat(beat)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn beat(app: &Antiphon, counts: &Counts, store: &Path, begun: Instant) -> Beat {
    // The engine answers this like any request; in a storm it may refuse it or take its time.
    let status = tokio::time::timeout(Duration::from_millis(200), app.status()).await;
    // Answers before askings, so that the difference is never too small.
    let [acknowledged, retryable, refused, asked, offered] =
        [&counts.acknowledged, &counts.retryable, &counts.refused, &counts.asked, &counts.offered]
            .map(|count| count.load(Ordering::Relaxed));
    let mib = |prefix| proc::folder_bytes(store, prefix) as f64 / (1024.0 * 1024.0);
    Beat {
        at_s: begun.elapsed().as_secs_f64(),
        offered,
        acknowledged,
        retryable,
        refused,
        unanswered: asked.saturating_sub(acknowledged + retryable + refused),
        behind: offered.saturating_sub(asked),
        live_runs: status.ok().and_then(Result::ok).map(|status| status.stats.live_runs),
        resident_mib: resident_mib(),
        data_mib: limit::data_mib(),
        log_mib: mib("log"),
        store_mib: mib(""),
    }
}

/// Until a new run came to its end, and until one did in at most twice the usual p99.
async fn answered_again(app: &Antiphon, over: Instant, usual_us: u64) -> (u64, Option<u64>) {
    const GIVE_UP: Duration = Duration::from_secs(120);
    let mut answered = None;
    for index in 0u64.. {
        let began = Instant::now();
        let done = app.run(format!("after-{index}"), sequence(1)).await.is_ok();
        let since = over.elapsed().as_millis() as u64;
        if done {
            let first = *answered.get_or_insert(since);
            if began.elapsed().as_micros() as u64 <= 2 * usual_us {
                return (first, Some(since));
            }
        }
        if over.elapsed() > GIVE_UP {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (answered.unwrap_or(u64::MAX), None)
}

/// Seconds until no run is in memory any more: all have ended.
async fn ended(app: &Antiphon, over: Instant) -> Option<f64> {
    const GIVE_UP: Duration = Duration::from_secs(300);
    while over.elapsed() < GIVE_UP {
        if app.status().await.is_ok_and(|status| status.stats.live_runs == 0) {
            return Some(over.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

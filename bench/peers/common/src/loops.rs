//! How load is put on: callers in a closed loop, and everything once as fast as it is taken.

use crate::{Engine, Failure, Work};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a closed loop has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The time from start to result of each workflow that completed, in microseconds.
    pub(crate) micros: Vec<u64>,
    pub(crate) failed: usize,
    pub(crate) first_failure: Option<String>,
    /// Whether the cap ended it.
    pub(crate) cut: bool,
}

// A peer that refuses everything should end the figure, not fill the screen.
const FAILURES_PER_CALLER: usize = 20;

/// `callers` callers, each starting a workflow of `n` and waiting for its result, until `runs` are done or `cap` is
/// over.
pub(crate) async fn closed_loop<E: Engine>(
    engine: &Arc<E>,
    work: Work,
    ids: &str,
    (callers, runs): (usize, usize),
    n: u64,
    cap: Duration,
) -> Seen {
    let next = Arc::new(AtomicUsize::new(0));
    let end = tokio::time::Instant::now() + cap;
    let tasks: Vec<_> = (0..callers.min(runs))
        .map(|_| {
            let (engine, next, ids) = (Arc::clone(engine), Arc::clone(&next), ids.to_owned());
            tokio::spawn(async move {
                let mut seen = Seen::default();
                while seen.failed < FAILURES_PER_CALLER && !seen.cut {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= runs {
                        break;
                    }
                    let started = Instant::now();
                    match tokio::time::timeout_at(end, engine.run(work, &format!("{ids}-{index}"), n)).await {
                        Ok(Ok(())) => seen.micros.push(started.elapsed().as_micros() as u64),
                        Ok(Err(failure)) => {
                            seen.failed += 1;
                            seen.first_failure.get_or_insert(failure.to_string());
                        }
                        Err(_over) => seen.cut = true,
                    }
                }
                seen
            })
        })
        .collect();
    let mut all = Seen::default();
    for task in tasks {
        let seen = task.await.expect("a caller does not panic");
        all.micros.extend(seen.micros);
        all.failed += seen.failed;
        all.cut |= seen.cut;
        all.first_failure = all.first_failure.or(seen.first_failure);
    }
    all
}

/// Callers that start or signal workflows without waiting for results.
const STARTERS: usize = 64;

/// Which request [`each`] makes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask {
    Start(Work, u64),
    Signal,
}

/// Makes one request for each of `count` workflows, 64 at a time; returns when all are acknowledged.
///
/// Errors: the first that the peer gave, or that `cap` was over.
pub(crate) async fn each<E: Engine>(
    engine: &Arc<E>,
    ask: Ask,
    ids: &str,
    count: usize,
    cap: Duration,
) -> Result<(), Failure> {
    let late = || format!("not all {count} requests ({ask:?}) were acknowledged within {cap:?}");
    tokio::time::timeout(cap, all(engine, ask, ids, count)).await.map_err(|_over| late())?
}

async fn all<E: Engine>(engine: &Arc<E>, ask: Ask, ids: &str, count: usize) -> Result<(), Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..STARTERS)
        .map(|_| {
            let (engine, next, ids) = (Arc::clone(engine), Arc::clone(&next), ids.to_owned());
            tokio::spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return Ok(());
                    }
                    let id = format!("{ids}-{index}");
                    match ask {
                        Ask::Start(work, n) => engine.start(work, &id, n).await?,
                        Ask::Signal => engine.signal(&id).await?,
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.map_err(Failure::from).flatten()?;
    }
    Ok(())
}

// Counting costs the peer a query; a tenth of what W5 and W6 take is fine enough.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until `target` workflows of the store have completed or `cap` is over; returns how many have. A peer that
/// cannot answer yet is asked again.
pub(crate) async fn completed<E: Engine>(engine: &Arc<E>, target: u64, cap: Duration) -> u64 {
    let end = Instant::now() + cap;
    let mut last = 0;
    while last < target && Instant::now() < end {
        if let Ok(Ok(count)) = tokio::time::timeout(cap, engine.completed()).await {
            last = count;
        }
        if last < target {
            tokio::time::sleep(LOOK).await;
        }
    }
    last
}

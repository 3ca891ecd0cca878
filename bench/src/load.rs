//! Callers: tasks outside of the engine that ask, wait for the answer and ask again.

use crate::Failure;
use crate::flows::sequence;
use crate::measure::{Done, Row, Usage};
use antiphon::Antiphon;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// When callers stop asking.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// So many were asked.
    Asked(usize),
    /// So much time has passed.
    Passed(Duration),
}

/// Lets `callers` ask one after the other. `ask` is given a number that no other call gets, from 0. Returns the time of
/// each in microseconds.
///
/// Errors: the first that a caller met; the others stop at their next ask.
pub(crate) async fn closed_loop<F, Asked>(callers: usize, until: Until, ask: F) -> Result<Vec<u64>, Failure>
where
    F: Fn(usize) -> Asked + Clone + Send + 'static,
    Asked: Future<Output = Result<(), String>> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let over = move |index: usize| match until {
        Until::Asked(most) => index >= most,
        Until::Passed(longest) => begun.elapsed() >= longest,
    };
    // More than anybody asks, so that all stop after an error.
    const ENOUGH: usize = usize::MAX / 2;
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (next, ask) = (Arc::clone(&next), ask.clone());
            tokio::spawn(async move {
                let mut micros = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= ENOUGH || over(index) {
                        return Ok::<_, String>(micros);
                    }
                    let started = Instant::now();
                    ask(index).await.inspect_err(|_| next.store(ENOUGH, Ordering::Relaxed))?;
                    micros.push(started.elapsed().as_micros() as u64);
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await??);
    }
    Ok(all)
}

/// Runs sequences of `n` activities under ids that begin with `label`, which becomes the row's name.
pub(crate) async fn sequences(
    app: &Arc<Antiphon>,
    folder: &Path,
    label: &str,
    callers: usize,
    until: Until,
    n: u64,
) -> Result<Row, Failure> {
    let (usage, syncs) = (Usage::now(folder), app.status().await?.syncs);
    let (asked, name) = (Arc::clone(app), label.to_owned());
    let micros = closed_loop(callers, until, move |index| {
        let (app, id) = (Arc::clone(&asked), format!("{name}-{index}"));
        async move { app.run(id, sequence(n)).await.map(drop).map_err(|error| error.to_string()) }
    })
    .await?;
    let runs = micros.len();
    let syncs = app.status().await?.syncs - syncs;
    let mut row = usage.row(label, Done { runs, activities: runs * n as usize, micros, syncs });
    row.callers = Some(callers as u64);
    Ok(row)
}

/// The first runs pay for page faults and prepared statements; nobody asks about them.
pub(crate) async fn warm(app: &Arc<Antiphon>, folder: &Path) -> Result<(), Failure> {
    sequences(app, folder, "warm", 4, Until::Asked(50), 1).await.map(drop)
}

/// Stops an engine that all callers have left.
pub(crate) fn stop(app: Arc<Antiphon>) {
    Arc::into_inner(app).expect("all callers have ended").stop();
}

//! The raw limits of the same disk in the same run. No durable answer can be faster than the first; no engine that
//! groups commits as we do can be faster than the second.

use crate::Failure;
use crate::load::{Until, closed_loop};
use crate::measure::{Done, Row, Usage};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Append 4 KiB and fdatasync, one after the other.
pub(crate) fn append_and_sync(folder: &Path) -> std::io::Result<Row> {
    const TIMES: usize = 300;
    let path = folder.join("raw");
    let mut file = File::create(&path)?;
    let block = [7u8; 4096];
    let usage = Usage::now(folder);
    let mut micros = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        micros.push(started.elapsed().as_micros() as u64);
    }
    let done = Done { runs: TIMES, activities: TIMES, micros, syncs: TIMES as u64 };
    let mut row = usage.row("raw append+fdatasync", done);
    (row.runs_per_s, row.callers) = (None, Some(1));
    std::fs::remove_file(path)?;
    Ok(row)
}

/// What an activity leaves behind in this engine's log: about six records of about this size.
const FRAME: [u8; 6 * 120] = [7; 6 * 120];
const BARE_FOR: Duration = Duration::from_millis(1_500);

/// The bare segment log: callers hand one activity's records to a thread that appends whatever waits and calls fdatasync
/// once for all of it. No engine, no SQLite, no digests.
pub(crate) async fn bare_log(folder: &Path, callers: usize) -> Result<Row, Failure> {
    let path = folder.join("bare");
    let mut file = File::create(&path)?;
    let (door, mut frames) = mpsc::unbounded_channel::<oneshot::Sender<()>>();
    let syncs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&syncs);
    let writer = std::thread::Builder::new().name("bare-log".to_owned()).spawn(move || -> std::io::Result<()> {
        let (mut waiting, mut bytes) = (Vec::new(), Vec::new());
        while let Some(first) = frames.blocking_recv() {
            waiting.push(first);
            while let Ok(next) = frames.try_recv() {
                waiting.push(next);
            }
            waiting.iter().for_each(|_| bytes.extend_from_slice(&FRAME));
            file.write_all(&bytes)?;
            file.sync_data()?;
            counted.fetch_add(1, Ordering::Relaxed);
            bytes.clear();
            for caller in waiting.drain(..) {
                // Nobody goes away before the loop is over.
                let _ = caller.send(());
            }
        }
        Ok(())
    })?;
    let usage = Usage::now(folder);
    let micros = closed_loop(callers, Until::Passed(BARE_FOR), move |_| {
        let door = door.clone();
        async move {
            let (reply, durable) = oneshot::channel();
            door.send(reply).map_err(|_| "the bare log's thread has ended".to_owned())?;
            durable.await.map_err(|_| "the bare log could not be written".to_owned())
        }
    })
    .await?;
    let runs = micros.len();
    let done = Done { runs, activities: runs, micros, syncs: syncs.load(Ordering::Relaxed) };
    let mut row = usage.row(format!("bare log c={callers}"), done);
    (row.runs_per_s, row.callers) = (None, Some(callers as u64));
    writer.join().map_err(|_| "the bare log's thread panicked")??;
    std::fs::remove_file(path)?;
    Ok(row)
}

//! Victims whose bodies run in worker processes, and the kills of these.
//!
//! A body in a worker process reaches the ledger over the victim, which has the harness's ear: a socket beside the store.
//! With the victim gone it waits for ever, as a body in the victim would; then its process ends.

use crate::flows::CallLedger;
use crate::process::Victim;
use crate::words::{LegName, Moment};
use crate::{Error, Random};
use antiphon::{Antiphon, Builder, ChildWorker, millis, secs};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// The variable that tells a worker process where the ledger is reached.
const LEDGER: &str = "ANTIPHON_BREAKING_LEDGER";

/// Gives a builder all flows, with the bodies in so many processes.
pub(crate) fn register(builder: Builder, store: &Path, processes: u32) -> Builder {
    let worker = ChildWorker::new("kid").processes(processes).capacity(8).restart(millis(1), millis(20));
    // A victim that stops in good order is to do so within the patience of the harness, also under load.
    let worker = worker.env(LEDGER, socket(store)).drain_within(secs(10));
    crate::flows::register_apart(builder, worker)
}

/// One name per victim: a second engine on the store must not take the first one's away.
fn socket(store: &Path) -> PathBuf {
    store.with_extension(format!("ledger-{}", std::process::id()))
}

/// In a worker process: the way to the ledger. `None` elsewhere.
pub(crate) fn over_the_victim() -> Option<CallLedger> {
    let path = std::env::var_os(LEDGER).filter(|_| Antiphon::is_worker_process())?;
    Some(Arc::new(move |leg: LegName, moment: Moment| {
        let (reply, noted) = oneshot::channel();
        let path = path.clone();
        std::thread::spawn(move || call(path.as_ref(), &leg, &moment).ok().map(|nonce| reply.send(nonce)));
        Box::pin(async move {
            match noted.await {
                Ok(nonce) => nonce,
                Err(_) => std::future::pending().await,
            }
        })
    }))
}

fn call(path: &Path, leg: &LegName, moment: &Moment) -> std::io::Result<u64> {
    let mut stream = UnixStream::connect(path)?;
    let mut line = serde_json::to_vec(&(leg, moment))?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut nonce = String::new();
    BufReader::new(stream).read_line(&mut nonce)?;
    nonce.trim().parse().map_err(std::io::Error::other)
}

/// In the victim: passes on what bodies in worker processes call out.
pub(crate) fn relay(store: &Path, ledger: CallLedger, tokio: Handle) -> Result<(), Error> {
    let path = socket(store);
    // That of an earlier victim with this number.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).map_err(Error::io("making the way to the ledger"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (ledger, tokio) = (Arc::clone(&ledger), tokio.clone());
            // A worker that dies meanwhile hears no answer; what it called is noted all the same.
            std::thread::spawn(move || pass_on(stream, &ledger, &tokio).ok());
        }
    });
    Ok(())
}

fn pass_on(mut stream: UnixStream, ledger: &CallLedger, tokio: &Handle) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    let (leg, moment): (LegName, Moment) = serde_json::from_str(&line)?;
    let nonce = tokio.block_on(ledger(leg, moment));
    writeln!(stream, "{nonce}")
}

/// Kills one of a victim's worker processes, if it has one now.
pub(crate) fn kill_one(victim: &Victim, random: &mut Random) -> bool {
    let mut workers = children(victim.id());
    workers.sort();
    if workers.is_empty() {
        return false;
    }
    let chosen = workers[random.below(workers.len() as u64) as usize];
    Pid::from_raw(chosen).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// The children of a process, by what the system says of each of its threads.
fn children(process: u32) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let of = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let words: Vec<String> = threads.flatten().map(of).collect();
    words.iter().flat_map(|line| line.split_whitespace()).filter_map(|word| word.parse().ok()).collect()
}

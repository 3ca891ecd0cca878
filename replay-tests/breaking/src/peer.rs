//! Other engines under the same cuts and kills, as far as their interfaces go: starts that were acknowledged, and ends.
//!
//! A peer is a program that takes `serve <folder>` and `status <folder>` and speaks the words below; Antiphon takes part
//! as one of them, with the same stream.

use crate::flows::{self, Outside};
use crate::process::{Heard, Launch, Victim};
use crate::volume::Volume;
use crate::{Broken, Error, Invariant, Plan, Random};
use antiphon::{Antiphon, RunStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// To a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToPeer {
    /// Start a workflow of two activities in a row.
    Start(String),
    /// Wait for its end.
    Wait(String),
    /// How does it stand, after a moment to come back?
    Status(String),
}

/// From a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FromPeer {
    /// The store is open.
    Ready,
    /// It has started: an acknowledgement.
    Started(String),
    /// It has completed: an acknowledgement.
    Completed(String),
    /// It is `gone`, `there` or `completed`.
    Status(String, String),
    /// A request failed.
    Failed(String, String),
}

/// Which peer, how.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its program; ours if there is none.
    pub program: Option<PathBuf>,
    /// Further arguments.
    pub args: Vec<String>,
    /// Kills instead of cuts.
    pub kills: bool,
    /// How many.
    pub count: u64,
    /// Chooses moments.
    pub seed: u64,
    /// Where the stores are.
    pub folder: PathBuf,
}

/// What it lost.
#[derive(Clone, Copy, Default, Debug)]
pub struct Lost {
    /// Starts that were acknowledged.
    pub started: u64,
    /// Of these, gone.
    pub starts_lost: u64,
    /// Ends that were told.
    pub completed: u64,
    /// Of these, no longer completed.
    pub ends_lost: u64,
    /// Cuts or kills after which something was missing.
    pub losing: u64,
    /// Those after which the store did not open.
    pub unopened: u64,
}

/// Starts that are under way at once.
const WIDTH: u64 = 16;

/// Breaks a peer again and again, each time on a fresh store, most often right after an acknowledgement.
pub fn peer(peer: &Peer) -> Result<Lost, Error> {
    let mut random = Random::new(peer.seed);
    let mut lost = Lost::default();
    for _ in 0..peer.count {
        let scratch = tempfile::tempdir_in(&peer.folder).map_err(Error::io("making a scratch folder"))?;
        match peer.kills {
            true => once(peer, scratch.path(), scratch.path(), None, &mut random, &mut lost)?,
            false => {
                let mut volume = Volume::make(scratch.path(), true)?;
                let folder = volume.path().to_owned();
                once(peer, &folder, scratch.path(), Some(&mut volume), &mut random, &mut lost)?;
            }
        }
    }
    Ok(lost)
}

fn once(
    peer: &Peer,
    folder: &Path,
    scratch: &Path,
    volume: Option<&mut Volume>,
    random: &mut Random,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut launch = Launch::new(&folder.join("store"), &scratch.join("errors"))?;
    launch.args = peer.args.clone();
    let ours = launch.program.clone();
    launch.program = peer.program.clone().unwrap_or_else(|| ours.clone());
    let role = |serve: &str| if peer.program.is_some() { serve.to_owned() } else { format!("peer-{serve}") };
    let mut victim: Victim<FromPeer> = launch.start_words(&role("serve"))?;
    let (wanted, mut asked) = (random.spread(1, 400), 0);
    let (mut started, mut completed) = (BTreeSet::new(), BTreeSet::new());
    let until = Instant::now() + Duration::from_secs(20);
    while started.len() + completed.len() < wanted as usize {
        match victim.next(until)? {
            Heard::Said(FromPeer::Ready) => {
                while asked < WIDTH {
                    victim.tell(&ToPeer::Start(format!("w{asked}")));
                    asked += 1;
                }
            }
            Heard::Said(FromPeer::Started(id)) => {
                victim.tell(&ToPeer::Wait(id.clone()));
                started.insert(id);
            }
            Heard::Said(FromPeer::Completed(id)) => {
                completed.insert(id);
                victim.tell(&ToPeer::Start(format!("w{asked}")));
                asked += 1;
            }
            Heard::Said(_) => {}
            // What takes longer than this is not worth waiting for.
            Heard::Silence | Heard::Gone => break,
        }
    }
    if let Some(volume) = &volume {
        volume.cut()?;
    }
    for word in victim.kill()? {
        match word {
            FromPeer::Started(id) => _ = started.insert(id),
            FromPeer::Completed(id) => _ = completed.insert(id),
            _ => {}
        }
    }
    if let Some(volume) = volume {
        volume.restart()?;
    }
    lost.started += started.len() as u64;
    lost.completed += completed.len() as u64;
    ask_after(&launch, &role("status"), &started, &completed, lost)
}

fn ask_after(
    launch: &Launch,
    role: &str,
    started: &BTreeSet<String>,
    completed: &BTreeSet<String>,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut status: Victim<FromPeer> = launch.start_words(role)?;
    let mut open: BTreeSet<&String> = started.union(completed).collect();
    let (mut starts, mut ends) = (0, 0);
    let until = Instant::now() + Duration::from_secs(30);
    while !open.is_empty() {
        match status.next(until)? {
            Heard::Said(FromPeer::Ready) => open.iter().for_each(|id| status.tell(&ToPeer::Status((*id).clone()))),
            Heard::Said(FromPeer::Status(id, how)) => {
                starts += u64::from(how == "gone" && started.contains(&id));
                ends += u64::from(how != "completed" && completed.contains(&id));
                open.remove(&id);
            }
            Heard::Said(_) => {}
            Heard::Silence | Heard::Gone => {
                lost.unopened += 1;
                break;
            }
        }
    }
    lost.starts_lost += starts;
    lost.ends_lost += ends;
    lost.losing += u64::from(starts + ends > 0);
    Ok(())
}

/// Antiphon as a peer: `serve` runs an engine, `status` reads its store.
pub fn run_peer(folder: &Path, serve: bool) -> Result<(), Error> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let tokio = tokio.map_err(Error::io("starting tokio"))?;
    let nobody = Outside(Arc::new(|_, _| Box::pin(std::future::ready(0))));
    let app = tokio.block_on(async { flows::register(Antiphon::open(folder)).state(nobody).start() });
    let app = Arc::new(app.map_err(|error| Broken::new(Invariant::Opens, error.to_string()))?);
    say(&FromPeer::Ready);
    let (put, mut asks) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if !serde_json::from_str(&line).is_ok_and(|ask: ToPeer| put.send(ask).is_ok()) {
                break;
            }
        }
    });
    tokio.block_on(async {
        while let Some(ask) = asks.recv().await {
            let app = Arc::clone(&app);
            if serve {
                tokio::spawn(async move { say(&answer(&app, ask).await) });
            } else {
                say(&answer(&app, ask).await);
            }
        }
    });
    Ok(())
}

async fn answer(app: &Antiphon, ask: ToPeer) -> FromPeer {
    let failed = |id: String, why: String| FromPeer::Failed(id, why);
    match ask {
        ToPeer::Start(id) => {
            let plan = Plan { steps: 2, bytes: 10, salt: 1 };
            match app.start(id.as_str(), flows::sequence(plan)).await {
                Ok(_) => FromPeer::Started(id),
                Err(error) => failed(id, error.to_string()),
            }
        }
        ToPeer::Wait(id) => match app.get::<flows::sequence>(id.as_str()) {
            Ok(run) => match run.result().await {
                Ok(_) => FromPeer::Completed(id),
                Err(error) => failed(id, error.to_string()),
            },
            Err(error) => failed(id, error.to_string()),
        },
        ToPeer::Status(id) => match app.describe(&id) {
            Ok(None) => FromPeer::Status(id, "gone".to_owned()),
            Ok(Some(row)) if row.status == RunStatus::Completed => FromPeer::Status(id, "completed".to_owned()),
            Ok(Some(_)) => FromPeer::Status(id, "there".to_owned()),
            Err(error) => failed(id, error.to_string()),
        },
    }
}

fn say(word: &FromPeer) {
    let mut line = serde_json::to_vec(word).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

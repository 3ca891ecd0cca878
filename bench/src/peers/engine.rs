//! The peers: what each needs, and how one runs one workload.

use super::postgres::Postgres;
use super::process::Process;
use super::restate::{Binary, Restate};
use super::{Part, figures, told_about, told_row};
use clap::ValueEnum;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A peer with its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    Duroxide,
    DuroxideTuned,
    Dbos,
    DbosTuned,
    Restate,
    RestateTuned,
}

impl Peer {
    /// The name of its driver's folder under `bench/peers`.
    fn driver(self) -> &'static str {
        match self {
            Peer::Duroxide | Peer::DuroxideTuned => "duroxide",
            Peer::Dbos | Peer::DbosTuned => "dbos",
            Peer::Restate | Peer::RestateTuned => "restate",
        }
    }

    fn is_tuned(self) -> bool {
        matches!(self, Peer::DuroxideTuned | Peer::DbosTuned | Peer::RestateTuned)
    }
}

/// Its default of 24 defeats batching on a small machine.
const RESTATE_TUNED_PARTITIONS: u32 = 2;

/// What the wanted peers need beside their drivers, or why it is not there.
pub(super) struct Servers {
    postgres: Result<Postgres, String>,
    restate: Result<Binary, String>,
}

impl Servers {
    /// Looks for what `peers` need. PostgreSQL is started once for the whole run, Restate for each workload.
    pub(super) fn find(peers: &[Peer], scratch: &Path) -> Servers {
        let wanted = |driver: &str| peers.iter().any(|peer| peer.driver() == driver);
        let unwanted = || "it was not asked for".to_owned();
        Servers {
            postgres: match wanted("dbos") {
                true => Postgres::start(scratch).map_err(|error| error.to_string()),
                false => Err(unwanted()),
            },
            restate: match wanted("restate") {
                true => Binary::find().map_err(|error| error.to_string()),
                false => Err(unwanted()),
            },
        }
    }

    /// The first process of the PostgreSQL that this run has started.
    pub(super) fn postgres_pid(&self) -> Option<u32> {
        self.postgres.as_ref().ok()?.pid
    }
}

/// A peer that can be run.
pub(super) struct Engine {
    peer: Peer,
    name: String,
    driver: PathBuf,
}

/// What a workload's driver talks to.
enum Stand<'a> {
    Embedded,
    Postgres(&'a Postgres),
    Restate(Restate),
}

impl Engine {
    /// Errors: what is missing, and the command that gets it.
    pub(super) fn find(peer: Peer, servers: &Servers) -> Result<Engine, String> {
        match peer.driver() {
            "dbos" => servers.postgres.as_ref().map(drop)?,
            "restate" => servers.restate.as_ref().map(drop)?,
            _ => {}
        }
        let program = format!("peer-{}", peer.driver());
        let found = places(peer).into_iter().map(|folder| folder.join(&program)).find(|path| path.is_file());
        let driver = found.ok_or_else(|| format!("its driver {program} is not built: run dev/peers"))?;
        Ok(Engine { peer, name: peer.to_string(), driver })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Runs one workload on a fresh store in `folder`, which is made and goes again. `cap` is for one figure.
    pub(super) fn run(
        &self,
        workload: &str,
        folder: &Path,
        servers: &Servers,
        cap: Duration,
    ) -> Result<Part, Box<dyn Error>> {
        std::fs::create_dir(folder)?;
        let mut stand = self.stand(folder, servers)?;
        let part = match workload {
            "w5" => self.recovery(&mut stand, folder, servers, cap),
            _ => self.workload(&stand, workload, folder, cap),
        };
        let server = match &stand {
            Stand::Embedded => None,
            Stand::Postgres(postgres) => Some(postgres.version.clone()),
            Stand::Restate(_) => servers.restate.as_ref().ok().map(|binary| binary.version.clone()),
        };
        // Before its folder goes, the server goes.
        drop(stand);
        std::fs::remove_dir_all(folder)?;
        let mut part = part?;
        part.about = part.about.map(|about| server.map_or(about.clone(), |server| format!("{about}; {server}")));
        Ok(part)
    }

    fn stand<'a>(&self, folder: &Path, servers: &'a Servers) -> Result<Stand<'a>, Box<dyn Error>> {
        Ok(match self.peer.driver() {
            "dbos" => Stand::Postgres(servers.postgres.as_ref().map_err(String::as_str)?),
            "restate" => {
                let binary = servers.restate.as_ref().map_err(String::as_str)?;
                let partitions = self.peer.is_tuned().then_some(RESTATE_TUNED_PARTITIONS);
                Stand::Restate(Restate::start(binary, folder, partitions)?)
            }
            _ => Stand::Embedded,
        })
    }

    /// Starts the driver; `fresh` on a store that it has not seen before.
    fn drive(
        &self,
        stand: &Stand<'_>,
        workload: &str,
        folder: &Path,
        cap: Duration,
        fresh: bool,
    ) -> Result<Process, Box<dyn Error>> {
        let mut command = Command::new(&self.driver);
        command.args(["--workload", workload, "--cap-s", &cap.as_secs().to_string(), "--folder"]).arg(folder);
        match stand {
            Stand::Embedded => {}
            Stand::Postgres(postgres) => {
                command.args(["--url", &postgres.url]);
                command.args(postgres.pid.map(|pid| format!("--server-pid={pid}")));
                command.args(fresh.then_some("--fresh"));
            }
            Stand::Restate(restate) => {
                restate.tell(&mut command);
                command.args(fresh.then_some("--register"));
            }
        }
        // For Restate it is the server that is tuned.
        if self.peer.is_tuned() && !matches!(stand, Stand::Restate(_)) {
            command.arg("--tuned");
        }
        // Warnings of a peer that waits for itself are many; writing them is not what is measured.
        command.env("RUST_LOG", "error");
        Process::start(command, &folder.join("driver.log"))
    }

    fn workload(
        &self,
        stand: &Stand<'_>,
        workload: &str,
        folder: &Path,
        cap: Duration,
    ) -> Result<Part, Box<dyn Error>> {
        let mut driver = self.drive(stand, workload, folder, cap, true)?;
        // Warming up, three figures, and getting going; each keeps to the cap by itself if the peer lets it.
        figures(&mut driver, Instant::now() + 5 * cap)
    }

    /// Brings workflows in flight, kills everything that runs workflows, starts it again, and takes the time until all
    /// have completed. A database that is a server of its own stays.
    fn recovery(
        &self,
        stand: &mut Stand<'_>,
        folder: &Path,
        servers: &Servers,
        cap: Duration,
    ) -> Result<Part, Box<dyn Error>> {
        let mut first = self.drive(stand, "w5-fill", folder, cap, true)?;
        let about = first.until(2 * cap, told_about)?;
        let (kill_after, ideal) = first.until(2 * cap, |line| {
            let value: serde_json::Value = serde_json::from_str(line).ok()?;
            let after = |name: &str| value[name].as_u64().map(Duration::from_millis);
            after("kill_after_ms").zip(after("ideal_ms"))
        })?;
        // It says nothing more; this waits, and sees if it ends by itself.
        let _ = first.next(Instant::now() + kill_after);
        first.kill();
        if let Stand::Restate(restate) = stand {
            restate.kill();
        }
        let restarted = Instant::now();
        if let (Stand::Restate(restate), Ok(binary)) = (&mut *stand, &servers.restate) {
            restate.start_again(binary)?;
        }
        let mut second = self.drive(stand, "w5-finish", folder, cap, false)?;
        let (mut row, note) = second.until(2 * cap, told_row)?;
        let seconds = restarted.elapsed().as_secs_f64();
        // What did not come to its end has no time.
        row.seconds = (row.lost == Some(0)).then_some(seconds);
        row.over_ideal_s = row.seconds.map(|seconds| seconds - ideal.as_secs_f64());
        Ok(Part { about: Some(about), rows: vec![(row, note)] })
    }
}

/// Where drivers are built: the folder of `ANTIPHON_PEERS_TARGET`, that of `dev/peers`, and where a plain build puts them.
fn places(peer: Peer) -> Vec<PathBuf> {
    let bench = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = std::env::var_os("ANTIPHON_PEERS_TARGET").map(PathBuf::from);
    let built = bench.join("../target/peers");
    let plain = bench.join("peers").join(peer.driver()).join("target");
    own.into_iter().chain([built, plain]).map(|target| target.join("release")).collect()
}

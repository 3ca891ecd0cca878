//! A PostgreSQL for dbos: a server that is there already, or a private cluster for this run.

use super::process::Process;
use rustix::process::{Pid, Signal, kill_process};
use std::error::Error;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The variable with the address of a server that is to be used.
const ADDRESS: &str = "ANTIPHON_BENCH_PG";

/// A server that takes connections.
pub(super) struct Postgres {
    pub(super) url: String,
    /// Its first process, if it is ours.
    pub(super) pid: Option<u32>,
    pub(super) version: String,
    // Ends with the value.
    _cluster: Option<Cluster>,
}

struct Cluster(Process);

impl Drop for Cluster {
    fn drop(&mut self) {
        // An interrupt is its quick and orderly end; killed, it would leave shared memory behind.
        let asked = Pid::from_raw(self.0.id() as i32).map(|pid| kill_process(pid, Signal::INT));
        if matches!(asked, Some(Ok(()))) {
            // How it says good-bye does not matter.
            let _ = self.0.finish();
        }
    }
}

impl Postgres {
    /// The server of `ANTIPHON_BENCH_PG`, or a private cluster in a folder below `scratch` on a free port of 127.0.0.1.
    pub(super) fn start(scratch: &Path) -> Result<Postgres, Box<dyn Error>> {
        if let Ok(url) = std::env::var(ADDRESS) {
            return Ok(Postgres { url, pid: None, version: format!("PostgreSQL of {ADDRESS}"), _cluster: None });
        }
        let programs = programs().ok_or_else(|| {
            format!(
                "no PostgreSQL (initdb, postgres) was found: dev/peers installs it where it may, `apt-get install \
                 postgresql` does on Debian; or set {ADDRESS}=postgres://user:password@host:port/database"
            )
        })?;
        let owner = unprivileged()?;
        let data = scratch.join("postgres");
        std::fs::create_dir(&data)?;
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            // Messages are looked at, so they are to be in English.
            command.arg("-D").arg(&data).current_dir(&data).env("LC_MESSAGES", "C");
            if let Some((user, group)) = owner {
                command.uid(user).gid(group);
            }
            command
        };
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&data, Some(user), Some(group))?;
        }
        // Nobody but this machine reaches it, for the minutes of the run.
        let mut initdb = command("initdb");
        initdb.args(["-U", "antiphon", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        Process::start_unheard(initdb, &scratch.join("initdb.log"))?.finish()?;

        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut postgres = command("postgres");
        postgres.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-k", ""]);
        let mut process = Process::start_reading_errors(postgres, &scratch.join("postgres.log"))?;
        let ready = |line: &str| line.contains("ready to accept connections").then_some(());
        process.until(Duration::from_secs(60), ready)?;
        Ok(Postgres {
            url: format!("postgres://antiphon@127.0.0.1:{port}/postgres"),
            pid: Some(process.id()),
            version: version(&programs),
            _cluster: Some(Cluster(process)),
        })
    }
}

/// The folder with `initdb` and `postgres`: on the path, or the newest where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    debian.sort();
    let folders = std::env::split_paths(&path).chain(debian.into_iter().rev().map(|(_, folder)| folder));
    // A link on the path is followed: the programs look for their files beside themselves.
    let folders = folders.filter_map(|folder| Some(folder.join("initdb").canonicalize().ok()?.parent()?.to_owned()));
    folders.into_iter().find(|folder| folder.join("postgres").is_file())
}

/// User and group to run as, if this process is root, whom PostgreSQL refuses.
fn unprivileged() -> Result<Option<(u32, u32)>, Box<dyn Error>> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd")?;
    let named = |name: &str| users.lines().find_map(|line| ids(line, name));
    let found = named("postgres").or_else(|| named("nobody"));
    Ok(Some(found.ok_or("PostgreSQL does not run as root, and there is no user `postgres` nor `nobody` to run it as")?))
}

/// User and group of a line of `/etc/passwd`, if it is that of `name`.
fn ids(line: &str, name: &str) -> Option<(u32, u32)> {
    let fields: Vec<&str> = line.split(':').collect();
    (fields.first() == Some(&name)).then_some(())?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

fn version(programs: &Path) -> String {
    let said = Command::new(programs.join("postgres")).arg("--version").output();
    said.map(|output| String::from_utf8_lossy(&output.stdout).trim().replace("postgres (PostgreSQL)", "PostgreSQL"))
        .unwrap_or_else(|_| "PostgreSQL".to_owned())
}

#[cfg(test)]
mod tests {
    use super::ids;

    #[test]
    fn a_user_is_found_by_the_whole_name() {
        assert_eq!(ids("postgres:x:101:104:a:/b:/c", "postgres"), Some((101, 104)));
        assert_eq!(ids("postgres2:x:101:104:a:/b:/c", "postgres"), None);
    }
}

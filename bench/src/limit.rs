//! A bound on a child's memory that the system enforces.

use crate::{Failure, proc};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::path::{Path, PathBuf};

/// Where the control groups of version 2 are mounted; the second place is that of systems that have both versions.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const MIB: u64 = 1024 * 1024;

/// How the memory of a child is bounded.
#[derive(Debug)]
pub(crate) enum Limit {
    /// By a control group below our own, which is removed with this value: resident memory and page cache together.
    Group(PathBuf),
    /// By the child itself, which may not map more private writable memory than this. Stricter than resident memory, since
    /// memory counts that was asked for and not used.
    Data,
}

impl Limit {
    /// Makes a control group with `mib` of memory and no swap if we may, else leaves it to the child.
    pub(crate) fn new(mib: u64) -> Limit {
        group(mib).map_or(Limit::Data, Limit::Group)
    }

    /// What it is, for people.
    pub(crate) fn said(&self, mib: u64) -> String {
        match self {
            Limit::Group(path) => format!("{mib} MiB by the control group {}", path.display()),
            Limit::Data => {
                format!("{mib} MiB of private writable memory (RLIMIT_DATA; no control group could be made)")
            }
        }
    }

    /// The arguments by which a child learns of it.
    pub(crate) fn arguments(&self, mib: u64) -> Vec<String> {
        match self {
            Limit::Group(path) => vec!["--group".to_owned(), path.display().to_string()],
            Limit::Data => vec!["--data-mib".to_owned(), mib.to_string()],
        }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Limit::Group(path) = self {
            // Refused while a process is in it, which would be one that we failed to end.
            let _ = std::fs::remove_dir(path);
        }
    }
}

/// Puts this process under the limit, before it takes any memory worth the name.
pub(crate) fn obey(group: Option<&Path>, data_mib: Option<u64>) -> Result<(), Failure> {
    if let Some(group) = group {
        std::fs::write(group.join("cgroup.procs"), std::process::id().to_string())?;
    }
    if let Some(mib) = data_mib {
        let bytes = Some(mib * MIB);
        setrlimit(Resource::Data, Rlimit { current: bytes, maximum: bytes })?;
    }
    Ok(())
}

fn group(mib: u64) -> Option<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim_start_matches('/');
    let parents = MOUNTS.iter().map(|mount| Path::new(mount).join(own));
    // Only where memory is handed down to groups below ours; looking changes nothing.
    let hands_down = |parent: &PathBuf| {
        let controllers = std::fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
        controllers.split_whitespace().any(|name| name == "memory")
    };
    let parent = parents.into_iter().find(hands_down)?;
    let group = parent.join(format!("antiphon-bench-{}", std::process::id()));
    std::fs::create_dir(&group).ok()?;
    let limited = std::fs::write(group.join("memory.max"), (mib * MIB).to_string()).is_ok();
    // Without swap accounting there is no such file, and none is needed.
    let _ = std::fs::write(group.join("memory.swap.max"), "0");
    if !limited {
        let _ = std::fs::remove_dir(&group);
    }
    limited.then_some(group)
}

/// Private writable memory of this process that counts against the child's own limit, in MiB.
pub(crate) fn data_mib() -> Option<f64> {
    proc::field("/proc/self/status", "VmData:").map(|kib| kib as f64 / 1024.0)
}

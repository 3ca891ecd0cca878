//! What a workload has used: CPU time and memory of a tree of processes, writes and flushes of the device below.

use serde::Serialize;
use std::collections::BTreeMap;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// One figure. What does not apply or could not be measured is absent. The names are those of Antiphon's own rows.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figure {
    /// Which workload and size; two engines with the same label did the same.
    pub workload: String,
    /// Callers at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callers: Option<u64>,
    /// Workflows per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runs_per_s: Option<f64>,
    /// Activities per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activities_per_s: Option<f64>,
    /// From the first start to the last result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Median time from start to result in the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_us: Option<u64>,
    /// The 99th percentile of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_us: Option<u64>,
    /// CPU time of this process and of the server with its children.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_us_per_activity: Option<f64>,
    /// Flushes that the disk completed, whoever asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_flushes_per_activity: Option<f64>,
    /// Bytes that reached the disk, whoever wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes_per_activity: Option<f64>,
    /// Memory of this process and of the server with its children at the end, shared pages counted once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resident_mib: Option<f64>,
    /// W6: until all starts were acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_s: Option<f64>,
    /// W6: from the first signal until all had completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_s: Option<f64>,
    /// W6: growth of memory per workflow some seconds after the starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_bytes: Option<f64>,
    /// W6: the same right after the starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_first_bytes: Option<f64>,
    /// W5 and W6: acknowledged workflows that did not complete within the cap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// What to know when reading the figure: reduced sizes, the cap, failures.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Figure {
    /// Prints it as one JSON line.
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("a figure is plain data"));
    }

    /// Fills in the percentiles.
    pub fn with_times(mut self, mut micros: Vec<u64>) -> Figure {
        micros.sort_unstable();
        let at = |share: f64| micros.get(((micros.len() as f64 * share).ceil() as usize).max(1) - 1).copied();
        self.p50_us = at(0.50);
        // One in a hundred needs a hundred.
        self.p99_us = at(0.99).filter(|_| micros.len() >= 100);
        self
    }
}

/// What is looked at.
#[derive(Debug)]
pub struct Watch {
    /// Roots of the trees of processes; empty if the server is elsewhere.
    roots: Vec<u32>,
    /// The kernel's page of counters of the device.
    device: Option<PathBuf>,
}

/// The counters at one moment.
#[derive(Debug)]
pub(crate) struct Usage {
    at: Instant,
    cpu_ticks: Option<u64>,
    device: Option<(u64, u64)>,
}

/// Linux counts CPU time of a process in hundredths of a second.
const TICK_US: f64 = 10_000.0;

impl Watch {
    /// This process, the server `pid` if the peer has one, and the device that holds `folder`.
    pub fn with_server(pid: Option<u32>, folder: &Path) -> Watch {
        Watch { roots: std::iter::once(std::process::id()).chain(pid).collect(), device: device_counters(folder) }
    }

    /// The device only: the server's processes cannot be seen, and half of a sum would mislead.
    pub fn without_processes(folder: &Path) -> Watch {
        Watch { roots: Vec::new(), device: device_counters(folder) }
    }

    pub(crate) fn now(&self) -> Usage {
        Usage { at: Instant::now(), cpu_ticks: self.cpu_ticks(), device: self.device() }
    }

    /// A figure of what was used since `before`, for `runs` workflows of `activities` activities in all.
    pub(crate) fn figure(&self, workload: &str, before: &Usage, runs: u64, activities: u64) -> Figure {
        let after = self.now();
        let seconds = (after.at - before.at).as_secs_f64();
        // Nothing done has no price per activity.
        let per_activity = |used: u64| (activities > 0).then(|| used as f64 / activities as f64);
        let since = |after: u64, before: u64| per_activity(after.saturating_sub(before));
        let device = after.device.zip(before.device);
        Figure {
            workload: workload.to_owned(),
            runs_per_s: Some(runs as f64 / seconds),
            activities_per_s: Some(activities as f64 / seconds),
            seconds: Some(seconds),
            cpu_us_per_activity: after
                .cpu_ticks
                .zip(before.cpu_ticks)
                .and_then(|(after, before)| Some(since(after, before)? * TICK_US)),
            disk_bytes_per_activity: device.and_then(|(after, before)| since(after.0, before.0)),
            disk_flushes_per_activity: device.and_then(|(after, before)| since(after.1, before.1)),
            resident_mib: self.memory_mib(),
            ..Figure::default()
        }
    }

    /// Memory of the watched processes, shared pages counted once.
    pub(crate) fn memory_mib(&self) -> Option<f64> {
        let kib = || self.tree().into_keys().map(proportional_kib).sum::<u64>();
        (!self.roots.is_empty()).then(|| kib() as f64 / 1024.0)
    }

    fn cpu_ticks(&self) -> Option<u64> {
        (!self.roots.is_empty()).then(|| self.tree().into_values().sum())
    }

    /// The watched processes and their descendants, each with its ticks and those of the children it has buried.
    fn tree(&self) -> BTreeMap<u32, u64> {
        let all: Vec<(u32, Stat)> = std::fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                Some((pid, Stat::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))
            })
            .collect();
        let mut tree = BTreeMap::new();
        let mut left = self.roots.clone();
        while let Some(parent) = left.pop() {
            left.extend(all.iter().filter(|(_, stat)| stat.parent == parent).map(|(pid, _)| *pid));
            tree.extend(all.iter().filter(|(pid, _)| *pid == parent).map(|(pid, stat)| (*pid, stat.ticks)));
        }
        tree
    }

    fn device(&self) -> Option<(u64, u64)> {
        written_and_flushes(&std::fs::read_to_string(self.device.as_ref()?).ok()?)
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

impl Stat {
    /// Fields 4 and 14 to 17 of `/proc/<pid>/stat` (man 5 proc): parent; user and system time, own and of children that
    /// have ended. The name in field 2 may hold spaces, so counting starts behind it.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
        let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        Some(Stat { parent: number(1)? as u32, ticks: (11..15).filter_map(number).sum() })
    }
}

/// Proportional set size; resident size where the kernel does not tell it.
fn proportional_kib(pid: u32) -> u64 {
    let field = |file: &str, name: &str| -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    };
    field("smaps_rollup", "Pss:").or_else(|| field("status", "VmRSS:")).unwrap_or(0)
}

/// The counters of the whole device: flushes are not counted for a partition.
fn device_counters(folder: &Path) -> Option<PathBuf> {
    let device = std::fs::metadata(folder).ok()?.st_dev();
    // The kernel's encoding of a device number in 64 bits: 12 bits of major above the low 8 of the minor.
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    let mut page = std::fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    if page.join("partition").exists() {
        page.pop();
    }
    Some(page.join("stat"))
}

/// Bytes written and flushes completed, from the kernel's page of a block device: sectors of 512 bytes in the seventh
/// field, flushes in the sixteenth.
fn written_and_flushes(page: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> = page.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    Some((fields.get(6)? * 512, *fields.get(15)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_spaces_and_brackets_in_its_name_is_read() {
        let stat = Stat::parse("42 (a (b) c) S 7 42 42 0 -1 0 1 2 3 4 10 20 30 40 20 0").expect("well formed");
        assert_eq!((stat.parent, stat.ticks), (7, 100));
    }

    #[test]
    fn the_device_page_gives_bytes_and_flushes() {
        let page = "1 2 3 4 5 6 8 0 0 0 0 0 0 0 0 73 9";
        assert_eq!(written_and_flushes(page), Some((4096, 73)));
        assert_eq!(written_and_flushes("1 2 3"), None);
    }

    #[test]
    fn the_own_process_has_memory_and_an_unseen_server_has_none() {
        let here = tempfile::tempdir().expect("a temporary folder");
        assert!(Watch::with_server(None, here.path()).memory_mib().expect("watched") > 0.0);
        assert_eq!(Watch::without_processes(here.path()).memory_mib(), None);
    }

    #[test]
    fn percentiles_need_enough_samples() {
        let of = |micros: Vec<u64>| Figure::default().with_times(micros);
        let (none, few, some) = (of(Vec::new()), of(vec![7]), of((1..=100).collect()));
        assert_eq!((none.p50_us, none.p99_us), (None, None));
        assert_eq!((few.p50_us, few.p99_us), (Some(7), None));
        assert_eq!((some.p50_us, some.p99_us), (Some(50), Some(99)));
    }
}

//! Results that can be looked at later: each figure with the machine, the commit and the settings that it belongs to.

use crate::Failure;
use crate::measure::Row;
use serde::Serialize;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Where and with what something was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Setting {
    machine: Machine,
    /// Of the sources; absent where they are not in a repository any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    settings: Value,
    /// When it began, RFC 3339 in UTC.
    at: String,
    /// Processes that wanted to run before it began: means over 1, 5 and 15 minutes.
    load_average: Vec<f64>,
}

#[derive(Debug, Clone, Serialize)]
struct Machine {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<String>,
    cores: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_mib: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_system: Option<String>,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    setting: &'a Setting,
    row: &'a Row,
}

impl Setting {
    /// Looks around; `folder` is the one under test, `settings` what the command was asked for.
    pub(crate) fn here(folder: &Path, settings: Value) -> Setting {
        Setting {
            machine: machine(folder),
            commit: commit(),
            settings,
            at: jiff::Timestamp::now().to_string(),
            load_average: load(),
        }
    }

    /// One line for people, and a second if others were using the machine.
    pub(crate) fn headline(&self) -> String {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
        // Half a core's worth of others is seen in every figure here.
        let busy = self.load_average.first().is_some_and(|load| *load > 0.5);
        let warning = "\nTHE MACHINE WAS BUSY WITH OTHER THINGS: the figures are theirs too; do not compare them";
        format!(
            "{}, {} cores, {} MiB, kernel {}, {}; commit {}; load average {}{}",
            known(&self.machine.cpu),
            self.machine.cores,
            self.machine.memory_mib.map_or_else(|| "-".to_owned(), |mib| mib.to_string()),
            known(&self.machine.kernel),
            known(&self.machine.file_system),
            known(&self.commit),
            self.load_average.iter().map(f64::to_string).collect::<Vec<_>>().join(" "),
            if busy { warning } else { "" },
        )
    }

    /// Appends one line for each row to a file, which is made if it is not there.
    pub(crate) fn save(&self, file: &Path, rows: &[Row]) -> Result<(), Failure> {
        let mut out = OpenOptions::new().create(true).append(true).open(file)?;
        for row in rows {
            writeln!(out, "{}", serde_json::to_string(&Line { setting: self, row })?)?;
        }
        Ok(())
    }
}

fn machine(folder: &Path) -> Machine {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    Machine {
        cpu: cpu.map(|(_, name)| name.trim().to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
        memory_mib: crate::proc::field("/proc/meminfo", "MemTotal:").map(|kib| kib / 1024),
        file_system: file_system(folder),
    }
}

// The type of the longest mount point that the folder lies under.
fn file_system(folder: &Path) -> Option<String> {
    let folder = std::fs::canonicalize(folder).ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|row| row.len() > 2);
    let under = fields.filter(|row| folder.starts_with(row[1]));
    under.max_by_key(|row| row[1].len()).map(|row| row[2].to_owned())
}

// Of the sources that this program was built from, not of the folder that it is called in. With `-dirty` if tracked files
// differ from the commit. Sources that have moved on since the build cannot be told from here.
fn commit() -> Option<String> {
    let describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(describe).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn load() -> Vec<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).filter_map(|field| field.parse().ok()).collect()
}

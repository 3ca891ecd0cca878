//! What is measured, and how it is printed.

use serde::Serialize;
use std::time::Instant;

/// One figure of one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) runs_per_s: f64,
    pub(crate) activities_per_s: f64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) syncs_per_activity: f64,
    pub(crate) cpu_us_per_activity: f64,
    pub(crate) device_bytes_per_activity: f64,
    pub(crate) resident_mib: f64,
}

/// What the process has used so far.
pub(crate) struct Usage {
    at: Instant,
    cpu_ticks: u64,
    written: u64,
}

impl Usage {
    pub(crate) fn now() -> Usage {
        Usage { at: Instant::now(), cpu_ticks: cpu_ticks(), written: written() }
    }
}

/// Linux counts CPU time of a process in hundredths of a second.
const TICK_US: f64 = 10_000.0;

impl Row {
    pub(crate) fn new(
        workload: &str,
        runs: usize,
        activities: usize,
        before: &Usage,
        mut micros: Vec<u64>,
        syncs: u64,
    ) -> Row {
        let seconds = before.at.elapsed().as_secs_f64();
        micros.sort_unstable();
        let percentile = |p: f64| {
            let place = ((micros.len() as f64 * p) as usize).min(micros.len().saturating_sub(1));
            micros.get(place).copied().unwrap_or(0)
        };
        let each = activities.max(1) as f64;
        Row {
            workload: workload.to_owned(),
            runs_per_s: runs as f64 / seconds,
            activities_per_s: activities as f64 / seconds,
            seconds,
            p50_us: percentile(0.50),
            p99_us: percentile(0.99),
            syncs_per_activity: syncs as f64 / each,
            cpu_us_per_activity: (cpu_ticks() - before.cpu_ticks) as f64 * TICK_US / each,
            device_bytes_per_activity: written().saturating_sub(before.written) as f64 / each,
            resident_mib: resident_kib() as f64 / 1024.0,
        }
    }
}

/// Prints the median of each figure over the rounds.
pub(crate) fn print(rounds: &[Vec<Row>], json: bool) {
    let Some(first) = rounds.first() else { return };
    if !json {
        println!(
            "{:<26} {:>10} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8}",
            "workload",
            "runs/s",
            "activities/s",
            "seconds",
            "p50 us",
            "p99 us",
            "syncs/act",
            "cpu us",
            "dev B/act",
            "MiB"
        );
    }
    for (index, named) in first.iter().enumerate() {
        let of = |pick: &dyn Fn(&Row) -> f64| {
            let mut values: Vec<f64> = rounds.iter().filter_map(|rows| rows.get(index)).map(pick).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let row = Row {
            workload: named.workload.clone(),
            runs_per_s: of(&|row| row.runs_per_s),
            activities_per_s: of(&|row| row.activities_per_s),
            seconds: of(&|row| row.seconds),
            p50_us: of(&|row| row.p50_us as f64) as u64,
            p99_us: of(&|row| row.p99_us as f64) as u64,
            syncs_per_activity: of(&|row| row.syncs_per_activity),
            cpu_us_per_activity: of(&|row| row.cpu_us_per_activity),
            device_bytes_per_activity: of(&|row| row.device_bytes_per_activity),
            resident_mib: of(&|row| row.resident_mib),
        };
        if json {
            println!("{}", serde_json::to_string(&row).unwrap_or_default());
        } else {
            println!(
                "{:<26} {:>10.0} {:>12.0} {:>9.3} {:>9} {:>9} {:>9.3} {:>9.1} {:>9.0} {:>8.1}",
                row.workload,
                row.runs_per_s,
                row.activities_per_s,
                row.seconds,
                row.p50_us,
                row.p99_us,
                row.syncs_per_activity,
                row.cpu_us_per_activity,
                row.device_bytes_per_activity,
                row.resident_mib
            );
        }
    }
}

// Fields 14 and 15 of /proc/self/stat (man 5 proc): user and system time in ticks. Zero where there is no /proc.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

fn written() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

fn resident_kib() -> u64 {
    field("/proc/self/status", "VmRSS:")
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

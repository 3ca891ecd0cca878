//! What is measured: one flat row per figure, a dash where there is none.

use crate::proc::{self, Device, DiskCounters};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// One line of the table. What does not apply to a workload, or cannot be read on this system, is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Row {
    pub(crate) workload: String,
    /// Callers at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) callers: Option<u64>,
    /// What a curve is drawn over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) x: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) runs_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) activities_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_us: Option<u64>,
    /// Commits of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) syncs_per_activity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_per_activity: Option<f64>,
    /// What this process dirtied for storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_bytes_per_activity: Option<f64>,
    /// What reached the disk, by anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk_bytes_per_activity: Option<f64>,
    /// Flushes that the disk carried out, for anybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) disk_flushes_per_activity: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resident_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peak_mib: Option<f64>,
    /// Share of the rate of the bare log with as many callers in the same round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of_raw: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_over_p50: Option<f64>,
    /// Median time of a run's first 2,000 steps, divided by that of its last tenth. 1 is flat; less, and it slows down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flatness: Option<f64>,
    /// Until all starts were acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_s: Option<f64>,
    /// From the first signal until all had completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wake_s: Option<f64>,
    /// Resident memory per parked run once all have left memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parked_bytes: Option<f64>,
    /// Resident memory per parked run right after the starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parked_first_bytes: Option<f64>,
    /// Until the store was open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) open_s: Option<f64>,
    /// Restart to all done, less the activity time that had to pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) over_ideal_s: Option<f64>,
    /// Acknowledged runs that were not found or did not end. Always 0 in a sound engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<u64>,
    /// A start's acknowledgement, apart from its result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ack_p50_us: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ack_p99_us: Option<u64>,
    /// Events of the run's own stream that were replayed, each second; reading and checking the file included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) events_per_s: Option<f64>,
    /// Bytes of the store's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store_mib: Option<f64>,
}

/// What the process and the disk have done up to a moment.
pub(crate) struct Usage {
    at: Instant,
    cpu_us: f64,
    written: Option<u64>,
    device: Option<Device>,
    disk: Option<DiskCounters>,
}

/// What was done since.
pub(crate) struct Done {
    pub(crate) runs: usize,
    pub(crate) activities: usize,
    /// The time of each, in microseconds, in any order.
    pub(crate) micros: Vec<u64>,
    pub(crate) syncs: u64,
}

impl Usage {
    /// Begins to measure; `folder` is on the disk that is watched.
    pub(crate) fn now(folder: &Path) -> Usage {
        let device = Device::of(folder);
        let disk = device.and_then(Device::counters);
        Usage { at: Instant::now(), cpu_us: proc::cpu_us(), written: proc::written_bytes(), device, disk }
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.at.elapsed().as_secs_f64()
    }

    /// Ends measuring.
    pub(crate) fn row(&self, workload: impl Into<String>, done: Done) -> Row {
        let seconds = self.seconds();
        let cpu_us = proc::cpu_us() - self.cpu_us;
        let each = done.activities.max(1) as f64;
        let mut micros = done.micros;
        micros.sort_unstable();
        let (p50, p99) = (percentile(&micros, 0.50), percentile(&micros, 0.99));
        let written = proc::written_bytes().zip(self.written).map(|(now, before)| now.saturating_sub(before));
        let disk = self.device.and_then(Device::counters).zip(self.disk);
        Row {
            workload: workload.into(),
            runs_per_s: Some(done.runs as f64 / seconds),
            activities_per_s: Some(done.activities as f64 / seconds),
            seconds: Some(seconds),
            p50_us: p50,
            // One in a hundred needs a hundred.
            p99_us: p99.filter(|_| micros.len() >= 100),
            syncs_per_activity: Some(done.syncs as f64 / each),
            cpu_us_per_activity: Some(cpu_us / each),
            device_bytes_per_activity: written.map(|bytes| bytes as f64 / each),
            disk_bytes_per_activity: disk
                .map(|(now, before)| now.written_bytes.saturating_sub(before.written_bytes) as f64 / each),
            disk_flushes_per_activity: disk
                .map(|(now, before)| now.flushes.saturating_sub(before.flushes) as f64 / each),
            resident_mib: resident_mib(),
            peak_mib: proc::peak_kib().map(mib),
            ..Row::default()
        }
    }
}

/// Resident memory now.
pub(crate) fn resident_mib() -> Option<f64> {
    proc::resident_kib().map(mib)
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The smallest value that `share` of the sorted values do not exceed; `None` without values.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> Option<u64> {
    let place = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(place.max(1) - 1).copied()
}

/// The median of each figure over the rounds, row by row in the order of the first round. Losses are added up instead: one
/// is too many, in whatever round.
pub(crate) fn medians(rounds: &[Vec<Row>]) -> Vec<Row> {
    let Some(first) = rounds.first() else { return Vec::new() };
    first.iter().map(|named| median(named, rounds)).collect()
}

// Over the fields' own names, so that a new field cannot be forgotten here.
fn median(named: &Row, rounds: &[Vec<Row>]) -> Row {
    let same: Vec<&Row> = rounds.iter().flatten().filter(|row| row.workload == named.workload).collect();
    let objects: Vec<Value> = same.iter().filter_map(|row| serde_json::to_value(row).ok()).collect();
    let fields = objects.iter().filter_map(Value::as_object).flat_map(|object| object.keys().cloned());
    let names: BTreeSet<String> = fields.collect();
    let middle = names.into_iter().map(|name| {
        let values = objects.iter().filter_map(|object| object.get(&name)).cloned();
        let value = middle(values.collect());
        (name, value)
    });
    let middle: Row = serde_json::from_value(Value::Object(middle.collect())).unwrap_or_else(|_| named.clone());
    let lost = same.iter().filter_map(|row| row.lost).reduce(|sum, lost| sum + lost);
    Row { lost, ..middle }
}

/// The middle value, or the mean of the two in the middle. Names are the same in all rounds.
fn middle(mut values: Vec<Value>) -> Value {
    values.sort_by(|a, b| a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)));
    let (low, high) = (&values[(values.len() - 1) / 2], &values[values.len() / 2]);
    match (low.as_u64().zip(high.as_u64()), low.as_f64().zip(high.as_f64())) {
        (Some((low, high)), _) => Value::from(low.midpoint(high)),
        (None, Some((low, high))) => Value::from(low.midpoint(high)),
        (None, None) => low.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(workload: &str, seconds: f64, lost: Option<u64>) -> Row {
        Row { workload: workload.to_owned(), seconds: Some(seconds), lost, ..Row::default() }
    }

    #[test]
    fn the_median_is_taken_for_each_figure_of_each_workload() {
        let rounds =
            [vec![row("a", 3.0, None), row("b", 9.0, None)], vec![row("a", 1.0, None)], vec![row("a", 2.0, None)]];
        assert_eq!(medians(&rounds), [row("a", 2.0, None), row("b", 9.0, None)]);
    }

    #[test]
    fn of_two_rounds_the_median_is_the_mean() {
        let with = |seconds, p50_us| Row { p50_us: Some(p50_us), ..row("a", seconds, None) };
        assert_eq!(medians(&[vec![with(1.0, 10)], vec![with(4.0, 20)]]), [with(2.5, 15)]);
    }

    #[test]
    fn a_loss_in_one_round_is_not_lost_among_the_others() {
        let rounds = [vec![row("a", 1.0, Some(0))], vec![row("a", 1.0, Some(7))], vec![row("a", 1.0, Some(0))]];
        assert_eq!(medians(&rounds), [row("a", 1.0, Some(7))]);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let sorted: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&sorted, 0.50), Some(50));
        assert_eq!(percentile(&sorted, 0.99), Some(99));
        assert_eq!(percentile(&[7], 0.99), Some(7));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn an_absent_figure_is_not_written() {
        let text = serde_json::to_string(&row("a", 1.0, None)).unwrap();
        assert_eq!(text, r#"{"workload":"a","seconds":1.0}"#);
    }
}

//! Rows for people: a table of what all workloads have, and behind it what only some have.

use crate::measure::Row;

/// A column: its head, its width and how a row fills it.
type Column = (&'static str, usize, fn(&Row) -> Option<String>);

const COLUMNS: [Column; 12] = [
    ("runs/s", 9, |row| number(row.runs_per_s, 0)),
    ("act/s", 9, |row| number(row.activities_per_s, 0)),
    ("seconds", 8, |row| number(row.seconds, 3)),
    ("p50 us", 8, |row| whole(row.p50_us)),
    ("p99 us", 8, |row| whole(row.p99_us)),
    ("syncs/act", 9, |row| number(row.syncs_per_activity, 3)),
    ("flush/act", 9, |row| number(row.disk_flushes_per_activity, 3)),
    ("cpu us", 8, |row| number(row.cpu_us_per_activity, 1)),
    ("own B/act", 9, |row| number(row.device_bytes_per_activity, 0)),
    ("disk B/act", 10, |row| number(row.disk_bytes_per_activity, 0)),
    ("MiB", 7, |row| number(row.resident_mib, 1)),
    ("of raw", 7, |row| number(row.of_raw, 3)),
];

/// Prints rows with a dash for what is absent.
pub(crate) fn print(rows: &[Row]) {
    print_columns(rows, &COLUMNS, "workload", |row| row.workload.clone());
    for row in rows {
        let further = further(row);
        if !further.is_empty() {
            println!("{}: {}", row.workload, further.join(", "));
        }
    }
}

/// Prints a curve: rows over their `x`, which is called `over`.
pub(crate) fn print_curve(over: &str, rows: &[Row]) {
    const CURVE: [Column; 6] = [
        ("act/s", 9, |row| number(row.activities_per_s, 0)),
        ("p50 us", 9, |row| whole(row.p50_us)),
        ("p99 us", 9, |row| whole(row.p99_us)),
        ("cpu us", 9, |row| number(row.cpu_us_per_activity, 1)),
        ("own B/act", 10, |row| number(row.device_bytes_per_activity, 0)),
        ("MiB", 8, |row| number(row.resident_mib, 1)),
    ];
    print_columns(rows, &CURVE, over, |row| row.x.map_or_else(dash, |x| x.to_string()));
}

fn print_columns(rows: &[Row], columns: &[Column], first: &str, name: impl Fn(&Row) -> String) {
    let names: Vec<String> = rows.iter().map(name).collect();
    let width = names.iter().map(String::len).chain([first.len()]).max().unwrap_or(0);
    print!("{first:<width$}");
    columns.iter().for_each(|(head, width, _)| print!(" {head:>width$}"));
    println!();
    for (name, row) in names.iter().zip(rows) {
        print!("{name:<width$}");
        columns.iter().for_each(|(_, width, fill)| print!(" {:>width$}", fill(row).unwrap_or_else(dash)));
        println!();
    }
}

fn further(row: &Row) -> Vec<String> {
    let seconds = |name: &str, value: Option<f64>| number(value, 3).map(|value| format!("{name} {value} s"));
    let all = [
        seconds("open", row.open_s),
        seconds("all started", row.start_s),
        seconds("all woken and done", row.wake_s),
        seconds("above the ideal", row.over_ideal_s),
        number(row.parked_first_bytes, 0).map(|bytes| format!("{bytes} B each right after the starts")),
        number(row.parked_bytes, 0).map(|bytes| format!("{bytes} B each parked")),
        whole(row.ack_p50_us).map(|micros| format!("start acknowledged p50 {micros} us")),
        whole(row.ack_p99_us).map(|micros| format!("p99 {micros} us")),
        number(row.p99_over_p50, 1).map(|times| format!("p99 is {times} x p50")),
        number(row.flatness, 2).map(|times| format!("first steps took {times} of the time of the last")),
        number(row.events_per_s, 0).map(|rate| format!("{rate} events/s")),
        number(row.store_mib, 0).map(|mib| format!("store {mib} MiB")),
        whole(row.lost).map(|lost| format!("{lost} lost")),
        // The peak tells something only where memory is the question.
        number(row.peak_mib, 0).filter(|_| row.parked_bytes.is_some()).map(|mib| format!("peak {mib} MiB")),
    ];
    all.into_iter().flatten().collect()
}

/// A figure with so many decimals.
pub(crate) fn number(value: Option<f64>, decimals: usize) -> Option<String> {
    value.map(|value| format!("{value:.decimals$}"))
}

fn whole(value: Option<u64>) -> Option<String> {
    value.map(|value| value.to_string())
}

fn dash() -> String {
    "-".to_owned()
}

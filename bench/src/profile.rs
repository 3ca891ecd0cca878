//! One workload under Linux `perf`: where the CPU time goes, by kind of work and by thread.
//!
//! Only self time is looked at. A function that the compiler has put into another counts as that other's kind.

use crate::alone::Folder;
use crate::{Failure, child, table};
use clap::Args;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The workload: w1, w2, w3, w4 or steady.
    #[arg(default_value = "w2")]
    workload: String,
    /// Callers at once, for w1 and w2. Default: all that the workload has, one after the other.
    #[arg(long)]
    callers: Option<usize>,
    /// How long to run w1 and w2 with each number of callers.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Functions to print for each kind of work.
    #[arg(long, default_value_t = 3)]
    top: usize,
    #[command(flatten)]
    folder: Folder,
}

/// Samples a second of each busy thread. Not a round number, so that nothing periodic keeps step with it.
const SAMPLES_PER_S: &str = "999";
const HOW_TO_GET: &str = "perf cannot be run: install it (Debian: apt-get install linux-perf; Ubuntu: linux-tools-generic), \
                          and let it sample: sysctl kernel.perf_event_paranoid=1";

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let known = ["w1", "w2", "w3", "w4", "steady"];
    if !known.contains(&options.workload.as_str()) {
        return Err(format!("{:?} cannot be profiled; {} can", options.workload, known.join(", ")).into());
    }
    let scratch = options.folder.scratch()?;
    let samples = scratch.path().join("perf.data");
    record(options, scratch.path(), &samples)?;
    // Field by field, so that names with blanks in them stay whole.
    let report = Command::new("perf")
        .args(["report", "--stdio", "--no-children", "-g", "none", "-t", "|", "-F", "overhead,comm,dso,sym", "-i"])
        .arg(&samples)
        .stderr(Stdio::null())
        .output()?;
    let shares = parse(&String::from_utf8_lossy(&report.stdout));
    if shares.is_empty() {
        return Err(format!("perf took no samples. {HOW_TO_GET}").into());
    }
    print(&shares, options.top);
    Ok(())
}

fn record(options: &Options, scratch: &Path, samples: &Path) -> Result<(), Failure> {
    let (seconds, callers) = (options.seconds.to_string(), options.callers.unwrap_or(0).to_string());
    let mut job = vec!["work", options.workload.as_str()];
    if matches!(options.workload.as_str(), "w1" | "w2") {
        job.extend(["--seconds", &seconds]);
        if options.callers.is_some() {
            job.extend(["--callers", &callers]);
        }
    }
    let work = child::command(&job, &scratch.join("store"))?;
    let mut perf = Command::new("perf");
    perf.args(["record", "-q", "-F", SAMPLES_PER_S, "-o"]).arg(samples).arg("--").arg(work.get_program());
    perf.args(work.get_args()).stderr(Stdio::inherit());
    let output = perf.output().map_err(|error| format!("{error}. {HOW_TO_GET}"))?;
    if !output.status.success() {
        return Err(format!("perf record ended with {}. {HOW_TO_GET}", output.status).into());
    }
    let rows = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    table::print(&rows.collect::<Vec<_>>());
    println!();
    Ok(())
}

/// One function of one thread.
#[derive(Debug, PartialEq)]
struct Share {
    percent: f64,
    thread: String,
    kind: &'static str,
    function: String,
}

fn parse(report: &str) -> Vec<Share> {
    let shares = report.lines().filter_map(|line| {
        let mut fields = line.splitn(4, '|').map(str::trim);
        let percent = fields.next()?.strip_suffix('%')?.parse().ok()?;
        let (thread, object, symbol) = (fields.next()?, fields.next()?, fields.next()?);
        // "[k] vfs_write", "[.] malloc"
        let (level, function) = symbol.split_once(' ').unwrap_or(("[.]", symbol));
        let kind = if level == "[k]" { "system calls" } else { kind(object, function.trim()) };
        Some(Share { percent, thread: thread.to_owned(), kind, function: function.trim().to_owned() })
    });
    shares.collect()
}

/// What a function is for, by the first of these that is part of its name. The order matters: a name also holds the
/// types that a general function was made for.
const KINDS: &[(&str, &[&str])] = &[
    ("chain", &["blake3"]),
    ("memory", &["drop_in_place", "alloc::raw_vec", "__rust_", "__rdl_", "alloc::alloc", "alloc::sync::Arc"]),
    ("codec", &["serde", "rmp", "Serialize", "serialize", "antiphon_history"]),
    ("maps", &["alloc::collections", "hashbrown", "core::hash", "SipHash"]),
    ("SQLite", &["rusqlite", "sqlite3"]),
    ("tokio + channels", &["tokio", "mpsc", "oneshot", "std::sync", "std::sys::sync", "std::thread", "core::task"]),
    ("engine", &["antiphon_engine", "antiphon_conversation"]),
    ("recorder", &["antiphon_recorder", "zstd", "ZSTD", "HUF_", "FSE_"]),
    ("runtime", &["antiphon_runtime"]),
    ("sdk", &["antiphon::"]),
    ("callers and bodies", &["bench::"]),
];

/// Functions of the C library that take, give back or move memory.
const MEMORY: [&str; 8] = ["malloc", "free", "realloc", "calloc", "mem", "_int_", "unlink_chunk", "tcache"];

fn kind(object: &str, function: &str) -> &'static str {
    if object.starts_with("libc") || object.starts_with("ld-") || object.starts_with("[vdso") {
        let is_memory = MEMORY.iter().any(|part| function.contains(part));
        return if is_memory { "memory" } else { "system calls" };
    }
    if let Some((kind, _)) = KINDS.iter().find(|(_, parts)| parts.iter().any(|part| function.contains(part))) {
        return kind;
    }
    // The only C in the program, apart from what has been named above.
    let is_c = !function.contains("::") && !function.contains('<') && !function.starts_with("0x");
    if is_c { "SQLite" } else { "other" }
}

fn print(shares: &[Share], top: usize) {
    println!("{:<20} {:>6}   largest", "kind of work", "%");
    for (kind, percent) in sums(shares, |share| share.kind.to_owned()) {
        let within = shares.iter().filter(|share| share.kind == kind).map(|share| (share, share.function.clone()));
        let mut functions: BTreeMap<String, f64> = BTreeMap::new();
        within.for_each(|(share, function)| *functions.entry(function).or_default() += share.percent);
        let mut functions: Vec<_> = functions.into_iter().collect();
        functions.sort_by(|a, b| b.1.total_cmp(&a.1));
        let largest = functions.iter().take(top).map(|(name, percent)| format!("{} {percent:.1}", short(name)));
        println!("{kind:<20} {percent:>6.1}   {}", largest.collect::<Vec<_>>().join(", "));
    }
    println!("\n{:<20} {:>6}   by kind of work", "thread", "%");
    for (thread, percent) in sums(shares, |share| share.thread.clone()) {
        let own: Vec<&Share> = shares.iter().filter(|share| share.thread == thread).collect();
        let kinds = sums(own, |share| share.kind.to_owned());
        let kinds = kinds.iter().take(6).map(|(kind, percent)| format!("{kind} {percent:.1}"));
        println!("{thread:<20} {percent:>6.1}   {}", kinds.collect::<Vec<_>>().join(", "));
    }
}

/// Percent by name, the largest first.
fn sums<'a>(shares: impl IntoIterator<Item = &'a Share>, name: impl Fn(&Share) -> String) -> Vec<(String, f64)> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    shares.into_iter().for_each(|share| *sums.entry(name(share)).or_default() += share.percent);
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.total_cmp(&a.1));
    sums
}

/// Enough of a long name to know it by.
fn short(name: &str) -> String {
    const MOST: usize = 60;
    match name.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_line_by_line_and_headers_are_left_out() {
        let report = "# Overhead|Command|Shared Object|Symbol\n#\n\
                      5.42%|antiphon-partit|libc.so.6     |[.] __memmove_avx512_unaligned_erms\n\
                      2.36%|antiphon-keeper|[kernel.kallsyms]|[k] copy_folio_from_iter_atomic\n";
        let shares = parse(report);
        let found: Vec<_> = shares.iter().map(|share| (share.percent, share.thread.as_str(), share.kind)).collect();
        assert_eq!(found, [(5.42, "antiphon-partit", "memory"), (2.36, "antiphon-keeper", "system calls")]);
    }

    #[test]
    fn functions_are_told_apart_by_their_names() {
        for (object, function, expected) in [
            ("bench", "sqlite3VdbeExec", "SQLite"),
            ("bench", "walIndexAppend", "SQLite"),
            ("bench", "blake3_hash_many_avx512", "chain"),
            ("bench", "antiphon_engine::partition::Partition::step", "engine"),
            ("bench", "<antiphon_history::RunEvent as serde::Serialize>::serialize", "codec"),
            ("bench", "core::ptr::drop_in_place<antiphon_engine::Effect>", "memory"),
            ("bench", "tokio::runtime::task::raw::poll", "tokio + channels"),
            ("bench", "antiphon::context::PendingCall<D>::poll", "sdk"),
            ("libc.so.6", "clock_gettime", "system calls"),
            ("bench", "core::slice::sort::unstable", "other"),
        ] {
            assert_eq!(kind(object, function), expected, "{function}");
        }
    }
}

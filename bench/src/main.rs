//! Measures Antiphon from the outside, through its public API, with `synchronous=FULL`.
//!
//! | workload | question |
//! |---|---|
//! | W1 | what does one durable activity cost: alone, with 64 callers, with 1,000? |
//! | W2 | how many activities a second in workflows of ten in a row, 64 callers (and 1,000)? |
//! | W3 | how long do 1,000 activities at once take, joined? |
//! | W4 | does a sequence cost the same per step however long it is? |
//!
//! Every rate is printed with the syncs per activity beside it, so that a durable figure cannot be mistaken for one that
//! is not, and with the raw limit of the same run: append 4 KiB and fdatasync. Medians over the rounds.

mod measure;
mod raw;
mod workloads;

use clap::Parser;
use measure::Row;
use std::path::PathBuf;

/// Workloads W1 to W4 on the embedded engine.
#[derive(Parser, Debug)]
#[command(name = "bench", after_help = "Example: cargo run --release -p antiphon-bench -- --rounds 3 --only w1,w2")]
struct Options {
    /// Rounds; the median of each figure is printed.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Workloads, separated by commas.
    #[arg(long, default_value = "w1,w2,w3,w4", value_delimiter = ',')]
    only: Vec<String>,
    /// The folder for the stores: on the disk under test. Default: a fresh temporary folder.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Print one JSON line per figure instead of the table.
    #[arg(long)]
    json: bool,
}

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let known = ["w1", "w2", "w3", "w4"];
    if let Some(unknown) = options.only.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no workload {unknown:?}; there are {}", known.join(", ")).into());
    }
    let scratch = match &options.folder {
        Some(folder) => tempfile::tempdir_in(folder)?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut rounds: Vec<Vec<Row>> = Vec::new();
    for round in 0..options.rounds.max(1) {
        let mut rows = vec![raw::append_and_sync(scratch.path())?];
        for name in &options.only {
            let folder = scratch.path().join(format!("{name}-{round}"));
            rows.extend(runtime.block_on(workloads::run(name, &folder))?);
        }
        rounds.push(rows);
    }
    measure::print(&rounds, options.json);
    Ok(())
}

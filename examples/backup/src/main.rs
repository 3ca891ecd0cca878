//! The command line of the backup: checks what was asked, does it, says how it went.

mod cli;
mod run;
mod status;

use backup_job::{Manifest, Target, compare, path_text, restore};
use clap::Parser;
use cli::{Cli, Verb};
use indicatif::HumanBytes;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match obey(&cli.verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("backup: {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey(verb: &Verb) -> Result<ExitCode, Box<dyn Error>> {
    match verb {
        Verb::Run(args) => {
            let tokio = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let ended = tokio.block_on(run::run(args));
            // Not waited for: an interrupted backup may be in the middle of a large file.
            tokio.shutdown_background();
            ended
        }
        Verb::Restore { target, destination, snapshot, verify } => restored(target, destination, *snapshot, *verify),
        Verb::Verify { target, source, snapshot } => verified(target, source, *snapshot),
        Verb::Status { target, state } => status::status(target, state.as_deref()),
    }
}

fn restored(
    target: &Path,
    destination: &Path,
    snapshot: Option<u64>,
    verify: bool,
) -> Result<ExitCode, Box<dyn Error>> {
    let target = Target::open(target)?;
    let manifest = Manifest::read_or_last(&target, snapshot)?;
    let restored = restore(&target, &manifest, destination)?;
    println!(
        "restored snapshot {} to {}: {} files ({}), {} folders, {} links; every file was read again and is what was backed up",
        manifest.header.snapshot,
        destination.display(),
        restored.files,
        HumanBytes(restored.bytes),
        restored.folders,
        restored.links
    );
    if restored.missing > 0 {
        println!("  {} things are not in the snapshot; see `backup run`'s report", restored.missing);
    }
    if verify {
        return differences(&manifest, destination, &[]);
    }
    Ok(if restored.missing > 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

fn verified(target: &Path, source: &Path, snapshot: Option<u64>) -> Result<ExitCode, Box<dyn Error>> {
    let source = source.canonicalize().map_err(|error| format!("the folder {}: {error}", source.display()))?;
    let opened = Target::open(target)?;
    let manifest = Manifest::read_or_last(&opened, snapshot)?;
    let mut excluded = vec![target.canonicalize()?];
    for path in &manifest.header.excluded {
        excluded.push(path_text::decode(path)?);
    }
    differences(&manifest, &source, &excluded)
}

fn differences(
    manifest: &Manifest,
    folder: &Path,
    excluded: &[std::path::PathBuf],
) -> Result<ExitCode, Box<dyn Error>> {
    let differences = compare(manifest, folder, excluded)?;
    let (snapshot, source) = (manifest.header.snapshot, path_text::decode(&manifest.header.source)?);
    if differences.is_empty() {
        println!("{} is as in snapshot {snapshot} of {}", folder.display(), source.display());
        return Ok(ExitCode::SUCCESS);
    }
    for difference in &differences {
        println!("{difference}");
    }
    println!("{} differences to snapshot {snapshot} of {}", differences.len(), source.display());
    Ok(if differences.iter().all(|difference| difference.reported) { ExitCode::from(3) } else { ExitCode::FAILURE })
}

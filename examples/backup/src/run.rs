//! `backup run`: starts the run, or finds it, and watches it to its end.

use crate::cli::Run;
use antiphon::{Antiphon, RunError, RunHandle};
use backup_job::{BackupError, Marker, Plan, Progress, Setting, Summary, Target, backup, register};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The bar moves this often.
const LOOK: Duration = Duration::from_millis(200);
/// A record that another process has is waited for this long: one that was just killed may still be going down.
const WAIT_FOR_LOCK: Duration = Duration::from_secs(2);

/// How the watch ended.
enum Watched {
    Ended(Result<Summary, RunError<BackupError>>),
    Interrupted,
}

pub(crate) async fn run(args: &Run) -> Result<ExitCode, Box<dyn Error>> {
    let plan = Plan::new(&args.source, &args.target, args.state.as_deref(), args.name.as_deref())?;
    let target = Target::open(&plan.target)?;
    let progress = Progress::default();
    let setting = Setting {
        progress: progress.clone(),
        pause: Duration::from_millis(args.pause_ms),
        ledger: args.ledger.clone(),
    };
    let app = register(Antiphon::open(&plan.state), setting).wait_for_lock(WAIT_FOR_LOCK).start()?;
    // From here on the record's lock is ours, so nobody else works on this target.
    let watched = start_and_watch(args, &plan, &target, &app, &progress).await;
    app.stop();
    let (marker, watched) = watched?;
    let show = format!("antiphon show {} {}", quoted(&plan.state), marker.workflow);
    match watched {
        Watched::Ended(ended) => {
            let code = tell(&plan, ended, &show)?;
            plan.told(&target, &marker)?;
            Ok(code)
        }
        Watched::Interrupted => {
            let (done, of) = progress.now();
            eprintln!("interrupted after {done} of {of} files; the same command goes on:");
            eprintln!("  {}", again(args));
            Ok(ExitCode::from(130))
        }
    }
}

async fn start_and_watch(
    args: &Run,
    plan: &Plan,
    target: &Target,
    app: &Antiphon,
    progress: &Progress,
) -> Result<(Marker, Watched), Box<dyn Error>> {
    target.clear_temporary()?;
    let marker = match plan.marker(target)? {
        // Also a run that has ended, if nobody was told: it may have ended a moment before the kill.
        Some(marker) if !marker.told => marker,
        _ => plan.begin(target, args.parallel)?,
    };
    let run = app.start(marker.workflow.clone(), backup(marker.job.clone())).await?;
    if run.existed() {
        let before = recorded(app, &marker.workflow)?;
        before.files.into_iter().for_each(|files| progress.expect(files));
        progress.done_before(before.stored);
        let n = marker.job.snapshot;
        eprintln!("going on with snapshot {n}: {} files were stored before", before.stored);
    }
    let watched = watch(&run, progress).await?;
    Ok((marker, watched))
}

async fn watch(run: &RunHandle<backup>, progress: &Progress) -> Result<Watched, Box<dyn Error>> {
    let bar = ProgressBar::new(0);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} files, {elapsed}, {eta} to go")?);
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut look = tokio::time::interval(LOOK);
    let result = run.result();
    tokio::pin!(result);
    let watched = loop {
        tokio::select! {
            ended = &mut result => break Watched::Ended(ended),
            _ = interrupt.recv() => break Watched::Interrupted,
            _ = terminate.recv() => break Watched::Interrupted,
            _ = look.tick() => {
                let (done, of) = progress.now();
                bar.set_length(of);
                bar.set_position(done);
            }
        }
    };
    bar.finish_and_clear();
    Ok(watched)
}

/// What the record says of a run that an earlier process began.
struct Recorded {
    files: Option<u64>,
    stored: u64,
}

fn recorded(app: &Antiphon, workflow: &str) -> Result<Recorded, Box<dyn Error>> {
    use antiphon_history::{ActivityOutcome, Events, Record, RunEvent};
    let mut recorded = Recorded { files: None, stored: 0 };
    let mut types = std::collections::BTreeMap::new();
    let Some(history) = app.history(workflow)? else { return Ok(recorded) };
    for bytes in &history.records {
        let Events::Run(events) = Record::read(bytes)?.events else { continue };
        for event in events {
            match event {
                RunEvent::ActivityScheduled { ordinal, call } => {
                    types.insert(ordinal, call.activity_type.to_string());
                }
                RunEvent::ActivityResolved { ordinal, outcome } => match types.remove(&ordinal).as_deref() {
                    Some("backup.store") => recorded.stored += 1,
                    Some("backup.list") => {
                        if let ActivityOutcome::Completed { result } = outcome
                            && let [listed] = result.as_slice()
                        {
                            recorded.files =
                                antiphon::decode::<backup_job::Listed>(listed).ok().map(|found| found.files);
                        }
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    }
    Ok(recorded)
}

fn tell(plan: &Plan, ended: Result<Summary, RunError<BackupError>>, show: &str) -> Result<ExitCode, Box<dyn Error>> {
    let summary = match ended {
        Ok(summary) => summary,
        // Not an end: a blocked run, for one, goes on once the code is mended.
        Err(RunError::Request(error)) => return Err(format!("{error}\n  what happened: {show}").into()),
        // Told as well as any other end: the next start begins anew instead of telling the same again.
        Err(error) => {
            eprintln!("backup: {error}\n  what happened: {show}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let totals = summary.totals;
    let new = summary.new_objects;
    println!(
        "snapshot {} of {}: {} files ({}), {} folders, {} links",
        summary.snapshot,
        plan.source.display(),
        totals.files,
        HumanBytes(totals.bytes),
        totals.folders,
        totals.links
    );
    println!(
        "  {new} new contents ({} on disk), {} files with contents that were there already",
        HumanBytes(summary.new_object_bytes),
        totals.files.saturating_sub(new)
    );
    if totals.reported > 0 {
        println!("  {} not backed up:", totals.reported);
        for (path, problem) in &summary.reports {
            println!("    {path}: {problem}");
        }
        if totals.reported > summary.reports.len() as u64 {
            println!("    and more: {}", plan.target.join("snapshots").display());
        }
    }
    println!("  what happened: {show}");
    Ok(if totals.reported > 0 { ExitCode::from(3) } else { ExitCode::SUCCESS })
}

/// The command that goes on, as it can be pasted.
fn again(args: &Run) -> String {
    let mut command = format!("backup run {} {}", quoted(&args.source), quoted(&args.target));
    if let Some(state) = &args.state {
        command += &format!(" --state {}", quoted(state));
    }
    if let Some(name) = &args.name {
        command += &format!(" --name {name}");
    }
    command
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|character| character.is_alphanumeric() || "/._-~".contains(character)) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

//! What the workflow has done for it. Everything here may run again after a crash, so all of it can be repeated.

use crate::listing::{self, Found, Modified, Page};
use crate::snapshot::{Entry, Header, Manifest, Totals};
use crate::{Fault, ObjectId, Progress, Target, object, path_text};
use antiphon::ActivityContext;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is backed up, and where to. The input of the workflow; recorded.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// The folder, as [`path_text`] writes it.
    pub source: String,
    /// The target, likewise.
    pub target: String,
    /// What is left out, likewise: the target and the record, should they lie inside the source.
    pub excluded: Vec<String>,
    /// The number of the snapshot.
    pub snapshot: u64,
    /// Most files at a time.
    pub parallel: u32,
}

impl Job {
    fn source(&self) -> Result<PathBuf, Fault> {
        path_text::decode(&self.source)
    }

    fn target(&self) -> Result<Target, Fault> {
        Target::open(&path_text::decode(&self.target)?)
    }
}

/// What this process gives to the activities.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Where they tell how far they are.
    pub progress: Progress,
    /// How long each file waits before it is stored. For tests, that must hit something with their kills.
    pub pause: Duration,
    /// The file in which each leg of a `backup.store` leaves a line before it does anything. For the kill test.
    pub ledger: Option<PathBuf>,
}

/// What was found. The list itself is a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Listed {
    /// Its digest, and with it its name.
    pub listing: ObjectId,
    /// How many files there are to store.
    pub files: u64,
    /// How many contents the target kept before this backup.
    pub objects_before: u64,
    /// And how much room they took.
    pub object_bytes_before: u64,
}

/// Walks the source.
#[antiphon::activity(name = "backup.list", fatal = Fault::is_final)]
pub async fn list(act: ActivityContext, job: Job) -> Result<Listed, Fault> {
    let listed = blocking(move || {
        let target = job.target()?;
        let excluded = job.excluded.iter().map(|path| path_text::decode(path)).collect::<Result<Vec<_>, _>>()?;
        let found = listing::walk(&job.source()?, &excluded)?;
        // Counted now, before anything is stored, and on record: so a crash cannot blur how much is new at the end.
        let before = target.count_objects()?;
        Ok(Listed {
            listing: listing::write_lines(&target, job.snapshot, &found)?,
            files: found.iter().filter(|found| matches!(found, Found::File { .. })).count() as u64,
            objects_before: before.count,
            object_bytes_before: before.bytes,
        })
    })
    .await?;
    act.state::<Setting>().progress.expect(listed.files);
    Ok(listed)
}

/// Reads a page of the list.
#[antiphon::activity(name = "backup.page", fatal = Fault::is_final)]
pub async fn page(_act: ActivityContext, job: Job, listing: ObjectId, offset: u64) -> Result<Page, Fault> {
    blocking(move || listing::read_page(&job.target()?, job.snapshot, listing, offset)).await
}

/// Stores one file. Nothing is written if its content is kept already.
#[antiphon::activity(name = "backup.store", fatal = Fault::is_final)]
pub async fn store(act: ActivityContext, job: Job, path: String) -> Result<Entry, Fault> {
    let setting = act.state::<Setting>().clone();
    if let (Some(ledger), Some(key)) = (&setting.ledger, act.conversation()) {
        let line = format!("{}.{}.{} {} {path}\n", key.run.0, key.ordinal.0, key.attempt, act.leg());
        // One write to a file opened for appending: lines of several at a time, or of a killed process, do not mix.
        let written = OpenOptions::new().append(true).create(true).open(ledger);
        written.and_then(|mut file| file.write_all(line.as_bytes())).map_err(Fault::target(ledger))?;
    }
    if !setting.pause.is_zero() {
        tokio::time::sleep(setting.pause).await;
    }
    let entry = blocking(move || {
        let file = job.source()?.join(path_text::decode_inside(&path)?);
        store_file(&job.target()?, &file, path)
    })
    .await?;
    setting.progress.done();
    Ok(entry)
}

fn store_file(target: &Target, file: &Path, path: String) -> Result<Entry, Fault> {
    let unreadable = |error| Fault::reading(file, &error);
    let mut content = open(file)?;
    let before = content.metadata().map_err(unreadable)?;
    // Read once for the digest; a second time only if the content is new. Most files of a later backup are not, and
    // compressing them for nothing would cost more than the second reading of a file that is still in memory.
    let (id, bytes) = object::digest(&mut content, |_| Ok(())).map_err(unreadable)?;
    content.rewind().map_err(unreadable)?;
    target.keep(id, &mut content, file)?;
    let after = content.metadata().map_err(unreadable)?;
    // Size and time of before and after: who writes in between without changing either wants to be missed.
    if bytes != after.len() || before.len() != after.len() || Modified::of(&before) != Modified::of(&after) {
        return Err(Fault::Changed { path: file.display().to_string() });
    }
    Ok(Entry::File { path, mode: listing::mode(&after), modified: Modified::of(&after), bytes, blake3: id })
}

/// Opens a file that was a regular file when the folder was listed.
fn open(file: &Path) -> Result<File, Fault> {
    // Looked at first, without following: opening a pipe that has taken the name would wait for ever, and a link would
    // lead out of the source. A swap within the microseconds between is left to whoever does such things.
    let found = fs::symlink_metadata(file).map_err(|error| Fault::reading(file, &error))?;
    if !found.is_file() {
        let problem = "it was a file when the folder was listed and is something else now".to_owned();
        return Err(Fault::Unreadable { path: file.display().to_string(), problem });
    }
    File::open(file).map_err(|error| Fault::reading(file, &error))
}

/// Writes what became of the files of one page, for the manifest.
#[antiphon::activity(name = "backup.part", fatal = Fault::is_final)]
pub async fn part(_act: ActivityContext, job: Job, entries: Vec<Entry>) -> Result<ObjectId, Fault> {
    blocking(move || listing::write_lines(&job.target()?, job.snapshot, &entries)).await
}

/// How a backup ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The number of the snapshot.
    pub snapshot: u64,
    /// What it holds.
    pub totals: Totals,
    /// How many contents are new in the target.
    pub new_objects: u64,
    /// And how much room they take.
    pub new_object_bytes: u64,
    /// Up to 20 of the reported things, path and problem; the manifest has all of them.
    pub reports: Vec<(String, String)>,
}

/// Puts list and parts together. From then on the snapshot exists.
#[antiphon::activity(name = "backup.manifest", fatal = Fault::is_final)]
pub async fn manifest(
    _act: ActivityContext,
    job: Job,
    workflow: String,
    started_at_ms: i64,
    listed: Listed,
    parts: Vec<ObjectId>,
) -> Result<Summary, Fault> {
    blocking(move || {
        let target = job.target()?;
        let mut stored = Vec::new();
        for part in parts {
            stored.extend(listing::read_lines::<Entry>(&target, job.snapshot, part)?);
        }
        let mut stored = stored.into_iter();
        let mut entries = Vec::new();
        for found in listing::read_lines(&target, job.snapshot, listed.listing)? {
            entries.push(match found {
                Found::Folder { path, mode, modified } => Entry::Folder { path, mode, modified },
                Found::Link { path, leads_to } => Entry::Link { path, leads_to },
                Found::Reported { path, problem } => Entry::Reported { path, problem },
                Found::File { path, .. } => match stored.next() {
                    Some(entry) if entry.path() == path => entry,
                    other => {
                        let other = other.map(|entry| entry.path().to_owned());
                        return Err(Fault::Refused(format!("the parts do not fit the list: {path:?} met {other:?}")));
                    }
                },
            });
        }
        let mut totals = Totals::default();
        entries.iter().for_each(|entry| totals.add(entry));
        let reports = entries.iter().filter_map(|entry| match entry {
            Entry::Reported { path, problem } => Some((path.clone(), problem.clone())),
            _ => None,
        });
        let reports = reports.take(20).collect();
        let header = Header {
            snapshot: job.snapshot,
            source: job.source,
            excluded: job.excluded,
            workflow,
            started_at_ms,
            totals,
        };
        Manifest { header, entries }.write(&target)?;
        let after = target.count_objects()?;
        Ok(Summary {
            snapshot: job.snapshot,
            totals,
            new_objects: after.count.saturating_sub(listed.objects_before),
            new_object_bytes: after.bytes.saturating_sub(listed.object_bytes_before),
            reports,
        })
    })
    .await
}

/// Removes list and parts. An activity of its own: `backup.manifest` may run again until its outcome is recorded, and
/// needs them for that.
#[antiphon::activity(name = "backup.tidy", fatal = Fault::is_final)]
pub async fn tidy(_act: ActivityContext, job: Job) -> Result<(), Fault> {
    blocking(move || {
        let folder = job.target()?.work(job.snapshot);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Fault::target(&folder)(error)),
            _ => Ok(()),
        }
    })
    .await
}

/// Runs file work where it holds up no other activity.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The process is going down, and nobody waits for the value.
            Err(_) => std::future::pending().await,
        },
    }
}

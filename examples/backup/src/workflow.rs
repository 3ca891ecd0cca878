use crate::activities::{Job, Listed, Summary, list, manifest, page, part, store, tidy};
use crate::listing::Page;
use crate::snapshot::Entry;
use crate::{Fault, ObjectId};
use antiphon::{ActivityDefinition, CallError, OrApp, PendingCall, WorkflowContext, millis, secs};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Why a backup ended without a snapshot. What was stored is kept, and the next backup need not store it again.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum BackupError {
    /// The source could not be listed.
    #[error("the source could not be listed: {0}")]
    List(CallError<Fault>),
    /// The target failed.
    #[error("the backup could not go on: {0}")]
    Target(CallError<Fault>),
}

/// Backs up a folder: lists it, stores each file in an activity of its own, a bounded number at a time, and writes the
/// manifest.
///
/// ```text
///  list ─▶ page 1 ─▶ store store store … ─▶ part 1 ┐
///          page 2 ─▶ store store store … ─▶ part 2 ┼─▶ manifest ─▶ tidy
///          …                                       ┘
/// ```
#[antiphon::workflow(name = "backup")]
pub async fn backup(ctx: WorkflowContext<'_>, job: Job) -> antiphon::Result<Summary, BackupError> {
    let started_at = ctx.now();
    let listed = patient(ctx.call(list(job.clone()))).await.or_app(BackupError::List)?;
    let parts = store_all(ctx, &job, &listed).await?;
    let (id, at) = (ctx.workflow_id(), started_at.0);
    let summary = patient(ctx.call(manifest(job.clone(), id, at, listed, parts))).await.or_app(BackupError::Target)?;
    // What is left lying about is no reason to call the backup failed.
    let _ = patient(ctx.call(tidy(job))).await;
    Ok(summary)
}

/// The rules of every call: three attempts with short pauses, and no limit to kills.
fn patient<D: ActivityDefinition>(call: PendingCall<'_, D>) -> PendingCall<'_, D> {
    // A file is not to blame for the kills of the process that was storing it. The default of five losses would report
    // a large file that was under way at six of them.
    call.attempts(3).backoff(millis(100), secs(1)).max_losses(u32::MAX)
}

enum Work {
    Page { offset: u64 },
    Store { page: usize, place: usize, path: String },
    Part { page: usize, entries: Vec<Entry> },
}

enum Done {
    Page(Page),
    Stored { page: usize, place: usize, entry: Entry },
    Part { page: usize, part: ObjectId },
}

/// Stores all files, `job.parallel` at a time, and returns the parts of the manifest in order.
///
/// Only the files of a few pages are in memory at a time, whatever the length of the list.
async fn store_all(
    ctx: WorkflowContext<'_>,
    job: &Job,
    listed: &Listed,
) -> antiphon::Result<Vec<ObjectId>, BackupError> {
    let parallel = job.parallel.max(1) as usize;
    let mut waiting = VecDeque::new();
    let mut open_pages: BTreeMap<usize, OpenPage> = BTreeMap::new();
    let mut parts = BTreeMap::new();
    let (mut pages, mut storing) = (0, 0);

    let mut under_way = ctx.each_as_done([carry_out(ctx, job, listed, Work::Page { offset: 0 })]);
    while let Some((_, done)) = under_way.next().await {
        match done? {
            Done::Page(page) => {
                if !page.files.is_empty() {
                    open_pages.insert(pages, OpenPage::of(page.files.len()));
                }
                let files = page.files.into_iter().enumerate();
                waiting.extend(files.map(|(place, (path, _))| Work::Store { page: pages, place, path }));
                pages += 1;
                // The next page is asked for when the last of this one is under way; its offset waits in the queue.
                waiting.extend(page.next.map(|offset| Work::Page { offset }));
            }
            Done::Stored { page, place, entry } => {
                storing -= 1;
                let whole = open_pages.get_mut(&page).and_then(|open| open.put(place, entry));
                if let Some(entries) = whole {
                    open_pages.remove(&page);
                    under_way.push(carry_out(ctx, job, listed, Work::Part { page, entries }));
                }
            }
            Done::Part { page, part } => {
                parts.insert(page, part);
            }
        }
        while storing < parallel {
            let Some(work) = waiting.pop_front() else { break };
            storing += usize::from(matches!(work, Work::Store { .. }));
            under_way.push(carry_out(ctx, job, listed, work));
        }
    }
    Ok(parts.into_values().collect())
}

async fn carry_out(
    ctx: WorkflowContext<'_>,
    job: &Job,
    listed: &Listed,
    work: Work,
) -> antiphon::Result<Done, BackupError> {
    Ok(match work {
        Work::Page { offset } => {
            let call = patient(ctx.call(page(job.clone(), listed.listing, offset)));
            Done::Page(call.await.or_app(BackupError::Target)?)
        }
        Work::Store { page, place, path } => {
            let entry = match patient(ctx.call(store(job.clone(), path.clone()))).await {
                Ok(entry) => entry,
                // One file's trouble is told, not made everybody's.
                Err(CallError::App(fault)) if fault.concerns_one_file() => {
                    Entry::Reported { path, problem: fault.to_string() }
                }
                Err(error) => Err(BackupError::Target(error))?,
            };
            Done::Stored { page, place, entry }
        }
        Work::Part { page, entries } => {
            let part = patient(ctx.call(part(job.clone(), entries))).await.or_app(BackupError::Target)?;
            Done::Part { page, part }
        }
    })
}

/// A page whose files are being stored. Their entries come in any order and are kept in that of the list.
struct OpenPage {
    entries: Vec<Option<Entry>>,
    missing: usize,
}

impl OpenPage {
    fn of(files: usize) -> OpenPage {
        OpenPage { entries: vec![None; files], missing: files }
    }

    /// Puts an entry in its place; returns all of them with the last one.
    fn put(&mut self, place: usize, entry: Entry) -> Option<Vec<Entry>> {
        self.entries[place] = Some(entry);
        self.missing -= 1;
        if self.missing > 0 {
            return None;
        }
        Some(std::mem::take(&mut self.entries).into_iter().flatten().collect())
    }
}

//! A picture of everything durable, taken beside a running engine or without one.

use super::anchor::{self, Standing};
use super::db::{Access, Db, DbFile};
use super::folder::Folder;
use super::open::judge_found;
use super::reader::{self, SqliteReader};
use super::schema::{self, Found};
use super::{ledger, log, pragma};
use crate::fold::Batch;
use crate::overlay::Overlay;
use crate::{Error, Reader};
use std::path::Path;

/// Takes a picture of the store in `folder`: archive and fold of the log's tail. Sees everything that was durable when
/// it was called, and nothing later. Locks nobody out and writes nothing into the store, though SQLite keeps its side
/// files beside the databases, so the folder must be writable for this process.
///
/// Drop it soon: while it lives the archive's write-ahead log cannot start over and grows.
///
/// Errors: [`Error::Folder`] if there is no store, [`Error::NewerFormat`], [`Error::Loss`] and
/// [`Error::AnchorUnusable`] if what is there is not all that there was, and what reading can meet.
pub fn snapshot(folder: &Path) -> Result<Box<dyn Reader>, Error> {
    pragma::check_library()?;
    let folder = Folder::existing(folder)?;
    loop {
        // Before the log: an anchor that is written while we read is behind what we see, never ahead of it.
        let anchored = anchor::read(&folder);
        let before = anchored.as_ref().ok().copied();
        let taken = take(&folder, |standing| judge_found(&folder, anchored?, standing));
        // An engine that opened the store meanwhile may have begun a new count; its anchor tells.
        let moved = || anchor::read(&folder).ok() != before;
        match taken {
            Err(Error::Loss { .. } | Error::AnchorUnusable { .. }) if moved() => {}
            taken => return taken,
        }
    }
}

/// As [`snapshot`], though the anchor may say that segments are gone: shows what is left. For people who look at a damaged
/// store, and were told.
pub fn snapshot_accepting_loss(folder: &Path) -> Result<Box<dyn Reader>, Error> {
    pragma::check_library()?;
    take(&Folder::existing(folder)?, |_| Ok(()))
}

fn take(folder: &Folder, judge: impl FnOnce(&Standing<'_>) -> Result<(), Error>) -> Result<Box<dyn Reader>, Error> {
    let (log, archive) = pictures(folder)?;
    let mut batch = Batch::empty(schema::watermark(&archive)?);
    let (watermark, format) = (batch.watermark, schema::format(&archive)?);
    let tip = log::walk_tail(&log, watermark.tip(), &mut |portion| {
        batch.extend(portion, &mut |run| Ok(reader::row(&archive, format, run)?.map(|(row, _)| row)))
    })?;
    judge(&Standing {
        store: schema::store_id(&archive)?,
        tip,
        watermark,
        segment_digest: &|segment| log::digest_of(&log, segment),
        ledger_digest: &|batch| ledger::digest_of(&archive, batch),
    })?;
    Ok(Box::new(Overlay::new(Box::new(SqliteReader::of_picture(archive)?), batch)))
}

/// Pins a picture of each file.
///
/// The log's is taken first. It has every segment that the archive had not taken over by then, and the archive's,
/// taken later, can only be further. The other way round a segment could leave the log in between, having reached the
/// archive after its picture, and be in neither.
pub(super) fn pictures(folder: &Folder) -> Result<(Db, Db), Error> {
    let ids = [schema::peek(folder, DbFile::Log)?, schema::peek(folder, DbFile::Archive)?];
    let (Found::Store(of_log), Found::Store(of_archive)) = (ids[0], ids[1]) else {
        let problem = "its creation was interrupted; open it for writing once".to_owned();
        return Err(Error::Folder { path: folder.path().to_owned(), problem });
    };
    if of_log != of_archive {
        let problem = "its log and its archive belong to different stores; put the right two together".to_owned();
        return Err(Error::Folder { path: folder.path().to_owned(), problem });
    }
    let log = Db::open(folder, DbFile::Log, Access::Read)?;
    log.pin()?;
    let archive = Db::open(folder, DbFile::Archive, Access::Read)?;
    archive.pin()?;
    Ok((log, archive))
}

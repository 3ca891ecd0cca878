//! Opening for writing: look, lock, look closer, check, and only then write.

use super::anchor::{self, Anchored, Standing};
use super::archive::SqliteArchive;
use super::checkpoint::{SqliteCheckpoint, WalWord};
use super::db::{Access, Db, DbFile};
use super::files::{self, Files};
use super::folder::Folder;
use super::lock::Lock;
use super::log::{self, SqliteLog};
use super::reader::SqliteReader;
use super::schema::{self, Found};
use super::space::SqliteSpace;
use super::{Options, ledger, network, pragma, stretch};
use crate::{Archive, Durability, Error, Guard, Space, Store, Tip, Watermark};
use antiphon_history::planted;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Opens the store in `folder`, creating what is missing, and folds into the archive what only the log has.
///
/// On return log, archive and anchor agree, and the folder is ours until every part of the store is gone.
///
/// Errors: all of [`Error`] that have the kind [`crate::ErrorKind::Open`]; [`Error::LogDamaged`],
/// [`Error::ArchiveDamaged`], and unless `accept_loss` is set [`Error::Loss`] and [`Error::AnchorUnusable`]. Until the
/// store has passed every check nothing is changed, but for creating a database that is missing.
pub fn open(folder: &Path, options: &Options) -> Result<Store, Error> {
    pragma::check_library()?;
    let folder = Folder::prepare(folder)?;
    if !options.allow_network_volume {
        network::refuse(&folder)?;
    }
    let mut lock = Lock::take(&folder)?;
    let found = [schema::peek(&folder, DbFile::Log)?, schema::peek(&folder, DbFile::Archive)?];
    let anchored = match anchor::read(&folder) {
        Err(Error::AnchorUnusable { .. }) if options.accept_loss => None,
        anchored => anchored?,
    };
    let id = create_missing(&folder, found, anchored.is_some())?;
    lock.sign();
    let guard = Guard::new(lock);
    let opened = Files::look(&folder, &files::OPENED)?;

    let log = Db::open(&folder, DbFile::Log, Access::Write(options.durability))?;
    // The archive is always synced in full: the log deletes what the archive has.
    let archive = Db::open(&folder, DbFile::Archive, Access::Write(Durability::Full))?;
    let watermark = schema::watermark(&archive)?;
    check_join(&log, watermark)?;
    let tip = log::walk_tail(&log, watermark.tip(), &mut |_| Ok(()))?;
    let anchored = check_anchor(&folder, id, (&log, tip), (&archive, watermark), anchored, options)?;
    if anchored.is_none_or(|anchored| anchored.batch > watermark.batches) {
        // An archive that was taken back numbers its batches again from here. An anchor of the old count would accuse
        // the new ones if we crashed before it is replaced below.
        anchor::replace(&folder, Anchored::of(id, tip, watermark))?;
    }

    // Everything was looked at and is sound: from here on the store may be changed.
    [&log, &archive].into_iter().try_for_each(schema::upgrade)?;
    let archived = Arc::new(AtomicU64::new(0));
    let (of_log, of_archive) = (WalWord::default(), WalWord::default());
    let mut archive = SqliteArchive::new(archive, Arc::clone(&archived), of_archive.clone(), guard.clone())?;
    if !planted!("tail-not-folded") {
        log::walk_tail(&log, watermark.tip(), &mut |portion| archive.fold(portion).map(|_| ()))?;
    }
    let now = Anchored::of(id, tip, archive.watermark());
    if anchored != Some(now) {
        anchor::replace(&folder, now)?;
    }
    let reading = Db::open(&folder, DbFile::Archive, Access::Read)?;
    let reader = SqliteReader::beside_writer(reading, Arc::clone(&archived))?;
    let mut space = SqliteSpace {
        folder: folder.clone(),
        files: opened,
        min_free_bytes: options.min_free_bytes,
        _guard: guard.clone(),
    };
    // A volume too full for a ballast must not keep us from opening: opening is how it gets emptied.
    let _ = space.restore_ballast();
    stretch::stretch(&folder, &space, options.min_free_bytes)?;
    let databases = [
        (Db::open(&folder, DbFile::Log, Access::Checkpoint)?, of_log.clone()),
        (Db::open(&folder, DbFile::Archive, Access::Checkpoint)?, of_archive),
    ];
    // What was there before the first connection was made is there after the last, so that is what they have open. The
    // write-ahead logs have come meanwhile.
    space.check_in_place()?;
    space.files = Files::look(&folder, &files::HELD)?;
    Ok(Store {
        id,
        reader: Box::new(reader),
        log: Box::new(SqliteLog::new(log, tip, archived, of_log, guard.clone())?),
        archive: Box::new(archive),
        anchor: Box::new(anchor::SqliteAnchor { folder, store: id, _guard: guard.clone() }),
        space: Box::new(space),
        checkpoint: Box::new(SqliteCheckpoint::new(databases, guard.clone())),
        guard,
    })
}

/// Creates the databases that are missing and returns the store's id.
///
/// One of two may be missing: without the archive everything is folded again, without the log the anchor tells what is
/// lost. An anchor alone belongs to a store that is gone, which is found when it is judged.
fn create_missing(folder: &Folder, found: [Found; 2], has_anchor: bool) -> Result<[u8; 16], Error> {
    let id = match found {
        [Found::Store(log), Found::Store(archive)] if log != archive => {
            let problem = "its log and its archive belong to different stores; put the right two together".to_owned();
            return Err(Error::Folder { path: folder.path().to_owned(), problem });
        }
        [Found::Store(id), _] | [_, Found::Store(id)] => id,
        [Found::Fresh, Found::Fresh] if has_anchor => {
            let problem =
                "it has an anchor but neither log nor archive: the store is gone; restore it, or remove `head`";
            return Err(Error::Folder { path: folder.path().to_owned(), problem: problem.to_owned() });
        }
        [Found::Fresh, Found::Fresh] => new_id()?,
    };
    for (found, file) in found.into_iter().zip([DbFile::Log, DbFile::Archive]) {
        if found == Found::Fresh {
            folder.create_file(file.name())?;
            schema::create(folder, file, id)?;
            folder.sync()?;
        }
    }
    Ok(id)
}

/// A store's id only has to differ from every other's, so that files of two stores are never taken for one.
fn new_id() -> Result<[u8; 16], Error> {
    let source = Path::new("/dev/urandom");
    let mut id = [0; 16];
    File::open(source)
        .and_then(|mut random| random.read_exact(&mut id))
        .map_err(|error| Error::io("drawing a store id", source, error))?;
    Ok(id)
}

/// Where the log still has the segment at the watermark, both must mean the same one.
fn check_join(log: &Db, watermark: Watermark) -> Result<(), Error> {
    match log::digest_of(log, watermark.segment)? {
        Some(digest) if digest != watermark.digest => {
            Err(Error::damaged_log(watermark.segment, "the archive took over another segment of this number"))
        }
        _ => Ok(()),
    }
}

fn check_anchor(
    folder: &Folder,
    store: [u8; 16],
    (log, tip): (&Db, Tip),
    (archive, watermark): (&Db, Watermark),
    anchored: Option<Anchored>,
    options: &Options,
) -> Result<Option<Anchored>, Error> {
    let segment_digest = |segment| log::digest_of(log, segment);
    let ledger_digest = |batch| ledger::digest_of(archive, batch);
    let standing = Standing { store, tip, watermark, segment_digest: &segment_digest, ledger_digest: &ledger_digest };
    match judge_found(folder, anchored, &standing) {
        // The old anchor says nothing about what goes on from here.
        Err(Error::Loss { .. } | Error::AnchorUnusable { .. }) if options.accept_loss => Ok(None),
        judged => judged.map(|()| anchored),
    }
}

/// Judges the anchor, or its absence: legal only before anything was written.
pub(super) fn judge_found(folder: &Folder, anchored: Option<Anchored>, standing: &Standing<'_>) -> Result<(), Error> {
    match anchored {
        _ if planted!("anchor-ignored") => Ok(()),
        Some(anchored) => anchored.judge(folder, standing),
        None if standing.tip.id == 0 => Ok(()),
        None => {
            let problem = "it is missing, so nothing tells whether the log is whole".to_owned();
            Err(Error::AnchorUnusable { path: folder.file("head"), problem })
        }
    }
}

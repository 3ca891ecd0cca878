//! A write-ahead log that has its length from the start.
//!
//! A sync of bytes that made a file longer also writes where the file now ends; writing over what is there takes about
//! half the time (decision 0012). In the long run a log that starts over is always written over, but its first megabytes
//! after an opening are not, and a store that has little to do lives in those.

use super::folder::Folder;
use crate::{Error, Space};
use std::io::{self, Read, Seek, SeekFrom};

/// As far as a log comes before it starts over, with what is written while it is moved into its file.
pub(super) const STRETCHED_BYTES: u64 = 16 * 1024 * 1024;

/// Adds zeros to the log's write-ahead log until it has its length, and syncs them. SQLite reads it up to the first frame
/// that does not fit, and zeros are none.
///
/// Call it while nothing is written, by us or by anybody else. Does nothing if that would bring the volume close to its
/// brim: the store then works as well, and somewhat slower.
pub(super) fn stretch(folder: &Folder, space: &dyn Space, min_free_bytes: u64) -> Result<(), Error> {
    let path = folder.file("log.db-wal");
    // SQLite keeps no locks on this file, so that closing it takes none from SQLite; its locks are on the other two.
    let failed = |error| Error::io("lengthening the write-ahead log", &path, error);
    let mut file = match std::fs::OpenOptions::new().write(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let length = file.seek(SeekFrom::End(0)).map_err(failed)?;
    let missing = STRETCHED_BYTES.saturating_sub(length);
    if missing == 0 || space.free_bytes()? < min_free_bytes.saturating_add(missing) {
        return Ok(());
    }
    io::copy(&mut io::repeat(0).take(missing), &mut file).and_then(|_| file.sync_data()).map_err(failed)
}

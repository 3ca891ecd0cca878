use super::folder::Folder;
use crate::Error;
use antiphon_history::planted;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;

/// The claim on a folder. Ends when it is dropped, or with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock or says at once who seems to have it.
    ///
    /// The lock belongs to the open file, not to a process number in it: numbers are reused, and a file that is left
    /// behind by a killed process must not keep anybody out.
    pub(super) fn take(folder: &Folder) -> Result<Lock, Error> {
        let path = folder.file("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let nofollow = rustix::fs::OFlags::NOFOLLOW.bits();
        options.custom_flags(i32::try_from(nofollow).unwrap_or(0));
        let mut file = options.open(&path).map_err(|error| Error::io("opening the lock", &path, error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { file }),
            Err(TryLockError::WouldBlock) if planted!("lock-not-minded") => Ok(Lock { file }),
            Err(TryLockError::WouldBlock) => {
                // For information only: it is written after the lock is taken, and may be of an earlier holder.
                let mut holder = String::new();
                let _ = (&mut file).take(64).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "an unknown process".to_owned(),
                    holder => format!("process {holder}"),
                };
                Err(Error::OpenElsewhere { path: folder.path().to_owned(), holder })
            }
            Err(TryLockError::Error(error)) => Err(Error::io("locking the folder", &path, error)),
        }
    }

    /// Writes who we are, for whoever is refused. Best effort: it decides nothing, and a full disk must not keep us out.
    pub(super) fn sign(&mut self) {
        let _ = self.file.set_len(0);
        let _ = self.file.seek(SeekFrom::Start(0));
        let _ = writeln!(self.file, "{}", std::process::id());
    }
}

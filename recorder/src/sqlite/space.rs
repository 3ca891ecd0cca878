use super::files::Files;
use super::folder::Folder;
use crate::{Error, Guard, Space};
use std::io::{self, Write};

/// 1 MiB: enough for a few hundred closing segments and the checkpoint that follows them.
const BALLAST_BYTES: u64 = 1024 * 1024;

pub(super) struct SqliteSpace {
    pub(super) folder: Folder,
    pub(super) files: Files,
    pub(super) min_free_bytes: u64,
    pub(super) _guard: Guard,
}

impl Space for SqliteSpace {
    fn check_in_place(&self) -> Result<(), Error> {
        self.files.check()
    }

    fn free_bytes(&self) -> Result<u64, Error> {
        let path = self.folder.path();
        let volume =
            rustix::fs::statvfs(path).map_err(|error| Error::io("asking for free space", path, error.into()))?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }

    fn is_low(&self) -> Result<bool, Error> {
        Ok(self.free_bytes()? < self.min_free_bytes)
    }

    fn release_ballast(&mut self) -> Result<(), Error> {
        let path = self.folder.file("ballast");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("releasing the ballast", &path, error))
            }
            _ => self.folder.sync(),
        }
    }

    fn restore_ballast(&mut self) -> Result<(), Error> {
        let path = self.folder.file("ballast");
        if path.metadata().is_ok_and(|ballast| ballast.len() == BALLAST_BYTES) {
            return Ok(());
        }
        // Taking the last megabyte back at once would only bring the next failure.
        if self.free_bytes()? < self.min_free_bytes.saturating_add(BALLAST_BYTES) {
            return Ok(());
        }
        self.folder.create_file("ballast")?;
        let write = || {
            let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(&path)?;
            // Noise: zeros might be kept as a hole, or compressed to nothing, and then there is no ballast.
            let mut noise = vec![0; BALLAST_BYTES as usize];
            blake3::Hasher::new().update(b"ballast").finalize_xof().fill(&mut noise);
            file.write_all(&noise)?;
            file.sync_all()
        };
        match write() {
            Ok(()) => self.folder.sync(),
            Err(error) => {
                // Half a ballast is in the way of the next attempt and frees nothing worth having.
                let _ = std::fs::remove_file(&path);
                Err(Error::io("writing the ballast", &path, error))
            }
        }
    }
}

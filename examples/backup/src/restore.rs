use crate::listing::Modified;
use crate::{Entry, Fault, Manifest, Target, object, path_text};
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, BufWriter};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// What a restore wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    /// Files, each read again and found to have the digest of the manifest.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Things that the snapshot only reports; they are not there.
    pub missing: u64,
}

/// Writes a snapshot into `destination`, which must be empty or not be there, and proves every file: it is read again
/// from the file system and compared with the digest of the manifest.
///
/// Errors: the first [`Fault`]; what was written until then stays.
pub fn restore(target: &Target, manifest: &Manifest, destination: &Path) -> Result<Restored, Fault> {
    let refused = |problem: String| Fault::Refused(format!("{}: {problem}", destination.display()));
    fs::create_dir_all(destination).map_err(|error| refused(error.to_string()))?;
    let mut holds = fs::read_dir(destination).map_err(|error| refused(error.to_string()))?;
    if holds.next().is_some() {
        return Err(refused("is not empty; restore into a new folder, then move what you need".to_owned()));
    }
    let mut restored = Restored::default();
    let mut folders = Vec::new();
    for entry in &manifest.entries {
        let path = destination.join(path_text::decode_inside(entry.path())?);
        match entry {
            Entry::Folder { mode, modified, .. } => {
                fs::create_dir(&path).map_err(cannot_write(&path))?;
                folders.push((path, *mode, *modified));
                restored.folders += 1;
            }
            Entry::File { mode, modified, bytes, blake3, .. } => {
                let mut out = BufWriter::new(create(&path)?);
                target.fetch(*blake3, &mut out)?;
                let file = out.into_inner().map_err(|error| cannot_write(&path)(error.into_error()))?;
                file.sync_all().map_err(cannot_write(&path))?;
                settle(&file, *mode, *modified).map_err(cannot_write(&path))?;
                let found = object::digest_file(&path).map_err(|error| Fault::reading(&path, &error))?;
                if found != (*blake3, *bytes) {
                    let problem = format!("read again, it has the digest {} and {} bytes", found.0, found.1);
                    return Err(Fault::damaged(&path, problem));
                }
                restored.files += 1;
                restored.bytes += bytes;
            }
            Entry::Link { .. } => restored.links += 1,
            Entry::Reported { .. } => restored.missing += 1,
        }
    }
    // Links come after all files: a manifest that somebody altered cannot lead a file out of the folder through one.
    for entry in &manifest.entries {
        if let Entry::Link { path, leads_to } = entry {
            let path = destination.join(path_text::decode_inside(path)?);
            symlink(path_text::decode(leads_to)?, &path).map_err(cannot_write(&path))?;
        }
    }
    // Folders get mode and time last, the deepest first: writing into one changes its time, and may be forbidden.
    for (path, mode, modified) in folders.into_iter().rev() {
        let folder = File::open(&path).map_err(cannot_write(&path))?;
        settle(&folder, mode, modified).map_err(cannot_write(&path))?;
    }
    Ok(restored)
}

fn create(path: &Path) -> Result<File, Fault> {
    // Nobody else may read it before it has its own mode.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(cannot_write(path))
}

fn settle(file: &File, mode: u32, modified: Modified) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(time(modified)))?;
    file.set_permissions(Permissions::from_mode(mode))
}

fn time(modified: Modified) -> SystemTime {
    let whole = Duration::from_secs(modified.seconds.unsigned_abs());
    let second = if modified.seconds < 0 { SystemTime::UNIX_EPOCH - whole } else { SystemTime::UNIX_EPOCH + whole };
    second + Duration::from_nanos(u64::from(modified.nanos))
}

fn cannot_write(path: &Path) -> impl FnOnce(io::Error) -> Fault {
    let path: PathBuf = path.to_owned();
    move |error| Fault::Refused(format!("cannot write {}: {error}", path.display()))
}

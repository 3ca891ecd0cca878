//! A file system of our own on a loop device, whose power can be cut.

use crate::{Error, power};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The image. Dropping it unmounts and lets go of the device.
#[derive(Debug)]
pub struct Volume {
    device: String,
    mount: PathBuf,
    journal: bool,
    mounted: bool,
}

/// Large enough for some stores with their write-ahead logs at full length; sparse, so it costs what is written.
const IMAGE_BYTES: u64 = 768 * 1024 * 1024;

impl Volume {
    /// Makes one in `folder`: ext4, with or without a journal. The error says what this machine does not allow.
    pub fn make(folder: &Path, journal: bool) -> Result<Volume, Error> {
        let (image, mount) = (folder.join("image"), folder.join("mounted"));
        let file = File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES));
        file.map_err(Error::io("making an image"))?;
        std::fs::create_dir(&mount).map_err(Error::io("making a mount point"))?;
        let features: &[&str] = if journal { &[] } else { &["-O", "^has_journal"] };
        let quick = ["-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard"];
        command("mkfs.ext4", quick.iter().chain(features).map(OsStr::new).chain([image.as_os_str()]))?;
        let device = command("losetup", [OsStr::new("-f"), OsStr::new("--show"), image.as_os_str()])?;
        let mut volume = Volume { device: device.trim().to_owned(), mount, journal, mounted: false };
        volume.mount()?;
        Ok(volume)
    }

    /// Where its files are.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Cuts the power: from here on nothing reaches the disk.
    pub fn cut(&self) -> Result<(), Error> {
        power::cut(&self.mount).map_err(Error::io("cutting the power of a file system"))
    }

    /// What a machine does when its power comes back. Nobody may have a file open.
    pub fn restart(&mut self) -> Result<(), Error> {
        command("umount", [self.mount.as_os_str()])?;
        self.mounted = false;
        if !self.journal {
            // What a journal would have put right. It says 1 when it has mended something.
            let checked = Command::new("e2fsck").args(["-f", "-y", &self.device]).output();
            let checked = checked.map_err(Error::io("starting e2fsck"))?;
            if checked.status.code().is_none_or(|code| code > 1) {
                let said = String::from_utf8_lossy(&checked.stdout).into_owned();
                return Err(Error::Command { command: "e2fsck".to_owned(), said });
            }
        }
        self.mount()
    }

    fn mount(&mut self) -> Result<(), Error> {
        command("mount", [OsStr::new("-t"), OsStr::new("ext4"), OsStr::new(&self.device), self.mount.as_os_str()])?;
        self.mounted = true;
        Ok(())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.mounted {
            let _ = command("umount", [self.mount.as_os_str()]);
        }
        let _ = command("losetup", [OsStr::new("-d"), OsStr::new(&self.device)]);
    }
}

/// Runs a command of the machine and returns what it printed.
pub(crate) fn command<'a>(name: &str, args: impl IntoIterator<Item = &'a OsStr>) -> Result<String, Error> {
    let done = Command::new(name).args(args).output().map_err(Error::io(format!("starting {name}")))?;
    match done.status.success() {
        true => Ok(String::from_utf8_lossy(&done.stdout).into_owned()),
        false => {
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            Err(Error::Command { command: name.to_owned(), said })
        }
    }
}

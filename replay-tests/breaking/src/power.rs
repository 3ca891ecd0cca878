//! Cutting the power of a file system: what was not synced is gone, as after a power cut.
#![allow(unsafe_code, reason = "an ioctl that no library wraps")]

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use std::fs::File;
use std::io;
use std::path::Path;

/// `EXT4_IOC_SHUTDOWN`; the same number on XFS and F2FS.
const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: the journal is not written out first. What is neither synced nor written back is lost.
const NO_LOG_FLUSH: u32 = 2;

/// Stops the file system that `folder` lies on, at once: from here on every write to it fails, and nothing that it had
/// in memory reaches the disk.
pub fn cut(folder: &Path) -> io::Result<()> {
    let folder = File::open(folder)?;
    // SAFETY: the kernel reads one u32 behind the pointer, which `Setter` keeps alive for the call, and writes nothing.
    unsafe { ioctl(&folder, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH)) }.map_err(io::Error::from)
}

//! What Linux says about this process and about the disk under a folder. Where it says nothing, there is no figure.

use rustix::time::{ClockId, clock_gettime};
use std::path::Path;

/// CPU time of all threads of this process, in microseconds.
pub(crate) fn cpu_us() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

/// Bytes of pages that this process has dirtied for storage: its own share, before the kernel merges writes.
pub(crate) fn written_bytes() -> Option<u64> {
    field("/proc/self/io", "write_bytes:")
}

/// Resident memory of this process now, in KiB.
pub(crate) fn resident_kib() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// The most resident memory that this process has had, in KiB.
pub(crate) fn peak_kib() -> Option<u64> {
    field("/proc/self/status", "VmHWM:")
}

/// The number behind `name` at the start of a line of a file under `/proc`.
pub(crate) fn field(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// A block device, by its numbers. Flushes are counted for whole disks only, so a partition stands for its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Device {
    major: u32,
    minor: u32,
}

/// What a disk has done since the machine was started, for everybody on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DiskCounters {
    pub(crate) written_bytes: u64,
    pub(crate) flushes: u64,
}

/// Sectors of `/proc/diskstats` have this many bytes, whatever the disk's own are.
const SECTOR_BYTES: u64 = 512;

impl Device {
    /// The disk that a folder is on; `None` for file systems without one (tmpfs, overlays, network).
    pub(crate) fn of(folder: &Path) -> Option<Device> {
        use std::os::unix::fs::MetadataExt;
        let dev = std::fs::metadata(folder).ok()?.dev();
        let device = Device { major: rustix::fs::major(dev), minor: rustix::fs::minor(dev) };
        let link = std::fs::canonicalize(format!("/sys/dev/block/{}:{}", device.major, device.minor)).ok()?;
        if !link.join("partition").exists() {
            return Some(device);
        }
        let disk = std::fs::read_to_string(link.parent()?.join("dev")).ok()?;
        let (major, minor) = disk.trim().split_once(':')?;
        Some(Device { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }

    pub(crate) fn counters(self) -> Option<DiskCounters> {
        self.counters_in(&std::fs::read_to_string("/proc/diskstats").ok()?)
    }

    // Columns as in the kernel's Documentation/admin-guide/iostats.rst: 1 major, 2 minor, 10 sectors written, 19 flushes.
    fn counters_in(self, diskstats: &str) -> Option<DiskCounters> {
        let numbers = [self.major.to_string(), self.minor.to_string()];
        let rows = diskstats.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.into_iter().find(|row| row.len() >= 2 && row[..2] == numbers)?;
        let sectors: u64 = row.get(9)?.parse().ok()?;
        Some(DiskCounters { written_bytes: sectors * SECTOR_BYTES, flushes: row.get(18)?.parse().ok()? })
    }
}

/// All bytes of the files in a folder whose names begin with `prefix`.
pub(crate) fn folder_bytes(folder: &Path, prefix: &str) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let matching = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    matching.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_bytes_and_flushes_are_read_from_the_row_of_the_device() {
        let text =
            "   7 0 loop0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n 254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n";
        let device = Device { major: 254, minor: 0 };
        assert_eq!(device.counters_in(text), Some(DiskCounters { written_bytes: 7 * 512, flushes: 16 }));
        assert_eq!(Device { major: 1, minor: 0 }.counters_in(text), None);
    }

    #[test]
    fn a_kernel_that_counts_no_flushes_gives_no_figure() {
        assert_eq!(Device { major: 8, minor: 0 }.counters_in("8 0 sda 1 2 3 4 5 6 7 8 9 10 11"), None);
    }
}

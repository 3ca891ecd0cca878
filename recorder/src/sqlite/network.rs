//! Network file systems: SQLite's write-ahead log needs memory that all its users share, and locks that hold. Over a
//! network there is neither to rely on, and what a sync promises is another machine's business.

use super::folder::Folder;
use crate::Error;

/// What Linux calls the file systems that are refused (`statfs(2)`, `linux/magic.h`). FUSE and 9P are not among them:
/// some are remote, but whole containers stand on others, and nothing tells which is which.
#[cfg(target_os = "linux")]
const KINDS: [(u32, &str); 12] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x7461_636f, "OCFS2"),
    (0x0116_1970, "GFS2"),
];

/// Refuses a folder on a network file system. Only Linux tells: elsewhere nothing is refused.
#[cfg(target_os = "linux")]
pub(super) fn refuse(folder: &Folder) -> Result<(), Error> {
    let path = folder.path();
    let volume = rustix::fs::statfs(path).map_err(|error| Error::io("looking at the volume", path, error.into()))?;
    // The kernel's number has 32 bits, whatever the width of the field.
    match kind(volume.f_type as u32) {
        Some(kind) => Err(Error::NetworkVolume { path: path.to_owned(), kind }),
        None => Ok(()),
    }
}

/// Refuses a folder on a network file system. Only Linux tells: elsewhere nothing is refused.
#[cfg(not(target_os = "linux"))]
pub(super) fn refuse(_: &Folder) -> Result<(), Error> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn kind(number: u32) -> Option<&'static str> {
    KINDS.iter().find(|(known, _)| *known == number).map(|(_, kind)| *kind)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_remote_is_known_by_its_number_and_what_is_local_is_not() {
        for (number, name) in [(0x6969, "NFS"), (0xff53_4d42, "CIFS"), (0x00c3_6400, "Ceph")] {
            assert_eq!(kind(number), Some(name));
        }
        // ext4, XFS, Btrfs, tmpfs, overlay, ZFS; and those that may be either, 9P and FUSE.
        let local = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1];
        for number in local.into_iter().chain([0x0102_1997, 0x6573_5546]) {
            assert_eq!(kind(number), None);
        }
    }
}

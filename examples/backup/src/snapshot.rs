//! A snapshot's manifest: JSON lines that begin with a header, end with a count and a digest, and are sorted by path.

use crate::listing::Modified;
use crate::{Fault, ObjectId, Target};
use serde::{Deserialize, Serialize};
use std::fs;

/// What a snapshot is of.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Its number in the target.
    pub snapshot: u64,
    /// The folder that was backed up, as [`path_text`](crate::path_text) writes it.
    pub source: String,
    /// What was left out of it, likewise and absolute.
    #[serde(default)]
    pub excluded: Vec<String>,
    /// The run that did it: `antiphon show <state> <workflow>` prints its record.
    pub workflow: String,
    /// When the run began, in milliseconds since the Unix epoch.
    pub started_at_ms: i64,
    /// How many things of each kind follow.
    pub totals: Totals,
}

/// How much a snapshot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Files with their contents.
    pub files: u64,
    /// The bytes of their contents, uncompressed, each file counted.
    pub bytes: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// What could not be backed up.
    pub reported: u64,
}

/// One thing of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A folder.
    Folder {
        /// Where, relative to the source.
        path: String,
        /// Its permission bits.
        mode: u32,
        /// When its entries last changed.
        modified: Modified,
    },
    /// A symbolic link.
    Link {
        /// Where.
        path: String,
        /// What it says.
        leads_to: String,
    },
    /// A file.
    File {
        /// Where.
        path: String,
        /// Its permission bits.
        mode: u32,
        /// When its content last changed.
        modified: Modified,
        /// The length of its content.
        bytes: u64,
        /// The digest of its content, which is the name of its object.
        blake3: ObjectId,
    },
    /// Something that could not be backed up.
    Reported {
        /// Where.
        path: String,
        /// Why not.
        problem: String,
    },
}

impl Entry {
    /// Where it is, relative to the source.
    pub fn path(&self) -> &str {
        match self {
            Entry::Folder { path, .. }
            | Entry::Link { path, .. }
            | Entry::File { path, .. }
            | Entry::Reported { path, .. } => path,
        }
    }
}

impl Totals {
    /// Adds one thing.
    pub fn add(&mut self, entry: &Entry) {
        match entry {
            Entry::Folder { .. } => self.folders += 1,
            Entry::Link { .. } => self.links += 1,
            Entry::File { bytes, .. } => {
                self.files += 1;
                self.bytes += bytes;
            }
            Entry::Reported { .. } => self.reported += 1,
        }
    }
}

/// A snapshot, read or to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// What it is of.
    pub header: Header,
    /// What it holds, sorted by path.
    pub entries: Vec<Entry>,
}

/// The last line: without it a manifest was cut.
#[derive(Serialize, Deserialize)]
struct End {
    lines: u64,
    blake3: ObjectId,
}

impl Manifest {
    /// Writes the manifest into its place. Durable on return; from then on the snapshot exists.
    pub fn write(&self, target: &Target) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        line(&mut bytes, &self.header)?;
        for entry in &self.entries {
            line(&mut bytes, entry)?;
        }
        let end = End { lines: self.entries.len() as u64, blake3: ObjectId::of(&bytes) };
        line(&mut bytes, &end)?;
        target.write(&target.snapshot(self.header.snapshot), &bytes)
    }

    /// Reads and checks the manifest of a snapshot.
    ///
    /// Errors: [`Fault::Refused`] if there is no such snapshot, [`Fault::Damaged`] if it is not what was written.
    pub fn read(target: &Target, snapshot: u64) -> Result<Manifest, Fault> {
        let path = target.snapshot(snapshot);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let root = target.root().display();
                return Err(Fault::Refused(format!("{root} has no snapshot {snapshot}: see `backup status {root}`")));
            }
            Err(error) => return Err(Fault::target(&path)(error)),
        };
        let cut = || Fault::damaged(&path, "its end is missing");
        let body = bytes.strip_suffix(b"\n").ok_or_else(cut)?;
        let end_at = body.iter().rposition(|&byte| byte == b'\n').ok_or_else(cut)? + 1;
        let end: End = serde_json::from_slice(&body[end_at..]).map_err(|_| cut())?;
        if ObjectId::of(&bytes[..end_at]) != end.blake3 {
            return Err(Fault::damaged(&path, "its lines do not have the digest that its end says"));
        }
        let wrong = |error: serde_json::Error| Fault::damaged(&path, error);
        let mut lines = body[..end_at].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let header = serde_json::from_slice(lines.next().ok_or_else(cut)?).map_err(wrong)?;
        let entries = lines.map(|line| serde_json::from_slice(line).map_err(wrong)).collect::<Result<Vec<_>, _>>()?;
        if entries.len() as u64 != end.lines {
            return Err(Fault::damaged(&path, format!("it has {} lines, its end says {}", entries.len(), end.lines)));
        }
        Ok(Manifest { header, entries })
    }

    /// Reads the manifest of a snapshot, or of the last one.
    pub fn read_or_last(target: &Target, snapshot: Option<u64>) -> Result<Manifest, Fault> {
        let last = || {
            let none = || Fault::Refused(format!("{} has no finished snapshot yet", target.root().display()));
            target.snapshots()?.last().copied().ok_or_else(none)
        };
        Manifest::read(target, snapshot.map_or_else(last, Ok)?)
    }
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Fault> {
    serde_json::to_writer(&mut *out, value).map_err(|error| Fault::Refused(error.to_string()))?;
    out.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_reads_back_and_a_cut_or_altered_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::prepare(folder.path()).unwrap();
        let entries = vec![
            Entry::Link { path: "a".into(), leads_to: "b".into() },
            Entry::Reported { path: "c".into(), problem: "gone".into() },
        ];
        let mut totals = Totals::default();
        entries.iter().for_each(|entry| totals.add(entry));
        let header = Header {
            snapshot: 4,
            source: "/s".into(),
            excluded: vec![],
            workflow: "w".into(),
            started_at_ms: 5,
            totals,
        };
        let manifest = Manifest { header, entries };
        manifest.write(&target).unwrap();
        assert_eq!(Manifest::read_or_last(&target, None).unwrap(), manifest);
        assert!(matches!(Manifest::read(&target, 5), Err(Fault::Refused(_))));

        let path = target.snapshot(4);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            assert!(Manifest::read(&target, 4).is_err(), "cut at {cut}");
        }
        for (place, _) in whole.iter().enumerate() {
            let mut altered = whole.clone();
            altered[place] ^= 1;
            fs::write(&path, &altered).unwrap();
            assert!(Manifest::read(&target, 4).is_err(), "byte {place}");
        }
    }
}

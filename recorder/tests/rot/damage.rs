//! One accident to one file, drawn from a seed.

use antiphon_recorder::conformance::Sample;
use std::fmt;
use std::fs;
use std::path::Path;

/// What a folder holds that may be damaged, and how often it is chosen.
pub const FILES: [(&str, u64); 9] = [
    ("log.db", 5),
    ("log.db-wal", 5),
    ("archive.db", 8),
    ("archive.db-wal", 5),
    ("head", 2),
    ("log.db-shm", 1),
    ("archive.db-shm", 1),
    ("ballast", 1),
    ("lock", 1),
];

/// A disk's smallest unit, and a file system's.
const SECTORS: [usize; 2] = [512, 4096];

/// What happened to which file.
#[derive(Clone, Debug)]
pub struct Damage {
    pub file: &'static str,
    pub how: How,
}

#[derive(Clone, Debug)]
pub enum How {
    Flip {
        offset: usize,
        bit: u32,
    },
    Zeros {
        offset: usize,
        len: usize,
    },
    Noise {
        offset: usize,
        len: usize,
    },
    Cut {
        len: usize,
    },
    /// A block was written to the wrong place: it is there twice, and what was there is gone.
    Misplaced {
        from: usize,
        to: usize,
        len: usize,
    },
    /// Two blocks have changed places.
    Swapped {
        from: usize,
        to: usize,
        len: usize,
    },
    Gone,
    /// Something lies where no file was.
    Stray {
        len: usize,
    },
}

impl How {
    /// One word for tables.
    pub fn word(&self) -> &'static str {
        match self {
            How::Flip { .. } => "flipped bit",
            How::Zeros { .. } => "zeros",
            How::Noise { .. } => "noise",
            How::Cut { .. } => "cut",
            How::Misplaced { .. } => "misplaced block",
            How::Swapped { .. } => "swapped blocks",
            How::Gone => "gone",
            How::Stray { .. } => "stray file",
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.file, self.how)
    }
}

impl Damage {
    /// Draws what happens to a copy of `folder`.
    pub fn draw(random: &mut Sample, folder: &Path) -> Damage {
        let mut left = random.below(FILES.iter().map(|(_, weight)| weight).sum());
        let (file, _) = FILES
            .iter()
            .find(|(_, weight)| {
                let chosen = left < *weight;
                left = left.saturating_sub(*weight);
                chosen
            })
            .unwrap();
        Damage::draw_in(random, folder, file)
    }

    /// Draws what happens to one file.
    pub fn draw_in(random: &mut Sample, folder: &Path, file: &'static str) -> Damage {
        if !folder.join(file).exists() {
            return Damage { file, how: How::Stray { len: 1 + random.below(20_000) as usize } };
        }
        let length = fs::metadata(folder.join(file)).map_or(0, |file| file.len() as usize).max(1);
        let mut place = |len: usize| random.below(length.div_ceil(len) as u64) as usize * len;
        let (small, large) = (place(SECTORS[0]), place(SECTORS[1]));
        let (from, to) = (place(SECTORS[1]), place(SECTORS[1]));
        let offset = place(1);
        let how = match random.below(12) {
            0..=3 => How::Flip { offset, bit: random.below(8) as u32 },
            4 => How::Zeros { offset: small, len: SECTORS[0] },
            5 => How::Zeros { offset: large, len: SECTORS[1] },
            6 => How::Noise { offset: small, len: SECTORS[0] },
            7 => How::Noise { offset: large, len: SECTORS[1] },
            8 => How::Cut { len: if random.below(2) == 0 { offset } else { large } },
            9 => How::Misplaced { from, to, len: SECTORS[1] },
            10 => How::Swapped { from, to, len: SECTORS[1] },
            _ if random.below(3) == 0 => How::Gone,
            _ => How::Cut { len: offset },
        };
        Damage { file, how }
    }

    /// Does it. False if nothing is different afterwards.
    pub fn apply(&self, folder: &Path) -> bool {
        let path = folder.join(self.file);
        let before = fs::read(&path).unwrap_or_default();
        let mut bytes = before.clone();
        let end = |offset: usize, len: usize| (offset + len).min(before.len());
        match self.how {
            How::Flip { offset, bit } => {
                if let Some(byte) = bytes.get_mut(offset) {
                    *byte ^= 1 << bit;
                }
            }
            How::Zeros { offset, len } => bytes[offset.min(before.len())..end(offset, len)].fill(0),
            How::Noise { offset, len } => {
                let mut noise = blake3::Hasher::new().update(&offset.to_le_bytes()).finalize_xof();
                noise.fill(&mut bytes[offset.min(before.len())..end(offset, len)]);
            }
            How::Cut { len } => bytes.truncate(len),
            How::Stray { len } => {
                bytes.resize(len, 0);
                blake3::Hasher::new().update(&len.to_le_bytes()).finalize_xof().fill(&mut bytes);
            }
            How::Misplaced { from, to, len } | How::Swapped { from, to, len } => {
                let len = (end(from, len) - from).min(end(to, len) - to);
                let (moved, other) = (before[from..from + len].to_vec(), before[to..to + len].to_vec());
                bytes[to..to + len].copy_from_slice(&moved);
                if matches!(self.how, How::Swapped { .. }) && from != to {
                    bytes[from..from + len].copy_from_slice(&other);
                }
            }
            How::Gone => {
                fs::remove_file(&path).unwrap();
                return true;
            }
        }
        fs::write(&path, &bytes).unwrap();
        bytes != before
    }
}

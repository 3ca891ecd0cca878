//! The anchor: one line in `head` that says how far log and archive once were.

use super::folder::Folder;
use crate::{Anchor, Error, Guard, Tip, Watermark};
use antiphon_history::{Digest, planted};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;

/// What the line says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Anchored {
    pub(super) store: [u8; 16],
    pub(super) segment: u64,
    pub(super) digest: Digest,
    pub(super) batch: u64,
    pub(super) ledger: Digest,
}

/// What is known of the store when its anchor is judged.
pub(super) struct Standing<'a> {
    pub(super) store: [u8; 16],
    pub(super) tip: Tip,
    pub(super) watermark: Watermark,
    /// The digest of a segment, where it is still known.
    pub(super) segment_digest: &'a dyn Fn(u64) -> Result<Option<Digest>, Error>,
    /// The digest of a ledger row.
    pub(super) ledger_digest: &'a dyn Fn(u64) -> Result<Option<Digest>, Error>,
}

const WORD: &str = "antiphon-anchor";
const VERSION: u32 = 1;
/// The line has some 240 bytes. Whatever is longer is not it, and is not read to its end.
const MAX_BYTES: u64 = 1024;

impl Anchored {
    pub(super) fn of(store: [u8; 16], log: Tip, watermark: Watermark) -> Anchored {
        let (batch, ledger) = (watermark.batches, watermark.ledger);
        Anchored { store, segment: log.id, digest: log.digest, batch, ledger }
    }

    pub(super) fn to_line(self) -> String {
        let store: String = self.store.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let Anchored { segment, digest, batch, ledger, .. } = self;
        sealed(&format!("{WORD} {VERSION} {store} {segment} {digest} {batch} {ledger}"))
    }

    pub(super) fn from_line(line: &str) -> Result<Anchored, &'static str> {
        let line = line.strip_suffix('\n').ok_or("its line has no end")?;
        let (body, sum) = line.rsplit_once(' ').ok_or("it is not an anchor")?;
        if sum != checksum(body) {
            return Err("its checksum is wrong");
        }
        let mut words = body.split(' ').skip(2);
        let mut word = || words.next().ok_or("a part is missing");
        let unreadable = "a part cannot be read";
        let anchored = Anchored {
            store: word().and_then(|text| bytes(text).ok_or(unreadable))?,
            segment: word()?.parse().map_err(|_| unreadable)?,
            digest: word().and_then(|text| bytes(text).map(Digest).ok_or(unreadable))?,
            batch: word()?.parse().map_err(|_| unreadable)?,
            ledger: word().and_then(|text| bytes(text).map(Digest).ok_or(unreadable))?,
        };
        Ok(anchored)
    }

    /// Whether the store has all that was there when the anchor was written.
    ///
    /// An archive that is behind its anchor is legal, since it is derived: the log above its watermark was checked
    /// already, link by link.
    pub(super) fn judge(&self, folder: &Folder, standing: &Standing<'_>) -> Result<(), Error> {
        let unusable = |problem: String| Err(Error::AnchorUnusable { path: folder.file("head"), problem });
        if self.store != standing.store {
            return unusable("it belongs to another store".to_owned());
        }
        let tip = standing.tip.id;
        if self.segment > tip {
            return Err(Error::Loss { lost: self.segment - tip, tip, anchored: self.segment });
        }
        let digest = match self.segment {
            0 => Some(Digest::START),
            segment if segment == standing.watermark.segment => Some(standing.watermark.digest),
            segment => (standing.segment_digest)(segment)?,
        };
        if digest.is_some_and(|digest| digest != self.digest) {
            return unusable(format!("segment {} had another digest when it was written", self.segment));
        }
        let ledger = match self.batch {
            0 => Some(Digest::START),
            batch if batch > standing.watermark.batches => return Ok(()),
            batch => (standing.ledger_digest)(batch)?,
        };
        if ledger != Some(self.ledger) {
            return unusable(format!("batch {} of the archive had another digest when it was written", self.batch));
        }
        Ok(())
    }
}

/// Reads the anchor. `None` if there is no such file.
///
/// Errors: [`Error::AnchorUnusable`], [`Error::NewerFormat`].
pub(super) fn read(folder: &Folder) -> Result<Option<Anchored>, Error> {
    let path = folder.file("head");
    let file = match no_follow(OpenOptions::new().read(true)).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("reading the anchor", &path, error)),
    };
    let mut line = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut line).map_err(|error| Error::io("reading the anchor", &path, error))?;
    let unusable = |problem: &str| Error::AnchorUnusable { path: path.clone(), problem: problem.to_owned() };
    let line = std::str::from_utf8(&line).map_err(|_| unusable("it is not text"))?;
    let mut words = line.split(' ');
    if words.next() == Some(WORD)
        && let Some(Ok(found)) = words.next().map(str::parse::<u32>)
        && found > VERSION
        // A flipped bit must not pass for the future: a newer line has our checksum too.
        && line.trim_end().rsplit_once(' ').is_some_and(|(body, sum)| sum == checksum(body))
    {
        return Err(Error::NewerFormat { path, found, known: VERSION });
    }
    Anchored::from_line(line).map(Some).map_err(unusable)
}

pub(super) struct SqliteAnchor {
    pub(super) folder: Folder,
    pub(super) store: [u8; 16],
    pub(super) _guard: Guard,
}

impl Anchor for SqliteAnchor {
    fn write(&mut self, log: Tip, watermark: Watermark) -> Result<(), Error> {
        if planted!("anchor-not-written") {
            return Ok(());
        }
        replace(&self.folder, Anchored::of(self.store, log, watermark))
    }
}

/// Writes beside and renames: a crash leaves the old line or the new one, never half of one.
pub(super) fn replace(folder: &Folder, anchored: Anchored) -> Result<(), Error> {
    let (new, path) = (folder.file("head.new"), folder.file("head"));
    let write = || -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = no_follow(&mut options).open(&new)?;
        file.write_all(anchored.to_line().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        Ok(file)
    };
    write().map_err(|error| Error::io("writing the anchor", &path, error))?;
    folder.sync()
}

fn no_follow(options: &mut OpenOptions) -> &mut OpenOptions {
    options.custom_flags(i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0))
}

/// A line: its body, and a checksum over that.
pub(super) fn sealed(body: &str) -> String {
    format!("{body} {}\n", checksum(body))
}

/// 64 bits over the line, against accidents.
fn checksum(body: &str) -> String {
    blake3::hash(body.as_bytes()).to_hex()[..16].to_owned()
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[index * 2..index * 2 + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_reads_back_and_every_changed_or_missing_byte_is_found() {
        let anchored =
            Anchored { store: [7; 16], segment: 41, digest: Digest([1; 32]), batch: 3, ledger: Digest([2; 32]) };
        let line = anchored.to_line();
        assert_eq!(Anchored::from_line(&line), Ok(anchored));
        for index in 0..line.len() {
            let mut changed = line.clone().into_bytes();
            changed[index] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(Anchored::from_line(&changed).is_err(), "bit 0 of byte {index}");
            assert!(Anchored::from_line(&line[..index]).is_err(), "cut to {index} bytes");
        }
    }
}

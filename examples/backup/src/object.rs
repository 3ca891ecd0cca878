//! Contents by their digest: every content is kept once, whatever its names are.

use crate::{Fault, Target};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes that are read at once: large enough that system calls do not count, small enough for many files at a time.
const CHUNK_BYTES: usize = 128 * 1024;
/// The default of zstd itself: a fair ratio at about the speed of a disk.
const LEVEL: i32 = 3;

/// The blake3 digest of a plain content, which is the content's name. As text: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId([u8; 32]);

impl ObjectId {
    /// The name of a content.
    pub fn of(content: &[u8]) -> ObjectId {
        ObjectId(*blake3::hash(content).as_bytes())
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> String {
        id.to_string()
    }
}

impl TryFrom<String> for ObjectId {
    type Error = String;
    fn try_from(text: String) -> Result<ObjectId, String> {
        // Upper case would make a second name for the same content.
        let lower = text.bytes().all(|byte| !byte.is_ascii_uppercase());
        match blake3::Hash::from_hex(&text) {
            Ok(hash) if lower => Ok(ObjectId(*hash.as_bytes())),
            _ => Err(format!("{text:?} is not a digest: 64 hexadecimal digits are one")),
        }
    }
}

/// Reads a content to its end, hands each chunk to `take` and returns name and length.
pub(crate) fn digest(
    content: &mut impl Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(ObjectId, u64)> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let read = match content.read(&mut chunk) {
            Ok(0) => return Ok((ObjectId(*hasher.finalize().as_bytes()), bytes)),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&chunk[..read]);
        take(&chunk[..read])?;
        bytes += read as u64;
    }
}

/// The name and the length of a file's content.
pub fn digest_file(path: &Path) -> io::Result<(ObjectId, u64)> {
    digest(&mut File::open(path)?, |_| Ok(()))
}

/// Which side of a copy failed.
enum Copying {
    Source(io::Error),
    Target(io::Error),
}

impl Target {
    /// Keeps the content of `source` under `id`, if it is not kept yet. Durable on return.
    ///
    /// Errors: [`Fault::Changed`] if the content has another digest by now, [`Fault::Target`].
    pub fn keep(&self, id: ObjectId, source: &mut impl Read, name: &Path) -> Result<(), Fault> {
        let object = self.object(id);
        if object.exists() {
            return Ok(());
        }
        let temporary = self.temporary()?;
        let copied = compress(source, temporary.file()).map_err(|failed| match failed {
            Copying::Source(error) => Fault::reading(name, &error),
            Copying::Target(error) => Fault::target(temporary.path())(error),
        })?;
        if copied != id {
            return Err(Fault::Changed { path: name.display().to_string() });
        }
        // Two files with the same content may come here at once: the later one replaces equal bytes by equal bytes.
        temporary.become_file(&object)
    }

    /// Writes the content `id` to `out` and checks it on the way.
    ///
    /// Errors: [`Fault::Damaged`] if the object is missing or is not what its name says, [`Fault::Target`].
    pub fn fetch(&self, id: ObjectId, out: &mut impl Write) -> Result<u64, Fault> {
        let path = self.object(id);
        let file = File::open(&path).map_err(|error| Fault::damaged(&path, error))?;
        let mut content = zstd::stream::read::Decoder::new(file).map_err(|error| Fault::damaged(&path, error))?;
        let mut failed_to_write = false;
        let copied = digest(&mut content, |chunk| out.write_all(chunk).inspect_err(|_| failed_to_write = true));
        match copied {
            Ok((found, bytes)) if found == id => Ok(bytes),
            Ok((found, _)) => Err(Fault::damaged(&path, format!("its content has the digest {found}"))),
            Err(error) if failed_to_write => Err(Fault::Refused(format!("cannot write the restored file: {error}"))),
            Err(error) => Err(Fault::damaged(&path, error)),
        }
    }
}

fn compress(source: &mut impl Read, file: &File) -> Result<ObjectId, Copying> {
    let mut out = zstd::stream::write::Encoder::new(file, LEVEL).map_err(Copying::Target)?;
    let mut failed_to_write = false;
    let (id, _) = digest(source, |chunk| out.write_all(chunk).inspect_err(|_| failed_to_write = true))
        .map_err(|error| if failed_to_write { Copying::Target(error) } else { Copying::Source(error) })?;
    out.finish().map_err(Copying::Target)?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_content_comes_back_and_a_damaged_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::prepare(folder.path()).unwrap();
        let content = b"tea for two ".repeat(40_000);
        let id = ObjectId::of(&content);
        target.keep(id, &mut content.as_slice(), Path::new("tea")).unwrap();
        let mut back = Vec::new();
        assert_eq!(target.fetch(id, &mut back).unwrap(), content.len() as u64);
        assert_eq!(back, content);

        std::fs::write(target.object(id), zstd::encode_all(&b"coffee"[..], 3).unwrap()).unwrap();
        assert!(matches!(target.fetch(id, &mut Vec::new()), Err(Fault::Damaged { .. })));
        std::fs::remove_file(target.object(id)).unwrap();
        assert!(matches!(target.fetch(id, &mut Vec::new()), Err(Fault::Damaged { .. })));
    }

    #[test]
    fn a_content_that_is_another_one_by_now_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::prepare(folder.path()).unwrap();
        let id = ObjectId::of(b"before");
        let changed = target.keep(id, &mut &b"after"[..], Path::new("file")).unwrap_err();
        assert!(matches!(changed, Fault::Changed { .. }), "{changed}");
        assert_eq!(target.count_objects().unwrap().count, 0);
        assert!(!target.object(id).exists());
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let id = ObjectId::of(b"x");
        assert_eq!(ObjectId::try_from(id.to_string()).unwrap(), id);
        assert!(ObjectId::try_from(id.to_string().to_uppercase()).is_err());
        assert!(ObjectId::try_from("12".to_owned()).is_err());
    }
}

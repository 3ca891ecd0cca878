use crate::listing::{Found, Modified, mode, walk};
use crate::{Entry, Fault, Manifest, object, path_text};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Where a folder and a snapshot do not agree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Where, relative to the folder.
    pub path: String,
    /// How.
    pub problem: String,
    /// Whether the snapshot itself says that it has not got this.
    pub reported: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}

/// Compares a folder with a snapshot, byte for byte by digest: kinds, contents, lengths, modes, times of files, links.
///
/// Times of folders are not compared; they change with every file that comes and goes. Sorted by path.
pub fn compare(manifest: &Manifest, folder: &Path, excluded: &[PathBuf]) -> Result<Vec<Difference>, Fault> {
    // Apart, because a folder that could not be opened is both: an entry, and reported.
    let (mut expected, mut reported) = (BTreeMap::new(), BTreeMap::new());
    for entry in &manifest.entries {
        match entry {
            Entry::Reported { path, problem } => drop(reported.insert(path.as_str(), problem.as_str())),
            _ => drop(expected.insert(entry.path(), entry)),
        }
    }
    let mut differences = Vec::new();
    for found in walk(folder, excluded)? {
        let (path, difference) = match found {
            Found::Folder { path, mode: has, .. } => {
                let difference = match expected.remove(path.as_str()) {
                    Some(Entry::Folder { mode, .. }) => modes(*mode, has),
                    other => unexpected(other, reported.remove(path.as_str()), "folder"),
                };
                (path, difference)
            }
            Found::Link { path, leads_to } => {
                let difference = match expected.remove(path.as_str()) {
                    Some(Entry::Link { leads_to: kept, .. }) if *kept == leads_to => None,
                    Some(Entry::Link { leads_to: kept, .. }) => {
                        Some((format!("the link leads to {leads_to:?}, in the snapshot to {kept:?}"), false))
                    }
                    other => unexpected(other, reported.remove(path.as_str()), "link"),
                };
                (path, difference)
            }
            Found::File { path, .. } => {
                let difference = match expected.remove(path.as_str()) {
                    Some(entry @ Entry::File { .. }) => file(folder, &path, entry)?,
                    other => unexpected(other, reported.remove(path.as_str()), "file"),
                };
                (path, difference)
            }
            Found::Reported { path, problem } => {
                let known = reported.remove(path.as_str()).is_some();
                (path, Some((problem, known)))
            }
        };
        differences.extend(difference.map(|(problem, reported)| Difference { path, problem, reported }));
    }
    let gone = || "in the snapshot, but not in the folder".to_owned();
    differences.extend(expected.into_keys().map(|path| Difference {
        path: path.to_owned(),
        problem: gone(),
        reported: false,
    }));
    differences.extend(reported.into_iter().map(|(path, problem)| Difference {
        path: path.to_owned(),
        problem: format!("not in the snapshot: {problem}"),
        reported: true,
    }));
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(differences)
}

/// What differs, and whether the snapshot says so itself.
type Problem = Option<(String, bool)>;

fn unexpected(entry: Option<&Entry>, reported: Option<&str>, found: &str) -> Problem {
    let kept = match (entry, reported) {
        (None, Some(problem)) => return Some((format!("not in the snapshot: {problem}"), true)),
        (None, None) => return Some(("in the folder, but not in the snapshot".to_owned(), false)),
        (Some(Entry::Folder { .. }), _) => "folder",
        (Some(Entry::Link { .. }), _) => "link",
        (Some(Entry::File { .. } | Entry::Reported { .. }), _) => "file",
    };
    Some((format!("a {found}, in the snapshot a {kept}"), false))
}

fn modes(kept: u32, has: u32) -> Problem {
    (kept != has).then(|| (format!("has the mode {has:o}, in the snapshot {kept:o}"), false))
}

fn file(folder: &Path, path: &str, kept: &Entry) -> Result<Problem, Fault> {
    let Entry::File { mode: kept_mode, modified, bytes, blake3, .. } = kept else { return Ok(None) };
    let file = folder.join(path_text::decode_inside(path)?);
    let read = object::digest_file(&file).and_then(|found| Ok((found, fs::symlink_metadata(&file)?)));
    let ((digest, length), metadata) = match read {
        Ok(read) => read,
        Err(error) => return Ok(Some((format!("cannot be read: {error}"), false))),
    };
    Ok(if length != *bytes {
        Some((format!("has {length} bytes, in the snapshot {bytes}"), false))
    } else if digest != *blake3 {
        Some(("has another content than in the snapshot".to_owned(), false))
    } else if Modified::of(&metadata) != *modified {
        Some(("has the same content, but another time of change".to_owned(), false))
    } else {
        modes(*kept_mode, mode(&metadata))
    })
}

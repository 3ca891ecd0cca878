//! What a folder holds, found by one walk and written to a file in the target.
//!
//! A list of many files does not fit into a recorded result (2 MiB), and need not: the record holds the digest of the
//! file, and pages of it are read when their turn comes.

use crate::{Fault, ObjectId, Target, path_text};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, Metadata};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most files of a page: their results are the input of one activity, about 50 KiB.
const PAGE_FILES: usize = 256;
/// Most bytes of a page's lines, for folders with very long paths: far below the limit of a recorded value.
const PAGE_BYTES: u64 = 256 * 1024;

/// When something was last changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Modified {
    /// Seconds since the Unix epoch; negative before it.
    #[serde(rename = "s")]
    pub seconds: i64,
    /// Nanoseconds within the second.
    #[serde(rename = "n")]
    pub nanos: u32,
}

impl Modified {
    /// Of a file or folder.
    pub fn of(metadata: &Metadata) -> Modified {
        // The system keeps it below one second, so the cast loses nothing.
        Modified { seconds: metadata.mtime(), nanos: metadata.mtime_nsec() as u32 }
    }
}

/// The permission bits of a file or folder, with set-user-id, set-group-id and sticky.
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// One thing that was found. Paths are relative to the source, as [`path_text`] writes them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// A folder, empty or not.
    Folder {
        /// Where.
        path: String,
        /// Its permission bits.
        mode: u32,
        /// When its entries last changed.
        modified: Modified,
    },
    /// A symbolic link. What it leads to is not followed.
    Link {
        /// Where.
        path: String,
        /// What it says, as [`path_text`] writes it.
        leads_to: String,
    },
    /// A file; its content is not read yet.
    File {
        /// Where.
        path: String,
        /// Its length when it was found.
        bytes: u64,
    },
    /// Something that cannot be backed up.
    Reported {
        /// Where.
        path: String,
        /// Why not.
        problem: String,
    },
}

impl Found {
    fn path(&self) -> &str {
        match self {
            Found::Folder { path, .. }
            | Found::Link { path, .. }
            | Found::File { path, .. }
            | Found::Reported { path, .. } => path,
        }
    }
}

/// Walks `source`, without what lies under one of `excluded`. Sorted by path; a folder comes before what is in it.
///
/// Errors: [`Fault::Unreadable`] or [`Fault::Vanished`] if the source itself cannot be read. Anything below it that
/// cannot is reported in the list.
pub fn walk(source: &Path, excluded: &[PathBuf]) -> Result<Vec<Found>, Fault> {
    fs::read_dir(source).map_err(|error| Fault::reading(source, &error))?;
    let mut found = Vec::new();
    let walk = walkdir::WalkDir::new(source).min_depth(1).follow_links(false).into_iter();
    for entry in walk.filter_entry(|entry| !excluded.iter().any(|path| path == entry.path())) {
        match entry {
            Ok(entry) => found.push(look(source, entry.path())),
            Err(error) => {
                let path = relative(source, error.path().unwrap_or(source));
                let problem = error.io_error().map_or_else(|| error.to_string(), ToString::to_string);
                // A folder that cannot be opened was found as a folder already; both lines are true.
                found.push(Found::Reported { path, problem });
            }
        }
    }
    found.sort_by(|a, b| a.path().cmp(b.path()));
    Ok(found)
}

fn relative(source: &Path, path: &Path) -> String {
    path_text::encode(path.strip_prefix(source).unwrap_or(path))
}

fn look(source: &Path, path: &Path) -> Found {
    let text = relative(source, path);
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return Found::Reported { path: text, problem: error.to_string() },
    };
    let kind = metadata.file_type();
    if kind.is_dir() {
        Found::Folder { path: text, mode: mode(&metadata), modified: Modified::of(&metadata) }
    } else if kind.is_symlink() {
        match fs::read_link(path) {
            Ok(leads_to) => Found::Link { path: text, leads_to: path_text::encode(&leads_to) },
            Err(error) => Found::Reported { path: text, problem: error.to_string() },
        }
    } else if kind.is_file() {
        Found::File { path: text, bytes: metadata.len() }
    } else {
        Found::Reported {
            path: text,
            problem: "it is a socket, a pipe or a device; only files have a content".to_owned(),
        }
    }
}

/// A page of a listing: some of its files, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Page {
    /// Path and length of each.
    pub files: Vec<(String, u64)>,
    /// Where the next page begins, in bytes; absent after the last.
    pub next: Option<u64>,
}

/// A file of JSON lines in the work folder of a snapshot, named by its digest.
///
/// The name is recorded, so a file that was altered is found, and one that is written again is the same.
pub fn write_lines<T: Serialize>(target: &Target, snapshot: u64, lines: &[T]) -> Result<ObjectId, Fault> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line).map_err(|error| Fault::Refused(error.to_string()))?;
        bytes.push(b'\n');
    }
    let id = ObjectId::of(&bytes);
    target.write(&target.work(snapshot).join(id.to_string()), &bytes)?;
    Ok(id)
}

/// Reads what [`write_lines`] wrote, and checks it.
pub fn read_lines<T: for<'de> Deserialize<'de>>(target: &Target, snapshot: u64, id: ObjectId) -> Result<Vec<T>, Fault> {
    let path = target.work(snapshot).join(id.to_string());
    let bytes = fs::read(&path).map_err(Fault::target(&path))?;
    if ObjectId::of(&bytes) != id {
        return Err(Fault::damaged(&path, "its content has another digest"));
    }
    let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| Fault::damaged(&path, error))).collect()
}

/// Reads the page of a listing that begins at byte `offset`.
pub fn read_page(target: &Target, snapshot: u64, listing: ObjectId, offset: u64) -> Result<Page, Fault> {
    let path = target.work(snapshot).join(listing.to_string());
    let mut file = File::open(&path).map_err(Fault::target(&path))?;
    file.seek(SeekFrom::Start(offset)).map_err(Fault::target(&path))?;
    let mut file = BufReader::new(file);
    let mut page = Page { files: Vec::new(), next: None };
    let (mut line, mut read) = (String::new(), 0);
    loop {
        line.clear();
        match file.read_line(&mut line).map_err(Fault::target(&path))? as u64 {
            0 => return Ok(page),
            bytes => read += bytes,
        }
        match serde_json::from_str(&line).map_err(|error| Fault::damaged(&path, error))? {
            Found::File { path, bytes } => page.files.push((path, bytes)),
            Found::Folder { .. } | Found::Link { .. } | Found::Reported { .. } => {}
        }
        if page.files.len() >= PAGE_FILES || (read >= PAGE_BYTES && !page.files.is_empty()) {
            page.next = Some(offset + read);
            return Ok(page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_together_are_the_files_of_the_listing() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::prepare(folder.path()).unwrap();
        let snapshot = target.reserve_snapshot(0).unwrap();
        let lines: Vec<_> = (0..1_000u64)
            .map(|number| match number % 5 {
                0 => Found::Link { path: format!("{number:04}"), leads_to: "x".to_owned() },
                _ => Found::File { path: format!("{number:04}{}", "y".repeat(number as usize)), bytes: number },
            })
            .collect();
        let id = write_lines(&target, snapshot, &lines).unwrap();
        assert_eq!(read_lines::<Found>(&target, snapshot, id).unwrap(), lines);
        let (mut files, mut next, mut pages) = (Vec::new(), Some(0), 0);
        while let Some(offset) = next {
            let page = read_page(&target, snapshot, id, offset).unwrap();
            assert!(page.files.len() <= PAGE_FILES);
            files.extend(page.files);
            next = page.next;
            pages += 1;
        }
        assert_eq!(files.len(), 800);
        assert!(files.is_sorted() && pages >= 4, "{pages}");
    }

    #[test]
    fn what_is_excluded_is_not_entered_and_odd_things_are_reported() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("a/target/objects")).unwrap();
        fs::write(root.join("a/file"), "x").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let found = walk(root, &[root.join("a/target")]).unwrap();
        let paths: Vec<_> = found.iter().map(Found::path).collect();
        assert_eq!(paths, ["a", "a/file", "socket"]);
        assert!(matches!(&found[2], Found::Reported { .. }));
        assert!(walk(&root.join("nothing"), &[]).is_err());
    }
}

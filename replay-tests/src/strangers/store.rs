use super::{ask, execute, scratch};
use antiphon_history::{Segment, Timestamp};
use antiphon_recorder::conformance::Sample;
use antiphon_recorder::sqlite::{self, Options};
use antiphon_recorder::{Durability, Tip, strangers};
use rusqlite::Connection;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Nothing is to survive here, and no room is kept.
const OPTIONS: Options = Options {
    durability: Durability::Process,
    accept_loss: false,
    min_free_bytes: u64::MAX,
    allow_network_volume: false,
};

/// The folder of a small sound store, made once in a process, closed.
pub(super) fn sound() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch().join("sound");
        let segments = Sample::new(77).segments(Tip::START, 12);
        let mut store = sqlite::open(&folder, &OPTIONS).expect("a new store opens");
        segments.iter().for_each(|segment| store.log.append(segment).expect("a sample can be appended"));
        segments[..8].chunks(3).for_each(|some| _ = store.archive.fold(some).expect("a sample can be folded"));
        store.anchor.write(store.log.tip(), store.archive.watermark()).expect("the anchor can be written");
        folder
    })
}

/// A store that a stranger prepared: the first byte says where, the second and third choose there, the rest is put there,
/// under digests and checksums that fit. Then everything that reads stores reads it.
pub fn store(bytes: &[u8]) {
    let Some((&[place, first, second], content)) = bytes.split_first_chunk() else { return };
    let folder = scratch().join("hostile");
    let _ = std::fs::remove_dir_all(&folder);
    copy(sound(), &folder);
    // What SQLite itself refuses to take was not prepared; it is looked at as far as it came.
    let _ = prepare(&folder, place, [first, second], content);
    look_at(&folder);
}

fn prepare(folder: &Path, place: u8, choice: [u8; 2], content: &[u8]) -> Result<(), rusqlite::Error> {
    let open = |file: &str| Connection::open(folder.join(file));
    let number = i64::from_le_bytes(std::array::from_fn(|index| content.get(index).copied().unwrap_or(0)));
    let value = |of: [&'static str; 4]| of[usize::from(choice[0]) % 4];
    match place % 10 {
        0 => {
            let log = open("log.db")?;
            let (id, digest) = log.query_row("SELECT id, digest FROM segment ORDER BY id DESC LIMIT 1", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?))
            })?;
            let (id, digest) = (id.cast_unsigned() + 1, antiphon_history::Digest(digest));
            let Segment { digest, .. } = Segment::seal(digest, id, Timestamp(number), content.into());
            let values = (id.cast_signed(), number, &digest.0[..], content);
            log.execute("INSERT INTO segment VALUES (?1, ?2, ?3, ?4)", values).map(|_| ())
        }
        1 => {
            let sql = "UPDATE run SET row = ?1 WHERE key = ?2";
            open("archive.db")?.execute(sql, (strangers::sealed_row(content), 1)).map(|_| ())
        }
        2 => {
            let sql = "UPDATE block SET body = ?1 WHERE ?2 % 2 = 1 OR id = 1 + ?2 % (SELECT count(*) FROM block)";
            open("archive.db")?.execute(sql, (content, choice[0])).map(|_| ())
        }
        3 if choice[0].is_multiple_of(2) => {
            open("archive.db")?.execute("UPDATE name SET entries = ?1", [content]).map(|_| ())
        }
        3 => {
            let entries = content.get(8..).unwrap_or_default();
            open("archive.db")?.execute("INSERT OR REPLACE INTO name VALUES (?1, ?2)", (number, entries)).map(|_| ())
        }
        4 => {
            let sql = "INSERT OR REPLACE INTO tally VALUES (?1, ?2, ?3)";
            let (archive, name) = (open("archive.db")?, String::from_utf8_lossy(content.get(8..).unwrap_or_default()));
            // Several, since one count alone is never too great to be added to another.
            (0..3)
                .try_for_each(|more| archive.execute(sql, (format!("{name}{more}"), choice[0] % 8, number)).map(|_| ()))
        }
        5 => {
            let column = value(["segment", "batches", "at_ms", "format_minor"]);
            open("archive.db")?.execute(&format!("UPDATE meta SET {column} = ?1"), [number]).map(|_| ())
        }
        6 => {
            let column = value(["block", "status", "due_ms", "needs_loading"]);
            open("archive.db")?.execute(&format!("UPDATE run SET {column} = ?1"), [number]).map(|_| ())
        }
        7 => {
            let sql = "INSERT OR REPLACE INTO history VALUES (?1, ?2, 1, zeroblob(32), ?3)";
            let (archive, run) = (open("archive.db")?, choice[0] % 4);
            archive.execute("UPDATE run SET block = 0 WHERE key = ?1", [run])?;
            archive.execute(sql, (run, i64::from(choice[1] % 3), content)).map(|_| ())
        }
        8 => {
            let _ = std::fs::write(folder.join("head"), content);
            Ok(())
        }
        _ => {
            overwrite(
                &folder.join(value(["log.db", "archive.db", "log.db-wal", "archive.db-wal"])),
                choice[1],
                content,
            );
            Ok(())
        }
    }
}

/// Puts bytes over the pages of a file.
fn overwrite(path: &Path, page: u8, content: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap_or_default();
    let pages = (bytes.len() / 4096).max(1);
    let at = usize::from(page) % pages * 4096;
    bytes.resize(bytes.len().max(at + content.len()), 0);
    bytes[at..at + content.len()].copy_from_slice(content);
    std::fs::write(path, bytes).expect("the scratch folder can be written");
}

fn look_at(folder: &Path) {
    if let Ok(mut snapshot) = sqlite::snapshot(folder) {
        ask(snapshot.as_mut());
    }
    let _ = sqlite::verify(folder);
    let exported = scratch().join("exported");
    let run = |command: &str, args: &[&str]| {
        let words = [command.into(), folder.as_os_str().to_owned()];
        execute(words.into_iter().chain(args.iter().map(OsString::from)))
    };
    let _ = (run("list", &[]), run("stats", &["--json"]), run("verify", &["--json"]), run("dump", &["w-1"]));
    let _ = (run("show", &["w-1"]), run("show", &["w-2", "--json"]));
    let _ = run("export", &["w-1", &exported.to_string_lossy(), "--force"]);
    if let Ok(mut store) = sqlite::open(folder, &OPTIONS) {
        ask(store.reader.as_mut());
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("the scratch folder can be written");
    for entry in std::fs::read_dir(from).expect("the sound store can be read") {
        let path = entry.expect("the sound store can be read").path();
        let name = path.file_name().expect("an entry has a name");
        std::fs::copy(&path, to.join(name)).expect("the scratch folder can be written");
    }
}

//! Whether the tables of a file are those that Antiphon made. A file may come from anybody: under the name of a table a
//! stranger can put a view that never ends, or beside it a trigger that writes what nobody asked for.

use super::db::{Db, DbFile};
use super::schema::{ARCHIVE_INDEXES, ARCHIVE_META, ARCHIVE_RUNS, Format, LOG};
use crate::Error;
use std::collections::BTreeMap;

/// What an archive of the first format had in place of [`ARCHIVE_RUNS`], and the indexes that went with it.
const ARCHIVE_RUNS_BEFORE: &str = "
CREATE TABLE run (
    key INTEGER PRIMARY KEY, fingerprint INTEGER NOT NULL, run_id BLOB NOT NULL, status INTEGER NOT NULL,
    due_ms INTEGER, needs_loading INTEGER NOT NULL, row BLOB NOT NULL
);
CREATE INDEX run_fingerprint ON run (fingerprint);
CREATE INDEX run_run_id ON run (run_id);
";

/// Compares every object of the schema with the text that made it. Reads no table but SQLite's own.
///
/// A later minor format may bring tables with their indexes; those are plain, and ours stay as they are. Errors: as for
/// damage, naming the object.
pub(super) fn check(db: &Db, format: Format) -> Result<(), Error> {
    let mut ours = made(db.file, format);
    let tables: Vec<&str> = ours.keys().copied().collect();
    let failed = db.failed("reading the schema");
    let mut statement = db.conn.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema").map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    while let Some(row) = rows.next().map_err(&failed)? {
        let text = |column| row.get::<_, String>(column).map_err(&failed);
        let (kind, name, table) = (text(0)?, text(1)?, text(2)?);
        // An index that a key of a table brings along has no text.
        let sql = row.get::<_, Option<String>>(3).map_err(&failed)?;
        let is_sound = match (ours.remove(&name[..]), &sql) {
            (Some(made), Some(found)) => made == found,
            (Some(_), None) => false,
            (None, None) => kind == "index" && name.starts_with("sqlite_autoindex_"),
            (None, Some(found)) => match &kind[..] {
                "table" => found.starts_with("CREATE TABLE "),
                "index" => !tables.contains(&&table[..]),
                _ => false,
            },
        };
        if !is_sound {
            return Err(db.damaged(format!("its {kind} {name:?} is not what Antiphon makes")));
        }
    }
    match ours.into_keys().next() {
        Some(missing) => Err(db.damaged(format!("it has no {missing:?}"))),
        None => Ok(()),
    }
}

/// By name, the texts of all that we make in a file.
fn made(file: DbFile, format: Format) -> BTreeMap<&'static str, &'static str> {
    let texts = match (file, format) {
        (DbFile::Log, _) => &[LOG][..],
        (DbFile::Archive, Format::Parts) => &[ARCHIVE_META, ARCHIVE_RUNS_BEFORE, ARCHIVE_INDEXES],
        (DbFile::Archive, Format::Blocks) => &[ARCHIVE_META, ARCHIVE_RUNS, ARCHIVE_INDEXES],
    };
    let statements = texts.iter().flat_map(|text| text.split(';')).map(str::trim).filter(|text| !text.is_empty());
    // The third word: CREATE TABLE name, CREATE INDEX name.
    statements.filter_map(|text| Some((text.split_whitespace().nth(2)?, text))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::db::Access;
    use super::super::folder::Folder;
    use super::super::{Options, open, snapshot, verify};
    use super::*;

    #[test]
    fn what_a_store_is_made_of_is_what_is_asked_of_it() {
        let path = tempfile::tempdir().unwrap();
        drop(open(path.path(), &Options::default()).unwrap());
        let folder = Folder::existing(path.path()).unwrap();
        for file in [DbFile::Log, DbFile::Archive] {
            let db = Db::open(&folder, file, Access::Peek).unwrap();
            check(&db, Format::Blocks).unwrap();
            let objects = "SELECT count(*) FROM sqlite_schema WHERE sql IS NOT NULL";
            let objects: i64 = db.conn.query_row(objects, [], |row| row.get(0)).unwrap();
            assert_eq!(made(file, Format::Blocks).len() as i64, objects);
        }
    }

    /// SQL by which a stranger prepares a file, and whether it is refused.
    const STRANGERS: [(&str, &str, bool); 10] = [
        (
            "log.db",
            "DROP TABLE segment; CREATE VIEW segment AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
             SELECT id, 0 AS at_ms, x'' AS digest, x'' AS body FROM n",
            true,
        ),
        ("archive.db", "DROP TABLE meta; CREATE VIEW meta AS SELECT 1 AS one", true),
        ("log.db", "CREATE TRIGGER more AFTER INSERT ON segment BEGIN DELETE FROM segment; END", true),
        ("archive.db", "CREATE VIEW runs AS SELECT * FROM run", true),
        ("archive.db", "CREATE UNIQUE INDEX once ON run (status)", true),
        ("archive.db", "ALTER TABLE run ADD COLUMN more AS (printf('%.*c', 100000000, 'x'))", true),
        ("archive.db", "DROP INDEX run_due", true),
        ("archive.db", "DROP TABLE payload", true),
        ("archive.db", "CREATE TABLE of_a_later_minor (key INTEGER PRIMARY KEY, text TEXT UNIQUE)", false),
        ("log.db", "ANALYZE", false),
    ];

    #[test]
    fn a_connection_of_ours_changes_no_schema_behind_sqlites_back_and_trusts_no_functions_in_it() {
        let path = tempfile::tempdir().unwrap();
        drop(open(path.path(), &Options::default()).unwrap());
        let folder = Folder::existing(path.path()).unwrap();
        let tricks = [
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE meta (one)' WHERE name = 'meta'",
            "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema",
        ];
        // What calls a function that reaches outside the database: refused in a schema that is not trusted.
        let reaching = "CREATE VIEW reaching AS SELECT fts3_tokenizer('x')";
        rusqlite::Connection::open(path.path().join("archive.db")).unwrap().execute_batch(reaching).unwrap();
        for access in [Access::Read, Access::Write(crate::Durability::Full), Access::Checkpoint] {
            let db = Db::open(&folder, DbFile::Archive, access).unwrap();
            for trick in tricks {
                assert!(db.conn.execute_batch(trick).is_err(), "{trick}");
            }
            let reached = db.conn.query_row("SELECT * FROM reaching", [], |_| Ok(()));
            assert!(reached.unwrap_err().to_string().contains("unsafe use"), "{access:?}");
        }
    }

    #[test]
    fn views_triggers_and_tables_of_another_make_are_refused_before_they_are_read() {
        for (file, sql, refused) in STRANGERS {
            let path = tempfile::tempdir().unwrap();
            drop(open(path.path(), &Options::default()).unwrap());
            rusqlite::Connection::open(path.path().join(file)).unwrap().execute_batch(sql).unwrap();
            let code = if file == "log.db" { "A0006" } else { "A0008" };
            let codes = [
                open(path.path(), &Options::default()).err().and_then(|error| error.code()),
                snapshot(path.path()).err().and_then(|error| error.code()),
                verify(path.path()).err().and_then(|error| error.code()),
            ];
            assert_eq!(codes, [refused.then_some(code); 3], "{sql}");
        }
    }
}

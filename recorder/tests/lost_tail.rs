//! A tail of the log that the archive has and the log has not: legal, and nothing to complain of later.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_recorder::Tip;
use antiphon_recorder::conformance::{Sample, picture};
use antiphon_recorder::sqlite::{self, Options};

/// A segment that a killed engine has written but not synced is found and archived by the next one. A power cut then takes
/// it from the log, which goes on behind it.
#[test]
fn a_log_that_lost_what_the_archive_has_goes_on_and_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut sample = Sample::new(57);
    let segments = sample.segments(Tip::START, 6);
    {
        let mut store = sqlite::open(folder.path(), &Options::default()).unwrap();
        segments[..3].iter().for_each(|segment| store.log.append(segment).unwrap());
        store.archive.fold(&segments[..3]).unwrap();
    }
    let log = rusqlite::Connection::open(folder.path().join("log.db")).unwrap();
    assert_eq!(log.execute("DELETE FROM segment WHERE id = 3", []).unwrap(), 1);
    drop(log);
    let whole = || {
        let report = sqlite::verify(folder.path()).unwrap();
        assert!(report.is_whole(), "{:?}", report.problems);
        picture(sqlite::snapshot(folder.path()).unwrap().as_mut()).unwrap().rows.len()
    };
    let before = whole();
    let mut store = sqlite::open(folder.path(), &Options::default()).unwrap();
    assert_eq!(store.log.tip(), Tip::of(&segments[2]), "it goes on where the archive ends");
    segments[3..].iter().for_each(|segment| store.log.append(segment).unwrap());
    whole();
    store.archive.fold(&segments[3..]).unwrap();
    drop(store);
    assert!(whole() >= before);
    drop(sqlite::open(folder.path(), &Options::default()).unwrap());
    whole();
}

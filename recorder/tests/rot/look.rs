//! Looks at a damaged store in every way there is, and compares what it says with what was written.

use antiphon_history::payload_digest;
use antiphon_recorder::conformance::Picture;
use antiphon_recorder::sqlite::{self, Options};
use antiphon_recorder::{Durability, Error, Filter, Reader};
use std::collections::BTreeSet;
use std::path::Path;

/// Closing and syncing are not what is looked at here.
pub const OPTIONS: Options = Options {
    durability: Durability::Process,
    accept_loss: false,
    min_free_bytes: u64::MAX,
    allow_network_volume: false,
};

/// Who noticed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Found {
    /// Nothing is different in anything that can be asked.
    Harmless,
    /// The store opens and everything that it hands out is right, but `verify` says that it is damaged.
    ByVerify,
    /// The store opens, and some of what is asked for is answered by an error.
    ByReading,
    /// The store does not open.
    ByOpening,
}

/// What a reader said that is not so.
#[derive(Default)]
struct Differences {
    /// A row, history or payload other than the one that was written.
    wrong: Vec<String>,
    /// Something is not found, listed or counted as it should be.
    astray: Vec<String>,
    /// Answers that were errors.
    errors: usize,
}

/// Everything there is to ask, in two copies of the damaged folder: one is only read, the other is opened for writing.
///
/// Errors: what must not be, in words.
pub fn look(read: &Path, opened: &Path, expected: &Picture) -> Result<Found, String> {
    let problems = match sqlite::verify(read) {
        Ok(report) => report.problems.iter().map(ToString::to_string).collect(),
        Err(error) => vec![named(&error)?],
    };
    let mut found = if problems.is_empty() { Found::Harmless } else { Found::ByVerify };
    let mut judge = |who: &str, differences: Differences| {
        if let Some(wrong) = differences.wrong.first() {
            return Err(format!("{who} hands out what was never written: {wrong}"));
        }
        if problems.is_empty() && !differences.astray.is_empty() {
            return Err(format!("{who} says otherwise, and verify found nothing: {}", differences.astray.join("; ")));
        }
        if differences.errors > 0 {
            if problems.is_empty() {
                return Err(format!("{who} cannot read everything, and verify found nothing"));
            }
            found = found.max(Found::ByReading);
        }
        Ok(())
    };
    match sqlite::snapshot(read) {
        Ok(mut snapshot) => judge("the snapshot", compare(snapshot.as_mut(), expected)?)?,
        Err(error) => {
            _ = judge("the snapshot", Differences { errors: 1, ..Differences::default() }).and(named(&error))?
        }
    }
    match sqlite::open(opened, &OPTIONS) {
        Ok(mut store) => judge("the open store", compare(store.reader.as_mut(), expected)?)?,
        Err(error) => {
            named(&error)?;
            if problems.is_empty() {
                return Err(format!("it does not open, and verify found nothing: {error}"));
            }
            found = Found::ByOpening;
        }
    }
    Ok(found)
}

/// An error must have a page, which a person can go on from.
fn named(error: &Error) -> Result<String, String> {
    match error.code() {
        Some(code) if error.to_string().contains(code) => Ok(error.to_string()),
        _ => Err(format!("an error without a page: {error}")),
    }
}

fn compare(reader: &mut dyn Reader, expected: &Picture) -> Result<Differences, String> {
    let mut differences = Differences::default();
    let all = Filter { limit: usize::MAX, ..Filter::default() };
    let listed = answer(reader.list(&all), &mut differences)?;
    for row in listed.iter().flatten().filter(|row| !expected.rows.contains(row)) {
        differences.wrong.push(format!("a listed row of run {}", row.key.0));
    }
    let mut payloads: BTreeSet<antiphon_history::Digest> = BTreeSet::new();
    for row in &expected.rows {
        let (run, history) = (row.key, &expected.histories[&row.key]);
        payloads.extend(history.payloads.keys());
        let found = answer(reader.row(run), &mut differences)?;
        differences.check(found.map(|found| found.map(|found| found == *row)), || format!("the row of run {}", run.0));
        let found = answer(reader.history(run), &mut differences)?;
        let same = found.map(|found| found.map(|found| found == *history));
        differences.check(same, || format!("the history of run {}", run.0));
        let newest = expected.rows.iter().find(|other| other.workflow == row.workflow);
        let found = answer(reader.find(&row.workflow), &mut differences)?;
        differences.same(found.map(|found| found.as_ref() == newest), || format!("the newest run of {}", row.workflow));
    }
    for digest in &payloads {
        let found = answer(reader.payload(*digest), &mut differences)?;
        let same = found.map(|found| found.map(|bytes| payload_digest(&bytes) == *digest));
        differences.check(same, || format!("payload {digest:?}"));
    }
    let rows = listed.map(|rows| rows == expected.rows);
    differences.same(rows, || "the list of all runs".to_owned());
    let found = answer(reader.count_by_status(), &mut differences)?;
    differences.same(found.map(|found| found == expected.by_status), || "counts by status".to_owned());
    let found = answer(reader.count_open_by_type(), &mut differences)?;
    differences.same(found.map(|found| found == expected.open_by_type), || "counts by type".to_owned());
    let found = answer(reader.needs_loading(), &mut differences)?;
    differences.same(found.map(|found| found == expected.needs_loading), || "runs to load".to_owned());
    let found = answer(reader.due_before(antiphon_history::Timestamp(i64::MAX), usize::MAX), &mut differences)?;
    differences.same(found.map(|found| found == expected.due), || "due runs".to_owned());
    let found = answer(reader.last_run_key(), &mut differences)?;
    differences.same(found.map(|found| found == expected.last_run_key), || "the last key".to_owned());
    Ok(differences)
}

fn answer<T>(answer: Result<T, Error>, differences: &mut Differences) -> Result<Option<T>, String> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => {
            differences.errors += 1;
            named(&error).map(|_| None)
        }
    }
}

impl Differences {
    /// `same`: nothing if the answer was an error, or nothing was found; else whether it is what was written.
    fn check(&mut self, same: Option<Option<bool>>, what: impl Fn() -> String) {
        match same {
            Some(Some(false)) => self.wrong.push(what()),
            Some(None) => self.astray.push(format!("{} is gone", what())),
            Some(Some(true)) | None => {}
        }
    }

    fn same(&mut self, same: Option<bool>, what: impl Fn() -> String) {
        if same == Some(false) {
            self.astray.push(what());
        }
    }
}

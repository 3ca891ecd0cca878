use super::entities::{self, Entities};
use super::find::{RunArg, StoreArg, each_row, history, open, short};
use super::output::{Out, Paint, clean};
use super::timeline::{Entry, Timeline};
use super::{Error, Exit};
use antiphon_history::{HistoryFile, RunId, WorkflowKey};
use antiphon_recorder::Filter;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  antiphon dump data order-7
  antiphon dump data routine:nightly
  antiphon dump data order-7 --json | jq 'select(.event == \"Exited\")'
  antiphon dump data --all --json > everything.jsonl";

/// `antiphon dump`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Dump {
    #[command(flatten)]
    store: StoreArg,
    /// A workflow id (its newest run), a run id, the beginning or end of one, or what else has events: audit, workers,
    /// dead-letters, queue:NAME, routing:NAME, routine:ID
    #[arg(value_name = "RUN", required_unless_present = "all")]
    run: Option<String>,
    /// The namespace of the workflow id
    #[arg(long, value_name = "NAME", default_value = WorkflowKey::DEFAULT_NAMESPACE)]
    namespace: String,
    /// Every run of the store, newest first, and then all else
    #[arg(long, conflicts_with = "run")]
    all: bool,
}

impl Dump {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let store: &PathBuf = &self.store.store;
        if let Some(run) = &self.run {
            if let Some(timeline) = self.entity(run)? {
                print(&timeline, false, out)?;
                return Ok(Exit::Done);
            }
            let wanted = RunArg { store: store.clone(), run: run.clone(), namespace: self.namespace.clone() };
            let (row, file) = wanted.load()?;
            return dump(&file, row.run_id, &store.display().to_string(), false, out);
        }
        let mut reader = open(store)?;
        each_row(reader.as_mut(), &Filter::default(), |reader, row| {
            let file = history(reader, &row, store)?;
            dump(&file, row.run_id, &store.display().to_string(), true, out).map(|_| true)
        })?;
        for row in Entities::read(reader.as_mut())?.rows() {
            print(&entities::timeline(reader.as_mut(), row, store)?, true, out)?;
        }
        Ok(Exit::Done)
    }

    /// The entity of a name, unless a run has that id.
    fn entity(&self, name: &str) -> Result<Option<Timeline>, Error> {
        let store: &PathBuf = &self.store.store;
        if !entities::may_be(name) {
            return Ok(None);
        }
        let mut reader = open(store)?;
        if reader.find(&WorkflowKey { namespace: self.namespace.clone(), id: name.to_owned() })?.is_some() {
            return Ok(None);
        }
        match Entities::read(reader.as_mut())?.named(name) {
            Some(row) => entities::timeline(reader.as_mut(), row, store).map(Some),
            None => Ok(None),
        }
    }
}

fn dump(file: &HistoryFile, run: RunId, store: &str, named: bool, out: &mut Out<'_>) -> Result<Exit, Error> {
    let timeline =
        Timeline::read(file).map_err(|source| Error::Run { store: store.to_owned(), run: run.to_string(), source })?;
    print(&timeline, named, out)?;
    Ok(Exit::Done)
}

/// Prints every event in the order of its appending; `named` puts the run, or the entity's name, before each.
pub(super) fn print(timeline: &Timeline, named: bool, out: &mut Out<'_>) -> Result<(), Error> {
    let row = &timeline.row;
    let (whole, brief) = match &row.entity {
        Some(entity) => (entity.name.to_string(), entity.name.to_string()),
        None => (row.run_id.to_string(), short(row.run_id)),
    };
    for entry in &timeline.entries {
        if out.json {
            out.json(&entry.json(&whole))?;
        } else {
            let line = line(entry, named.then_some(&brief), out);
            out.line(line)?;
        }
    }
    Ok(())
}

fn line(entry: &Entry, run: Option<&String>, out: &Out<'_>) -> String {
    let run = run.map(|run| format!("{} ", clean(run))).unwrap_or_default();
    let at = out.style.paint(Paint::Dim, &out.style.zone.date_time(entry.at));
    let text = clean(&entry.text());
    let (name, rest) = text.split_once(' ').unwrap_or((&text, ""));
    let name = out.style.paint(Paint::Strong, name);
    format!("{run}{at} {:>6} {:>4}  {name} {rest}", entry.stream.to_string(), entry.seq).trim_end().to_owned()
}

use super::entities::Entities;
use super::explain::picture;
use super::find::{StoreArg, open, short};
use super::json::{self, Json};
use super::output::{Out, Paint};
use super::queues::{depths, fields};
use super::time::duration;
use super::{Error, Exit};
use antiphon_engine::QueueStats;
use antiphon_history::{CatalogueRow, RoutineStatus, RunKey, RunStatus};
use antiphon_recorder::{Filter, Reader};
use std::path::Path;

const EXAMPLES: &str = "\
Examples:
  antiphon stats data
  antiphon stats data --json | jq .runs.blocked";

/// `antiphon stats`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Stats {
    #[command(flatten)]
    store: StoreArg,
}

impl Stats {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let store = &self.store.store;
        let mut reader = open(store)?;
        let counts = reader.count_by_status()?;
        let count = |status: RunStatus| counts.get(&status).copied().unwrap_or(0);
        let types = reader.count_open_by_type()?;
        let oldest = oldest_open(reader.as_mut())?;
        let depths = depths(&picture(reader.as_mut(), None, out)?);
        let found = Entities::read(reader.as_mut())?;
        let letters = found.dead_letters().map_or((0, 0, 0), |state| {
            let (held, told) = state.open();
            (held as u64, told as u64, state.dropped())
        });
        let there = found.workers().map_or((0, 0, 0), |state| {
            let draining = state.present.values().filter(|record| record.draining).count();
            (state.present.len() - draining, draining, state.gone.len())
        });
        let standing = |status: RoutineStatus| found.routines().filter(|(_, state)| state.status() == status).count();
        let routines = RoutineStatus::ALL.map(|status| (status, standing(status)));
        let files = files(store)?;
        let total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
        if out.json {
            let file = |(name, bytes): &(String, u64)| {
                Json::Object(vec![("name", name.as_str().into()), ("bytes", (*bytes).into())])
            };
            let of_type = |(name, open): (&String, &u64)| {
                Json::Object(vec![("workflow_type", name.as_str().into()), ("open", (*open).into())])
            };
            let of_queue = |(queue, stats): (&String, &QueueStats)| {
                let mut all = vec![("queue", queue.as_str().into())];
                all.extend(fields(stats));
                Json::Object(all)
            };
            out.json(&Json::Object(vec![
                ("runs", Json::Object(RunStatus::ALL.map(|status| (status.name(), count(status).into())).to_vec())),
                ("open_by_type", Json::List(types.iter().map(of_type).collect())),
                ("oldest_open", oldest.as_ref().map_or(Json::Null, |row| Json::Object(json::row(row)))),
                ("files", Json::List(files.iter().map(file).collect())),
                ("bytes", total.into()),
                ("queues", Json::List(depths.iter().map(of_queue).collect())),
                (
                    "workers",
                    Json::Object(vec![
                        ("there", there.0.into()),
                        ("draining", there.1.into()),
                        ("gone", there.2.into()),
                    ]),
                ),
                (
                    "dead_letters",
                    Json::Object(vec![
                        ("held", letters.0.into()),
                        ("told", letters.1.into()),
                        ("dropped", letters.2.into()),
                    ]),
                ),
                ("routines", Json::Object(routines.map(|(status, count)| (status.name(), count.into())).to_vec())),
            ]))?;
            return Ok(Exit::Done);
        }
        for status in RunStatus::ALL {
            let name = format!("{:<10}", status.name());
            out.line(format!("{} {:>10}", out.style.paint(Paint::of(status), &name), count(status)))?;
        }
        out.line("")?;
        for (name, open) in &types {
            out.line(format!("open of type {}: {open}", super::output::clean(name)))?;
        }
        match &oldest {
            None => out.line("no open run")?,
            Some(row) => out.line(format!(
                "oldest open run: {} ({}), since {}, {} ago",
                super::output::clean(&row.workflow.to_string()),
                short(row.run_id),
                out.style.zone.date_time(row.started_at),
                duration(out.style.now.since_ms(row.started_at)),
            ))?,
        }
        for (queue, stats) in &depths {
            let oldest = stats.oldest_ms.map(|ms| format!(", oldest {}", duration(ms)));
            out.line(format!(
                "queue {}: {} waiting{}, {} in flight, {} held",
                super::output::clean(queue),
                stats.takeable(),
                oldest.unwrap_or_default(),
                stats.in_flight,
                stats.held
            ))?;
        }
        if there != (0, 0, 0) {
            let (there, draining, gone) = there;
            out.line(format!("workers: {there} there, {draining} draining, {gone} gone"))?;
        }
        if letters != (0, 0, 0) {
            let (held, told, _) = letters;
            out.line(format!("dead letters: {held} held, {told} told to their workflows"))?;
        }
        let some: Vec<_> = routines.iter().filter(|(_, count)| *count > 0).collect();
        if !some.is_empty() {
            let counts: Vec<_> = some.iter().map(|(status, count)| format!("{count} {status}")).collect();
            out.line(format!("routines: {}", counts.join(", ")))?;
        }
        out.line("")?;
        for (name, bytes) in &files {
            out.line(format!("{:>14} bytes  {}", bytes, super::output::clean(name)))?;
        }
        out.line(format!("{total:>14} bytes  in all"))?;
        Ok(Exit::Done)
    }
}

fn oldest_open(reader: &mut dyn Reader) -> Result<Option<CatalogueRow>, Error> {
    let running = oldest(reader, RunStatus::Running)?;
    let blocked = oldest(reader, RunStatus::Blocked)?;
    Ok([running, blocked].into_iter().flatten().min_by_key(|row| row.key))
}

/// The run of a status with the least key. Lists go from the newest on, so the key is found by halving: about twenty
/// short questions in a store of a million runs, instead of reading them all.
fn oldest(reader: &mut dyn Reader, status: RunStatus) -> Result<Option<CatalogueRow>, Error> {
    let mut newest_below = |key: u64| -> Result<Option<CatalogueRow>, Error> {
        let filter = Filter { status: Some(status), before_key: Some(RunKey(key)), limit: 1, ..Filter::default() };
        Ok(reader.list(&filter)?.pop())
    };
    let mut found = newest_below(u64::MAX >> 1)?;
    // Below `low` there is none; the least is at most the one found.
    let mut low = 0;
    while let Some(row) = &found
        && low < row.key.0
    {
        let middle = low + (row.key.0 - low) / 2;
        match newest_below(middle + 1)? {
            Some(older) if older.key < row.key => found = Some(older),
            _ => low = middle + 1,
        }
    }
    Ok(found)
}

/// The store's files with their sizes, by name.
fn files(store: &Path) -> Result<Vec<(String, u64)>, Error> {
    let failed = |source| Error::File { doing: "read", path: store.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(store).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // A file may go while we look (SQLite's own); what is gone has no size.
        if let Ok(metadata) = entry.metadata()
            && metadata.is_file()
        {
            files.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
        }
    }
    files.sort();
    Ok(files)
}

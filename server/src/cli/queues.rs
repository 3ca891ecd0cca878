use super::entities::Entities;
use super::explain::picture;
use super::find::{StoreArg, open};
use super::json::Json;
use super::output::{Out, Paint};
use super::table::Table;
use super::time::duration;
use super::{Error, Exit};
use antiphon_engine::{BACKING_OFF, Partition, QueueStats};
use antiphon_history::{QueueSettings, QueueState};
use std::collections::{BTreeMap, BTreeSet};

const EXAMPLES: &str = "\
Counts what is open, by the code that decides; every open run with activities is looked at: prefer a copy of a large store,
or ask the engine itself.

Examples:
  antiphon queues data
  antiphon queues data mail
  antiphon queues data --json | jq 'select(.waiting > 100)'";

/// `antiphon queues`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Queues {
    #[command(flatten)]
    store: StoreArg,
    /// Only this task queue
    #[arg(value_name = "QUEUE")]
    queue: Option<String>,
}

/// What is open, by task queue.
pub(super) fn depths(picture: &Partition) -> BTreeMap<String, QueueStats> {
    picture.queue_views().into_iter().map(|view| (view.queue.to_string(), view.stats)).collect()
}

/// What is open on a task queue, as JSON.
pub(super) fn fields(stats: &QueueStats) -> Vec<(&'static str, Json)> {
    let kinds = waiting_for(stats)
        .map(|(kind, count)| Json::Object(vec![("kind", kind.into()), ("count", count.into())]))
        .collect();
    vec![
        ("waiting", stats.takeable().into()),
        ("in_flight", stats.in_flight.into()),
        ("backing_off", stats.backing_off().into()),
        ("held", stats.held.into()),
        ("oldest_ms", stats.oldest_ms.into()),
        ("waiting_for", Json::List(kinds)),
    ]
}

/// Why no worker has what could be taken.
fn waiting_for(stats: &QueueStats) -> impl Iterator<Item = (&'static str, u64)> {
    stats.reasons.iter().filter(|(kind, _)| **kind != BACKING_OFF).map(|(kind, count)| (*kind, *count))
}

impl Queues {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let mut reader = open(&self.store.store)?;
        let picture = picture(reader.as_mut(), None, out)?;
        let found = Entities::read(reader.as_mut())?;
        let depths = depths(&picture);
        let subscribed = |queue: &str| {
            let present = found.workers().into_iter().flat_map(|state| state.present.values());
            present.filter(|record| record.offer.queues.contains(queue)).count()
        };
        let mut names: BTreeSet<&str> = depths.keys().map(String::as_str).collect();
        names.extend(
            found
                .workers()
                .into_iter()
                .flat_map(|state| state.present.values())
                .flat_map(|record| record.offer.queues.iter().map(String::as_str)),
        );
        names.extend(found.queues().map(|(name, _)| name.as_str()));
        if let Some(wanted) = &self.queue {
            if !names.contains(wanted.as_str()) {
                return Err(Error::no_such(&self.store.store, "task queue", wanted));
            }
            names.retain(|name| name == wanted);
        }
        let nothing = QueueStats::default();
        let mut table =
            Table::new(&["QUEUE", "WAITING", "OLDEST", "IN FLIGHT", "BACKING OFF", "HELD", "WORKERS", "STATE", "WHY"]);
        for name in &names {
            let (stats, workers) = (depths.get(*name).unwrap_or(&nothing), subscribed(name));
            if out.json {
                let mut fields = vec![("queue", (*name).into())];
                fields.extend(self::fields(stats));
                fields.push(("workers", workers.into()));
                fields.extend(said(&found, name));
                out.json(&Json::Object(fields))?;
                continue;
            }
            let why: Vec<_> = waiting_for(stats).map(|(kind, count)| format!("{count} {kind}")).collect();
            table.row(vec![
                (Paint::Strong, (*name).to_owned()),
                (Paint::Plain, stats.takeable().to_string()),
                (Paint::Plain, stats.oldest_ms.map(duration).unwrap_or_default()),
                (Paint::Name, stats.in_flight.to_string()),
                (Paint::Plain, stats.backing_off().to_string()),
                (if stats.held > 0 { Paint::Bad } else { Paint::Plain }, stats.held.to_string()),
                (if workers == 0 { Paint::Warn } else { Paint::Plain }, workers.to_string()),
                state(&found, name),
                (Paint::Dim, why.join(", ")),
            ]);
        }
        match (names.is_empty(), out.json) {
            (true, _) => out.remark("no task queue has work, or workers")?,
            (false, false) => out.line(table.render(&out.style))?,
            (false, true) => {}
        }
        Ok(Exit::Done)
    }
}

/// How a queue stands, as operators left it.
fn state(found: &Entities, queue: &str) -> (Paint, String) {
    let said = found.queues().find(|(name, _)| name.as_str() == queue).map(|(_, state)| state);
    match said {
        Some(QueueState { paused: Some(pause), .. }) => {
            let why = if pause.why.is_empty() { String::new() } else { format!(": {}", pause.why) };
            (Paint::Warn, format!("paused by {}{why}", pause.who))
        }
        Some(state) if !state.settings.is_default() => (Paint::Plain, state.settings.to_string().trim().to_owned()),
        _ => (Paint::Plain, String::new()),
    }
}

/// The same as JSON.
fn said(found: &Entities, queue: &str) -> Vec<(&'static str, Json)> {
    let said = found.queues().find(|(name, _)| name.as_str() == queue).map(|(_, state)| state);
    let paused = said.and_then(|state| state.paused.as_ref()).map(|pause| {
        Json::Object(vec![
            ("at", pause.at.into()),
            ("who", pause.who.as_str().into()),
            ("why", pause.why.as_str().into()),
        ])
    });
    vec![("paused", paused.into()), ("settings", said.map(|state| settings(&state.settings)).into())]
}

/// The settings of a queue.
fn settings(settings: &QueueSettings) -> Json {
    let QueueSettings { in_flight_max, per_key_max, rate, waiting_max, weights } = settings;
    let rate = rate.map(|rate| {
        Json::Object(vec![
            ("count", rate.count.into()),
            ("period_ms", rate.period_ms.into()),
            ("burst", rate.burst.into()),
        ])
    });
    let weights = weights.iter().map(|(key, weight)| Json::List(vec![key.as_str().into(), (*weight).into()]));
    Json::Object(vec![
        ("in_flight_max", (*in_flight_max).into()),
        ("per_key_max", (*per_key_max).into()),
        ("rate", rate.into()),
        ("waiting_max", (*waiting_max).into()),
        ("weights", Json::List(weights.collect())),
    ])
}

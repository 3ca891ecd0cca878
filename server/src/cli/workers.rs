use super::entities::Entities;
use super::find::{StoreArg, open};
use super::json::Json;
use super::output::{Out, Paint};
use super::table::Table;
use super::{Error, Exit};
use antiphon_history::{GoneWorker, Health, WorkerOffer, WorkerRecord};
use std::collections::BTreeSet;

const EXAMPLES: &str = "\
What is on record: workers of an engine's own process stand here until the next start finds them gone. Whether one is heard
of just now, the engine knows: app.workers().

Examples:
  antiphon workers data
  antiphon workers data --queue mail
  antiphon workers data --gone --json";

/// `antiphon workers`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Workers {
    #[command(flatten)]
    store: StoreArg,
    /// Only those that subscribe to this task queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Those that were there and are gone, the latest first
    #[arg(long, conflicts_with = "queue")]
    gone: bool,
}

impl Workers {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let mut reader = open(&self.store.store)?;
        let found = Entities::read(reader.as_mut())?;
        let state = found.workers();
        if self.gone {
            let gone: Vec<_> = state.into_iter().flat_map(|state| state.gone.iter().rev()).collect();
            return list_gone(&gone, out);
        }
        let wanted =
            |record: &WorkerRecord| self.queue.as_ref().is_none_or(|queue| record.offer.queues.contains(queue));
        let present: Vec<_> =
            state.into_iter().flat_map(|state| &state.present).filter(|(_, record)| wanted(record)).collect();
        list(&present, out)
    }
}

fn list(workers: &[(&String, &WorkerRecord)], out: &mut Out<'_>) -> Result<Exit, Error> {
    if workers.is_empty() {
        out.remark("no worker is there")?;
        return Ok(Exit::Done);
    }
    let mut table =
        Table::new(&["WORKER", "KIND", "STATE", "HEALTH", "CAPACITY", "QUEUES", "ACTIVITIES", "LABELS", "JOINED"]);
    for (name, record) in workers {
        let WorkerRecord { offer, joined_at, draining, health } = record;
        let WorkerOffer { kind, instance, queues, activities, labels, capacity } = offer;
        let state = if *draining { "draining" } else { "there" };
        if out.json {
            out.json(&Json::Object(vec![
                ("worker", name.as_str().into()),
                ("kind", kind.name().into()),
                ("instance", instance.map(|instance| instance.to_string()).into()),
                ("state", state.into()),
                ("health", health.word().into()),
                ("capacity", (*capacity).into()),
                ("queues", names(queues)),
                ("activities", names(activities)),
                ("labels", names(labels)),
                ("joined_at", (*joined_at).into()),
            ]))?;
            continue;
        }
        let words = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(",");
        table.row(vec![
            (Paint::Strong, (*name).clone()),
            (Paint::Plain, kind.name().to_owned()),
            (if *draining { Paint::Warn } else { Paint::Good }, state.to_owned()),
            (paint(*health), health.word().to_owned()),
            (Paint::Plain, capacity.to_string()),
            (Paint::Plain, words(queues)),
            (Paint::Plain, words(activities)),
            (Paint::Plain, words(labels)),
            (Paint::Plain, out.style.zone.date_time(*joined_at)),
        ]);
    }
    if !out.json {
        out.line(table.render(&out.style))?;
    }
    Ok(Exit::Done)
}

fn paint(health: Health) -> Paint {
    match health {
        Health::Healthy => Paint::Good,
        Health::Degraded => Paint::Warn,
        Health::Unhealthy | Health::Down => Paint::Bad,
    }
}

fn names(names: &BTreeSet<String>) -> Json {
    names.iter().cloned().collect::<Vec<_>>().into()
}

fn list_gone(workers: &[&GoneWorker], out: &mut Out<'_>) -> Result<Exit, Error> {
    if workers.is_empty() {
        out.remark("no worker is known to be gone")?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["WORKER", "KIND", "GONE SINCE", "WHY"]);
    for GoneWorker { worker, kind, at, reason, .. } in workers.iter().copied() {
        if out.json {
            out.json(&Json::Object(vec![
                ("worker", worker.as_str().into()),
                ("kind", kind.name().into()),
                ("state", "gone".into()),
                ("at", (*at).into()),
                ("reason", reason.as_str().into()),
            ]))?;
            continue;
        }
        table.row(vec![
            (Paint::Strong, worker.clone()),
            (Paint::Plain, kind.name().to_owned()),
            (Paint::Plain, out.style.zone.date_time(*at)),
            (Paint::Plain, reason.clone()),
        ]);
    }
    if !out.json {
        out.line(table.render(&out.style))?;
    }
    Ok(Exit::Done)
}

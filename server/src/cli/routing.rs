use super::by::{By, done};
use super::entities::Entities;
use super::find::{StoreArg, open};
use super::json::Json;
use super::operate::operate;
use super::output::{Out, Paint};
use super::table::Table;
use super::time::{Length, duration};
use super::{Error, Exit};
use antiphon_engine::router::RoutingRequest;
use antiphon_engine::{Operation, Programs};
use antiphon_history::{CatalogueRow, Name, RouteForm, RouteRequest, RoutingReset, RoutingState, Timestamp};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const EXAMPLES: &str = "\
A cursor is where a policy that takes turns stands; a key is a customer or the like that stays with its worker.

Examples:
  antiphon routing data
  antiphon routing data mail
  antiphon routing reset data mail --key customer-7 --why 'moved to another region'
  antiphon routing set data mail --keys 1000 --key-ttl 1d
  antiphon routing default data mail --route '{\"policy\": \"round_robin\", \"excluded\": \"w1\"}'";

/// `antiphon routing`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Routing {
    /// The store's folder
    #[arg(value_name = "STORE", required = true)]
    store: Option<PathBuf>,
    /// A task queue: its cursors and keys
    #[arg(value_name = "QUEUE")]
    queue: Option<String>,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Forget cursors and keys of a task queue
    Reset(Reset),
    /// Set how many keys of a task queue are remembered, and for how long
    Set(Set),
    /// Set how calls of a task queue go that say nothing themselves
    Default(SetDefault),
}

#[derive(Debug, clap::Args)]
struct Reset {
    #[command(flatten)]
    store: StoreArg,
    /// The task queue
    #[arg(value_name = "QUEUE")]
    queue: String,
    /// Only the cursors
    #[arg(long, conflicts_with_all = ["keys", "key"])]
    cursors: bool,
    /// Only the keys
    #[arg(long, conflicts_with = "key")]
    keys: bool,
    /// Only this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    store: StoreArg,
    /// The task queue
    #[arg(value_name = "QUEUE")]
    queue: String,
    /// Remember at most so many keys; those used longest ago go first. Default: as it is
    #[arg(long, value_name = "N")]
    keys: Option<u32>,
    /// Forget a key so long after its last use (90s, 5m, 1d), or `never` for its age. Default: as it is
    #[arg(long, value_name = "LENGTH")]
    key_ttl: Option<KeyTtl>,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, clap::Args)]
struct SetDefault {
    #[command(flatten)]
    store: StoreArg,
    /// The task queue
    #[arg(value_name = "QUEUE")]
    queue: String,
    /// The route, as JSON: {"policy": "sticky", "preferred": ["w2", "w3"], "excluded": "w1"}
    #[arg(long, value_name = "JSON", value_parser = route, required_unless_present = "none")]
    route: Option<Box<RouteRequest>>,
    /// None from now on: the least loaded worker
    #[arg(long, conflicts_with = "route")]
    none: bool,
    #[command(flatten)]
    by: By,
}

pub(super) fn route(text: &str) -> Result<Box<RouteRequest>, String> {
    let form: RouteForm = serde_json::from_str(text).map_err(|error| error.to_string())?;
    form.request().map(Box::new).map_err(|error| error.to_string())
}

/// How long a key is remembered; none: for ever.
#[derive(Debug, Clone, Copy)]
struct KeyTtl(Option<Length>);

impl FromStr for KeyTtl {
    type Err = String;
    fn from_str(text: &str) -> Result<KeyTtl, String> {
        if text == "never" { Ok(KeyTtl(None)) } else { text.parse().map(|length| KeyTtl(Some(length))) }
    }
}

impl Routing {
    pub(super) fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        match (&self.act, &self.store) {
            (Some(Act::Reset(reset)), _) => reset.run(programs, out),
            (Some(Act::Set(set)), _) => set.run(programs, out),
            (Some(Act::Default(default)), _) => default.run(programs, out),
            (None, Some(store)) => self.show(store, out),
            // The parser lets nobody come here without a store.
            (None, None) => Ok(Exit::Usage),
        }
    }

    fn show(&self, store: &Path, out: &mut Out<'_>) -> Result<Exit, Error> {
        let mut reader = open(store)?;
        let found = Entities::read(reader.as_mut())?;
        let Some(queue) = &self.queue else {
            return list(&found, out);
        };
        let (_, state, row) = found
            .routing()
            .find(|(name, ..)| name.as_str() == queue)
            .ok_or_else(|| Error::no_such(store, "routing of a task queue", queue))?;
        one(queue, state, row, out)
    }
}

fn list(found: &Entities, out: &mut Out<'_>) -> Result<Exit, Error> {
    let mut table = Table::new(&["QUEUE", "CURSORS", "KEYS", "AT MOST", "KEPT FOR", "LAST CHANGE"]);
    let mut any = false;
    for (queue, state, row) in found.routing() {
        any = true;
        if out.json {
            let mut fields = settings(queue, state, row);
            fields.extend([("cursors", state.cursors.len().into()), ("keys", state.affinities.len().into())]);
            out.json(&Json::Object(fields))?;
            continue;
        }
        table.row(vec![
            (Paint::Strong, queue.to_string()),
            (Paint::Plain, state.cursors.len().to_string()),
            (Paint::Plain, state.affinities.len().to_string()),
            (Paint::Plain, state.affinities_max.to_string()),
            (Paint::Plain, kept_for(state)),
            (Paint::Plain, out.style.zone.date_time(row.updated_at)),
        ]);
    }
    match (any, out.json) {
        (false, _) => out.remark("nothing was ever routed by a request here")?,
        (true, false) => out.line(table.render(&out.style))?,
        (true, true) => {}
    }
    Ok(Exit::Done)
}

fn one(queue: &str, state: &RoutingState, row: &CatalogueRow, out: &mut Out<'_>) -> Result<Exit, Error> {
    let now = out.style.now;
    if out.json {
        let mut fields = settings(queue, state, row);
        fields.extend([
            ("moves", state.moves.into()),
            ("cursors", Json::List(cursors(state).collect())),
            ("keys", Json::List(keys(state, now).collect())),
        ]);
        out.json(&Json::Object(fields))?;
        return Ok(Exit::Done);
    }
    let title = out.style.paint(Paint::Strong, &super::output::clean(queue));
    out.line(format!("{title}  at most {} keys, kept for {}", state.affinities_max, kept_for(state)))?;
    if let Some(route) = &state.route {
        out.line(format!("  calls that say nothing go by {}", super::output::clean(&route.to_string())))?;
    }
    if !state.cursors.is_empty() {
        let mut table = Table::new(&["CURSOR", "STANDS ON", "MOVE"]);
        for (class, cursor) in &state.cursors {
            table.row(vec![
                (Paint::Plain, class.to_string()),
                (Paint::Name, cursor.worker.to_string()),
                (Paint::Dim, cursor.moved.to_string()),
            ]);
        }
        out.line("")?;
        out.line(table.render(&out.style))?;
    }
    if !state.affinities.is_empty() {
        let mut table = Table::new(&["KEY", "WORKER", "LAST NOTED USE"]);
        for (key, affinity) in &state.affinities {
            let paint = if state.bound(key, now).is_some() { Paint::Name } else { Paint::Dim };
            table.row(vec![
                (Paint::Plain, key.to_string()),
                (paint, affinity.worker.to_string()),
                (Paint::Plain, out.style.zone.date_time(affinity.used_at)),
            ]);
        }
        out.line("")?;
        out.line(table.render(&out.style))?;
    }
    Ok(Exit::Done)
}

fn kept_for(state: &RoutingState) -> String {
    state.affinity_ttl_ms.map_or_else(|| "ever".to_owned(), duration)
}

fn settings(queue: &str, state: &RoutingState, row: &CatalogueRow) -> Vec<(&'static str, Json)> {
    vec![
        ("queue", queue.into()),
        ("affinities_max", state.affinities_max.into()),
        ("affinity_ttl_ms", state.affinity_ttl_ms.into()),
        ("route", state.route.as_deref().map_or(Json::Null, super::events::written)),
        ("updated_at", row.updated_at.into()),
    ]
}

fn cursors(state: &RoutingState) -> impl Iterator<Item = Json> {
    state.cursors.iter().map(|(class, cursor)| {
        Json::Object(vec![
            ("class", class.as_str().into()),
            ("worker", cursor.worker.as_str().into()),
            ("move", cursor.moved.into()),
        ])
    })
}

fn keys(state: &RoutingState, now: Timestamp) -> impl Iterator<Item = Json> {
    state.affinities.iter().map(move |(key, affinity)| {
        Json::Object(vec![
            ("key", key.as_str().into()),
            ("worker", affinity.worker.as_str().into()),
            ("used_at", affinity.used_at.into()),
            ("expired", state.bound(key, now).is_none().into()),
        ])
    })
}

impl Reset {
    fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let what = match (self.cursors, self.keys, &self.key) {
            (true, ..) => RoutingReset::Cursors,
            (_, true, _) => RoutingReset::Keys,
            (.., Some(key)) => RoutingReset::Key(key.as_str().into()),
            _ => RoutingReset::All,
        };
        let request = RoutingRequest::Reset { queue: self.queue.as_str().into(), what, by: self.by.given() };
        let operated = operate(&self.store.store, programs, Operation::Routing(request))?;
        done("routing.reset", &self.queue, operated.written, out)
    }
}

impl Set {
    fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let store = &self.store.store;
        // What is not named stays. Nobody can change it in between but another command, and that would be a race of two
        // people, not of two programs.
        let known = {
            let mut reader = open(store)?;
            let found = Entities::read(reader.as_mut())?;
            found.routing().find(|(name, ..)| name.as_str() == self.queue).map(|(_, state, _)| state.clone())
        };
        let known = known.unwrap_or_default();
        let queue: Name = self.queue.as_str().into();
        let request = RoutingRequest::Set {
            queue,
            affinities_max: self.keys.unwrap_or(known.affinities_max),
            affinity_ttl_ms: match self.key_ttl {
                None => known.affinity_ttl_ms,
                Some(KeyTtl(given)) => given.map(|length| length.0),
            },
            by: self.by.given(),
        };
        let operated = operate(store, programs, Operation::Routing(request))?;
        done("routing.set", &self.queue, operated.written, out)
    }
}

impl SetDefault {
    fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let (queue, route) = (self.queue.as_str().into(), self.route.as_deref().cloned());
        let request = RoutingRequest::Default { queue, route, by: self.by.given() };
        let operated = operate(&self.store.store, programs, Operation::Routing(request))?;
        done("routing.default", &self.queue, operated.written, out)
    }
}

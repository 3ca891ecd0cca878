use super::entities::Entities;
use super::find::{StoreArg, open};
use super::json::Json;
use super::output::{Out, Paint, cut};
use super::routine_events::{outcome, slot, spec};
use super::table::Table;
use super::time::{Moment, Zone, duration};
use super::{Error, Exit};
use antiphon_engine::{RoutineFilter, RoutineView};
use antiphon_history::{CatchUp, EndedSlot, RoutineState, RoutineStatus, RoutineTarget, Schedule, SlotOutcome};
use std::cmp::Reverse;

const EXAMPLES: &str = "\
Examples:
  antiphon routines data
  antiphon routines data --status paused
  antiphon routines data --schedule cron --label team=books
  antiphon routines data --due-by 2026-11-21T12:00 --json";

/// Most characters of an error in a list; `routine show` prints all of it.
const ERROR_MAX_CHARS: usize = 60;

/// `antiphon routines`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Routines {
    #[command(flatten)]
    store: StoreArg,
    /// Only those that stand so: active, running, retry_waiting, paused, completed, exhausted or cancelled
    #[arg(long)]
    status: Option<RoutineStatus>,
    /// Only the one of this id
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Only those of this kind of schedule: once, interval or cron
    #[arg(long, value_name = "KIND", value_parser = ["once", "interval", "cron"])]
    schedule: Option<String>,
    /// Only those that start this: workflow or activity
    #[arg(long, value_name = "KIND", value_parser = ["workflow", "activity"])]
    target: Option<String>,
    /// Only those with this label
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Option<(String, String)>,
    /// Only those that are due by then: a time (2026-11-21T10:00:00Z, 2026-11-21) or `now`
    #[arg(long, value_name = "TIME")]
    due_by: Option<Moment>,
    /// Show at most so many, the latest changed
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// `name=value`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("give it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Routines {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let mut reader = open(&self.store.store)?;
        let found = Entities::read(reader.as_mut())?;
        let (zone, now) = (out.style.zone, out.style.now);
        let filter = RoutineFilter {
            id: self.id.clone(),
            status: self.status,
            schedule: self.schedule.clone(),
            target: self.target.clone(),
            due_by: self.due_by.and_then(|moment| moment.resolve(zone, now)),
            label: self.label.clone(),
        };
        let mut routines: Vec<_> = found.routines().filter(|(_, state)| filter.fits(state)).collect();
        // As the engine lists them.
        routines.sort_by(|(_, one), (_, other)| {
            (Reverse(one.updated_at), &one.id).cmp(&(Reverse(other.updated_at), &other.id))
        });
        let more = routines.len() > self.limit as usize;
        routines.truncate(self.limit as usize);
        let views = routines.into_iter().map(|(key, state)| RoutineView::new(key, state.clone()));
        if out.json {
            for view in views {
                out.json(&object(&view))?;
            }
        } else if views.len() > 0 {
            let mut table =
                Table::new(&["ROUTINE", "STATUS", "SCHEDULE", "STARTS", "DUE", "RUNS", "LAST RUN", "LABELS"]);
            for view in views {
                table.row(row(&view, zone));
            }
            out.line(table.render(&out.style))?;
        } else {
            out.remark("no routine matches")?;
        }
        if more {
            out.remark(&format!("there are more; these are the latest changed {} (see --limit)", self.limit))?;
        }
        Ok(Exit::Done)
    }
}

fn row(view: &RoutineView, zone: Zone) -> Vec<(Paint, String)> {
    let state = &view.state;
    let labels: Vec<_> = state.spec.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    vec![
        (Paint::Strong, state.id.clone()),
        (paint(view.status), view.status.name().to_owned()),
        (Paint::Plain, schedule(&state.spec.schedule, zone)),
        (Paint::Plain, starts(state).to_owned()),
        (Paint::Plain, view.due_at.map(|due| zone.date_time(due)).unwrap_or_default()),
        (Paint::Plain, state.runs.to_string()),
        (Paint::Plain, state.last.as_ref().map(|last| cut(&ended(last, zone), ERROR_MAX_CHARS)).unwrap_or_default()),
        (Paint::Dim, labels.join(" ")),
    ]
}

fn paint(status: RoutineStatus) -> Paint {
    match status {
        RoutineStatus::Active => Paint::Good,
        RoutineStatus::Running => Paint::Name,
        RoutineStatus::RetryWaiting | RoutineStatus::Paused => Paint::Warn,
        RoutineStatus::Exhausted => Paint::Bad,
        RoutineStatus::Completed | RoutineStatus::Cancelled => Paint::Dim,
    }
}

/// What a slot starts, in a word.
fn starts(state: &RoutineState) -> &str {
    match &state.spec.target {
        RoutineTarget::Workflow { workflow_type, .. } => workflow_type,
        RoutineTarget::Activity { call, .. } => &call.activity_type,
    }
}

fn schedule(schedule: &Schedule, zone: Zone) -> String {
    match schedule {
        Schedule::Once { at } => format!("once {}", zone.date_time(*at)),
        Schedule::Interval { every_ms, phase_ms: None } => format!("every {}", duration(*every_ms)),
        Schedule::Interval { every_ms, phase_ms: Some(phase) } => {
            format!("every {} at {} of it", duration(*every_ms), duration(*phase))
        }
        Schedule::Cron { expression, zone } => format!("{expression} {zone}"),
    }
}

fn ended(ended: &EndedSlot, zone: Zone) -> String {
    let when = zone.date_time(ended.ended_at);
    match &ended.outcome {
        SlotOutcome::Failed { error } => format!("{when} failed: {error}"),
        other => format!("{when} {}", outcome(other)),
    }
}

/// One routine in full, as text.
pub(super) fn text(view: &RoutineView, out: &Out<'_>) -> String {
    let (state, spec, zone) = (&view.state, &view.state.spec, out.style.zone);
    let clean = super::output::clean;
    let title = out.style.paint(Paint::Strong, &clean(&state.id));
    let status = out.style.paint(paint(view.status), view.status.name());
    let mut lines = vec![format!("{title}  {}  {status}", clean(starts(state)))];
    let mut line = |name: &str, text: String| lines.push(format!("  {name:<10}{}", clean(&text)));
    line("schedule", schedule(&spec.schedule, zone));
    let due =
        view.due_at.map_or_else(|| "not before somebody acts, or a run ends".to_owned(), |due| zone.date_time(due));
    line("due", if view.status.is_terminal() { "never again".to_owned() } else { due });
    if let Some(next) = state.next {
        line("next", zone.date_time(next));
    }
    line("policy", format!("catch up {}, overlap {}", catch_up(spec.catch_up), spec.overlap));
    if spec.jitter_ms > 0 {
        line("jitter", format!("up to {}", duration(spec.jitter_ms)));
    }
    let bounds = [("start", spec.start_at), ("end", spec.end_at)];
    for (name, at) in bounds.into_iter().filter_map(|(name, at)| Some((name, at?))) {
        line(name, zone.date_time(at));
    }
    let most = spec.max_runs.map(|max| format!(" of at most {max}")).unwrap_or_default();
    line("runs", format!("{}{most}, {} by hand", state.runs, state.manual_runs));
    if spec.retry.max_attempts > 1 {
        line("attempts", format!("up to {}, first after {}", spec.retry.max_attempts, duration(spec.retry.initial_ms)));
    }
    if let Some(note) = &state.paused {
        line("paused", note.clone());
    }
    for open in &state.open {
        let id = state.workflow_id(open.slot, open.attempt);
        line("open", format!("{id} since {}", zone.date_time(open.started_at)));
    }
    for retry in &state.retries {
        line("retry", format!("{} attempt {} at {}", retry.slot, retry.attempt, zone.date_time(retry.at)));
    }
    for at in &state.buffer {
        line("buffered", zone.date_time(*at));
    }
    for backfill in &state.backfills {
        line("backfill", format!("{} to {}", zone.date_time(backfill.next), zone.date_time(backfill.to)));
    }
    let ends = [("last", &state.last), ("completed", &state.last_completed), ("failed", &state.last_failed)];
    for (name, end) in ends.into_iter().filter_map(|(name, end)| Some((name, end.as_ref()?))) {
        line(name, format!("{} {}", state.workflow_id(end.slot, end.attempt), ended(end, zone)));
    }
    if let Some(route) = &spec.route {
        line("route", route.to_string());
    }
    if let Some(guard) = &spec.guard {
        line("guard", guard.to_string());
    }
    for (name, value) in &spec.labels {
        line("label", format!("{name}={value}"));
    }
    line("created", zone.date_time(state.created_at));
    line("changed", zone.date_time(state.updated_at));
    lines.join("\n")
}

fn catch_up(policy: CatchUp) -> String {
    match policy {
        CatchUp::All => "all".to_owned(),
        CatchUp::One => "one".to_owned(),
        CatchUp::Skip { late_ms } => format!("skip what is more than {} late", duration(late_ms)),
    }
}

/// One routine in full, as JSON.
pub(super) fn object(view: &RoutineView) -> Json {
    let state = &view.state;
    let end = |end: &Option<EndedSlot>| {
        end.as_ref().map(|end| {
            let error = match &end.outcome {
                SlotOutcome::Failed { error } => Some(error.as_str()),
                SlotOutcome::Completed | SlotOutcome::Cancelled | SlotOutcome::Terminated => None,
            };
            Json::Object(vec![
                ("slot", slot(&end.slot)),
                ("attempt", end.attempt.into()),
                ("workflow_id", state.workflow_id(end.slot, end.attempt).into()),
                ("started_at", end.started_at.into()),
                ("ended_at", end.ended_at.into()),
                ("outcome", outcome(&end.outcome).into()),
                ("error", error.into()),
            ])
        })
    };
    let open = state.open.iter().map(|open| {
        Json::Object(vec![
            ("slot", slot(&open.slot)),
            ("attempt", open.attempt.into()),
            ("workflow_id", state.workflow_id(open.slot, open.attempt).into()),
            ("started_at", open.started_at.into()),
        ])
    });
    let retries = state.retries.iter().map(|retry| {
        Json::Object(vec![("slot", slot(&retry.slot)), ("attempt", retry.attempt.into()), ("at", retry.at.into())])
    });
    let backfills = state.backfills.iter().map(|backfill| {
        Json::Object(vec![
            ("number", backfill.number.into()),
            ("next", backfill.next.into()),
            ("to", backfill.to.into()),
        ])
    });
    Json::Object(vec![
        ("id", state.id.as_str().into()),
        ("status", view.status.name().into()),
        ("due_at", view.due_at.into()),
        ("next", state.next.into()),
        ("spec", spec(&state.spec)),
        ("runs", state.runs.into()),
        ("manual_runs", state.manual_runs.into()),
        ("paused", state.paused.as_deref().into()),
        ("open", Json::List(open.collect())),
        ("retries", Json::List(retries.collect())),
        ("buffer", state.buffer.clone().into()),
        ("backfills", Json::List(backfills.collect())),
        ("last", end(&state.last).into()),
        ("last_completed", end(&state.last_completed).into()),
        ("last_failed", end(&state.last_failed).into()),
        ("created_at", state.created_at.into()),
        ("updated_at", state.updated_at.into()),
        ("ended_at", state.ended_at.into()),
    ])
}

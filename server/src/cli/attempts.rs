use super::explain::picture;
use super::find::{StoreArg, open};
use super::json::Json;
use super::output::{Out, Paint};
use super::table::Table;
use super::time::Moment;
use super::{Error, Exit};
use antiphon_engine::{AttemptState, AttemptView, AttemptsAsk};
use antiphon_history::{Name, Timestamp};

const EXAMPLES: &str = "\
Every open run with activities is looked at: prefer a copy of a large store, or ask the engine itself.

Examples:
  antiphon attempts data
  antiphon attempts data mail --state waiting
  antiphon attempts data --state lease_ended --at 2026-11-21T10:00Z
  antiphon attempts data --json | jq -r .workflow_id";

/// `antiphon attempts`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Attempts {
    #[command(flatten)]
    store: StoreArg,
    /// Only those of this task queue
    #[arg(value_name = "QUEUE")]
    queue: Option<String>,
    /// Only those that stand so
    #[arg(long, value_name = "STATE", value_parser = state)]
    state: Option<AttemptState>,
    /// As they will stand at this time if nothing happens until then
    #[arg(long, value_name = "TIME")]
    at: Option<Moment>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

fn state(text: &str) -> Result<AttemptState, String> {
    let known = || AttemptState::ALL.map(AttemptState::name).join(", ");
    let found = AttemptState::ALL.into_iter().find(|state| state.name() == text);
    found.ok_or_else(|| format!("there is no such state; there are {}", known()))
}

impl Attempts {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let mut reader = open(&self.store.store)?;
        let picture = picture(reader.as_mut(), None, out)?;
        let mut ask = AttemptsAsk {
            queue: self.queue.as_deref().map(Name::from),
            state: self.state,
            at: self.at.map(|at| at.resolve(out.style.zone, out.style.now).unwrap_or(Timestamp(i64::MAX))),
            after: None,
            limit: self.limit as usize,
        };
        let mut table =
            Table::new(&["ATTEMPT", "TYPE", "QUEUE", "STATE", "SINCE", "WORKER", "LEASE UNTIL", "KEY", "WHY"]);
        let mut none = true;
        let more = loop {
            let found = picture.attempts(&ask);
            for attempt in &found.attempts {
                none = false;
                if out.json { out.json(&object(attempt))? } else { table.row(row(attempt, out)) }
            }
            ask.limit -= found.attempts.len();
            ask.after = found.attempts.last().map(|attempt| attempt.conversation);
            // The engine gives so many at a time.
            if !found.more || ask.limit == 0 {
                break found.more;
            }
        };
        match (none, out.json) {
            (true, _) => out.remark("no open attempt matches")?,
            (false, false) => out.line(table.render(&out.style))?,
            (false, true) => {}
        }
        if more {
            out.remark("there are more: raise --limit")?;
        }
        Ok(Exit::Done)
    }
}

fn row(attempt: &AttemptView, out: &Out<'_>) -> Vec<(Paint, String)> {
    let AttemptView { conversation, workflow, activity_type, queue, state, since, worker, lease_until, .. } = attempt;
    let paint = match state {
        AttemptState::InFlight => Paint::Good,
        AttemptState::Held => Paint::Bad,
        AttemptState::LeaseEnded => Paint::Warn,
        AttemptState::Waiting | AttemptState::BackingOff => Paint::Plain,
    };
    let time = |at| out.style.zone.date_time(at);
    vec![
        (Paint::Strong, format!("{workflow} {}.{}", conversation.ordinal, conversation.attempt)),
        (Paint::Plain, activity_type.to_string()),
        (Paint::Plain, queue.to_string()),
        (paint, state.to_string()),
        (Paint::Plain, time(*since)),
        (Paint::Name, worker.as_deref().unwrap_or_default().to_owned()),
        (Paint::Plain, lease_until.map(time).unwrap_or_default()),
        (Paint::Plain, attempt.fairness_key.clone()),
        (Paint::Dim, attempt.why.unwrap_or_default().to_owned()),
    ]
}

fn object(attempt: &AttemptView) -> Json {
    let key = |key: &str| Some(key).filter(|key| !key.is_empty()).into();
    Json::Object(vec![
        ("namespace", attempt.workflow.namespace.as_str().into()),
        ("workflow_id", attempt.workflow.id.as_str().into()),
        ("run_id", attempt.run_id.to_string().into()),
        ("ordinal", attempt.conversation.ordinal.0.into()),
        ("attempt", attempt.conversation.attempt.into()),
        ("activity_type", attempt.activity_type.as_str().into()),
        ("queue", attempt.queue.as_str().into()),
        ("state", attempt.state.name().into()),
        ("since", attempt.since.into()),
        ("worker", attempt.worker.as_deref().into()),
        ("lease_until", attempt.lease_until.into()),
        ("priority", u32::from(attempt.priority).into()),
        ("fairness_key", key(&attempt.fairness_key)),
        ("limit_key", key(&attempt.limit_key)),
        ("why", attempt.why.into()),
    ])
}

use super::entities::Entities;
use super::find::{RunArg, history, open};
use super::json::Json;
use super::output::{Out, Paint, clean, clean_lines};
use super::{Error, Exit};
use antiphon_engine::{Explanation, Partition, Wait, Why};
use antiphon_history::{Ordinal, RunKey};
use antiphon_recorder::Reader;

const EXAMPLES: &str = "\
Says what a run waits for and why, by the code that decides. Limits and free places hang on all that is under way, so every
open run with activities is looked at: prefer a copy of a large store, or ask the engine itself.

Examples:
  antiphon explain data order-7
  antiphon explain data order-7 --activity 3
  antiphon explain data order-7 --json | jq '.waits[].why.kind'";

/// `antiphon explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Explain {
    #[command(flatten)]
    run: RunArg,
    /// Only this activity or timer, by its number in the run
    #[arg(long, value_name = "N")]
    activity: Option<u32>,
}

impl Explain {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let store = &self.run.store;
        let mut reader = open(store)?;
        let row = self.run.row(reader.as_mut())?;
        let mut picture = picture(reader.as_mut(), Some(row.key), out)?;
        picture.show(&history(reader.as_mut(), &row, store)?)?;
        let ordinal = self.activity.map(Ordinal);
        let explanation = picture.explain(row.key, ordinal);
        let missing = || Error::no_such(store, "activity or timer under way", &self.activity.unwrap_or(0).to_string());
        let explanation =
            explanation.filter(|explanation| ordinal.is_none() || !explanation.waits.is_empty()).ok_or_else(missing)?;
        if out.json {
            out.json(&object(&explanation))?;
        } else {
            print(&explanation, out)?;
        }
        Ok(Exit::Done)
    }
}

/// A partition that only looks: all entities and every open run with activities, `but` that one apart.
pub(super) fn picture(reader: &mut dyn Reader, but: Option<RunKey>, out: &mut Out<'_>) -> Result<Partition, Error> {
    let found = Entities::read(reader)?;
    let mut picture = Partition::picture(found.rows(), out.style.now);
    for key in reader.needs_loading()?.into_iter().filter(|key| Some(*key) != but) {
        let Some(file) = reader.history(key)? else { continue };
        // What is wrong with one run keeps nobody from an answer about the others.
        if let Err(damaged) = picture.show(&file) {
            out.remark(&format!("not looked at: {}", clean(&damaged.to_string())))?;
        }
    }
    Ok(picture)
}

fn print(explanation: &Explanation, out: &mut Out<'_>) -> Result<(), Error> {
    let Explanation { workflow, run_id, workflow_type, status, at: _, waits, more } = explanation;
    let title = out.style.paint(Paint::Strong, &clean(workflow));
    let status = out.style.paint(Paint::of(*status), status.name());
    out.line(format!("{title}  {}  {status}  {run_id}", clean(workflow_type)))?;
    let zone = out.style.zone;
    for wait in waits {
        let text = clean_lines(&wait.text(&|at| zone.date_time(at)), "  ");
        out.line(text.trim_end())?;
    }
    if *more > 0 {
        out.line(format!("  and {more} more"))?;
    }
    if waits.is_empty() {
        out.line("  waits for nothing: it has ended")?;
    }
    Ok(())
}

fn object(explanation: &Explanation) -> Json {
    let Explanation { workflow, run_id, workflow_type, status, at, waits, more } = explanation;
    Json::Object(vec![
        ("workflow", workflow.as_str().into()),
        ("run_id", run_id.as_str().into()),
        ("workflow_type", workflow_type.as_str().into()),
        ("status", status.name().into()),
        ("at", (*at).into()),
        ("waits", Json::List(waits.iter().map(wait).collect())),
        ("more", (*more).into()),
    ])
}

fn wait(wait: &Wait) -> Json {
    Json::Object(match wait {
        Wait::Activity { ordinal, attempt, activity_type, queue, why: reason } => vec![
            ("for", "activity".into()),
            ("ordinal", ordinal.0.into()),
            ("attempt", (*attempt).into()),
            ("activity_type", activity_type.as_str().into()),
            ("queue", queue.as_str().into()),
            ("why", why(reason)),
        ],
        Wait::Timer { ordinal, until } => {
            vec![("for", "timer".into()), ("ordinal", ordinal.0.into()), ("until", (*until).into())]
        }
        Wait::Signal => vec![("for", "signal".into())],
        Wait::Code { report } => vec![("for", "code".into()), ("report", report.as_str().into())],
    })
}

fn why(why: &Why) -> Json {
    Json::Object(match why {
        Why::Waiting { kind, reason, since } => vec![
            ("state", "waiting".into()),
            ("kind", kind.as_str().into()),
            ("reason", reason.as_str().into()),
            ("since", (*since).into()),
        ],
        Why::BackingOff { until, after } => {
            vec![("state", "backing_off".into()), ("until", (*until).into()), ("after", after.as_deref().into())]
        }
        Why::Running { worker, liveness, leg, since, heard_at, lease_until, deadline } => vec![
            ("state", "running".into()),
            ("worker", worker.as_str().into()),
            ("liveness", liveness.as_str().into()),
            ("leg", (*leg).into()),
            ("since", (*since).into()),
            ("heard_at", (*heard_at).into()),
            ("lease_until", (*lease_until).into()),
            ("deadline", deadline.as_ref().map(|(at, _)| *at).into()),
            ("deadline_of", deadline.as_ref().map(|(_, which)| which.as_str()).into()),
        ],
        Why::Held { letter, outcome } => {
            vec![("state", "held".into()), ("letter", (*letter).into()), ("outcome", outcome.as_str().into())]
        }
        Why::Damaged { phase } => vec![("state", "damaged".into()), ("phase", phase.as_str().into())],
    })
}

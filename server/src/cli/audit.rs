use super::entities::{self, Entities};
use super::find::{StoreArg, open};
use super::json::Json;
use super::output::{Out, Paint};
use super::table::Table;
use super::time::When;
use super::timeline::Event;
use super::{Error, Exit};
use antiphon_history::{AuditEvent, EntityEvent, Timestamp};

const EXAMPLES: &str = "\
Every verb of an operator and every repair stands here with who, when and why; what a guard refused stands here too.
Routines keep their own: antiphon dump data routine:nightly.

Examples:
  antiphon audit data
  antiphon audit data --since 2d --who ada
  antiphon audit data --json | jq 'select(.verb == \"queue.pause\")'";

/// `antiphon audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Audit {
    #[command(flatten)]
    store: StoreArg,
    /// Only what was done then or later: a time (2026-11-21T10:00:00Z, 2026-11-21) or an age (2h, 3d)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only what was done before then
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Only what this one did
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Show at most so many, the latest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// One line of the audit.
struct Line {
    at: Timestamp,
    refused: bool,
    who: String,
    verb: String,
    on: String,
    why: String,
}

impl Audit {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let store = &self.store.store;
        let mut reader = open(store)?;
        let found = Entities::read(reader.as_mut())?;
        let (zone, now) = (out.style.zone, out.style.now);
        let moment = |when: Option<When>| -> Option<Timestamp> { when?.resolve(zone, now) };
        let (since, until) = (moment(self.since), moment(self.until));
        let mut lines = match found.named("audit") {
            Some(row) => lines(entities::timeline(reader.as_mut(), row, store)?),
            None => Vec::new(),
        };
        lines.retain(|line| {
            since.is_none_or(|since| line.at >= since)
                && until.is_none_or(|until| line.at < until)
                && self.who.as_ref().is_none_or(|who| *who == line.who)
        });
        lines.reverse();
        let more = lines.len() > self.limit as usize;
        lines.truncate(self.limit as usize);
        if out.json {
            for Line { at, refused, who, verb, on, why } in &lines {
                out.json(&Json::Object(vec![
                    ("at", (*at).into()),
                    ("done", (!refused).into()),
                    ("who", who.as_str().into()),
                    ("verb", verb.as_str().into()),
                    ("on", on.as_str().into()),
                    ("why", why.as_str().into()),
                ]))?;
            }
        } else if !lines.is_empty() {
            let mut table = Table::new(&["WHEN", "WHO", "VERB", "ON", "WHY"]);
            for Line { at, refused, who, verb, on, why } in &lines {
                let (paint, verb) = match refused {
                    true => (Paint::Warn, format!("refused {verb}")),
                    false => (Paint::Name, verb.clone()),
                };
                table.row(vec![
                    (Paint::Plain, zone.date_time(*at)),
                    (Paint::Strong, who.clone()),
                    (paint, verb),
                    (Paint::Plain, on.clone()),
                    (Paint::Plain, why.clone()),
                ]);
            }
            out.line(table.render(&out.style))?;
        }
        match (lines.is_empty(), more) {
            (true, _) => out.remark("nothing of that is in the audit")?,
            (_, true) => out.remark(&format!("there are more; these are the latest {} (see --limit)", self.limit))?,
            _ => {}
        }
        Ok(Exit::Done)
    }
}

fn lines(timeline: super::timeline::Timeline) -> Vec<Line> {
    let line = |at, event| match event {
        Event::Entity(EntityEvent::Audit(event)) => {
            let refused = matches!(event, AuditEvent::Refused { .. });
            let (AuditEvent::Done { who, verb, on, why } | AuditEvent::Refused { who, verb, on, why }) = event;
            Some(Line { at, refused, who, verb, on, why })
        }
        _ => None,
    };
    timeline.entries.into_iter().filter_map(|entry| line(entry.at, entry.event)).collect()
}

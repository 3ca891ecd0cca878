use super::entities::Entities;
use super::find::{StoreArg, open};
use super::json::Json;
use super::output::{Out, Paint, cut};
use super::table::Table;
use super::{Error, Exit, events};
use antiphon_history::{DeadLetterEntry, WorkflowKey};

const EXAMPLES: &str = "\
A held one waits, and its workflow with it, until somebody retries or discards it. Of the others the workflow was told.

Examples:
  antiphon dead-letters data
  antiphon dead-letters data --queue mail --held
  antiphon dead-letters data --settled --json";

/// Most characters of a reason in a list; JSON has all of it.
const REASON_MAX_CHARS: usize = 80;

/// `antiphon dead-letters`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DeadLetters {
    #[command(flatten)]
    store: StoreArg,
    /// Also those that were taken care of
    #[arg(long)]
    settled: bool,
    /// Only those that are held
    #[arg(long)]
    held: bool,
    /// Only those of this task queue
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,
    /// Only those of this activity type
    #[arg(long = "type", value_name = "TYPE")]
    activity_type: Option<String>,
    /// Only those with a number above this
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    after: u64,
    /// Show at most so many, the oldest
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl DeadLetters {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let mut reader = open(&self.store.store)?;
        let found = Entities::read(reader.as_mut())?;
        let state = found.dead_letters();
        let fits = |entry: &DeadLetterEntry| {
            let letter = &entry.letter;
            (!self.held || letter.held && entry.settled.is_none())
                && self.queue.as_ref().is_none_or(|queue| letter.queue == queue.as_str())
                && self.activity_type.as_ref().is_none_or(|wanted| letter.activity_type == wanted.as_str())
        };
        let all = state.into_iter().flat_map(|state| state.after(self.after, self.settled));
        let limit = self.limit as usize;
        let mut letters: Vec<(u64, &DeadLetterEntry)> =
            all.filter(|(_, entry)| fits(entry)).take(limit.saturating_add(1)).collect();
        let more = letters.len() > limit;
        letters.truncate(limit);
        if out.json {
            for (number, entry) in &letters {
                out.json(&object(*number, entry))?;
            }
        } else if !letters.is_empty() {
            let mut table = Table::new(&["NUMBER", "WHEN", "ACTIVITY", "TYPE", "QUEUE", "STATE", "USED UP", "REASON"]);
            for (number, entry) in &letters {
                let letter = &entry.letter;
                let workflow =
                    WorkflowKey { namespace: letter.namespace.clone(), id: letter.workflow_id.clone() }.to_string();
                let paint = match (&entry.settled, letter.held) {
                    (Some(_), _) => Paint::Dim,
                    (None, true) => Paint::Bad,
                    (None, false) => Paint::Warn,
                };
                table.row(vec![
                    (Paint::Strong, number.to_string()),
                    (Paint::Plain, out.style.zone.date_time(entry.at)),
                    (Paint::Plain, format!("{workflow} {}.{}", letter.ordinal, letter.attempt)),
                    (Paint::Plain, letter.activity_type.to_string()),
                    (Paint::Plain, letter.queue.to_string()),
                    (paint, state_of(entry)),
                    (Paint::Plain, letter.cause.to_string()),
                    (Paint::Plain, cut(&letter.reason, REASON_MAX_CHARS)),
                ]);
            }
            out.line(table.render(&out.style))?;
        }
        let last = letters.last().map(|(number, _)| *number);
        match (last, more) {
            (None, _) => out.remark("no dead letter matches")?,
            (Some(last), true) => out.remark(&format!("there are more: go on with --after {last}"))?,
            _ => {}
        }
        match state.map_or(0, |state| state.dropped()) {
            0 => {}
            dropped => {
                out.remark(&format!("{dropped} earlier ones are not on the list any more: there were too many"))?
            }
        }
        Ok(Exit::Done)
    }
}

/// How a letter stands, in a few words.
fn state_of(entry: &DeadLetterEntry) -> String {
    match (&entry.settled, entry.letter.held) {
        (Some(settled), _) => format!("{} by {}", settled.how, settled.who),
        (None, true) => "held".to_owned(),
        (None, false) => "told".to_owned(),
    }
}

fn object(number: u64, entry: &DeadLetterEntry) -> Json {
    let settled = entry.settled.as_ref().map(|settled| {
        Json::Object(vec![
            ("how", settled.how.to_string().into()),
            ("who", settled.who.as_str().into()),
            ("at", settled.at.into()),
        ])
    });
    let mut fields = vec![("number", number.into()), ("at", entry.at.into())];
    fields.extend(events::dead_letter(&entry.letter));
    fields.push(("settled", settled.into()));
    Json::Object(fields)
}

use super::find::{StoreArg, open, short};
use super::json::{self, Json};
use super::output::{Out, Paint, cut};
use super::table::Table;
use super::time::{When, duration};
use super::timeline::Timeline;
use super::{Error, Exit};
use antiphon_history::{RunStatus, Timestamp};
use antiphon_recorder::Filter;

const EXAMPLES: &str = "\
Examples:
  antiphon list data
  antiphon list data --status blocked
  antiphon list data --type order --since 2h --limit 20
  antiphon list data --since 2026-11-01 --until 2026-11-02 --local
  antiphon list data --json | jq -r .run_id";

/// Most characters of a blocked run's reason in a list; `show` prints all of it.
const REASON_MAX_CHARS: usize = 80;

/// `antiphon list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct List {
    #[command(flatten)]
    store: StoreArg,
    /// Only runs that stand so: running, blocked, completed, failed or cancelled
    #[arg(long)]
    status: Option<RunStatus>,
    /// Only runs of this workflow type
    #[arg(long = "type", value_name = "TYPE")]
    workflow_type: Option<String>,
    /// Only runs whose workflow id begins so
    #[arg(long = "id", value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// Only runs of this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only runs that started then or later: a time (2026-11-21T10:00:00Z, 2026-11-21) or an age (2h, 3d)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only runs that started before then
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

impl List {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let mut reader = open(&self.store.store)?;
        let (zone, now) = (out.style.zone, out.style.now);
        let moment = |when: Option<When>| -> Option<Timestamp> { when?.resolve(zone, now) };
        let limit = self.limit as usize;
        let filter = Filter {
            status: self.status,
            workflow_type: self.workflow_type.clone(),
            id_prefix: self.id_prefix.clone(),
            namespace: self.namespace.clone(),
            started_after: moment(self.since),
            started_before: moment(self.until),
            // One more than is shown tells whether there are more.
            limit: limit.saturating_add(1),
            before_key: None,
        };
        let mut rows = reader.list(&filter)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        if out.json {
            for row in &rows {
                let mut fields = json::row(row);
                fields.push(("duration_ms", Timeline::lasted_ms(row, now).into()));
                out.json(&Json::Object(fields))?;
            }
        } else if !rows.is_empty() {
            let mut table =
                Table::new(&["WORKFLOW", "RUN", "TYPE", "STATUS", "STARTED", "DURATION", "ACTIVITIES", "BLOCKED"]);
            for row in &rows {
                table.row(vec![
                    (Paint::Strong, row.workflow.to_string()),
                    (Paint::Dim, short(row.run_id)),
                    (Paint::Plain, row.workflow_type.clone()),
                    (Paint::of(row.status), row.status.name().to_owned()),
                    (Paint::Plain, zone.date_time(row.started_at)),
                    (Paint::Plain, duration(Timeline::lasted_ms(row, now))),
                    (Paint::Plain, row.activities.to_string()),
                    (Paint::Bad, cut(&row.blocked, REASON_MAX_CHARS)),
                ]);
            }
            out.line(table.render(&out.style))?;
        }
        match (rows.is_empty(), more) {
            (true, _) => out.remark("no run matches")?,
            (_, true) => out.remark(&format!("there are more; these are the newest {limit} (see --limit)"))?,
            _ => {}
        }
        Ok(Exit::Done)
    }
}

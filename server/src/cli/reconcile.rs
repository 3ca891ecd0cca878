use super::explain::picture;
use super::find::{StoreArg, open};
use super::json::Json;
use super::output::{Out, Paint};
use super::table::Table;
use super::time::{Length, duration};
use super::{Error, Exit};
use antiphon_engine::{Finding, Report, Thresholds};
use antiphon_history::ConversationKey;

const EXAMPLES: &str = "\
Repairs are made by the engine: antiphon.repair(). Here is what it would find, as far as the record tells: signs of life are
written only now and then, so a leg may look more silent than it is. Exit code 1 if something is stuck.

Examples:
  antiphon reconcile data --dry-run
  antiphon reconcile data --dry-run --silent 1h --waiting 1d";

/// `antiphon reconcile`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Reconcile {
    #[command(flatten)]
    store: StoreArg,
    /// Only tell what is stuck; nothing else can be done from here
    #[arg(long, required = true)]
    dry_run: bool,
    /// A leg is stuck whose worker is gone for so long. Default: 10m
    #[arg(long, value_name = "LENGTH")]
    gone: Option<Length>,
    /// A leg is stuck of which nothing is known for so long. Default: 5m
    #[arg(long, value_name = "LENGTH")]
    silent: Option<Length>,
    /// What waits for a worker so long is told. Default: 5m
    #[arg(long, value_name = "LENGTH")]
    waiting: Option<Length>,
}

impl Reconcile {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let mut reader = open(&self.store.store)?;
        let picture = picture(reader.as_mut(), None, out)?;
        let normal = Thresholds::default();
        let or = |given: Option<Length>, normal| given.map_or(normal, |given| given.0);
        let Report { findings, more, .. } = picture.find_stuck(Thresholds {
            gone_ms: or(self.gone, normal.gone_ms),
            silent_ms: or(self.silent, normal.silent_ms),
            waiting_ms: or(self.waiting, normal.waiting_ms),
        });
        if findings.is_empty() {
            out.remark("nothing is stuck")?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new(&["STUCK", "ACTIVITY", "LEG", "FOR", "REPAIR"]);
        for finding in &findings {
            let Finding { rule, conversation, leg, events: _, for_ms, only_reported } = finding;
            let ConversationKey { run, ordinal, attempt } = *conversation;
            let row = reader.row(run)?;
            let workflow = row.as_ref().map(|row| row.workflow.to_string()).unwrap_or_default();
            if out.json {
                out.json(&Json::Object(vec![
                    ("rule", rule.name().into()),
                    ("workflow", workflow.into()),
                    ("run_id", row.map(|row| row.run_id.to_string()).into()),
                    ("ordinal", ordinal.0.into()),
                    ("attempt", attempt.into()),
                    ("leg", (*leg).into()),
                    ("for_ms", (*for_ms).into()),
                    ("only_reported", only_reported.as_deref().into()),
                ]))?;
                continue;
            }
            let (paint, repair) = match only_reported {
                Some(why) => (Paint::Dim, format!("none: {why}")),
                None => (Paint::Plain, "possible".to_owned()),
            };
            table.row(vec![
                (Paint::Warn, rule.name().to_owned()),
                (Paint::Strong, format!("{workflow} {ordinal}.{attempt}")),
                (Paint::Plain, leg.to_string()),
                (Paint::Plain, duration(*for_ms)),
                (paint, repair),
            ]);
        }
        if !out.json {
            out.line(table.render(&out.style))?;
        }
        if more > 0 {
            out.remark(&format!("and {more} more"))?;
        }
        Ok(Exit::Problem)
    }
}

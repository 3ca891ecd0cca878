use super::find::{StoreArg, each_row, history, open, short};
use super::output::Out;
use super::replay::{Subject, follow, print};
use super::{Error, Exit};
use antiphon_engine::Programs;
use antiphon_history::RunStatus;
use antiphon_recorder::Filter;

const EXAMPLES: &str = "\
Answers before a deployment which runs the new code would block, and where. Reads only; the engine may be running.

Examples:
  orders check data
  orders check data --problems";

/// `check`: only in a binary that has workflow code.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Check {
    #[command(flatten)]
    store: StoreArg,
    /// Print only the runs that this code cannot follow
    #[arg(long)]
    problems: bool,
}

impl Check {
    pub(super) fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let store = &self.store.store;
        let mut reader = open(store)?;
        let (mut open_runs, mut stopped) = (0u64, 0u64);
        for status in [RunStatus::Running, RunStatus::Blocked] {
            let filter = Filter { status: Some(status), ..Filter::default() };
            each_row(reader.as_mut(), &filter, |reader, row| {
                open_runs += 1;
                let file = history(reader, &row, store)?;
                let followed = follow(programs, &file, false).map_err(|source| Error::Run {
                    store: store.display().to_string(),
                    run: row.run_id.to_string(),
                    source,
                })?;
                stopped += u64::from(followed.stopped.is_some());
                if followed.stopped.is_some() || !self.problems {
                    let name = format!("{}  {}  {}", row.workflow, short(row.run_id), row.workflow_type);
                    let fields = vec![
                        ("namespace", row.workflow.namespace.as_str().into()),
                        ("workflow_id", row.workflow.id.as_str().into()),
                        ("run_id", row.run_id.to_string().into()),
                        ("workflow_type", row.workflow_type.as_str().into()),
                        ("status", row.status.name().into()),
                    ];
                    print(&Subject { name: &name, fields }, &followed, out)?;
                }
                Ok(true)
            })?;
        }
        if !out.json {
            out.line(format!("{open_runs} open runs, {stopped} cannot go on with this code"))?;
        }
        Ok(if stopped == 0 { Exit::Done } else { Exit::Problem })
    }
}

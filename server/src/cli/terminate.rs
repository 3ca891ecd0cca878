use super::by::{By, done};
use super::find::{RunArg, open};
use super::operate::operate;
use super::output::Out;
use super::{Error, Exit};
use antiphon_engine::{Operation, Programs, Target};

const EXAMPLES: &str = "\
Its code is not asked and need not be in this program. Nothing is compensated; its activities are closed, and what workers
elsewhere still answer for it changes nothing. To let a run undo its work cancel it, in the program that has its code.

Examples:
  antiphon terminate data order-7 --why 'its code is gone'";

/// `antiphon terminate`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Terminate {
    #[command(flatten)]
    run: RunArg,
    #[command(flatten)]
    by: By,
}

impl Terminate {
    pub(super) fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let row = self.run.row(open(&self.run.store)?.as_mut())?;
        let target = Target { workflow: row.workflow, run: Some(row.run_id) };
        let operation = Operation::Terminate { target, by: self.by.given() };
        let operated = operate(&self.run.store, programs, operation)?;
        done("terminate", &self.run.run, operated.written, out)
    }
}

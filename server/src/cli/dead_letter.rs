use super::by::{By, done};
use super::find::StoreArg;
use super::operate::operate;
use super::output::Out;
use super::{Error, Exit};
use antiphon_engine::{Operation, Programs, RepairRequest, Which};

const EXAMPLES: &str = "\
What is held goes on with its run, and takes the program that runs the engine: antiphon.repair(). Without an engine a
letter can be discarded of which the workflow was told: it is off the list of what waits for somebody.

Examples:
  antiphon dead-letter discard data 7 --why 'paid by hand'";

/// `antiphon dead-letter`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DeadLetter {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Give a dead letter up
    Discard(Letter),
    /// Try a dead letter again
    Retry(Letter),
}

#[derive(Debug, clap::Args)]
struct Letter {
    #[command(flatten)]
    store: StoreArg,
    /// Its number, as `dead-letters` lists it
    #[arg(value_name = "NUMBER")]
    number: u64,
    #[command(flatten)]
    by: By,
}

impl DeadLetter {
    pub(super) fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let (letter, verb) = match &self.act {
            Act::Discard(letter) => (letter, "dead-letter.discard"),
            Act::Retry(letter) => (letter, "dead-letter.retry"),
        };
        let (which, by) = (Which::Letter(letter.number), letter.by.given());
        let request = match &self.act {
            Act::Discard(_) => RepairRequest::Discard { which, by },
            Act::Retry(_) => RepairRequest::Retry { which, call: None, by },
        };
        let operated = operate(&letter.store.store, programs, Operation::Repair(request))?;
        done(verb, &letter.number.to_string(), operated.written, out)
    }
}

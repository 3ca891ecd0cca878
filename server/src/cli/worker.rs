use super::by::{By, done};
use super::find::StoreArg;
use super::operate::operate;
use super::output::Out;
use super::{Error, Exit};
use antiphon_engine::{Operation, Programs, WorkersRequest};
use antiphon_history::Health;

const EXAMPLES: &str = "\
Of a worker that is elsewhere it holds when the engine runs again. One of an engine's own process ended with it, and joins
afresh.

Examples:
  antiphon worker drain data press-2 --why 'moves to another room'
  antiphon worker health data press-2 degraded";

/// `antiphon worker`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Worker {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Let a worker finish what it has and get nothing new
    Drain(Which),
    /// Say how well a worker is
    Health(SetHealth),
}

#[derive(Debug, clap::Args)]
struct Which {
    #[command(flatten)]
    store: StoreArg,
    /// The worker
    #[arg(value_name = "NAME")]
    worker: String,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, clap::Args)]
struct SetHealth {
    #[command(flatten)]
    store: StoreArg,
    /// The worker
    #[arg(value_name = "NAME")]
    worker: String,
    /// How well it is: healthy, degraded (taken last), unhealthy or down (gets nothing)
    #[arg(value_name = "HEALTH")]
    health: Health,
    #[command(flatten)]
    by: By,
}

impl Worker {
    pub(super) fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let (store, name, verb, request) = match &self.act {
            Act::Drain(Which { store, worker, by }) => {
                let (who, why) = (by.who(), by.why.clone());
                (store, worker, "worker.drain", WorkersRequest::Drain { worker: worker.clone(), who, why })
            }
            Act::Health(SetHealth { store, worker, health, by }) => {
                let (who, why, health) = (by.who(), by.why.clone(), *health);
                let request = WorkersRequest::SetHealth { worker: worker.clone(), health, who, why };
                (store, worker, "worker.health", request)
            }
        };
        let operated = operate(&store.store, programs, Operation::Workers(request))?;
        done(verb, name, operated.written, out)
    }
}

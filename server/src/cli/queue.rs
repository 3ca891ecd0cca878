use super::by::{By, done};
use super::entities::Entities;
use super::find::{StoreArg, open};
use super::operate::operate;
use super::output::Out;
use super::time::Length;
use super::{Error, Exit};
use antiphon_engine::{Operation, Programs, QueuesRequest};
use antiphon_history::{Name, QueueRate, QueueSettings};
use std::path::Path;
use std::str::FromStr;

const EXAMPLES: &str = "\
What is under way goes on when a queue is paused. What `set` does not name stays as it is.

Examples:
  antiphon queue pause data mail --why 'the mail server is down'
  antiphon queue resume data mail
  antiphon queue set data mail --in-flight 20 --rate 100/1m --weight gold=5
  antiphon queue set data mail --rate none --weight gold=none";

/// `antiphon queue`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Queue {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Give nothing out from now on; what is under way goes on
    Pause(Which),
    /// Give out again
    Resume(Which),
    /// Set limits, rate and weights
    Set(Box<Set>),
}

#[derive(Debug, clap::Args)]
struct Which {
    #[command(flatten)]
    store: StoreArg,
    /// The task queue
    #[arg(value_name = "QUEUE")]
    queue: String,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    which: Which,
    /// Most attempts under way at once, over all workers; or `none`
    #[arg(long, value_name = "N")]
    in_flight: Option<OrNone<u32>>,
    /// Most calls of one limit key under way at once; or `none`
    #[arg(long, value_name = "N")]
    per_key: Option<OrNone<u32>>,
    /// Most waiting attempts with which it takes in activities on their own; or `none`
    #[arg(long, value_name = "N")]
    waiting_max: Option<OrNone<u32>>,
    /// How fast attempts are given out, such as 100/1m; or `none`
    #[arg(long, value_name = "N/LENGTH")]
    rate: Option<OrNone<Rate>>,
    /// How many that the rate saved up may go at once. Default: as it is, or 1
    #[arg(long, value_name = "N")]
    burst: Option<u32>,
    /// The weight of a fairness key, 1 to 1,000, such as gold=5; gold=none takes it away. May be given again
    #[arg(long, value_name = "KEY=N", value_parser = weight)]
    weight: Vec<(String, Option<u32>)>,
}

/// A value, or none.
#[derive(Debug, Clone)]
struct OrNone<T>(Option<T>);

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = T::Err;
    fn from_str(text: &str) -> Result<OrNone<T>, T::Err> {
        if text == "none" { Ok(OrNone(None)) } else { text.parse().map(|value| OrNone(Some(value))) }
    }
}

impl<T: Clone> OrNone<T> {
    /// The new value of a setting: as given, or as it was.
    fn over(given: Option<&OrNone<T>>, known: Option<T>) -> Option<T> {
        given.map_or(known, |given| given.0.clone())
    }
}

/// So many in so long.
#[derive(Debug, Clone, Copy)]
struct Rate {
    count: u32,
    period: Length,
}

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Rate, String> {
        let (count, period) = text.split_once('/').ok_or("give it as 100/1m")?;
        let count = count.parse().map_err(|_| format!("{count:?} is not a number; give it as 100/1m"))?;
        Ok(Rate { count, period: period.parse()? })
    }
}

fn weight(text: &str) -> Result<(String, Option<u32>), String> {
    let (key, weight) = text.rsplit_once('=').ok_or("give it as key=5, or key=none")?;
    let weight: OrNone<u32> = weight.parse().map_err(|_| format!("{weight:?} is no weight; give it as key=5"))?;
    Ok((key.to_owned(), weight.0))
}

impl Queue {
    pub(super) fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let (which, verb, request) = match &self.act {
            Act::Pause(which) => {
                (which, "queue.pause", QueuesRequest::Pause { queue: which.name(), by: which.by.given() })
            }
            Act::Resume(which) => {
                (which, "queue.resume", QueuesRequest::Resume { queue: which.name(), by: which.by.given() })
            }
            Act::Set(set) => {
                let which = &set.which;
                let settings = Box::new(set.over(known(&which.store.store, &which.queue)?));
                (which, "queue.set", QueuesRequest::Set { queue: which.name(), settings, by: which.by.given() })
            }
        };
        let operated = operate(&which.store.store, programs, Operation::Queues(request))?;
        done(verb, &which.queue, operated.written, out)
    }
}

impl Which {
    fn name(&self) -> Name {
        self.queue.as_str().into()
    }
}

/// What is set now.
fn known(store: &Path, queue: &str) -> Result<QueueSettings, Error> {
    let mut reader = open(store)?;
    let found = Entities::read(reader.as_mut())?;
    let state = found.queues().find(|(name, _)| name.as_str() == queue).map(|(_, state)| state.settings.clone());
    Ok(state.unwrap_or_default())
}

impl Set {
    fn over(&self, known: QueueSettings) -> QueueSettings {
        let rate_known = known.rate.map(|rate| Rate { count: rate.count, period: Length(rate.period_ms) });
        let burst = self.burst.or(known.rate.map(|rate| rate.burst)).unwrap_or(1);
        let rate = OrNone::over(self.rate.as_ref(), rate_known);
        let mut weights = known.weights;
        for (key, weight) in &self.weight {
            match weight {
                Some(weight) => drop(weights.insert(key.as_str().into(), *weight)),
                None => drop(weights.remove(key.as_str())),
            }
        }
        QueueSettings {
            in_flight_max: OrNone::over(self.in_flight.as_ref(), known.in_flight_max),
            per_key_max: OrNone::over(self.per_key.as_ref(), known.per_key_max),
            waiting_max: OrNone::over(self.waiting_max.as_ref(), known.waiting_max),
            rate: rate.map(|rate| QueueRate { count: rate.count, period_ms: rate.period.0, burst }),
            weights,
        }
    }
}

use super::by::By;
use super::entities::Entities;
use super::find::{StoreArg, open};
use super::operate::operate;
use super::output::Out;
use super::routine_args::{Changes, Rules};
use super::time::Moment;
use super::{Error, Exit, routines};
use antiphon_engine::{Operation, Programs, Reply, RoutineView, RoutinesReply, RoutinesRequest};
use antiphon_history::Timestamp;

const EXAMPLES: &str = "\
All but `show` act on the store, which no engine may have open then. Creating one, or changing what it starts, takes a
binary that has the workflow's code.

Examples:
  antiphon routine show data nightly
  orders routine create data nightly --workflow report --cron '30 2 * * *' --zone Europe/Berlin --input '\"yesterday\"'
  antiphon routine update data nightly --cron '30 3 * * *' --zone Europe/Berlin
  antiphon routine pause data nightly --why 'the printer is broken'
  antiphon routine backfill data nightly --from 2026-11-01 --to 2026-11-07";

/// `antiphon routine`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Routine {
    #[command(subcommand)]
    act: Act,
}

#[derive(Debug, clap::Subcommand)]
enum Act {
    /// Show one routine with all that is known of it
    Show(Which),
    /// Make a routine; the same again finds the same one
    Create(Create),
    /// Change a routine that is active or paused
    Update(Update),
    /// Let a routine start nothing until it is resumed; --why is its note
    Pause(ActOn),
    /// Let a paused routine go on
    Resume(ActOn),
    /// End a routine for good
    Cancel(ActOn),
    /// Have the slots of a time that is past carried out, when the engine runs next
    Backfill(Backfill),
}

#[derive(Debug, clap::Args)]
struct Which {
    #[command(flatten)]
    store: StoreArg,
    /// The routine
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Debug, clap::Args)]
struct ActOn {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    rules: Box<Rules>,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, clap::Args)]
struct Update {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    changes: Box<Changes>,
    #[command(flatten)]
    by: By,
}

#[derive(Debug, clap::Args)]
struct Backfill {
    #[command(flatten)]
    which: Which,
    /// The first slot is not before then
    #[arg(long, value_name = "TIME")]
    from: Moment,
    /// The last slot is not after then
    #[arg(long, value_name = "TIME")]
    to: Moment,
    #[command(flatten)]
    by: By,
}

impl Routine {
    pub(super) fn run(&self, programs: &Programs, out: &mut Out<'_>) -> Result<Exit, Error> {
        let (zone, now) = (out.style.zone, out.style.now);
        let resolved = |moment: Moment| moment.resolve(zone, now).unwrap_or(Timestamp(i64::MAX));
        let (which, request) = match &self.act {
            Act::Show(which) => return which.show(out),
            Act::Create(Create { which, rules, by }) => {
                let (who, why) = (by.who(), by.why.clone());
                let spec = Box::new(rules.spec(&resolved));
                (which, RoutinesRequest::Create { id: Some(which.id.clone()), spec, who, why })
            }
            Act::Update(Update { which, changes, by }) => {
                let (who, why) = (by.who(), by.why.clone());
                let known = which.find()?;
                let patch = Box::new(changes.patch(&known.state.spec, &resolved));
                (which, RoutinesRequest::Update { id: which.id.clone(), patch, who, why })
            }
            Act::Pause(ActOn { which, by }) => {
                let (id, note, who) = (which.id.clone(), by.why.clone(), by.who());
                (which, RoutinesRequest::Pause { id, note, who })
            }
            Act::Resume(ActOn { which, by }) => {
                let (id, who, why) = (which.id.clone(), by.who(), by.why.clone());
                (which, RoutinesRequest::Resume { id, who, why })
            }
            Act::Cancel(ActOn { which, by }) => {
                let (id, who, why) = (which.id.clone(), by.who(), by.why.clone());
                (which, RoutinesRequest::Cancel { id, who, why })
            }
            Act::Backfill(Backfill { which, from, to, by }) => {
                let (id, who, why) = (which.id.clone(), by.who(), by.why.clone());
                (which, RoutinesRequest::Backfill { id, from: resolved(*from), to: resolved(*to), who, why })
            }
        };
        let operated = operate(&which.store.store, programs, Operation::Routines(request))?;
        if let Reply::Routines(reply) = &operated.reply
            && let RoutinesReply::Routine { routine, .. } = &**reply
        {
            print(routine, out)?;
        }
        if !operated.written {
            out.remark("it was so before, and nothing was written")?;
        }
        Ok(Exit::Done)
    }
}

impl Which {
    fn show(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        print(&self.find()?, out)?;
        Ok(Exit::Done)
    }

    fn find(&self) -> Result<RoutineView, Error> {
        let mut reader = open(&self.store.store)?;
        let found = Entities::read(reader.as_mut())?;
        let routine = found.routines().find(|(_, state)| state.id == self.id);
        let (key, state) = routine.ok_or_else(|| Error::no_such(&self.store.store, "routine", &self.id))?;
        Ok(RoutineView::new(key, state.clone()))
    }
}

fn print(view: &RoutineView, out: &mut Out<'_>) -> Result<(), Error> {
    if out.json { out.json(&routines::object(view)) } else { out.line(routines::text(view, out)) }
}

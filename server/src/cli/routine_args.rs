//! What a routine is, on the command line.

use super::routines::label;
use super::time::{Length, Moment};
use antiphon_history::{
    ActivityCall, ActivityOptions, CatchUp, Change, Name, Overlap, Payload, RetryPolicy, RouteRequest, RoutinePatch,
    RoutineSpec, RoutineTarget, Schedule, Site, Timestamp,
};
use std::collections::BTreeMap;

/// When it fires. One of them must be given.
#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct When {
    /// Fires once, at this time (2026-11-21T10:00:00Z, 2026-11-21T10:00); one in the past is due at once
    #[arg(long, value_name = "TIME")]
    once: Option<Moment>,
    /// Fires again and again, at this distance (90s, 5m, 1d), on a grid that begins at its start
    #[arg(long, value_name = "LENGTH")]
    every: Option<Length>,
    /// Fires by the clocks of a zone: minute, hour, day of the month, month, day of the week
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
}

/// When it fires from now on.
#[derive(Debug, Clone, clap::Args)]
#[group(multiple = false)]
struct NewWhen {
    /// Fires once from now on, at this time
    #[arg(long, value_name = "TIME")]
    once: Option<Moment>,
    /// Fires at this distance from now on (90s, 5m, 1d)
    #[arg(long, value_name = "LENGTH")]
    every: Option<Length>,
    /// Fires by the clocks of a zone from now on
    #[arg(long, value_name = "EXPRESSION")]
    cron: Option<String>,
}

fn schedule(once: Option<Timestamp>, every: Option<Length>, cron: Option<&String>, zone: &str) -> Option<Schedule> {
    let cron = || cron.map(|expression| Schedule::Cron { expression: expression.clone(), zone: zone.to_owned() });
    let every = || every.map(|every| Schedule::Interval { every_ms: every.0, phase_ms: None });
    once.map(|at| Schedule::Once { at }).or_else(every).or_else(cron)
}

/// How it goes about its slots.
#[derive(Debug, Clone, clap::Args)]
struct Policies {
    /// The zone of --cron, by its name in the IANA database
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "cron")]
    zone: String,
    /// What stands before the slot in the workflow ids of its runs. Default: the routine's id
    #[arg(long, value_name = "TEXT")]
    id_prefix: Option<String>,
    /// The task queue of --activity. Default: default
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
    /// A JSON value that the workflow or activity gets; once for each of its arguments, in their order
    #[arg(long, value_name = "JSON")]
    input: Vec<String>,
    /// Missed slots: `all`, `one` for all of them, or `skip` (`skip=5m`: what is more than 5m late)
    #[arg(long, value_name = "POLICY", value_parser = catch_up)]
    catch_up: Option<CatchUp>,
    /// Slots that fall due while a run is open: skip, buffer_one, buffer_all, cancel_other, terminate_other or allow_all
    #[arg(long, value_name = "POLICY")]
    overlap: Option<Overlap>,
    /// Starts each slot up to so much later
    #[arg(long, value_name = "LENGTH")]
    jitter: Option<Length>,
    /// Attempts of a slot whose run fails, 1 to 1,000
    #[arg(long, value_name = "N")]
    attempts: Option<u32>,
    /// How long a slot waits for its second attempt; twice as long for each one after that
    #[arg(long, value_name = "LENGTH")]
    retry_after: Option<Length>,
    /// A word for people and filters; may be given again. An update replaces all of them
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
}

fn catch_up(text: &str) -> Result<CatchUp, String> {
    match (text, text.strip_prefix("skip=")) {
        ("all", _) => Ok(CatchUp::All),
        ("one", _) => Ok(CatchUp::One),
        ("skip", _) => Ok(CatchUp::Skip { late_ms: 0 }),
        (_, Some(late)) => Ok(CatchUp::Skip { late_ms: late.parse::<Length>()?.0 }),
        _ => Err(format!("{text:?} is not a catch-up policy; use one of all, one, skip, skip=5m")),
    }
}

impl Policies {
    fn input(&self) -> Vec<Payload> {
        self.input.iter().map(|json| Payload::json(json.as_bytes())).collect()
    }

    /// What it starts: another type than the known one's, or the same with other arguments.
    fn target(&self, starts: &Starts<'_>, known: Option<&RoutineTarget>) -> RoutineTarget {
        let call_known = match known {
            Some(RoutineTarget::Activity { call, .. }) => Some(&**call),
            _ => None,
        };
        let activity = match starts {
            Starts::Activity(activity_type) => Some(*activity_type),
            Starts::Workflow(_) => None,
            Starts::AsBefore => call_known.map(|call| call.activity_type.as_str()),
        };
        let prefix = self.id_prefix.as_deref().or(known.map(RoutineTarget::id_prefix)).unwrap_or_default().to_owned();
        if let Some(activity_type) = activity {
            let mut call = call_known.cloned().unwrap_or_else(|| new_call(activity_type));
            call.activity_type = activity_type.into();
            if let Some(queue) = &self.queue {
                call.queue = queue.as_str().into();
            }
            if !self.input.is_empty() {
                call.input = self.input();
            }
            return RoutineTarget::Activity { call: Box::new(call), id_prefix: prefix };
        }
        let (type_known, input_known) = match known {
            Some(RoutineTarget::Workflow { workflow_type, input, .. }) => (workflow_type.as_str(), input.clone()),
            _ => ("", Vec::new()),
        };
        let workflow_type = match starts {
            Starts::Workflow(workflow_type) => *workflow_type,
            Starts::Activity(_) | Starts::AsBefore => type_known,
        };
        let input = if self.input.is_empty() { input_known } else { self.input() };
        RoutineTarget::Workflow { workflow_type: workflow_type.to_owned(), id_prefix: prefix, input }
    }

    fn retry(&self, known: &RetryPolicy) -> RetryPolicy {
        let initial_ms = self.retry_after.map_or(known.initial_ms, |wait| wait.0);
        RetryPolicy {
            max_attempts: self.attempts.unwrap_or(known.max_attempts),
            initial_ms,
            // The wait that was asked for is not cut by a bound that nobody named.
            max_ms: known.max_ms.max(initial_ms),
            ..*known
        }
    }

    fn labels(&self) -> BTreeMap<String, String> {
        self.label.iter().cloned().collect()
    }
}

/// What a slot starts, as far as the command line says.
enum Starts<'a> {
    Workflow(&'a str),
    Activity(&'a str),
    AsBefore,
}

impl Starts<'_> {
    fn of<'a>(workflow: Option<&'a String>, activity: Option<&'a String>) -> Starts<'a> {
        match (workflow, activity) {
            (Some(workflow), _) => Starts::Workflow(workflow),
            (None, Some(activity)) => Starts::Activity(activity),
            (None, None) => Starts::AsBefore,
        }
    }
}

fn new_call(activity_type: &str) -> ActivityCall {
    ActivityCall {
        activity_type: activity_type.into(),
        queue: "default".into(),
        input: Vec::new(),
        options: ActivityOptions::default(),
        site: Site::default(),
    }
}

/// A new routine.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Rules {
    /// The workflow type that it starts
    #[arg(long, value_name = "TYPE", required_unless_present = "activity")]
    workflow: Option<String>,
    /// The activity that it starts, as a run of its own; it needs no code at hand
    #[arg(long, value_name = "TYPE", conflicts_with = "workflow")]
    activity: Option<String>,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    policies: Policies,
    /// No slot before then. Default: now
    #[arg(long, value_name = "TIME")]
    start_at: Option<Moment>,
    /// No slot after then
    #[arg(long, value_name = "TIME")]
    end_at: Option<Moment>,
    /// It is completed after so many slots
    #[arg(long, value_name = "N")]
    max_runs: Option<u64>,
    /// The same request under this key finds the same routine
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// It begins paused, with this note
    #[arg(long, value_name = "NOTE")]
    paused: Option<String>,
    /// How the worker of its activity is chosen, as JSON: {"policy": "round_robin"}
    #[arg(long, value_name = "JSON", value_parser = super::routing::route)]
    route: Option<Box<RouteRequest>>,
    /// The guard that must agree to it and to its changes
    #[arg(long, value_name = "NAME")]
    guard: Option<String>,
}

impl Rules {
    pub(super) fn spec(&self, resolved: &dyn Fn(Moment) -> Timestamp) -> RoutineSpec {
        let policies = &self.policies;
        let target = policies.target(&Starts::of(self.workflow.as_ref(), self.activity.as_ref()), None);
        let When { once, every, cron } = &self.when;
        let schedule = schedule(once.map(resolved), *every, cron.as_ref(), &policies.zone);
        // The parser takes no routine without one.
        let mut spec = RoutineSpec::new(schedule.unwrap_or(Schedule::Once { at: Timestamp(0) }), target);
        spec.catch_up = policies.catch_up.unwrap_or_default();
        spec.overlap = policies.overlap.unwrap_or_default();
        spec.jitter_ms = policies.jitter.map_or(0, |jitter| jitter.0);
        spec.retry = policies.retry(&RetryPolicy::default());
        spec.labels = policies.labels();
        spec.start_at = self.start_at.map(resolved);
        spec.end_at = self.end_at.map(resolved);
        spec.max_runs = self.max_runs;
        spec.idempotency_key.clone_from(&self.idempotency_key);
        spec.paused.clone_from(&self.paused);
        spec.route.clone_from(&self.route);
        spec.guard = self.guard.clone().map(Name::from);
        spec
    }
}

/// A moment, or none.
#[derive(Debug, Clone, Copy)]
struct OrNone<T>(Option<T>);

impl<T: std::str::FromStr> std::str::FromStr for OrNone<T> {
    type Err = T::Err;
    fn from_str(text: &str) -> Result<OrNone<T>, T::Err> {
        if text == "none" { Ok(OrNone(None)) } else { text.parse().map(|value| OrNone(Some(value))) }
    }
}

impl<T> OrNone<T> {
    fn change<U>(given: Option<OrNone<T>>, value: impl FnOnce(T) -> U) -> Change<U> {
        match given {
            None => Change::Keep,
            Some(OrNone(None)) => Change::Clear,
            Some(OrNone(Some(given))) => Change::Set(value(given)),
        }
    }
}

/// What is to be different. What is not named stays.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Changes {
    /// The workflow type that it starts from now on
    #[arg(long, value_name = "TYPE")]
    workflow: Option<String>,
    /// The activity that it starts from now on
    #[arg(long, value_name = "TYPE", conflicts_with = "workflow")]
    activity: Option<String>,
    #[command(flatten)]
    when: NewWhen,
    #[command(flatten)]
    policies: Policies,
    /// No slot before then; `none`: from now on
    #[arg(long, value_name = "TIME")]
    start_at: Option<OrNone<Moment>>,
    /// No slot after then; `none`: without end
    #[arg(long, value_name = "TIME")]
    end_at: Option<OrNone<Moment>>,
    /// It is completed after so many slots; `none`: never for their number
    #[arg(long, value_name = "N")]
    max_runs: Option<OrNone<u64>>,
    /// How the worker of its activity is chosen, as JSON; `none`: as the call and its queue say
    #[arg(long, value_name = "JSON", value_parser = route_or_none)]
    route: Option<OrNone<Box<RouteRequest>>>,
    /// The guard that must agree to changes, which the one before it must allow; `none`: nobody
    #[arg(long, value_name = "NAME")]
    guard: Option<OrNone<String>>,
    /// The next slot, given by hand
    #[arg(long, value_name = "TIME")]
    next: Option<Moment>,
}

fn route_or_none(text: &str) -> Result<OrNone<Box<RouteRequest>>, String> {
    if text == "none" { Ok(OrNone(None)) } else { super::routing::route(text).map(|route| OrNone(Some(route))) }
}

impl Changes {
    /// The changes to a routine that is `known` so.
    pub(super) fn patch(&self, known: &RoutineSpec, resolved: &dyn Fn(Moment) -> Timestamp) -> RoutinePatch {
        let policies = &self.policies;
        let starts = Starts::of(self.workflow.as_ref(), self.activity.as_ref());
        let retargeted = !matches!(starts, Starts::AsBefore)
            || policies.id_prefix.is_some()
            || policies.queue.is_some()
            || !policies.input.is_empty();
        let retried = policies.attempts.is_some() || policies.retry_after.is_some();
        let NewWhen { once, every, cron } = &self.when;
        RoutinePatch {
            schedule: schedule(once.map(resolved), *every, cron.as_ref(), &policies.zone),
            target: retargeted.then(|| policies.target(&starts, Some(&known.target))),
            catch_up: policies.catch_up,
            overlap: policies.overlap,
            jitter_ms: policies.jitter.map(|jitter| jitter.0),
            start_at: OrNone::change(self.start_at, resolved),
            end_at: OrNone::change(self.end_at, resolved),
            max_runs: OrNone::change(self.max_runs, |max| max),
            retry: retried.then(|| policies.retry(&known.retry)),
            labels: (!policies.label.is_empty()).then(|| policies.labels()),
            route: OrNone::change(self.route.clone(), |route| route),
            guard: OrNone::change(self.guard.clone(), Name::from),
            next: self.next.map(resolved),
        }
    }
}

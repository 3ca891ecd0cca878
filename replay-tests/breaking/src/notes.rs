//! What was asked, and what the engine said to it.

use crate::words::{Answer, Ask, End};
use crate::{Broken, Invariant, Plan, Shape};
use std::collections::BTreeMap;

/// A signal as it was asked for.
#[derive(Clone, Debug)]
pub struct Signalled {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: u64,
    /// Whether the engine has acknowledged it.
    pub acknowledged: bool,
}

/// All that is known of one workflow id from outside.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The workflow type.
    pub shape: Shape,
    /// The input.
    pub plan: Plan,
    /// The run id that an acknowledgement of the start named.
    pub started: Option<String>,
    /// Signals by request id.
    pub signals: BTreeMap<String, Signalled>,
    /// Whether a cancel was asked for.
    pub cancel_asked: bool,
    /// Whether a cancel was acknowledged.
    pub cancelled: bool,
    /// The end that the engine told.
    pub ended: Option<End>,
    /// Whether the engine has said that it takes no more.
    pub closed: bool,
}

/// The driver's notes.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    runs: BTreeMap<String, Asked>,
    /// Requests without an answer, of the life that goes on.
    open: BTreeMap<u64, Ask>,
    next: u64,
    /// Answers that say that something is recorded.
    pub acknowledgements: u64,
    /// Requests whose outcome nobody knows.
    pub unknown: u64,
    /// Requests of a kind that was asked before.
    pub repeated: u64,
    /// Requests that were refused.
    pub refused: u64,
}

impl Notes {
    /// Notes a request; returns its number.
    pub fn ask(&mut self, ask: &Ask) -> u64 {
        self.next += 1;
        match ask {
            Ask::Start { workflow, shape, plan } => {
                let fresh = || Asked {
                    shape: *shape,
                    plan: plan.clone(),
                    started: None,
                    signals: BTreeMap::new(),
                    cancel_asked: false,
                    cancelled: false,
                    ended: None,
                    closed: false,
                };
                self.repeated += u64::from(self.runs.contains_key(workflow));
                self.runs.entry(workflow.clone()).or_insert_with(fresh);
            }
            Ask::Signal { workflow, name, value, key } => {
                if let Some(run) = self.runs.get_mut(workflow) {
                    self.repeated += u64::from(run.signals.contains_key(key));
                    let fresh = || Signalled { name: name.clone(), value: *value, acknowledged: false };
                    run.signals.entry(key.clone()).or_insert_with(fresh);
                }
            }
            Ask::Cancel { workflow } => {
                if let Some(run) = self.runs.get_mut(workflow) {
                    run.cancel_asked = true;
                }
            }
            Ask::Wait { .. } => {}
        }
        self.open.insert(self.next, ask.clone());
        self.next
    }

    /// Notes an answer. What contradicts an earlier one is found here, before any record is looked at.
    pub fn answer(&mut self, number: u64, answer: Answer) -> Result<(), Broken> {
        let Some(ask) = self.open.remove(&number) else { return Ok(()) };
        let Some(run) = self.runs.get_mut(ask.workflow()) else { return Ok(()) };
        match (&ask, answer) {
            (Ask::Start { plan, workflow, .. }, Answer::Started { run: id }) => {
                if *plan != run.plan {
                    let how = format!("{workflow} was started with two inputs");
                    return Err(Broken::new(Invariant::OneRun, how));
                }
                if let Some(before) = run.started.as_ref().filter(|before| **before != id) {
                    let how = format!("{workflow} is acknowledged as run {before} and as run {id}");
                    return Err(Broken::new(Invariant::OneRun, how));
                }
                run.started = Some(id);
            }
            (Ask::Signal { key, .. }, Answer::Accepted) => {
                if let Some(signal) = run.signals.get_mut(key) {
                    signal.acknowledged = true;
                }
            }
            (Ask::Cancel { .. }, Answer::Accepted) => run.cancelled = true,
            (Ask::Wait { workflow }, Answer::Ended { end, .. }) => {
                if let Some(before) = run.ended.as_ref().filter(|before| **before != end) {
                    let how = format!("{workflow} was told to have ended as {before:?}, and as {end:?}");
                    return Err(Broken::new(Invariant::OneEnd, how));
                }
                run.ended = Some(end);
                run.closed = true;
            }
            (_, Answer::Unknown { .. }) => {
                self.unknown += 1;
                return Ok(());
            }
            (ask, Answer::Refused { code, text }) => {
                self.refused += 1;
                return refused(run, ask, &code, &text);
            }
            (ask, answer) => {
                let how = format!("{ask:?} was answered by {answer:?}");
                return Err(Broken::new(Invariant::AllOrNothing, how));
            }
        }
        self.acknowledgements += 1;
        Ok(())
    }

    /// The life is over: what has no answer will get none.
    pub fn life_ended(&mut self) {
        self.unknown += self.open.len() as u64;
        self.open.clear();
    }

    /// How many requests wait for an answer.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    /// All workflow ids that were ever asked for.
    pub fn runs(&self) -> &BTreeMap<String, Asked> {
        &self.runs
    }
}

/// Which refusals are right.
fn refused(run: &mut Asked, ask: &Ask, code: &str, text: &str) -> Result<(), Broken> {
    let broken = |invariant| Err(Broken::new(invariant, format!("{ask:?} was refused: {text}")));
    match (code, ask) {
        // Retry later: nothing was taken.
        ("A0026" | "A0005", _) => Ok(()),
        ("A0020", Ask::Start { plan, .. }) if *plan != run.plan => Ok(()),
        ("A0020", _) => broken(Invariant::OneRun),
        ("A0021", _) if run.started.is_some() => broken(Invariant::StartKept),
        ("A0021", Ask::Signal { .. } | Ask::Cancel { .. } | Ask::Wait { .. }) => Ok(()),
        ("A0022", Ask::Signal { .. } | Ask::Cancel { .. }) => {
            run.closed = true;
            Ok(())
        }
        ("A0031", _) => broken(Invariant::Replays),
        _ => broken(Invariant::AllOrNothing),
    }
}

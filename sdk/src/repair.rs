//! What operators ask when something is stuck.

use crate::{Antiphon, RequestError};
use antiphon_engine::{
    By, Explanation, Finding, Letters, RepairReply, RepairRequest, Report, Target, Thresholds, Which,
};
use antiphon_history::{Ordinal, WorkflowKey};

/// Dead letters, explanations and repairs, by [`Antiphon::repair`].
///
/// Whatever changes something is durable on return, stands in the audit with who and why, and changes nothing when it is
/// said a second time. The futures are cancel safe: a dropped one may still have taken effect.
#[derive(Clone, Copy, Debug)]
pub struct Repair<'a> {
    app: &'a Antiphon,
}

impl Antiphon {
    /// What operators ask when something is stuck: `app.repair().explain("order-7").await?`.
    pub fn repair(&self) -> Repair<'_> {
        Repair { app: self }
    }
}

impl Repair<'_> {
    async fn ask(&self, request: RepairRequest) -> Result<RepairReply, RequestError> {
        Ok(self.app.handle().repair(request).await?)
    }

    /// The dead letters with a number above `after`, at most `limit` and never more than 1,000: activities whose attempts
    /// or losses were used up. `settled_too`: also those of which somebody has taken care.
    pub async fn dead_letters(&self, after: u64, limit: usize, settled_too: bool) -> Result<Letters, RequestError> {
        match self.ask(RepairRequest::DeadLetters { after, limit, settled_too }).await? {
            RepairReply::Letters(letters) => Ok(letters),
            _ => Err(strange()),
        }
    }

    /// Tries a held activity again, with fresh attempts, losses and time. `false`: somebody did before.
    ///
    /// One that is not held begins anew as a standalone activity under the id `<workflow id>/dead-letter-<letter>`.
    ///
    /// Errors: A0056 if there is no such letter, A0057 if its call is not on record, A0059 if it was discarded.
    pub async fn retry(&self, letter: u64, who: &str, why: &str) -> Result<bool, RequestError> {
        self.changed(RepairRequest::Retry { which: Which::Letter(letter), call: None, by: by(who, why) }).await
    }

    /// Gives a dead letter up; the workflow of a held one gets the error that it was held for. `false`: somebody did
    /// before.
    ///
    /// Errors: A0056 if there is no such letter, A0059 if it was retried.
    pub async fn discard(&self, letter: u64, who: &str, why: &str) -> Result<bool, RequestError> {
        self.changed(RepairRequest::Discard { which: Which::Letter(letter), by: by(who, why) }).await
    }

    /// As [`Repair::retry`], for an activity that is known by its run and its place there.
    pub async fn retry_activity(&self, id: &str, ordinal: u32, who: &str, why: &str) -> Result<bool, RequestError> {
        self.changed(RepairRequest::Retry { which: activity(id, ordinal)?, call: None, by: by(who, why) }).await
    }

    /// As [`Repair::discard`], for an activity that is known by its run and its place there.
    pub async fn discard_activity(&self, id: &str, ordinal: u32, who: &str, why: &str) -> Result<bool, RequestError> {
        self.changed(RepairRequest::Discard { which: activity(id, ordinal)?, by: by(who, why) }).await
    }

    /// What the newest run of a workflow id waits for, and why.
    pub async fn explain(&self, id: &str) -> Result<Explanation, RequestError> {
        self.explanation(id, None).await
    }

    /// Why one activity or timer of the newest run of a workflow id has not ended.
    pub async fn explain_activity(&self, id: &str, ordinal: u32) -> Result<Explanation, RequestError> {
        self.explanation(id, Some(Ordinal(ordinal))).await
    }

    /// Looks for what is stuck. Changes nothing.
    pub async fn scan(&self, thresholds: Thresholds) -> Result<Report, RequestError> {
        report(self.ask(RepairRequest::Scan(thresholds)).await?)
    }

    /// Repairs what a scan under the same thresholds found.
    ///
    /// Errors: A0058 if it holds no longer; then nothing was written.
    pub async fn repair(
        &self,
        finding: Finding,
        thresholds: Thresholds,
        who: &str,
        why: &str,
    ) -> Result<(), RequestError> {
        self.ask(RepairRequest::Repair { finding, thresholds, by: by(who, why) }).await.map(drop)
    }

    /// Looks for what is stuck and repairs it, in one step. `dry_run`: only tells what would be done.
    pub async fn reconcile_once(
        &self,
        thresholds: Thresholds,
        dry_run: bool,
        who: &str,
        why: &str,
    ) -> Result<Report, RequestError> {
        report(self.ask(RepairRequest::Reconcile { thresholds, dry_run, by: by(who, why) }).await?)
    }

    async fn changed(&self, request: RepairRequest) -> Result<bool, RequestError> {
        match self.ask(request).await? {
            RepairReply::Done { changed } => Ok(changed),
            _ => Err(strange()),
        }
    }

    async fn explanation(&self, id: &str, ordinal: Option<Ordinal>) -> Result<Explanation, RequestError> {
        match self.ask(RepairRequest::Explain { target: target(id)?, ordinal }).await? {
            RepairReply::Explanation(explanation) => Ok(*explanation),
            _ => Err(strange()),
        }
    }
}

fn by(who: &str, why: &str) -> By {
    By { who: who.to_owned(), why: why.to_owned() }
}

fn target(id: &str) -> Result<Target, RequestError> {
    Ok(Target { workflow: WorkflowKey::new(id)?, run: None })
}

fn activity(id: &str, ordinal: u32) -> Result<Which, RequestError> {
    Ok(Which::Activity { target: target(id)?, ordinal: Ordinal(ordinal) })
}

fn report(reply: RepairReply) -> Result<Report, RequestError> {
    match reply {
        RepairReply::Report(report) => Ok(report),
        _ => Err(strange()),
    }
}

/// Each request has its own kind of reply.
fn strange() -> RequestError {
    antiphon_runtime::Error::Unavailable.into()
}

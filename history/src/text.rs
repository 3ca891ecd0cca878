//! One line of text for every event: what the command line, the golden files and the tests print.

use crate::{
    ActivityCall, ActivityOptions, ActivityOutcome, BlockedReason, ConversationEvent, DivergenceReport, Name, Payload,
    PayloadData, Response, RetryPolicy, RouteDecision, RunEvent, Site,
};
use std::fmt;

/// Longest piece of a payload that a line shows, in characters.
const SHOWN_CHARS: usize = 60;

impl fmt::Display for Payload {
    /// Shows JSON and other text as it is, cut to 60 characters; other bytes by encoding and length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.data {
            PayloadData::Inline(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if self.encoding == Payload::JSON && !text.chars().any(char::is_control) => {
                    let mut shown: String = text.chars().take(SHOWN_CHARS).collect();
                    if shown.len() < text.len() {
                        shown.push('…');
                    }
                    f.write_str(&shown)
                }
                _ => write!(f, "<{} {} bytes>", self.encoding, bytes.len()),
            },
            PayloadData::Stored(stored) => write!(f, "<{} {} bytes, {:?}>", self.encoding, stored.len, stored.digest),
        }
    }
}

struct List<'a>(&'a [Payload]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (index, payload) in self.0.iter().enumerate() {
            write!(f, "{}{payload}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

struct At<'a>(&'a Site);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_unknown() { Ok(()) } else { write!(f, " at {}", self.0) }
    }
}

impl fmt::Display for ActivityCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.activity_type, List(&self.input))?;
        if self.queue != crate::activity::DEFAULT_QUEUE {
            write!(f, " queue={}", self.queue)?;
        }
        write!(f, "{}", self.options)
    }
}

impl fmt::Display for ActivityOptions {
    /// Shows what differs from the defaults, each with a space before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = [
            ("schedule_to_start_ms", self.schedule_to_start_ms),
            ("start_to_close_ms", self.start_to_close_ms),
            ("schedule_to_close_ms", self.schedule_to_close_ms),
            ("heartbeat_ms", self.heartbeat_ms),
        ];
        for (name, limit) in limits {
            if let Some(ms) = limit {
                write!(f, " {name}={ms}")?;
            }
        }
        if self.retry.max_attempts != 1 {
            write!(f, " {}", self.retry)?;
        }
        let defaults = ActivityOptions::default();
        if self.max_losses != defaults.max_losses {
            write!(f, " max_losses={}", self.max_losses)?;
        }
        if self.at_most_once {
            f.write_str(" at_most_once")?;
        }
        if self.fail_fast {
            f.write_str(" fail_fast")?;
        }
        if self.hold {
            f.write_str(" hold")?;
        }
        if !self.needs.is_empty() {
            write!(f, " needs={}", self.needs.join("+"))?;
        }
        if self.priority != defaults.priority {
            write!(f, " priority={}", self.priority)?;
        }
        if !self.fairness_key.is_empty() {
            write!(f, " fairness_key={:?}", self.fairness_key)?;
        }
        if self.fairness_weight != defaults.fairness_weight {
            write!(f, " fairness_weight={}", self.fairness_weight)?;
        }
        if !self.limit_key.is_empty() {
            write!(f, " limit_key={:?}", self.limit_key)?;
        }
        if let Some(route) = &self.route {
            write!(f, " route=({route})")?;
        }
        Ok(())
    }
}

impl fmt::Display for RouteDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reason={:?} eligible={}", self.reason.to_string(), self.eligible)?;
        if !self.chain.is_empty() {
            write!(f, " chain={}", self.chain.iter().map(Name::as_str).collect::<Vec<_>>().join("+"))?;
        }
        if let Some(key) = &self.affinity {
            write!(f, " key={key}")?;
        }
        if let Some(guard) = &self.guard {
            write!(f, " guard={guard}")?;
        }
        write!(f, " snapshot={:016x}", self.snapshot)
    }
}

impl fmt::Display for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempts={}", self.max_attempts)?;
        let defaults = RetryPolicy::default();
        if (self.initial_ms, self.factor_percent, self.max_ms)
            != (defaults.initial_ms, defaults.factor_percent, defaults.max_ms)
        {
            write!(f, " backoff_ms={}..{}x{}%", self.initial_ms, self.max_ms, self.factor_percent)?;
        }
        Ok(())
    }
}

impl fmt::Display for ActivityOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ActivityOutcome::Completed { result } => write!(f, "completed {}", List(result)),
            ActivityOutcome::Failed { failure, attempts } => {
                write!(f, "failed after {attempts}: {}", failure.message)
            }
            ActivityOutcome::TimedOut { kind, attempts } => write!(f, "timed out ({kind}) after {attempts}"),
            ActivityOutcome::Cancelled => f.write_str("cancelled"),
            ActivityOutcome::NoWorker { reason } => write!(f, "no worker: {reason}"),
            ActivityOutcome::Lost { losses, reason } => write!(f, "lost after {losses}: {reason}"),
        }
    }
}

impl fmt::Display for RunEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            RunEvent::RunStarted(started) => {
                write!(f, " {} v{} {}", started.workflow_type, started.version, List(&started.input))?;
                match &started.routine {
                    Some(of) => write!(f, " routine={} slot={} attempt={}", of.routine, of.slot, of.attempt),
                    None => Ok(()),
                }
            }
            RunEvent::ActivityResolved { ordinal, outcome } => write!(f, " {ordinal} {outcome}"),
            RunEvent::SignalReceived { name, input, .. } => write!(f, " {name} {}", List(input)),
            RunEvent::CancelRequested { reason } | RunEvent::RunCancelled { reason } if reason.is_empty() => Ok(()),
            RunEvent::CancelRequested { reason } | RunEvent::RunCancelled { reason } => write!(f, " {reason:?}"),
            RunEvent::RunTerminated { who, reason } => write!(f, " by {who:?}: {reason:?}"),
            RunEvent::ActivityScheduled { ordinal, call } | RunEvent::CompensationPushed { ordinal, call } => {
                write!(f, " {ordinal} {call}{}", At(&call.site))
            }
            RunEvent::TimerStarted { ordinal, due, site } => write!(f, " {ordinal} due={}{}", due.0, At(site)),
            RunEvent::TimerFired { ordinal }
            | RunEvent::TimerCancelled { ordinal }
            | RunEvent::ActivityCancelled { ordinal } => write!(f, " {ordinal}"),
            RunEvent::SideEffectRecorded { ordinal, value, site } => write!(f, " {ordinal} {value}{}", At(site)),
            RunEvent::PatchMarked { name } => write!(f, " {name}"),
            RunEvent::RunCompleted { result } => write!(f, " {}", List(result)),
            RunEvent::RunFailed { failure } => write!(f, " {}", failure.message),
            RunEvent::Blocked(blocked) => write!(f, " {}", blocked.reason.headline()),
            RunEvent::Unblocked => Ok(()),
        }
    }
}

impl fmt::Display for ConversationEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            ConversationEvent::Scheduled { activity_type, queue, visible_at } => {
                write!(f, " {activity_type} queue={queue}")?;
                visible_at.map_or(Ok(()), |at| write!(f, " visible_at={}", at.0))
            }
            ConversationEvent::WorkerSelected { leg, worker, why, lease_ms, .. } => {
                write!(f, " leg={leg} worker={worker}")?;
                if let Some(ms) = lease_ms {
                    write!(f, " lease_ms={ms}")?;
                }
                let Some(why) = why else {
                    return f.write_str(if lease_ms.is_some() { " (it asked)" } else { " (the only one)" });
                };
                write!(f, " policy={} candidates={} free={}", why.policy, why.candidates, why.free)?;
                why.left_out.iter().try_for_each(|out| write!(f, " left_out={}:{}", out.worker, out.reason))?;
                why.route.as_deref().map_or(Ok(()), |route| write!(f, " {route}"))
            }
            ConversationEvent::Sent { leg } | ConversationEvent::CancelSent { leg } => write!(f, " leg={leg}"),
            ConversationEvent::Heartbeat { leg, details } => write!(f, " leg={leg} {details}"),
            ConversationEvent::Received { leg, response } => match response {
                Response::Completed { digest, len } => write!(f, " leg={leg} completed {len} bytes {digest:?}"),
                Response::Failed { message, retryable } => {
                    write!(f, " leg={leg} failed{}: {message}", if *retryable { "" } else { " for good" })
                }
            },
            ConversationEvent::Exited { leg, reason, details, visible_at } => {
                write!(f, " leg={leg} {reason}")?;
                if let Some(details) = details {
                    write!(f, " progress={details}")?;
                }
                visible_at.map_or(Ok(()), |at| write!(f, " visible_at={}", at.0))
            }
            ConversationEvent::NoWorker { reason } => write!(f, " {reason}"),
            ConversationEvent::Held { outcome } => write!(f, " {outcome}"),
            ConversationEvent::Closed { outcome } => write!(f, " {outcome}"),
        }
    }
}

impl fmt::Display for DivergenceReport {
    /// The whole report, several lines: what was recorded, what was attempted, where they part, what mends it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the code asks something else than the record says, at event {} of the run", self.seq)?;
        writeln!(f, "  recorded:  {}", self.recorded)?;
        if !self.recorded_site.is_unknown() {
            writeln!(f, "             at {}", self.recorded_site)?;
        }
        writeln!(f, "  attempted: {}", self.attempted)?;
        if !self.attempted_site.is_unknown() {
            writeln!(f, "             at {}", self.attempted_site)?;
        }
        writeln!(f, "  differs:   {}", self.field)?;
        write!(f, "  repair:    {}", self.repair)
    }
}

impl fmt::Display for BlockedReason {
    /// The whole reason: a divergence as its report, everything else in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlockedReason::Divergence(report) => report.fmt(f),
            other => f.write_str(&other.headline()),
        }
    }
}

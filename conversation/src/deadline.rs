use crate::{Conversation, Phase};
use antiphon_history::{ActivityOptions, TimeoutKind, Timestamp};

/// The next moment at which something must happen to a conversation without a word from anybody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Deadline {
    /// A deadline of the activity passes.
    Timeout(TimeoutKind),
    /// A wait between legs or attempts is over.
    Visible,
    /// The lease of the leg under way ends: another worker may have it from this very moment.
    Lease,
}

/// The deadlines that hold for a conversation now. Computed from its events and options; never written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deadlines {
    /// The earliest one.
    pub next: Option<(Timestamp, Deadline)>,
}

impl Deadlines {
    /// Computes the deadlines of `conversation`, whose activity was first scheduled at `activity_scheduled_at`.
    ///
    /// `now` only decides whether a wait is already over: a deadline in the past stays, so that it cannot be missed.
    pub fn of(
        conversation: &Conversation,
        options: &ActivityOptions,
        activity_scheduled_at: Timestamp,
        now: Timestamp,
    ) -> Deadlines {
        let mut next: Option<(Timestamp, Deadline)> = None;
        let mut consider = |at: Timestamp, deadline: Deadline| {
            // Equal moments: the order of the enum decides, so that every machine decides alike.
            if next.is_none_or(|earliest| (at, deadline) < earliest) {
                next = Some((at, deadline));
            }
        };
        // Held is a wait for a person, and has no end but theirs.
        if matches!(conversation.phase(), Phase::Held | Phase::Closed) {
            return Deadlines { next: None };
        }
        if let Some(ms) = options.schedule_to_close_ms {
            consider(activity_scheduled_at.plus_ms(ms), Deadline::Timeout(TimeoutKind::ScheduleToClose));
        }
        match conversation.phase() {
            Phase::Queued => {
                if conversation.visible_at() > now {
                    consider(conversation.visible_at(), Deadline::Visible);
                }
                // The wait for a worker begins when one may take it, not when a retry began to back off.
                if let Some(ms) = options.schedule_to_start_ms {
                    let from = conversation.visible_at();
                    consider(from.plus_ms(ms), Deadline::Timeout(TimeoutKind::ScheduleToStart));
                }
            }
            Phase::Selected | Phase::InDoubt => {
                if let Some(leg) = conversation.leg() {
                    let sent_at = leg.sent_at.unwrap_or(leg.heard_at);
                    if let Some(ms) = options.start_to_close_ms {
                        consider(sent_at.plus_ms(ms), Deadline::Timeout(TimeoutKind::StartToClose));
                    }
                    if let Some(ms) = options.heartbeat_ms {
                        consider(leg.heard_at.plus_ms(ms), Deadline::Timeout(TimeoutKind::Heartbeat));
                    }
                    // A lease that has ended is no deadline any more: the leg goes on until somebody takes its place.
                    if let Some(until) = leg.lease_until()
                        && until > now
                    {
                        consider(until, Deadline::Lease);
                    }
                }
            }
            Phase::New | Phase::Answered | Phase::Held | Phase::Closed => {}
        }
        Deadlines { next }
    }
}

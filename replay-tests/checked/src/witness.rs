//! An onlooker who judges the record.

use crate::record::Written;
use antiphon_history::ConversationEvent;

/// A promise of the record that an onlooker found broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// An attempt got a second outcome, or went on behind its outcome.
    Outcome = 1,
    /// The activity was resolved twice, before its attempt was closed, or went on behind its resolution.
    Resolution = 2,
    /// Two legs were open at once.
    TwoLegs = 4,
    /// A leg that had ended, or never began, was written on.
    Revived = 8,
    /// Something left that the record does not know as sent.
    Unrecorded = 16,
    /// A body that must not run twice was sent twice.
    SentTwice = 32,
    /// A word of a worker that does not count changed something.
    Heeded = 64,
    /// An event was decided that cannot follow.
    Anomaly = 128,
    /// The recorded time ran backwards.
    Backwards = 256,
    /// What the engine holds in memory is not what the record folds to.
    Differs = 512,
}

/// Sees every event of one activity and judges it by rules of its own, which are simpler than the phase table: so a
/// mistake in that table is found too.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Witness {
    attempt: u32,
    last_leg: u32,
    /// The leg that is under way: number, the hash of its token, whether it was sent.
    open: Option<(u32, [u8; 16], bool)>,
    closed: bool,
    resolved: bool,
    losses: u32,
    /// A bit for each leg that was ever sent, eight to an attempt.
    sent: u64,
    broken: u16,
}

impl Witness {
    /// Sees the next event.
    pub fn see(&mut self, what: &Written) {
        match what {
            Written::Talk { attempt, event } => self.hear(*attempt, event),
            Written::Resolved(_) => {
                self.check(!self.resolved && self.closed, Broken::Resolution);
                self.resolved = true;
            }
            Written::Withdrawn => self.check(!self.resolved, Broken::Resolution),
        }
    }

    fn hear(&mut self, attempt: u32, event: &ConversationEvent) {
        use ConversationEvent as E;
        self.check(!self.resolved, Broken::Resolution);
        if let E::Scheduled { .. } = event {
            self.check(attempt == self.attempt + 1 && (self.closed || attempt == 1), Broken::Outcome);
            let sent = self.sent;
            *self = Witness { attempt, sent, resolved: self.resolved, broken: self.broken, ..Witness::default() };
            return;
        }
        self.check(attempt == self.attempt && !self.closed, Broken::Outcome);
        match event {
            E::Scheduled { .. } | E::NoWorker { .. } | E::Held { .. } => {}
            E::WorkerSelected { leg, token, .. } => {
                self.check(self.open.is_none(), Broken::TwoLegs);
                self.check(*leg > self.last_leg, Broken::Revived);
                self.last_leg = *leg;
                self.open = Some((*leg, token.0, false));
            }
            E::Sent { leg } => {
                self.check(self.is_open(*leg, false), Broken::Revived);
                self.sent |= bit(attempt, *leg);
                if let Some((_, _, sent)) = &mut self.open {
                    *sent = true;
                }
            }
            E::Heartbeat { leg, .. } | E::CancelSent { leg } => self.check(self.is_open(*leg, true), Broken::Revived),
            E::Received { leg, .. } => {
                self.check(self.is_open(*leg, true), Broken::Revived);
                self.open = None;
            }
            E::Exited { leg, reason, .. } => {
                self.check(self.open.is_some_and(|(open, _, _)| open == *leg), Broken::Revived);
                self.open = None;
                self.losses += u32::from(reason.is_loss());
            }
            E::Closed { .. } => {
                self.check(self.open.is_none(), Broken::Outcome);
                self.closed = true;
            }
        }
    }

    fn is_open(&self, leg: u32, sent: bool) -> bool {
        self.open.is_some_and(|(open, _, was_sent)| open == leg && was_sent == sent)
    }

    fn check(&mut self, holds: bool, broken: Broken) {
        if !holds {
            self.broken |= broken as u16;
        }
    }

    /// The promises that were broken so far, one bit each.
    pub fn broken(&self) -> u16 {
        self.broken
    }

    /// Attempts seen.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Legs of the present attempt that were lost.
    pub fn losses(&self) -> u32 {
        self.losses
    }

    /// Whether the sending of a leg was seen.
    pub fn knows_sent(&self, attempt: u32, leg: u32) -> bool {
        self.sent & bit(attempt, leg) != 0
    }

    /// Whether a word of this leg counts: it is under way, and the token is its own.
    pub fn counts(&self, attempt: u32, leg: u32, token: [u8; 16]) -> bool {
        !self.resolved && !self.closed && attempt == self.attempt && self.open == Some((leg, token, true))
    }
}

fn bit(attempt: u32, leg: u32) -> u64 {
    1 << (attempt * 8 + leg).min(63)
}

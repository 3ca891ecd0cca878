use super::link::Link;
use crate::inbox::Message;
use antiphon_conversation::wire::{Frame, LegKey, Up, WireError};
use antiphon_conversation::{Answer, Token};
use antiphon_history::{Failure, Payload};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a worker process has to say. Its bodies put in and go on at once; one thread writes.
///
/// Bounded by the legs that the engine sent: of a leg's heartbeats only the latest waits.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    words: Vec<Up>,
    heartbeats: BTreeMap<LegKey, (Token, Option<Payload>)>,
    /// Legs that have not ended.
    open: usize,
    writing: bool,
    closed: bool,
}

impl Outbox {
    /// A leg has arrived.
    pub(crate) fn accept(&self, leg: LegKey) {
        let mut state = self.lock();
        state.open += 1;
        state.words.push(Up::Accepted(leg));
        self.changed.notify_all();
    }

    /// Says something that is not about a leg.
    pub(crate) fn say(&self, up: Up) {
        self.lock().words.push(up);
        self.changed.notify_all();
    }

    /// Takes what bodies say.
    pub(crate) fn take(&self, message: Message) {
        let mut state = self.lock();
        match message {
            Message::Heartbeat { conversation, leg, token, details } => {
                let leg = LegKey { conversation, leg };
                let before = state.heartbeats.remove(&leg).and_then(|(_, details)| details);
                // A bare sign of life does not take back the progress that was told before it.
                state.heartbeats.insert(leg, (token, details.or(before)));
            }
            Message::Answered { conversation, leg, token, answer } => {
                let leg = LegKey { conversation, leg };
                if let Some((token, details)) = state.heartbeats.remove(&leg) {
                    state.words.push(Up::Heartbeat { leg, token, details });
                }
                state.open = state.open.saturating_sub(1);
                state.words.push(Up::Result { leg, token, answer });
            }
            _ => {}
        }
        self.changed.notify_all();
    }

    /// Waits until all legs have ended and everything is said, at most `longest`.
    pub(crate) fn wait_until_still(&self, longest: Duration) {
        let busy = |state: &mut State| {
            let said = state.words.is_empty() && state.heartbeats.is_empty() && !state.writing;
            !(state.closed || state.open == 0 && said)
        };
        let _ = self.changed.wait_timeout_while(self.lock(), longest, busy);
    }

    /// Nothing more is written.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The writer's thread: writes until it is closed or the engine is gone.
    pub(crate) fn write(&self, link: &dyn Link) {
        loop {
            let idle = |state: &mut State| state.words.is_empty() && state.heartbeats.is_empty() && !state.closed;
            let waited = self.changed.wait_while(self.lock(), idle);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return;
            }
            let mut words = std::mem::take(&mut state.words);
            let heartbeats = std::mem::take(&mut state.heartbeats);
            words.extend(heartbeats.into_iter().map(|(leg, (token, details))| Up::Heartbeat { leg, token, details }));
            state.writing = true;
            drop(state);
            let frames: Vec<Frame> = words.into_iter().filter_map(frame).collect();
            let sent = link.send(&frames);
            let mut state = self.lock();
            state.writing = false;
            // The engine is gone; whoever reads learns of it.
            state.closed |= sent.is_err();
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A result that fits into no frame becomes a failure that says so; a heartbeat of that size is left out.
fn frame(up: Up) -> Option<Frame> {
    match (up.to_frame(), up) {
        (Ok(frame), _) => Some(frame),
        (Err(error), Up::Result { leg, token, answer: _ }) => {
            Up::Result { leg, token, answer: unsendable(&error) }.to_frame().ok()
        }
        (Err(_), _) => None,
    }
}

fn unsendable(error: &WireError) -> Answer {
    let message = format!("the result does not fit into one message to the engine: {error} [A0054]");
    Answer::Failed { failure: Failure { message, kind: "TooLarge".to_owned(), details: None }, retryable: false }
}

#[cfg(test)]
mod tests {
    use super::super::paired::PairedLink;
    use super::*;
    use antiphon_history::{ConversationKey, Ordinal, RunKey};

    fn key() -> ConversationKey {
        ConversationKey { run: RunKey(1), ordinal: Ordinal(1), attempt: 1 }
    }

    fn beat(text: Option<&str>) -> Message {
        let details = text.map(|text| Payload::json(text.as_bytes()));
        Message::Heartbeat { conversation: key(), leg: 1, token: Token([1; 16]), details }
    }

    fn said(outbox: &Outbox) -> Vec<Up> {
        let (ours, theirs) = PairedLink::pair();
        outbox.say(Up::Leave { reason: "that is all".to_owned() });
        std::thread::scope(|scope| {
            scope.spawn(|| outbox.write(&ours));
            let mut said = Vec::new();
            while let Some(frame) = theirs.receive().unwrap() {
                said.push(Up::of(&frame).unwrap());
                if matches!(said.last(), Some(Up::Leave { .. })) {
                    outbox.close();
                    return said;
                }
            }
            said
        })
    }

    #[test]
    fn of_many_heartbeats_the_latest_is_said_and_before_the_result() {
        let outbox = Outbox::default();
        outbox.accept(LegKey { conversation: key(), leg: 1 });
        for number in 0..1_000 {
            outbox.take(beat(Some(&number.to_string())));
        }
        outbox.take(beat(None));
        let answer = Answer::Completed { result: vec![] };
        outbox.take(Message::Answered { conversation: key(), leg: 1, token: Token([1; 16]), answer });
        let said = said(&outbox);
        assert_eq!(said.len(), 4, "{said:?}");
        let Up::Heartbeat { details: Some(details), .. } = &said[1] else { panic!("{said:?}") };
        assert_eq!(details.bytes().unwrap()[..], *b"999");
        assert!(matches!(said[2], Up::Result { .. }));
    }

    #[test]
    fn a_result_that_fits_into_no_frame_becomes_a_failure_that_says_so() {
        let outbox = Outbox::default();
        let result = vec![Payload::binary(vec![7; 2 * 1024 * 1024]); 2];
        let answer = Answer::Completed { result };
        outbox.take(Message::Answered { conversation: key(), leg: 1, token: Token([1; 16]), answer });
        let said = said(&outbox);
        let Up::Result { answer: Answer::Failed { failure, retryable: false }, .. } = &said[0] else {
            panic!("{said:?}")
        };
        assert!(failure.message.contains("is over the limit of 4194304 [A0054]"), "{}", failure.message);
    }
}

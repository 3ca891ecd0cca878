use crate::{AnsweredLeg, Past};
use antiphon_history::{
    ConversationEvent, ConversationKey, DecodeError, Digest, Events, FoldError, HistoryFile, HistoryFileError, Ordinal,
    Payload, PayloadData, Record, RunEvent, RunKey, Stream, Timestamp, TokenHash,
};
use std::collections::{BTreeSet, VecDeque};

/// A history that was read from a store or a file, as far as bringing the run back needs it: its run stream, and the
/// conversations of activities that have no outcome. Decoded, with the payloads back in their places.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) key: RunKey,
    /// When its last event that matters here was written.
    pub(crate) updated_at: Timestamp,
    pub(crate) run: RunStream,
    pub(crate) conversations: Vec<Talk>,
}

/// The events of a run stream in order, each with its number and time.
pub(crate) type RunStream = VecDeque<(u64, Timestamp, RunEvent)>;

/// One event of a conversation.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) at: Timestamp,
    pub(crate) ordinal: Ordinal,
    pub(crate) attempt: u32,
    pub(crate) event: ConversationEvent,
}

impl Recorded {
    /// Decodes a history. A payload whose bytes are missing stays a digest; code that needs it will say so.
    pub(crate) fn read(file: &HistoryFile) -> Result<Recorded, HistoryFileError> {
        let damaged = |source| HistoryFileError::Damaged { offset: 0, source };
        let first = file.records.first().ok_or_else(|| damaged(DecodeError::Truncated))?;
        let key = Record::run_of(first).map_err(damaged)?;
        let mut recorded =
            Recorded { key, updated_at: Timestamp::default(), run: VecDeque::new(), conversations: Vec::new() };
        let mut of_activities = Vec::new();
        let mut open = BTreeSet::new();
        for bytes in &file.records {
            if let Stream::Conversation { ordinal, .. } = Record::stream_of(bytes).map_err(damaged)? {
                of_activities.push((ordinal, bytes));
                continue;
            }
            let record = Record::read(bytes).map_err(damaged)?;
            let Events::Run(events) = record.events else { continue };
            let expected = recorded.run.len() as u64 + 1;
            if record.run != key {
                return Err(FoldError::NoStart { run: record.run }.into());
            } else if record.first_seq != expected {
                return Err(FoldError::Gap { run: key, expected, found: record.first_seq }.into());
            }
            recorded.updated_at = record.at;
            for (mut event, seq) in events.into_iter().zip(record.first_seq..) {
                match &event {
                    RunEvent::ActivityScheduled { ordinal, .. } => _ = open.insert(*ordinal),
                    RunEvent::ActivityResolved { ordinal, .. } => _ = open.remove(ordinal),
                    _ => {}
                }
                if event.payloads().iter().any(is_stored) {
                    join(file, event.payloads_mut());
                }
                recorded.run.push_back((seq, record.at, event));
            }
        }
        if !matches!(recorded.run.front(), Some((_, _, RunEvent::RunStarted(_)))) {
            return Err(FoldError::NoStart { run: key }.into());
        }
        // Most conversations of a long run are over, and nothing of them is needed.
        for (_, bytes) in of_activities.into_iter().filter(|(ordinal, _)| open.contains(ordinal)) {
            let record = Record::read(bytes).map_err(damaged)?;
            let Events::Conversation { ordinal, attempt, events } = record.events else { continue };
            recorded.updated_at = recorded.updated_at.max(record.at);
            for mut event in events {
                join(file, event.payloads_mut());
                recorded.conversations.push(Talk { at: record.at, ordinal, attempt, event });
            }
        }
        Ok(recorded)
    }
}

fn is_stored(payload: &Payload) -> bool {
    matches!(payload.data, PayloadData::Stored(_))
}

fn join(file: &HistoryFile, payloads: &mut [Payload]) {
    let find = |digest: &Digest| file.payloads.get(digest).cloned();
    for payload in payloads.iter_mut().filter(|payload| is_stored(payload)) {
        if let Some(joined) = payload.joined(&find) {
            *payload = joined;
        }
    }
}

/// What a history says of one attempt that is over. Reads the records of that one conversation only.
pub(crate) fn past(file: &HistoryFile, key: ConversationKey) -> Past {
    let stream = Stream::Conversation { ordinal: key.ordinal, attempt: key.attempt };
    let mut past = Past { answered: None, outcome: None, run_ended: false };
    past.run_ended = file.row().is_ok_and(|row| row.status.is_closed());
    let mut token = TokenHash([0; 16]);
    for bytes in file.records.iter().filter(|bytes| Record::stream_of(bytes).is_ok_and(|of| of == stream)) {
        let Ok(Record { events: Events::Conversation { events, .. }, .. }) = Record::read(bytes) else { continue };
        for event in events {
            match event {
                ConversationEvent::WorkerSelected { token: of_leg, .. } => token = of_leg,
                ConversationEvent::Received { leg, response } => {
                    past.answered = Some(AnsweredLeg { leg, token, response });
                }
                ConversationEvent::Closed { outcome } => past.outcome = Some(outcome),
                _ => {}
            }
        }
    }
    past
}

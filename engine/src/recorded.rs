use antiphon_history::{
    CatalogueRow, ConversationEvent, Events, HistoryFile, HistoryFileError, Ordinal, Record, RunEvent, Timestamp,
};
use std::collections::VecDeque;

/// A history that was read from a store or a file, decoded, with the payloads back in their places.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) row: CatalogueRow,
    pub(crate) entries: Vec<Entry>,
}

/// The events of a run stream in order, each with its number and time.
pub(crate) type RunStream = VecDeque<(u64, Timestamp, RunEvent)>;

/// One event of a run with its place and time.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    Run { seq: u64, at: Timestamp, event: RunEvent },
    Conversation { at: Timestamp, ordinal: Ordinal, attempt: u32, event: ConversationEvent },
}

impl Recorded {
    /// Decodes a history. A payload whose bytes are missing stays a digest; code that needs it will say so.
    pub(crate) fn read(file: &HistoryFile) -> Result<Recorded, HistoryFileError> {
        let row = file.row()?;
        let find = |digest: &antiphon_history::Digest| file.payloads.get(digest).cloned();
        let mut entries = Vec::new();
        for bytes in &file.records {
            let record = Record::read(bytes).map_err(|source| HistoryFileError::Damaged { offset: 0, source })?;
            let (at, first) = (record.at, record.first_seq);
            match record.events {
                Events::Run(events) => {
                    for (event, seq) in events.into_iter().zip(first..) {
                        let mut event = event;
                        for payload in event.payloads_mut() {
                            if let Some(joined) = payload.joined(&find) {
                                *payload = joined;
                            }
                        }
                        entries.push(Entry::Run { seq, at, event });
                    }
                }
                Events::Conversation { ordinal, attempt, events } => {
                    for mut event in events {
                        for payload in event.payloads_mut() {
                            if let Some(joined) = payload.joined(&find) {
                                *payload = joined;
                            }
                        }
                        entries.push(Entry::Conversation { at, ordinal, attempt, event });
                    }
                }
            }
        }
        Ok(Recorded { row, entries })
    }

    /// The run stream alone: what replay reads.
    pub(crate) fn into_run_stream(self) -> RunStream {
        let of_run = |entry| match entry {
            Entry::Run { seq, at, event } => Some((seq, at, event)),
            Entry::Conversation { .. } => None,
        };
        self.entries.into_iter().filter_map(of_run).collect()
    }
}

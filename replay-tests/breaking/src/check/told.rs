//! One run as its record tells it, read without the engine's own folds.

use crate::{Broken, Invariant};
use antiphon_history::{ConversationEvent, Events, HistoryFile, Record, RunEvent, Stream, Timestamp};
use std::collections::BTreeMap;

/// A stream's events, each with its time.
pub(super) type Told<E> = Vec<(Timestamp, E)>;

/// One run.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// The run stream.
    pub(super) events: Told<RunEvent>,
    /// Its conversations, by activity and attempt.
    pub(super) conversations: BTreeMap<(u32, u32), Told<ConversationEvent>>,
    /// Everything in the order of its writing, for people.
    pub(super) lines: Vec<String>,
}

impl Run {
    /// Reads a history. Finds what does not read, and numbers that have gaps.
    pub(super) fn of(history: &HistoryFile) -> Result<Run, Broken> {
        let mut run = Run::default();
        for bytes in &history.records {
            let record = Record::read(bytes)
                .map_err(|error| run.broken(Invariant::Whole, format!("a record cannot be read: {error}")))?;
            let (stream, at, first) = (record.stream(), record.at, record.first_seq);
            let written = match stream {
                Stream::Run => run.events.len(),
                Stream::Conversation { ordinal, attempt } => {
                    run.conversations.get(&(ordinal.0, attempt)).map_or(0, Vec::len)
                }
            } as u64;
            if first != written + 1 {
                let how = format!("stream {stream} goes on with event {first} after {written}");
                return Err(run.broken(Invariant::AppendOnly, how));
            }
            match record.events {
                Events::Run(events) => {
                    for event in events {
                        run.lines.push(format!("{} {event}", at.0));
                        run.events.push((at, event));
                    }
                }
                Events::Entity(events) => {
                    run.lines.extend(events.iter().map(|event| format!("{} {event}", at.0)));
                }
                Events::Conversation { ordinal, attempt, events } => {
                    let told = run.conversations.entry((ordinal.0, attempt)).or_default();
                    for event in events {
                        run.lines.push(format!("{} {ordinal}.{attempt} {event}", at.0));
                        told.push((at, event));
                    }
                }
            }
        }
        Ok(run)
    }

    /// A broken invariant of this run, with its events.
    pub(super) fn broken(&self, invariant: Invariant, how: impl Into<String>) -> Broken {
        Broken { invariant, how: how.into(), events: self.lines.clone() }
    }
}

use super::events;
use super::json::Json;
use antiphon_conversation::{ActivityState, Conversation, IllegalEvent};
use antiphon_history::{
    ActivityOutcome, CatalogueRow, ConversationEvent, EntityEvent, Events, HistoryFile, HistoryFileError, Ordinal,
    Payload, Record, RunEvent, Stream, Timestamp,
};
use std::collections::BTreeMap;

/// A history, decoded, with payloads in their places and every conversation folded.
pub(super) struct Timeline {
    /// The run, folded.
    pub(super) row: CatalogueRow,
    /// Every event in the order of its appending.
    pub(super) entries: Vec<Entry>,
    /// Every attempt of every activity.
    pub(super) attempts: BTreeMap<(Ordinal, u32), Attempt>,
    /// Where the end of each activity stands in [`Timeline::entries`].
    resolved: BTreeMap<Ordinal, usize>,
}

/// One event with its place and time.
pub(super) struct Entry {
    pub(super) stream: Stream,
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) event: Event,
}

/// An event of any kind.
pub(super) enum Event {
    Run(RunEvent),
    Conversation(ConversationEvent),
    Entity(EntityEvent),
}

/// One conversation: what it came to, and what was said.
#[derive(Default)]
pub(super) struct Attempt {
    /// The fold of its legal events.
    pub(super) fold: Conversation,
    /// Where its events stand in [`Timeline::entries`].
    pub(super) entries: Vec<usize>,
    /// Events that could not follow: reported, never folded (invariant 8).
    pub(super) anomalies: Vec<IllegalEvent>,
}

impl Timeline {
    /// Decodes and folds. A payload whose bytes are not in the file stays a digest.
    pub(super) fn read(file: &HistoryFile) -> Result<Timeline, HistoryFileError> {
        let row = file.row()?;
        let mut timeline = Timeline { row, entries: Vec::new(), attempts: BTreeMap::new(), resolved: BTreeMap::new() };
        for bytes in &file.records {
            let record = Record::read(bytes).map_err(|source| HistoryFileError::Damaged { offset: 0, source })?;
            let (stream, at, seqs) = (record.stream(), record.at, record.first_seq..);
            match record.events {
                Events::Run(events) => {
                    for (mut event, seq) in events.into_iter().zip(seqs) {
                        join(file, event.payloads_mut());
                        if let RunEvent::ActivityResolved { ordinal, .. } = &event {
                            timeline.resolved.insert(*ordinal, timeline.entries.len());
                        }
                        timeline.entries.push(Entry { stream, seq, at, event: Event::Run(event) });
                    }
                }
                Events::Entity(events) => {
                    let events = events.into_iter().zip(seqs);
                    timeline.entries.extend(events.map(|(event, seq)| Entry {
                        stream,
                        seq,
                        at,
                        event: Event::Entity(event),
                    }));
                }
                Events::Conversation { ordinal, attempt, events } => {
                    let told = timeline.attempts.entry((ordinal, attempt)).or_default();
                    for (mut event, seq) in events.into_iter().zip(seqs) {
                        join(file, event.payloads_mut());
                        if let Err(illegal) = told.fold.apply(&event, at) {
                            told.anomalies.push(illegal);
                        }
                        told.entries.push(timeline.entries.len());
                        timeline.entries.push(Entry { stream, seq, at, event: Event::Conversation(event) });
                    }
                }
            }
        }
        Ok(timeline)
    }

    /// The events of the run stream.
    pub(super) fn run_stream(&self) -> impl Iterator<Item = (&Entry, &RunEvent)> {
        self.entries.iter().filter_map(|entry| match &entry.event {
            Event::Run(event) => Some((entry, event)),
            Event::Conversation(_) | Event::Entity(_) => None,
        })
    }

    /// How an activity was resolved; `None` while it is not.
    pub(super) fn resolved(&self, ordinal: Ordinal) -> Option<(Timestamp, &ActivityOutcome)> {
        let entry = self.entries.get(*self.resolved.get(&ordinal)?)?;
        match &entry.event {
            Event::Run(RunEvent::ActivityResolved { outcome, .. }) => Some((entry.at, outcome)),
            _ => None,
        }
    }

    /// The attempts of one activity, first to last.
    pub(super) fn attempts_of(&self, ordinal: Ordinal) -> impl Iterator<Item = (u32, &Attempt)> {
        self.attempts.range((ordinal, 0)..=(ordinal, u32::MAX)).map(|((_, number), attempt)| (*number, attempt))
    }

    /// The events of one attempt.
    pub(super) fn events_of<'a>(
        &'a self,
        attempt: &'a Attempt,
    ) -> impl Iterator<Item = (&'a Entry, &'a ConversationEvent)> {
        attempt.entries.iter().filter_map(|index| match &self.entries.get(*index)?.event {
            Event::Conversation(event) => Some((&self.entries[*index], event)),
            Event::Run(_) | Event::Entity(_) => None,
        })
    }

    /// How long the run took, or has been going on by `now`.
    pub(super) fn lasted_ms(row: &CatalogueRow, now: Timestamp) -> u64 {
        if row.status.is_closed() { row.updated_at } else { now.max(row.updated_at) }.since_ms(row.started_at)
    }
}

impl Attempt {
    /// The activity as people see it.
    pub(super) fn state(&self) -> ActivityState {
        self.fold.state()
    }
}

impl Entry {
    /// One line of a dump, of the run or entity that is called `run`.
    pub(super) fn json(&self, run: &str) -> Json {
        let (name, fields) = match &self.event {
            Event::Run(event) => (event.name(), events::run(event)),
            Event::Conversation(event) => (event.name(), events::conversation(event)),
            Event::Entity(event) => (event.name(), events::entity(event)),
        };
        Json::Object(vec![
            ("run", run.into()),
            ("stream", self.stream.to_string().into()),
            ("seq", self.seq.into()),
            ("at", self.at.into()),
            ("event", name.into()),
            ("fields", fields),
        ])
    }

    /// The event's own text.
    pub(super) fn text(&self) -> String {
        match &self.event {
            Event::Run(event) => event.to_string(),
            Event::Conversation(event) => event.to_string(),
            Event::Entity(event) => event.to_string(),
        }
    }
}

fn join(file: &HistoryFile, payloads: &mut [Payload]) {
    for payload in payloads {
        if let Some(joined) = payload.joined(&|digest| file.payloads.get(digest).cloned()) {
            *payload = joined;
        }
    }
}

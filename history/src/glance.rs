use crate::codec::{self, DecodeError};
use crate::limits::EVENT_MAX_BYTES;
use crate::record::Header;
use crate::{
    ConversationEvent, EntityEvent, Events, Ordinal, PendingTimer, Record, RunEvent, RunKey, RunStarted, RunStatus,
    Stream, Timestamp, varint,
};
use std::sync::Arc;

/// A record as the catalogue's fold sees it: the header, and of each event only what a row depends on.
///
/// Reading one checks the framing and every event's name, and passes over the rest by its length: a field that cannot be
/// read is found by [`Record::read`], when the run is loaded or verified. It can be read into again and again without
/// taking memory.
#[derive(Clone, Debug)]
pub struct Glance {
    pub(crate) run: RunKey,
    pub(crate) stream: Stream,
    pub(crate) first_seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) marks: Vec<Mark>,
    names_payloads: bool,
}

/// What one event changes in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Mark {
    Started(Arc<RunStarted>),
    ActivityScheduled,
    TimerStarted(PendingTimer),
    TimerEnded {
        ordinal: Ordinal,
        name: &'static str,
    },
    Blocked {
        headline: String,
    },
    Unblocked,
    Ended {
        status: RunStatus,
        name: &'static str,
    },
    ConversationOpened,
    ConversationClosed,
    /// All of it: an entity's row is the fold of its events.
    Entity(Box<EntityEvent>),
    /// Nothing.
    Passed(&'static str),
}

impl Default for Glance {
    fn default() -> Glance {
        let (run, stream, at) = (RunKey(0), Stream::Run, Timestamp(0));
        Glance { run, stream, first_seq: 0, at, marks: Vec::new(), names_payloads: false }
    }
}

impl Glance {
    /// Reads a record that must fill `bytes`, in place of what was read before.
    ///
    /// Errors: [`DecodeError`], after which nothing of the glance may be used.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), DecodeError> {
        let header = Header::read(&mut bytes)?;
        (self.run, self.stream, self.first_seq, self.at) = (header.run, header.stream, header.first_seq, header.at);
        self.names_payloads = mentions_stored(bytes);
        self.marks.clear();
        let read: fn(&[u8]) -> Result<Mark, DecodeError> = match header.stream {
            _ if header.run.is_entity() => entity_mark,
            Stream::Run => run_mark,
            Stream::Conversation { .. } => conversation_mark,
        };
        for _ in 0..header.count {
            let len = varint::read_len(&mut bytes, EVENT_MAX_BYTES, "event")?;
            let event = varint::take(&mut bytes, len)?;
            self.marks.push(read(event)?);
        }
        match bytes.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }

    /// What a decoded record looks like at a glance.
    pub(crate) fn of(record: &Record) -> Glance {
        let marks = match &record.events {
            Events::Run(events) => events.iter().map(Mark::of_run).collect(),
            Events::Conversation { events, .. } => events.iter().map(Mark::of_conversation).collect(),
            Events::Entity(events) => events.iter().map(|event| Mark::Entity(Box::new(event.clone()))).collect(),
        };
        let (run, stream, first_seq, at) = (record.run, record.stream(), record.first_seq, record.at);
        Glance { run, stream, first_seq, at, marks, names_payloads: true }
    }

    /// The run.
    pub fn run(&self) -> RunKey {
        self.run
    }

    /// Whether an event of the record may name a payload that is kept beside it. False is certain; what they are only
    /// [`Record::read`] tells.
    pub fn may_name_payloads(&self) -> bool {
        self.names_payloads
    }
}

impl Mark {
    fn of_run(event: &RunEvent) -> Mark {
        match event {
            RunEvent::RunStarted(started) => Mark::Started(Arc::clone(started)),
            RunEvent::ActivityScheduled { .. } => Mark::ActivityScheduled,
            RunEvent::TimerStarted { ordinal, due, .. } => {
                Mark::TimerStarted(PendingTimer { due: *due, ordinal: *ordinal })
            }
            RunEvent::TimerFired { ordinal } | RunEvent::TimerCancelled { ordinal } => {
                Mark::TimerEnded { ordinal: *ordinal, name: event.name() }
            }
            RunEvent::Blocked(blocked) => Mark::Blocked { headline: blocked.reason.headline() },
            RunEvent::Unblocked => Mark::Unblocked,
            RunEvent::RunCompleted { .. } => Mark::Ended { status: RunStatus::Completed, name: event.name() },
            RunEvent::RunFailed { .. } => Mark::Ended { status: RunStatus::Failed, name: event.name() },
            RunEvent::RunCancelled { .. } => Mark::Ended { status: RunStatus::Cancelled, name: event.name() },
            RunEvent::RunTerminated { .. } => Mark::Ended { status: RunStatus::Terminated, name: event.name() },
            RunEvent::ActivityResolved { .. }
            | RunEvent::SignalReceived { .. }
            | RunEvent::CancelRequested { .. }
            | RunEvent::ActivityCancelled { .. }
            | RunEvent::SideEffectRecorded { .. }
            | RunEvent::PatchMarked { .. }
            | RunEvent::CompensationPushed { .. } => Mark::Passed(event.name()),
        }
    }

    fn of_conversation(event: &ConversationEvent) -> Mark {
        match event {
            ConversationEvent::Scheduled { .. } => Mark::ConversationOpened,
            ConversationEvent::Closed { .. } => Mark::ConversationClosed,
            event => Mark::Passed(event.name()),
        }
    }

    /// The event of an entity.
    pub(crate) fn entity(&self) -> Option<&EntityEvent> {
        match self {
            Mark::Entity(event) => Some(event),
            _ => None,
        }
    }

    /// The event's name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Mark::Started(_) => "RunStarted",
            Mark::ActivityScheduled => "ActivityScheduled",
            Mark::TimerStarted(_) => "TimerStarted",
            Mark::Blocked { .. } => "Blocked",
            Mark::Unblocked => "Unblocked",
            Mark::ConversationOpened => "Scheduled",
            Mark::ConversationClosed => "Closed",
            Mark::Entity(event) => event.name(),
            Mark::TimerEnded { name, .. } | Mark::Ended { name, .. } | Mark::Passed(name) => name,
        }
    }
}

/// The stored name of an event that has fields, if it stands in the form in which we write it: a map of one entry.
fn stored_name(event: &[u8]) -> Option<&[u8]> {
    match event {
        [0x81, 0xa2, a, b, _, ..] => event.get(2..4).filter(|_| a.is_ascii() && b.is_ascii()),
        _ => None,
    }
}

/// Events whose fields matter are decoded; so is whatever does not look as we write it, which decides what it is.
fn run_mark(event: &[u8]) -> Result<Mark, DecodeError> {
    Ok(match stored_name(event) {
        Some(b"as") => Mark::ActivityScheduled,
        Some(b"ar") => Mark::Passed("ActivityResolved"),
        Some(b"sr") => Mark::Passed("SignalReceived"),
        Some(b"cr") => Mark::Passed("CancelRequested"),
        Some(b"ac") => Mark::Passed("ActivityCancelled"),
        Some(b"se") => Mark::Passed("SideEffectRecorded"),
        Some(b"pm") => Mark::Passed("PatchMarked"),
        Some(b"cp") => Mark::Passed("CompensationPushed"),
        Some(b"rc") => Mark::Ended { status: RunStatus::Completed, name: "RunCompleted" },
        Some(b"rf") => Mark::Ended { status: RunStatus::Failed, name: "RunFailed" },
        Some(b"rx") => Mark::Ended { status: RunStatus::Cancelled, name: "RunCancelled" },
        Some(b"rt") => Mark::Ended { status: RunStatus::Terminated, name: "RunTerminated" },
        _ => Mark::of_run(&codec::decode::<RunEvent>(event)?),
    })
}

fn entity_mark(event: &[u8]) -> Result<Mark, DecodeError> {
    Ok(Mark::Entity(Box::new(codec::decode(event)?)))
}

fn conversation_mark(event: &[u8]) -> Result<Mark, DecodeError> {
    Ok(match stored_name(event) {
        Some(b"sc") => Mark::ConversationOpened,
        Some(b"cl") => Mark::ConversationClosed,
        Some(b"ws") => Mark::Passed("WorkerSelected"),
        Some(b"se") => Mark::Passed("Sent"),
        Some(b"hb") => Mark::Passed("Heartbeat"),
        Some(b"cs") => Mark::Passed("CancelSent"),
        Some(b"re") => Mark::Passed("Received"),
        Some(b"ex") => Mark::Passed("Exited"),
        Some(b"nw") => Mark::Passed("NoWorker"),
        Some(b"he") => Mark::Passed("Held"),
        _ => Mark::of_conversation(&codec::decode::<ConversationEvent>(event)?),
    })
}

/// How a payload that is kept beside its event begins in MessagePack: the variant `s`, a map of two, its digest `h` of
/// 32 bytes. Other bytes may look the same, which costs a decoding and nothing else.
const STORED: [u8; 7] = [0xa1, b's', 0x82, 0xa1, b'h', 0xc4, 0x20];

/// Whether [`STORED`] stands somewhere in `bytes`.
fn mentions_stored(bytes: &[u8]) -> bool {
    // Horspool's search: where the last of seven bytes tells that none of them can be the last, all are passed over.
    const LEN: usize = STORED.len();
    let mut end = LEN;
    while let Some(&last) = bytes.get(end - 1) {
        end += match last {
            0x20 if bytes[end - LEN..end] == STORED => return true,
            0xc4 => 1,
            b'h' => 2,
            0xa1 => 3,
            0x82 => 4,
            b's' => 5,
            _ => LEN,
        };
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Digest, HistoryFile, Payload, PayloadData, StoredPayload};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn glance(bytes: &[u8]) -> Result<Glance, DecodeError> {
        let mut glance = Glance::default();
        glance.read(bytes).map(|()| glance)
    }

    /// Every record of the recorded histories.
    fn recorded() -> Vec<crate::Bytes> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/histories/v1");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let histories = files.filter(|path| path.extension().is_some_and(|end| end == "history"));
        histories.flat_map(|path| HistoryFile::read(&std::fs::read(path).unwrap()).unwrap().records).collect()
    }

    fn of_run(events: Vec<RunEvent>) -> Record {
        Record { run: RunKey(1), first_seq: 1, at: Timestamp(1), events: Events::Run(events) }
    }

    #[test]
    fn a_glance_sees_what_decoding_sees_and_no_recorded_event_needs_more_than_it_must() {
        let mut names = BTreeSet::new();
        let mut records = recorded();
        records.push(of_run(vec![RunEvent::ActivityCancelled { ordinal: Ordinal(1) }]).to_bytes().into());
        for bytes in records {
            let record = Record::read(&bytes).unwrap();
            let (seen, full) = (glance(&bytes).unwrap(), Glance::of(&record));
            assert_eq!(
                (seen.run, seen.stream, seen.first_seq, seen.at),
                (full.run, full.stream, full.first_seq, full.at)
            );
            assert_eq!(seen.marks, full.marks);
            let stored = |payload: &&Payload| matches!(payload.data, PayloadData::Stored(_));
            let named = match &record.events {
                Events::Run(events) => events.iter().flat_map(RunEvent::payloads).any(|payload| stored(&payload)),
                Events::Conversation { events, .. } => {
                    events.iter().flat_map(ConversationEvent::payloads).any(|payload| stored(&payload))
                }
                Events::Entity(_) => false,
            };
            assert_eq!(seen.may_name_payloads(), named);
            names.extend(seen.marks.iter().map(|mark| (seen.stream == Stream::Run, mark.name())));
        }
        assert_eq!(names.len(), 18 + 10, "all events of both kinds: {names:?}");
    }

    #[test]
    fn a_payload_beside_its_event_is_suspected_wherever_its_name_stands() {
        for input in 0..40 {
            let stored = StoredPayload { digest: Digest([0xc4; 32]), len: 20_000 };
            let payload = Payload { data: PayloadData::Stored(stored), ..Payload::json(vec![]) };
            let name = "s".repeat(input);
            let event = RunEvent::SignalReceived { name, input: vec![payload], request_id: None };
            assert!(glance(&of_run(vec![RunEvent::Unblocked, event]).to_bytes()).unwrap().may_name_payloads());
        }
        let inline =
            RunEvent::SignalReceived { name: "s".into(), input: vec![Payload::json(vec![7; 99])], request_id: None };
        assert!(!glance(&of_run(vec![inline]).to_bytes()).unwrap().may_name_payloads());
    }

    #[test]
    fn framing_and_names_are_checked_and_what_lies_inside_an_event_is_not() {
        let bytes = of_run(vec![RunEvent::PatchMarked { name: "new".into() }]).to_bytes();
        assert!(glance(&bytes).is_ok());
        assert!(glance(&bytes[..bytes.len() - 1]).is_err());
        assert!(glance(&[&bytes[..], &[0]].concat()).is_err());
        let name = bytes.windows(2).position(|window| window == b"pm").unwrap();
        let mut unknown = bytes.clone();
        unknown[name..name + 2].copy_from_slice(b"zz");
        assert!(matches!(glance(&unknown), Err(DecodeError::Event(_))));
        let mut inside = bytes;
        *inside.last_mut().unwrap() = 0xff;
        assert!(Record::read(&inside).is_err() && glance(&inside).is_ok());
    }

    proptest! {
        #[test]
        fn noise_is_read_or_refused_and_whatever_decodes_can_be_glanced_at(
            noise in proptest::collection::vec(any::<u8>(), 0..120), at: proptest::sample::Index, byte: u8,
            of: proptest::sample::Index
        ) {
            let recorded = recorded();
            let mut changed = recorded[of.index(recorded.len())].to_vec();
            let index = at.index(changed.len());
            changed[index] = byte;
            for bytes in [noise, changed] {
                let seen = glance(&bytes);
                if let Ok(record) = Record::read(&bytes) {
                    prop_assert_eq!(seen.unwrap().marks, Glance::of(&record).marks);
                }
            }
        }
    }
}

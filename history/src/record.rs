use crate::codec::{self, DecodeError};
use crate::{ConversationEvent, EntityEvent, Ordinal, RunEvent, RunKey, Stream, Timestamp, varint};

/// The format that this version writes. Readers accept every version from 1 up to it.
pub const FORMAT_VERSION: u8 = 1;

/// Consecutive events of one stream that were appended at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The run.
    pub run: RunKey,
    /// The sequence number of the first event within its stream, from 1.
    pub first_seq: u64,
    /// When they were appended.
    pub at: Timestamp,
    /// The events, and with them the stream.
    pub events: Events,
}

/// The events of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Events {
    /// Of the run stream.
    Run(Vec<RunEvent>),
    /// Of one conversation.
    Conversation {
        /// The activity within the run.
        ordinal: Ordinal,
        /// The attempt, from 1.
        attempt: u32,
        /// The events.
        events: Vec<ConversationEvent>,
    },
    /// Of an entity; `run` is its key.
    Entity(Vec<EntityEvent>),
}

/// A record's header, readable without decoding its events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) run: RunKey,
    pub(crate) stream: Stream,
    pub(crate) first_seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) count: usize,
}

impl Record {
    /// The stream that the record belongs to.
    pub fn stream(&self) -> Stream {
        match &self.events {
            Events::Run(_) | Events::Entity(_) => Stream::Run,
            Events::Conversation { ordinal, attempt, .. } => {
                Stream::Conversation { ordinal: *ordinal, attempt: *attempt }
            }
        }
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        match &self.events {
            Events::Run(events) => events.len(),
            Events::Entity(events) => events.len(),
            Events::Conversation { events, .. } => events.len(),
        }
    }

    /// Whether it holds no event. Such a record is never written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the record's bytes: version, run, ordinal (0 = run stream), attempt if any, first seq, time, count, events.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Record { run, first_seq, at, .. } = *self;
        Header { run, stream: self.stream(), first_seq, at, count: self.len() }.write(out);
        match &self.events {
            Events::Run(events) => events.iter().for_each(|event| codec::write_event(out, event)),
            Events::Entity(events) => events.iter().for_each(|event| codec::write_event(out, event)),
            Events::Conversation { events, .. } => events.iter().for_each(|event| codec::write_event(out, event)),
        }
    }

    /// The record's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96 * self.len() + 16);
        self.write(&mut out);
        out
    }

    /// Reads a record that must fill `bytes`.
    ///
    /// Errors: [`DecodeError`], for anything that [`Record::write`] would not have written.
    pub fn read(mut bytes: &[u8]) -> Result<Record, DecodeError> {
        let header = Header::read(&mut bytes)?;
        let events = match header.stream {
            Stream::Run if header.run.is_entity() => Events::Entity(read_events(&mut bytes, header.count)?),
            Stream::Run => Events::Run(read_events(&mut bytes, header.count)?),
            Stream::Conversation { ordinal, attempt } => {
                Events::Conversation { ordinal, attempt, events: read_events(&mut bytes, header.count)? }
            }
        };
        match bytes.len() {
            0 => Ok(Record { run: header.run, first_seq: header.first_seq, at: header.at, events }),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }

    /// The stream of an encoded record, without decoding its events.
    pub fn stream_of(mut bytes: &[u8]) -> Result<Stream, DecodeError> {
        Header::read(&mut bytes).map(|header| header.stream)
    }

    /// The run of an encoded record, without decoding its events.
    pub fn run_of(mut bytes: &[u8]) -> Result<RunKey, DecodeError> {
        Header::read(&mut bytes).map(|header| header.run)
    }
}

/// Appends a record with its length before it, from a header and the encoded events.
pub(crate) fn write_framed(out: &mut Vec<u8>, header: &Header, events: &[u8]) {
    let room = varint::leave_room(out);
    header.write(out);
    varint::fill(out, room, events.len());
    out.extend_from_slice(events);
}

impl Header {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(FORMAT_VERSION);
        varint::write(out, self.run.0);
        match self.stream {
            Stream::Run => varint::write(out, 0),
            Stream::Conversation { ordinal, attempt } => {
                varint::write(out, u64::from(ordinal.0));
                varint::write(out, u64::from(attempt));
            }
        }
        varint::write(out, self.first_seq);
        varint::write(out, self.at.0.max(0) as u64);
        varint::write(out, self.count as u64);
    }

    pub(crate) fn read(bytes: &mut &[u8]) -> Result<Header, DecodeError> {
        let version = *varint::take(bytes, 1)?.first().ok_or(DecodeError::Truncated)?;
        if version == 0 || version > FORMAT_VERSION {
            return Err(DecodeError::Version { found: u64::from(version), known: FORMAT_VERSION });
        }
        let run = RunKey(varint::read(bytes)?);
        let stream = match small(varint::read(bytes)?)? {
            0 => Stream::Run,
            ordinal => {
                let attempt = small(varint::read(bytes)?)?;
                if attempt == 0 {
                    return Err(DecodeError::Header("attempts count from 1"));
                }
                if run.is_entity() {
                    return Err(DecodeError::Header("an entity has no conversations"));
                }
                Stream::Conversation { ordinal: Ordinal(ordinal), attempt }
            }
        };
        let first_seq = varint::read(bytes)?;
        let at = i64::try_from(varint::read(bytes)?).map_err(|_| DecodeError::Header("the time does not fit"))?;
        // An event is at least two bytes, so a count beyond the bytes that are left is refused before any allocation.
        let count = varint::read_len(bytes, bytes.len(), "list of events")?;
        match (first_seq, count) {
            (0, _) => Err(DecodeError::Header("sequence numbers count from 1")),
            (_, 0) => Err(DecodeError::Header("a record holds at least one event")),
            (seq, count) if seq.checked_add(count as u64).is_none() => {
                Err(DecodeError::Header("the sequence number does not fit"))
            }
            _ => Ok(Header { run, stream, first_seq, at: Timestamp(at), count }),
        }
    }
}

fn small(value: u64) -> Result<u32, DecodeError> {
    u32::try_from(value).map_err(|_| DecodeError::Header("an ordinal or attempt does not fit"))
}

fn read_events<T: serde::de::DeserializeOwned>(bytes: &mut &[u8], count: usize) -> Result<Vec<T>, DecodeError> {
    let mut events = Vec::with_capacity(count.min(256));
    for _ in 0..count {
        events.push(codec::read_event(bytes)?);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActivityOutcome, Payload};

    fn example() -> Record {
        Record {
            run: RunKey(300),
            first_seq: 4,
            at: Timestamp(1_732_000_000_000),
            events: Events::Run(vec![
                RunEvent::ActivityResolved {
                    ordinal: Ordinal(1),
                    outcome: ActivityOutcome::Completed { result: vec![Payload::json(b"\"x\"".to_vec())] },
                },
                RunEvent::TimerFired { ordinal: Ordinal(2) },
                RunEvent::SignalReceived { name: "n".repeat(200), input: vec![], request_id: None },
            ]),
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let record = example();
        let bytes = record.to_bytes();
        assert_eq!(Record::read(&bytes).unwrap(), record);
        assert_eq!(Record::stream_of(&bytes).unwrap(), Stream::Run);
    }

    #[test]
    fn a_record_of_an_entity_reads_back_and_has_no_conversation() {
        let opened = EntityEvent::Opened { name: crate::EntityName::Audit };
        let (run, at) = (RunKey::of_entity(3), Timestamp(5));
        let record = Record { run, first_seq: 1, at, events: Events::Entity(vec![opened]) };
        assert_eq!(Record::read(&record.to_bytes()).unwrap(), record);
        let events = vec![ConversationEvent::Sent { leg: 1 }];
        let events = Events::Conversation { ordinal: Ordinal(1), attempt: 1, events };
        let talk = Record { run, first_seq: 1, at, events };
        assert!(matches!(Record::read(&talk.to_bytes()), Err(DecodeError::Header(_))));
    }

    #[test]
    fn every_shortened_or_lengthened_form_is_refused() {
        let bytes = example().to_bytes();
        for end in 0..bytes.len() {
            assert!(Record::read(&bytes[..end]).is_err(), "cut to {end} bytes");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(Record::read(&longer), Err(DecodeError::Trailing { bytes: 1 }));
    }

    #[test]
    fn a_newer_format_is_named_and_refused() {
        let mut bytes = example().to_bytes();
        bytes[0] = FORMAT_VERSION + 1;
        assert!(matches!(Record::read(&bytes), Err(DecodeError::Version { .. })));
    }

    #[test]
    fn an_unknown_event_name_is_an_error() {
        let mut bytes = example().to_bytes();
        let place = bytes.windows(2).position(|pair| pair == b"tf").unwrap();
        bytes[place..place + 2].copy_from_slice(b"zz");
        assert!(matches!(Record::read(&bytes), Err(DecodeError::Event(_))));
    }

    #[test]
    fn a_count_that_the_bytes_cannot_hold_takes_no_memory() {
        let mut bytes = vec![FORMAT_VERSION, 1, 0, 1, 0];
        varint::write(&mut bytes, u64::MAX);
        assert!(matches!(Record::read(&bytes), Err(DecodeError::TooLarge { .. })));
    }
}

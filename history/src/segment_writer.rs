use crate::limits::PAYLOAD_INLINE_MAX_BYTES;
use crate::record::{self, Header};
use crate::{
    Bytes, ConversationEvent, Digest, EntityEvent, Ordinal, Payload, PayloadData, RunEvent, RunKey, Stream, Timestamp,
    codec, segment,
};
use serde::Serialize;

/// Encodes a segment's body while it is decided: one event at a time, straight into its bytes.
///
/// Consecutive events of one stream and one moment share a record. Payloads that are too large for an event go beside
/// the records, the same bytes once.
#[derive(Debug, Default)]
pub struct SegmentWriter {
    /// Finished records, each with its length.
    records: Vec<u8>,
    count: u64,
    /// The record that still grows: its header, and its events in `events`.
    open: Option<Header>,
    events: Vec<u8>,
    payloads: Vec<(Digest, Bytes)>,
    payload_bytes: usize,
}

impl SegmentWriter {
    /// Whether nothing was written since the last [`SegmentWriter::take`].
    pub fn is_empty(&self) -> bool {
        self.open.is_none() && self.count == 0
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.records.len() + self.events.len() + self.payload_bytes
    }

    /// Appends the event `seq` of a run stream.
    pub fn run_event(&mut self, run: RunKey, seq: u64, at: Timestamp, event: &RunEvent) {
        self.go_on(Header { run, stream: Stream::Run, first_seq: seq, at, count: 1 });
        if event.payloads().iter().any(is_large) {
            let mut event = event.clone();
            self.set_aside(event.payloads_mut());
            self.write(&event);
        } else {
            self.write(event);
        }
    }

    /// Appends the event `seq` of the conversation of attempt `attempt` of activity `ordinal`.
    pub fn conversation_event(
        &mut self,
        run: RunKey,
        (ordinal, attempt): (Ordinal, u32),
        seq: u64,
        at: Timestamp,
        event: &ConversationEvent,
    ) {
        let stream = Stream::Conversation { ordinal, attempt };
        self.go_on(Header { run, stream, first_seq: seq, at, count: 1 });
        if event.payloads().iter().any(is_large) {
            let mut event = event.clone();
            self.set_aside(event.payloads_mut());
            self.write(&event);
        } else {
            self.write(event);
        }
    }

    /// Appends the event `seq` of an entity's stream.
    pub fn entity_event(&mut self, key: RunKey, seq: u64, at: Timestamp, event: &EntityEvent) {
        debug_assert!(key.is_entity(), "runs have events of their own");
        self.go_on(Header { run: key, stream: Stream::Run, first_seq: seq, at, count: 1 });
        self.write(event);
    }

    /// The body's bytes, as [`crate::SegmentBody::read`] takes them; nothing is left. `None` if nothing was written.
    pub fn take(&mut self) -> Option<Bytes> {
        self.close();
        if self.count == 0 {
            return None;
        }
        let mut body = Vec::with_capacity(self.records.len() + self.payload_bytes + 48 * self.payloads.len() + 16);
        segment::write_body(&mut body, self.count, &self.records, &self.payloads);
        self.records.clear();
        self.count = 0;
        self.payloads.clear();
        self.payload_bytes = 0;
        Some(body.into())
    }

    /// Makes the open record one to which the event of `next` can be appended, and counts it.
    fn go_on(&mut self, next: Header) {
        if let Some(open) = &mut self.open
            && (open.run, open.stream, open.at) == (next.run, next.stream, next.at)
        {
            open.count += 1;
            return;
        }
        self.close();
        self.open = Some(next);
    }

    fn close(&mut self) {
        if let Some(header) = self.open.take() {
            record::write_framed(&mut self.records, &header, &self.events);
            self.events.clear();
            self.count += 1;
        }
    }

    fn write(&mut self, event: &impl Serialize) {
        codec::write_event(&mut self.events, event);
    }

    /// Moves the bytes of large payloads beside the events.
    fn set_aside(&mut self, payloads: &mut [Payload]) {
        for payload in payloads {
            let (event_side, kept) = payload.clone().split();
            let Some((digest, bytes)) = kept else { continue };
            *payload = event_side;
            if !self.payloads.iter().any(|(known, _)| *known == digest) {
                self.payload_bytes += bytes.len();
                self.payloads.push((digest, bytes));
            }
        }
    }
}

fn is_large(payload: &Payload) -> bool {
    matches!(&payload.data, PayloadData::Inline(bytes) if bytes.len() > PAYLOAD_INLINE_MAX_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Events, Record, SegmentBody};

    fn fired(ordinal: u32) -> RunEvent {
        RunEvent::TimerFired { ordinal: Ordinal(ordinal) }
    }

    fn signal(bytes: usize) -> RunEvent {
        RunEvent::SignalReceived { name: "s".into(), input: vec![Payload::binary(vec![7; bytes])], request_id: None }
    }

    #[test]
    fn the_bytes_are_those_of_the_records_written_one_by_one() {
        let (run, at, later) = (RunKey(300), Timestamp(1_000), Timestamp(1_001));
        let sent = ConversationEvent::Sent { leg: 1 };
        let mut writer = SegmentWriter::default();
        writer.run_event(run, 1, at, &fired(1));
        writer.run_event(run, 2, at, &fired(2));
        writer.conversation_event(run, (Ordinal(1), 1), 3, at, &sent);
        writer.run_event(run, 3, at, &fired(3));
        writer.run_event(run, 4, later, &fired(4));
        writer.run_event(RunKey(301), 1, later, &fired(1));

        let of_run = |run, first_seq, at, events| Record { run, first_seq, at, events: Events::Run(events) };
        let mut body = SegmentBody::default();
        body.push(&of_run(run, 1, at, vec![fired(1), fired(2)]));
        let events = Events::Conversation { ordinal: Ordinal(1), attempt: 1, events: vec![sent] };
        body.push(&Record { run, first_seq: 3, at, events });
        body.push(&of_run(run, 3, at, vec![fired(3)]));
        body.push(&of_run(run, 4, later, vec![fired(4)]));
        body.push(&of_run(RunKey(301), 1, later, vec![fired(1)]));
        assert_eq!(writer.take().unwrap(), body.to_bytes());
        assert!(writer.is_empty() && writer.take().is_none());
    }

    #[test]
    fn a_large_payload_stands_beside_the_records_once_and_an_inline_one_in_its_event() {
        let mut writer = SegmentWriter::default();
        let (run, at) = (RunKey(1), Timestamp(1));
        writer.run_event(run, 1, at, &signal(PAYLOAD_INLINE_MAX_BYTES));
        let inline_only = writer.len();
        writer.run_event(run, 2, at, &signal(PAYLOAD_INLINE_MAX_BYTES + 1));
        writer.run_event(run, 3, at, &signal(PAYLOAD_INLINE_MAX_BYTES + 1));
        assert!(writer.len() > inline_only + PAYLOAD_INLINE_MAX_BYTES && writer.len() < inline_only + 20_000);
        let body = SegmentBody::read(&writer.take().unwrap()).unwrap();
        assert_eq!((body.records.len(), body.payloads.len()), (1, 1));
        let record = Record::read(&body.records[0]).unwrap();
        let Events::Run(events) = record.events else { panic!("a run stream") };
        assert_eq!(events[0], signal(PAYLOAD_INLINE_MAX_BYTES));
        assert!(
            matches!(&events[2].payloads()[0].data, PayloadData::Stored(stored) if stored.digest == body.payloads[0].0)
        );
    }
}

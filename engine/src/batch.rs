use crate::Effect;
use antiphon_history::{
    Bytes, ConversationEvent, Digest, Events, Ordinal, Payload, Record, RunEvent, RunKey, SegmentBody, Stream,
    Timestamp,
};

/// One segment's worth of decisions: what to make durable, and what to do once it is.
#[derive(Debug)]
pub struct Batch {
    /// What must be durable before any effect. `None`: nothing was decided, the effects follow the segment before.
    pub segment: Option<SegmentBody>,
    /// When the batch was closed.
    pub at: Timestamp,
    /// What may leave once `segment` and all segments before it are durable, in this order.
    pub effects: Vec<Effect>,
}

/// Collects the events of a batch into records. Consecutive events of one stream share a record.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder {
    records: Vec<Record>,
    payloads: Vec<(Digest, Bytes)>,
    bytes: usize,
}

/// What an event weighs besides its payloads: an estimate for the batch's bound, not a limit.
const EVENT_BYTES: usize = 64;

impl BatchBuilder {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// An estimate of the segment's bytes so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push_run(&mut self, run: RunKey, seq: u64, at: Timestamp, mut event: RunEvent) {
        event.payloads_mut().into_iter().for_each(|payload| self.set_aside(payload));
        self.bytes += EVENT_BYTES;
        if let Some(record) = self.records.last_mut()
            && (record.run, record.at) == (run, at)
            && let Events::Run(events) = &mut record.events
        {
            events.push(event);
            return;
        }
        self.records.push(Record { run, first_seq: seq, at, events: Events::Run(vec![event]) });
    }

    pub(crate) fn push_conversation(
        &mut self,
        run: RunKey,
        (ordinal, attempt): (Ordinal, u32),
        seq: u64,
        at: Timestamp,
        mut event: ConversationEvent,
    ) {
        event.payloads_mut().into_iter().for_each(|payload| self.set_aside(payload));
        self.bytes += EVENT_BYTES;
        let stream = Stream::Conversation { ordinal, attempt };
        if let Some(record) = self.records.last_mut()
            && (record.run, record.at, record.stream()) == (run, at, stream)
            && let Events::Conversation { events, .. } = &mut record.events
        {
            events.push(event);
            return;
        }
        let events = Events::Conversation { ordinal, attempt, events: vec![event] };
        self.records.push(Record { run, first_seq: seq, at, events });
    }

    /// Moves the bytes of a large payload beside the events; the same bytes are kept once per batch.
    fn set_aside(&mut self, payload: &mut Payload) {
        self.bytes += payload.len() as usize;
        let (event_side, kept) = payload.clone().split();
        if let Some((digest, bytes)) = kept {
            *payload = event_side;
            if !self.payloads.iter().any(|(known, _)| *known == digest) {
                self.payloads.push((digest, bytes));
            }
        }
    }

    pub(crate) fn take(&mut self) -> Option<SegmentBody> {
        if self.is_empty() {
            return None;
        }
        self.bytes = 0;
        let mut body = SegmentBody { records: Vec::new(), payloads: std::mem::take(&mut self.payloads) };
        for record in std::mem::take(&mut self.records) {
            body.push(&record);
        }
        Some(body)
    }
}

//! The decoders of rows and anchors for `crate::strangers`.

use super::anchor::Anchored;
use super::row;
use crate::{Tip, Watermark, strangers::ROW};
use antiphon_history::{
    CatalogueRow, ConversationEvent, ConversationOutcome, Events, Ordinal, Record, RunEvent, Segment, Timestamp,
};

pub(crate) fn row(body: &[u8]) {
    if let Ok(mut row) = row::decode(ROW, &row::seal(body)) {
        let again = row::decode(ROW, &row::encode(&row)).ok();
        assert_eq!(again.as_ref(), Some(&row), "a row that was read is written and read again");
        // Whatever it counts, more may follow.
        for events in [Events::Run(vec![RunEvent::Unblocked]), conversation()] {
            let _ = row.apply(&Record { run: ROW, first_seq: 1, at: Timestamp(1), events }, &[]);
        }
    }
}

fn conversation() -> Events {
    let outcome = ConversationOutcome::Completed;
    let opened = ConversationEvent::Scheduled { activity_type: "a".into(), queue: "q".into(), visible_at: None };
    Events::Conversation {
        ordinal: Ordinal(1),
        attempt: 1,
        events: vec![opened, ConversationEvent::Closed { outcome }],
    }
}

pub(crate) fn sealed_row(body: &[u8]) -> Vec<u8> {
    row::seal(body)
}

pub(crate) fn row_body(row: &CatalogueRow) -> Vec<u8> {
    let row = CatalogueRow { key: ROW, ..row.clone() };
    rmp_serde::to_vec(&row).expect("our own row always encodes into memory")
}

pub(crate) fn anchor(line: &[u8]) {
    let Ok(line) = std::str::from_utf8(line) else { return };
    // The checksum is against accidents. With the right one behind it, every line is read to its parts.
    let body = line.trim_end().rsplit_once(' ').map_or("", |(body, _)| body);
    if let Ok(read) = Anchored::from_line(&super::anchor::sealed(body)) {
        assert_eq!(Anchored::from_line(&read.to_line()), Ok(read), "an anchor that was read is written and read again");
    }
    let _ = Anchored::from_line(line);
}

pub(crate) fn anchor_line(segment: &Segment) -> Vec<u8> {
    Anchored::of([7; 16], Tip::of(segment), Watermark::START).to_line().into_bytes()
}

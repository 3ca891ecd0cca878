//! What holds for every frame and for every row of bytes that is none.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::wire::{
    BODY_MAX_BYTES, Down, Frame, HEADER_BYTES, Header, Kind, LegKey, Register, Up, WIRE_VERSION, Welcome, WireError,
};
use antiphon_conversation::{Answer, Request, Token};
use antiphon_history::{
    ActivityCall, ActivityOptions, ConversationKey, Failure, Ordinal, Payload, RunId, RunKey, Site,
};
use proptest::prelude::*;
use std::sync::Arc;

fn any_text() -> impl Strategy<Value = String> {
    "[a-zü ]{0,12}"
}

fn any_payload() -> impl Strategy<Value = Payload> {
    (proptest::collection::vec(any::<u8>(), 0..40), any::<bool>(), proptest::option::of(any_text())).prop_map(
        |(bytes, json, metadata)| {
            let mut payload = if json { Payload::json(bytes) } else { Payload::binary(bytes) };
            payload.metadata.extend(metadata.map(|text| ("k".to_owned(), text)));
            payload
        },
    )
}

fn any_leg() -> impl Strategy<Value = LegKey> {
    (any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(|(run, ordinal, attempt, leg)| LegKey {
        conversation: ConversationKey { run: RunKey(run), ordinal: Ordinal(ordinal), attempt },
        leg,
    })
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        proptest::collection::vec(any_payload(), 0..3).prop_map(|result| Answer::Completed { result }),
        (any_text(), any_text(), proptest::option::of(any_payload()), any::<bool>()).prop_map(
            |(message, kind, details, retryable)| Answer::Failed {
                failure: Failure { message, kind, details },
                retryable
            }
        ),
        any_text().prop_map(|message| Answer::Panicked { message }),
        Just(Answer::Stopped),
    ]
}

fn any_up() -> impl Strategy<Value = Up> {
    let token = any::<[u8; 16]>().prop_map(Token);
    prop_oneof![
        (any_text(), any_text(), any::<u32>(), proptest::collection::btree_set(any_text(), 0..4)).prop_map(
            |(name, instance, capacity, set)| Up::Register(Register {
                name,
                instance,
                queues: set.clone(),
                activities: set.clone(),
                labels: set,
                capacity,
                version: "1".to_owned()
            })
        ),
        any_leg().prop_map(Up::Accepted),
        (any_leg(), token.clone(), proptest::option::of(any_payload()))
            .prop_map(|(leg, token, details)| { Up::Heartbeat { leg, token, details } }),
        (any_leg(), token, any_answer()).prop_map(|(leg, token, answer)| Up::Result { leg, token, answer }),
        any_text().prop_map(|reason| Up::Leave { reason }),
        any::<u64>().prop_map(|number| Up::Pong { number }),
    ]
}

fn any_down() -> impl Strategy<Value = Down> {
    let request = (any_leg(), any::<[u8; 16]>(), any_text(), proptest::collection::vec(any_payload(), 0..3));
    prop_oneof![
        (any_text(), any::<u32>()).prop_map(|(name, capacity)| {
            Down::Welcome(Welcome { name, instance: "1".to_owned(), capacity, version: "1".to_owned() })
        }),
        (request, proptest::option::of(any_payload())).prop_map(|((leg, token, name, input), details)| {
            let options =
                ActivityOptions { start_to_close_ms: Some(5), needs: vec![name.clone()], ..Default::default() };
            let (activity_type, queue) = (name.as_str().into(), "video".into());
            let call = Arc::new(ActivityCall { activity_type, queue, input, options, site: Site("a.rs:1".into()) });
            let (conversation, leg) = (leg.conversation, leg.leg);
            let (token, run_id) = (Token(token), RunId(token));
            Down::Dispatch(Box::new(Request { conversation, leg, token, run_id, call, details }))
        }),
        any_leg().prop_map(Down::CancelLeg),
        any::<u64>().prop_map(|within_ms| Down::Drain { within_ms }),
        any::<u64>().prop_map(|number| Down::Ping { number }),
    ]
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn what_a_worker_says_is_heard_as_it_was_said(up in any_up()) {
        let frame = up.to_frame().unwrap();
        prop_assert_eq!(Up::of(&Frame::read(&bytes(&frame)).unwrap()), Ok(up));
        prop_assert_eq!(Down::of(&frame).unwrap_err(), WireError::Unexpected { found: frame.kind });
    }

    #[test]
    fn what_an_engine_says_is_heard_as_it_was_said(down in any_down()) {
        let frame = down.to_frame().unwrap();
        let heard = Down::of(&Frame::read(&bytes(&frame)).unwrap()).unwrap();
        // A token is not shown, so it is compared through the bytes.
        prop_assert_eq!(format!("{heard:?}"), format!("{down:?}"));
        prop_assert_eq!(heard.to_frame().unwrap(), frame.clone());
        prop_assert_eq!(Up::of(&frame).unwrap_err(), WireError::Unexpected { found: frame.kind });
    }

    #[test]
    fn every_truncation_and_every_byte_too_many_is_refused(up in any_up(), down in any_down()) {
        for frame in [up.to_frame().unwrap(), down.to_frame().unwrap()] {
            let whole = bytes(&frame);
            for end in 0..whole.len() {
                prop_assert_eq!(Frame::read(&whole[..end]).unwrap_err(), WireError::Truncated);
            }
            let longer = [&whole[..], &[0]].concat();
            prop_assert_eq!(Frame::read(&longer).unwrap_err(), WireError::Trailing { bytes: 1 });
            for end in 0..frame.body.len() {
                let body = frame.body[..end].to_vec();
                let cut = Frame { body, ..frame.clone() };
                prop_assert!(is_refused(&cut), "{:?} cut to {}", frame, end);
            }
            let longer = Frame { body: [&frame.body[..], &[0xc0]].concat(), ..frame.clone() };
            prop_assert!(is_refused(&longer));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80), kind in 0..11usize) {
        let _ = Frame::read(&bytes);
        let frame = Frame { kind: Kind::ALL[kind], body: bytes };
        let _ = (Up::of(&frame), Down::of(&frame));
    }
}

fn is_refused(frame: &Frame) -> bool {
    Up::of(frame).is_err() && Down::of(frame).is_err()
}

fn header(version: u8, kind: u8, spare: u8, len: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = len.to_le_bytes();
    [version, kind, spare, 0, a, b, c, d]
}

#[test]
fn a_length_over_the_limit_is_refused_from_the_header_alone() {
    let max = BODY_MAX_BYTES as u32;
    assert_eq!(Header::read(header(WIRE_VERSION, 67, 0, max)).unwrap(), Header { kind: Kind::Result, len: 4_194_304 });
    for len in [max + 1, u32::MAX] {
        let refused = Header::read(header(WIRE_VERSION, 67, 0, len));
        assert_eq!(refused, Err(WireError::TooLarge { bytes: u64::from(len) }));
    }
}

#[test]
fn other_versions_unknown_kinds_and_spare_bytes_are_refused_by_name() {
    for found in [0, WIRE_VERSION + 1, 255] {
        assert_eq!(Header::read(header(found, 1, 0, 0)), Err(WireError::Version { found }));
    }
    let known: Vec<u8> = Kind::ALL.into_iter().map(|kind| kind as u8).collect();
    for found in 0..=255 {
        let read = Header::read(header(WIRE_VERSION, found, 0, 0));
        assert_eq!(read.is_ok(), known.contains(&found), "kind {found}: {read:?}");
    }
    assert_eq!(Header::read(header(WIRE_VERSION, 1, 7, 0)), Err(WireError::Spare));
}

#[test]
fn a_body_that_nests_deeper_than_64_is_refused() {
    // A field that nobody knows is passed over, but not to any depth: {"n": 1, "x": [[[…]]]}.
    let nested = |depth: usize| {
        let mut body = vec![0x82, 0xa1, b'n', 1, 0xa1, b'x'];
        body.extend(vec![0x91; depth]);
        body.push(0xc0);
        Up::of(&Frame { kind: Kind::Pong, body })
    };
    assert_eq!(nested(40), Ok(Up::Pong { number: 1 }), "fields of a later version do no harm");
    assert!(matches!(nested(64), Err(WireError::Body { kind: Kind::Pong, .. })));
    assert!(matches!(nested(100_000), Err(WireError::Body { kind: Kind::Pong, .. })));
}

#[test]
fn a_list_that_claims_more_than_is_there_takes_no_memory_for_it() {
    // {"n": "", "i": "", "q": 4 thousand million texts}
    let body = [&[0x83, 0xa1, b'n', 0xa0, 0xa1, b'i', 0xa0, 0xa1, b'q', 0xdd][..], &[0xff; 4]].concat();
    assert!(matches!(Up::of(&Frame { kind: Kind::Register, body }), Err(WireError::Body { .. })));
}

#[test]
fn arguments_that_pass_the_limit_together_make_no_frame() {
    let half = Payload::binary(vec![7; BODY_MAX_BYTES / 2]);
    let conversation = ConversationKey { run: RunKey(1), ordinal: Ordinal(1), attempt: 1 };
    let dispatch = |input: Vec<Payload>| {
        let (activity_type, queue) = ("a".into(), "default".into());
        let call = ActivityCall { activity_type, queue, input, options: Default::default(), site: Site::default() };
        let (token, run_id, call) = (Token([1; 16]), RunId([2; 16]), Arc::new(call));
        Down::Dispatch(Box::new(Request { conversation, leg: 1, token, run_id, call, details: None })).to_frame()
    };
    assert!(dispatch(vec![half.clone()]).is_ok());
    assert!(matches!(dispatch(vec![half.clone(), half]), Err(WireError::TooLarge { .. })));
}

#[test]
fn a_token_of_another_length_and_an_unknown_answer_are_refused() {
    let leg = LegKey { conversation: ConversationKey { run: RunKey(1), ordinal: Ordinal(1), attempt: 1 }, leg: 1 };
    let good = Up::Result { leg, token: Token([7; 16]), answer: Answer::Stopped }.to_frame().unwrap();
    let at = good.body.windows(2).position(|pair| pair == [0xc4, 16]).unwrap();
    let mut short = good.body.clone();
    short[at + 1] = 15;
    short.remove(at + 2);
    let refused = Up::of(&Frame { kind: Kind::Result, body: short }).unwrap_err();
    assert!(refused.to_string().contains("a token has 16 bytes, not 15"), "{refused}");
    let at = good.body.windows(2).position(|pair| pair == b"st").unwrap();
    let mut strange = good.body.clone();
    strange[at..at + 2].copy_from_slice(b"zz");
    assert!(matches!(Up::of(&Frame { kind: Kind::Result, body: strange }), Err(WireError::Body { .. })));
}

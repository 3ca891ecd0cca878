//! Frames between an engine and a worker elsewhere.

use antiphon_conversation::wire::{Down, Frame, LegKey, Register, Up, Welcome};
use antiphon_conversation::{Answer, Request, Token};
use antiphon_history::{ActivityOptions, ConversationKey, Failure, Ordinal, Payload, RunId, RunKey, Site};
use std::sync::Arc;

/// A frame: read, understood by one side at most, and said again.
pub fn frame(bytes: &[u8]) {
    let Ok(frame) = Frame::read(bytes) else { return };
    assert_eq!(of(&frame), bytes, "a frame has one form");
    // MessagePack has several forms of one value. Ours is one of them, and comes back as it is.
    match (Up::of(&frame), Down::of(&frame)) {
        (Ok(_), Ok(down)) => panic!("both sides understand {down:?}"),
        (Ok(up), Err(_)) => {
            let ours = up.to_frame().expect("what was read fits");
            assert_eq!(Up::of(&ours), Ok(up));
        }
        (Err(_), Ok(down)) => {
            let ours = down.to_frame().expect("what was read fits");
            let again = Down::of(&ours).expect("what is said is understood");
            assert_eq!(again.to_frame().as_ref(), Ok(&ours));
        }
        (Err(_), Err(_)) => {}
    }
}

fn of(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    bytes
}

/// A sound frame of each kind, by name.
pub(super) fn made() -> Vec<(&'static str, Vec<u8>)> {
    let conversation = ConversationKey { run: RunKey(7), ordinal: Ordinal(3), attempt: 2 };
    let (leg, token) = (LegKey { conversation, leg: 1 }, Token([7; 16]));
    let payload = |text: &str| Payload::json(text.as_bytes());
    let options = ActivityOptions { heartbeat_ms: Some(500), needs: vec!["gpu".to_owned()], ..Default::default() };
    let call = antiphon_history::ActivityCall {
        activity_type: "render".into(),
        queue: "video".into(),
        input: vec![payload("\"scene\""), Payload::binary(vec![1, 2, 3])],
        options,
        site: Site("film.rs:7".into()),
    };
    let (run_id, details) = (RunId([5; 16]), Some(payload("41")));
    let request = Request { conversation, leg: 1, token, run_id, call: Arc::new(call), details: details.clone() };
    let (name, instance, version) = ("render-1".to_owned(), "4711-1".to_owned(), "0.1.0".to_owned());
    let welcome = Welcome { name: name.clone(), instance: instance.clone(), capacity: 4, version: version.clone() };
    let set = |word: &str| [word.to_owned()].into();
    let (queues, activities, labels) = (set("video"), set("render"), set("gpu"));
    let register = Register { name, instance, queues, activities, labels, capacity: 4, version };
    let failure = Failure { message: "dark".to_owned(), kind: "Dark".to_owned(), details: details.clone() };
    let result = |answer| Up::Result { leg, token, answer };
    let down = [
        ("welcome", Down::Welcome(welcome)),
        ("dispatch", Down::Dispatch(Box::new(request))),
        ("cancel-leg", Down::CancelLeg(leg)),
        ("drain", Down::Drain { within_ms: 5_000 }),
        ("ping", Down::Ping { number: 9 }),
    ];
    let up = [
        ("register", Up::Register(register)),
        ("accepted", Up::Accepted(leg)),
        ("heartbeat", Up::Heartbeat { leg, token, details }),
        ("completed", result(Answer::Completed { result: vec![payload("\"done\"")] })),
        ("failed", result(Answer::Failed { failure, retryable: true })),
        ("panicked", result(Answer::Panicked { message: "index out of bounds".to_owned() })),
        ("stopped", result(Answer::Stopped)),
        ("leave", Up::Leave { reason: "it was told to".to_owned() }),
        ("pong", Up::Pong { number: 9 }),
    ];
    let small = "a sample fits into a frame";
    let down = down.into_iter().map(|(name, down)| (name, of(&down.to_frame().expect(small))));
    down.chain(up.into_iter().map(|(name, up)| (name, of(&up.to_frame().expect(small))))).collect()
}

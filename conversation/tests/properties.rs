//! What holds for every stream of events, legal or not.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_conversation::{ActivityState, Conversation, Phase, Token, TokenMint};
use antiphon_history::{
    ActivityOutcome, ConversationEvent, ConversationKey, ConversationOutcome, Digest, ExitReason, Ordinal, Response,
    RunKey, Timestamp,
};
use proptest::prelude::*;

fn any_event() -> impl Strategy<Value = ConversationEvent> {
    let leg = 0..4u32;
    prop_oneof![
        Just(ConversationEvent::Scheduled { activity_type: "a".into(), queue: "q".into(), visible_at: None }),
        (leg.clone(), 0..3u8).prop_map(|(leg, worker)| ConversationEvent::WorkerSelected {
            leg,
            worker: format!("w{worker}").into(),
            token: Token([leg as u8; 16]).hash(),
            why: None,
            lease_ms: (leg % 2 == 0).then_some(5),
        }),
        leg.clone().prop_map(|leg| ConversationEvent::Sent { leg }),
        leg.clone().prop_map(|leg| ConversationEvent::CancelSent { leg }),
        leg.clone().prop_map(|leg| ConversationEvent::Received {
            leg,
            response: Response::Completed { digest: Digest::START, len: 0 }
        }),
        leg.prop_map(|leg| ConversationEvent::Exited {
            leg,
            reason: ExitReason::WorkerExit,
            details: None,
            visible_at: None
        }),
        Just(ConversationEvent::NoWorker { reason: "none".into() }),
        Just(ConversationEvent::Held {
            outcome: Box::new(ActivityOutcome::Lost { losses: 1, reason: "the worker left".into() })
        }),
        prop_oneof![
            Just(ConversationOutcome::Completed),
            Just(ConversationOutcome::TimedOut),
            Just(ConversationOutcome::Lost)
        ]
        .prop_map(|outcome| ConversationEvent::Closed { outcome }),
    ]
}

proptest! {
    #[test]
    fn each_leg_ends_once_a_conversation_closes_once_and_refusals_change_nothing(
        events in proptest::collection::vec(any_event(), 0..60)
    ) {
        let mut conversation = Conversation::default();
        let (mut accepted, mut ends, mut closes) = (Vec::new(), Vec::new(), 0);
        for (at, event) in events.into_iter().enumerate() {
            let before = conversation.clone();
            if conversation.apply(&event, Timestamp(at as i64)).is_err() {
                prop_assert_eq!(&conversation, &before);
                continue;
            }
            prop_assert_ne!(before.phase(), Phase::Closed, "nothing follows a close");
            match &event {
                ConversationEvent::Received { leg, .. } | ConversationEvent::Exited { leg, .. } => ends.push(*leg),
                ConversationEvent::Closed { .. } => closes += 1,
                _ => {}
            }
            accepted.push(event);
        }
        prop_assert!(closes <= 1);
        prop_assert!(ends.windows(2).all(|pair| pair[0] < pair[1]), "legs end in order, each once: {:?}", ends);
        prop_assert_eq!(conversation.events(), accepted.len() as u64);
        prop_assert_eq!(matches!(conversation.state(), ActivityState::Ended(_)),
            matches!(conversation.phase(), Phase::Answered | Phase::Closed));
        // Folding what was accepted gives the same again: the fold is a function of the stream.
        let mut again = Conversation::default();
        for event in &accepted {
            again.apply(event, Timestamp(0)).unwrap();
        }
        prop_assert_eq!(again.phase(), conversation.phase());
    }

    #[test]
    fn tokens_of_different_legs_attempts_and_engines_differ(
        run: u64, ordinal: u32, attempt: u32, leg: u32, secret: [u8; 32], other: [u8; 32]
    ) {
        prop_assume!(secret != other);
        let key = ConversationKey { run: RunKey(run), ordinal: Ordinal(ordinal), attempt };
        let token = TokenMint::new(secret).token(key, leg);
        prop_assert_eq!(token, TokenMint::new(secret).token(key, leg));
        prop_assert_ne!(token, TokenMint::new(other).token(key, leg));
        prop_assert_ne!(token, TokenMint::new(secret).token(key, leg.wrapping_add(1)));
        let next = ConversationKey { attempt: attempt.wrapping_add(1), ..key };
        prop_assert_ne!(token, TokenMint::new(secret).token(next, leg));
    }
}

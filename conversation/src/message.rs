use crate::Token;
use antiphon_history::{ActivityCall, ConversationKey, Digest, Failure, Payload, RunId};
use std::sync::Arc;

/// What leaves for a worker: one leg of one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Which conversation.
    pub conversation: ConversationKey,
    /// Which leg of it, from 1.
    pub leg: u32,
    /// The secret that every answer must carry.
    pub token: Token,
    /// The run, as people know it.
    pub run_id: RunId,
    /// What to do, with what, under which rules. Payloads are inline here, whatever their size; the worker may use the
    /// deadlines to stop early.
    pub call: Arc<ActivityCall>,
    /// The progress that an earlier leg or attempt told, to go on from.
    pub details: Option<Payload>,
}

/// What a worker says at the end of a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The body returned a result.
    Completed {
        /// What it returned.
        result: Vec<Payload>,
    },
    /// The body returned an error.
    Failed {
        /// The error.
        failure: Failure,
        /// Whether the body's author allows another attempt.
        retryable: bool,
    },
    /// The body panicked.
    Panicked {
        /// The panic's message.
        message: String,
    },
    /// The body was stopped on request, before it returned.
    Stopped,
}

impl Request {
    /// The same for every attempt and leg of this activity, and for no other: hand it to the outside system. Over the
    /// run and the activity's place in it.
    pub fn idempotency_key(&self) -> Digest {
        let mut bytes = [0u8; 20];
        bytes[..16].copy_from_slice(&self.run_id.0);
        bytes[16..].copy_from_slice(&self.conversation.ordinal.0.to_le_bytes());
        antiphon_history::payload_digest(&bytes)
    }
}

/// The digest and length by which a conversation proves a result that stands in the run stream.
pub fn result_digest(result: &[Payload]) -> (Digest, u64) {
    let mut hasher = blake3::Hasher::new();
    for payload in result {
        hasher.update(&payload.digest().0);
    }
    (Digest(*hasher.finalize().as_bytes()), result.iter().map(Payload::len).sum())
}

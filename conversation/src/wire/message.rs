use super::frame::{BODY_MAX_BYTES, Frame, Kind, WireError};
use crate::{Answer, Request, Token};
use antiphon_history::limits::DEPTH_MAX;
use antiphon_history::{ActivityCall, Bytes, ConversationKey, Failure, Payload, RunId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the engine says to a worker.
#[derive(Clone, Debug)]
pub enum Down {
    /// First of all: who the worker is to be.
    Welcome(Welcome),
    /// Carry out a leg.
    Dispatch(Box<Request>),
    /// The outcome of a leg no longer counts: stop it, and answer `Stopped` when its body has ended.
    CancelLeg(LegKey),
    /// Take nothing more, stop all bodies, leave, end.
    Drain {
        /// Whoever has not ended by then is killed, in milliseconds.
        within_ms: u64,
    },
    /// Say that you are there.
    Ping {
        /// To be said again.
        number: u64,
    },
}

/// What a worker says to the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Up {
    /// The answer to `Welcome`: what the worker offers.
    Register(Register),
    /// A leg has arrived, and its body is about to begin.
    Accepted(LegKey),
    /// A body is alive, and how far it is.
    Heartbeat {
        /// Whose.
        leg: LegKey,
        /// The leg's secret.
        token: Token,
        /// How far.
        details: Option<Payload>,
    },
    /// How a leg ended.
    Result {
        /// Which.
        leg: LegKey,
        /// The leg's secret.
        token: Token,
        /// How.
        answer: Answer,
    },
    /// The worker takes nothing more and is about to end.
    Leave {
        /// Why, for people.
        reason: String,
    },
    /// The answer to a ping.
    Pong {
        /// The ping's number.
        number: u64,
    },
}

/// Names one leg.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct LegKey {
    /// Of which conversation.
    #[serde(rename = "c")]
    pub conversation: ConversationKey,
    /// Which, from 1.
    #[serde(rename = "l")]
    pub leg: u32,
}

/// Who a worker is to be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// Its durable name.
    #[serde(rename = "n")]
    pub name: String,
    /// The name of this life of it: another one after every start.
    #[serde(rename = "i")]
    pub instance: String,
    /// Requests that it is to take at once.
    #[serde(rename = "c")]
    pub capacity: u32,
    /// The engine's version, for people.
    #[serde(rename = "v")]
    pub version: String,
}

/// What a worker offers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Register {
    /// Its durable name.
    #[serde(rename = "n")]
    pub name: String,
    /// The name of this life of it.
    #[serde(rename = "i")]
    pub instance: String,
    /// The task queues that it subscribes to.
    #[serde(rename = "q")]
    pub queues: BTreeSet<String>,
    /// The activities that it has code for.
    #[serde(rename = "a")]
    pub activities: BTreeSet<String>,
    /// Its labels.
    #[serde(rename = "b", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub labels: BTreeSet<String>,
    /// Requests that it takes at once, at least 1.
    #[serde(rename = "c")]
    pub capacity: u32,
    /// Its program's version, for people.
    #[serde(rename = "v")]
    pub version: String,
}

#[derive(Serialize, Deserialize)]
struct Number {
    #[serde(rename = "n")]
    number: u64,
}

#[derive(Serialize, Deserialize)]
struct Reason {
    #[serde(rename = "m")]
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct DispatchBody {
    #[serde(rename = "k")]
    leg: LegKey,
    #[serde(rename = "t")]
    token: Bytes,
    #[serde(rename = "r")]
    run_id: RunId,
    #[serde(rename = "a")]
    call: Arc<ActivityCall>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    details: Option<Payload>,
}

#[derive(Serialize, Deserialize)]
struct HeartbeatBody {
    #[serde(rename = "k")]
    leg: LegKey,
    #[serde(rename = "t")]
    token: Bytes,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    details: Option<Payload>,
}

#[derive(Serialize, Deserialize)]
struct ResultBody {
    #[serde(rename = "k")]
    leg: LegKey,
    #[serde(rename = "t")]
    token: Bytes,
    #[serde(rename = "x")]
    answer: AnswerBody,
}

/// [`Answer`] with the names that it has on the wire.
#[derive(Serialize, Deserialize)]
enum AnswerBody {
    #[serde(rename = "ok")]
    Completed {
        #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
        result: Vec<Payload>,
    },
    #[serde(rename = "er")]
    Failed {
        #[serde(rename = "f")]
        failure: Failure,
        #[serde(rename = "r")]
        retryable: bool,
    },
    #[serde(rename = "pn")]
    Panicked {
        #[serde(rename = "m")]
        message: String,
    },
    #[serde(rename = "st")]
    Stopped,
}

impl From<Answer> for AnswerBody {
    fn from(answer: Answer) -> AnswerBody {
        match answer {
            Answer::Completed { result } => AnswerBody::Completed { result },
            Answer::Failed { failure, retryable } => AnswerBody::Failed { failure, retryable },
            Answer::Panicked { message } => AnswerBody::Panicked { message },
            Answer::Stopped => AnswerBody::Stopped,
        }
    }
}

impl From<AnswerBody> for Answer {
    fn from(answer: AnswerBody) -> Answer {
        match answer {
            AnswerBody::Completed { result } => Answer::Completed { result },
            AnswerBody::Failed { failure, retryable } => Answer::Failed { failure, retryable },
            AnswerBody::Panicked { message } => Answer::Panicked { message },
            AnswerBody::Stopped => Answer::Stopped,
        }
    }
}

impl Down {
    /// The message as a frame.
    ///
    /// Errors: [`WireError::TooLarge`] if it takes more than a body may have: arguments of a call that are together
    /// above 4 MiB.
    pub fn to_frame(&self) -> Result<Frame, WireError> {
        match self {
            Down::Welcome(welcome) => frame(Kind::Welcome, welcome),
            Down::Dispatch(request) => {
                let leg = LegKey { conversation: request.conversation, leg: request.leg };
                let (token, run_id) = (Bytes::from(&request.token.0[..]), request.run_id);
                let (call, details) = (Arc::clone(&request.call), request.details.clone());
                frame(Kind::Dispatch, &DispatchBody { leg, token, run_id, call, details })
            }
            Down::CancelLeg(leg) => frame(Kind::CancelLeg, leg),
            Down::Drain { within_ms } => frame(Kind::Drain, &Number { number: *within_ms }),
            Down::Ping { number } => frame(Kind::Ping, &Number { number: *number }),
        }
    }

    /// Reads what an engine says.
    pub fn of(frame: &Frame) -> Result<Down, WireError> {
        Ok(match frame.kind {
            Kind::Welcome => Down::Welcome(body(frame)?),
            Kind::Dispatch => {
                let DispatchBody { leg, token, run_id, call, details } = body(frame)?;
                let LegKey { conversation, leg } = leg;
                let token = token_of(frame, &token)?;
                Down::Dispatch(Box::new(Request { conversation, leg, token, run_id, call, details }))
            }
            Kind::CancelLeg => Down::CancelLeg(body(frame)?),
            Kind::Drain => Down::Drain { within_ms: body::<Number>(frame)?.number },
            Kind::Ping => Down::Ping { number: body::<Number>(frame)?.number },
            found => return Err(WireError::Unexpected { found }),
        })
    }
}

impl Up {
    /// The message as a frame.
    ///
    /// Errors: [`WireError::TooLarge`] if it takes more than a body may have.
    pub fn to_frame(&self) -> Result<Frame, WireError> {
        let bytes = |token: &Token| Bytes::from(&token.0[..]);
        match self {
            Up::Register(register) => frame(Kind::Register, register),
            Up::Accepted(leg) => frame(Kind::Accepted, leg),
            Up::Heartbeat { leg, token, details } => {
                frame(Kind::Heartbeat, &HeartbeatBody { leg: *leg, token: bytes(token), details: details.clone() })
            }
            Up::Result { leg, token, answer } => {
                frame(Kind::Result, &ResultBody { leg: *leg, token: bytes(token), answer: answer.clone().into() })
            }
            Up::Leave { reason } => frame(Kind::Leave, &Reason { reason: reason.clone() }),
            Up::Pong { number } => frame(Kind::Pong, &Number { number: *number }),
        }
    }

    /// Reads what a worker says. Nothing in it is believed: whether a leg is under way and the token is its own is for the
    /// engine to judge.
    pub fn of(frame: &Frame) -> Result<Up, WireError> {
        Ok(match frame.kind {
            Kind::Register => Up::Register(body(frame)?),
            Kind::Accepted => Up::Accepted(body(frame)?),
            Kind::Heartbeat => {
                let HeartbeatBody { leg, token, details } = body(frame)?;
                Up::Heartbeat { leg, token: token_of(frame, &token)?, details }
            }
            Kind::Result => {
                let ResultBody { leg, token, answer } = body(frame)?;
                Up::Result { leg, token: token_of(frame, &token)?, answer: answer.into() }
            }
            Kind::Leave => Up::Leave { reason: body::<Reason>(frame)?.reason },
            Kind::Pong => Up::Pong { number: body::<Number>(frame)?.number },
            found => return Err(WireError::Unexpected { found }),
        })
    }
}

fn frame(kind: Kind, body: &impl Serialize) -> Result<Frame, WireError> {
    let mut bytes = Vec::new();
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
    body.serialize(&mut serializer).map_err(|error| WireError::Body { kind, problem: error.to_string() })?;
    match bytes.len() {
        len if len > BODY_MAX_BYTES => Err(WireError::TooLarge { bytes: len as u64 }),
        _ => Ok(Frame { kind, body: bytes }),
    }
}

fn body<T: DeserializeOwned>(frame: &Frame) -> Result<T, WireError> {
    let mut rest = &frame.body[..];
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(DEPTH_MAX);
    let value = T::deserialize(&mut deserializer)
        .map_err(|error| WireError::Body { kind: frame.kind, problem: error.to_string() })?;
    match rest.len() {
        0 => Ok(value),
        bytes => Err(WireError::Trailing { bytes }),
    }
}

fn token_of(frame: &Frame, bytes: &[u8]) -> Result<Token, WireError> {
    let problem = || format!("a token has 16 bytes, not {}", bytes.len());
    let token = bytes.try_into().map_err(|_| WireError::Body { kind: frame.kind, problem: problem() })?;
    Ok(Token(token))
}

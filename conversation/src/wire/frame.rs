use std::fmt;

/// The version of the protocol that this program speaks, the first byte of every frame.
pub const WIRE_VERSION: u8 = 1;
/// Bytes in front of every body: version, kind, two zeros, the body's length (little-endian).
pub const HEADER_BYTES: usize = 8;
/// Largest body in bytes, as for an event: room for one payload of the largest size and what surrounds it.
pub const BODY_MAX_BYTES: usize = 4 * 1024 * 1024;

/// What a frame is. Numbers below 64 go to the worker, those from 64 on come from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Down: who the worker is to be.
    Welcome = 1,
    /// Down: carry out a leg.
    Dispatch = 2,
    /// Down: stop a leg.
    CancelLeg = 3,
    /// Down: stop everything and leave.
    Drain = 4,
    /// Down: say that you are there.
    Ping = 5,
    /// Up: what the worker offers.
    Register = 64,
    /// Up: a leg has arrived, and its body is about to begin.
    Accepted = 65,
    /// Up: a body is alive, and how far it is.
    Heartbeat = 66,
    /// Up: how a leg ended.
    Result = 67,
    /// Up: the worker takes nothing more and is about to end.
    Leave = 68,
    /// Up: the answer to a ping.
    Pong = 69,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 11] = [
        Kind::Welcome,
        Kind::Dispatch,
        Kind::CancelLeg,
        Kind::Drain,
        Kind::Ping,
        Kind::Register,
        Kind::Accepted,
        Kind::Heartbeat,
        Kind::Result,
        Kind::Leave,
        Kind::Pong,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Bytes that are no frame, or a frame that does not belong here. Memory is never taken for what is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The bytes end too early.
    #[error("the bytes end in the middle of a frame")]
    Truncated,
    /// Something is left behind the frame or the value in its body.
    #[error("{bytes} bytes are left over")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The other side speaks another version.
    #[error("version {found} of the worker protocol is not understood, only {WIRE_VERSION}: use one build for both")]
    Version {
        /// The version found.
        found: u8,
    },
    /// No frame is of this kind.
    #[error("no frame is of kind {found}")]
    Kind {
        /// The number found.
        found: u8,
    },
    /// The two bytes that must be zero are not.
    #[error("the header's spare bytes are not zero")]
    Spare,
    /// A body passes its bound.
    #[error("a body of {bytes} bytes is over the limit of {BODY_MAX_BYTES}")]
    TooLarge {
        /// Its length.
        bytes: u64,
    },
    /// The frame is not one for this side, or not now.
    #[error("a {found} frame has no place here")]
    Unexpected {
        /// What it is.
        found: Kind,
    },
    /// The body is not what its kind has.
    #[error("the body of a {kind} frame cannot be read: {problem}")]
    Body {
        /// The frame's kind.
        kind: Kind,
        /// What is wrong.
        problem: String,
    },
}

/// The first bytes of a frame, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// What follows.
    pub kind: Kind,
    /// Bytes of the body, at most [`BODY_MAX_BYTES`].
    pub len: usize,
}

impl Header {
    /// Checks eight bytes. The length is within its bound when this returns: take memory for the body only then.
    pub fn read(bytes: [u8; HEADER_BYTES]) -> Result<Header, WireError> {
        let [version, kind, spare, spare_too, a, b, c, d] = bytes;
        if version != WIRE_VERSION {
            return Err(WireError::Version { found: version });
        }
        let found = kind;
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == found).ok_or(WireError::Kind { found })?;
        if (spare, spare_too) != (0, 0) {
            return Err(WireError::Spare);
        }
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > BODY_MAX_BYTES {
            return Err(WireError::TooLarge { bytes: len as u64 });
        }
        Ok(Header { kind, len })
    }
}

/// One message as bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// Its body, at most [`BODY_MAX_BYTES`].
    pub body: Vec<u8>,
}

impl fmt::Debug for Frame {
    /// Shows the length only: bodies carry tokens and payloads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.kind, self.body.len())
    }
}

impl Frame {
    /// Appends the frame to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let len = u32::try_from(self.body.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&[WIRE_VERSION, self.kind as u8, 0, 0]);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&self.body);
    }

    /// Reads one frame that must fill `bytes`.
    pub fn read(bytes: &[u8]) -> Result<Frame, WireError> {
        let (header, body) = bytes.split_first_chunk().ok_or(WireError::Truncated)?;
        let header = Header::read(*header)?;
        match body.len() {
            len if len < header.len => Err(WireError::Truncated),
            len if len > header.len => Err(WireError::Trailing { bytes: len - header.len }),
            _ => Ok(Frame { kind: header.kind, body: body.to_vec() }),
        }
    }
}

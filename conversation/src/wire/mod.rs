//! What an engine and a worker in another process say to each other, as bytes. The page is `docs/worker-protocol.md`.
//!
//! ```text
//!  engine ── Welcome, Dispatch, CancelLeg, Drain, Ping ──────────────────────────▶ worker
//!  engine ◀── Register, Accepted, Heartbeat, Result, Leave, Pong ── worker
//! ```
//!
//! A message is one [`Frame`]: a header of eight bytes and a body in MessagePack. Nothing here sends or receives.

mod frame;
mod message;

pub use frame::{BODY_MAX_BYTES, Frame, HEADER_BYTES, Header, Kind, WIRE_VERSION, WireError};
pub use message::{Down, LegKey, Register, Up, Welcome};

//! Workers in processes of their own: a crash, an abort, a stack overflow or a memory kill costs legs, not the engine.
//!
//! ```text
//!  engine ─▶ Linked (a Worker) ─▶ writer thread ─┐ Link  ┌─▶ serve ─▶ LocalPool ─▶ bodies
//!    ▲                                           ├───────┤
//!    └──────────── inbox ◀──────── reader thread ┘       └── answers, heartbeats
//!             minder thread: starts, pings, kills, reaps, starts again
//! ```
//!
//! What is said over a [`Link`] is `conversation::wire`, the page is `docs/worker-protocol.md`. A child's link is a socket
//! on its descriptor 0: its standard output and error stay what they are.

mod exit;
mod link;
mod linked;
mod minder;
mod outbox;
mod paired;
mod pool;
mod serve;
mod settings;
mod socket;
mod state;

pub use link::{Link, LinkError};
pub use paired::PairedLink;
pub use pool::{ChildError, ChildPool};
pub use serve::{Offer, Served, finish, serve};
pub use settings::{ChildSettings, WORKER_OF};
pub use socket::{SocketLink, worker_of};

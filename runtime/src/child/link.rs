use antiphon_conversation::wire::{Frame, WireError};

/// One side of a way between an engine and a worker: frames in order, both ways, each whole or not at all.
///
/// One thread sends and another receives. A process's socket is one, a pair of queues for tests another; a connection to
/// another machine will be a third.
pub trait Link: Send + Sync + 'static {
    /// Hands frames over, in order. Blocks while the other side does not take them.
    ///
    /// Errors: the other side is gone. What it had received by then is unknown.
    fn send(&self, frames: &[Frame]) -> Result<(), LinkError>;

    /// Waits for the next frame. `None`: the other side has closed the link, or is gone.
    ///
    /// Errors: what comes is no frame. The link is of no use any more.
    fn receive(&self) -> Result<Option<Frame>, LinkError>;

    /// Ends the link in both directions; whoever sends or receives on either side learns of it.
    fn close(&self);
}

/// Why a link is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A0054. The other side does not keep to the protocol.
    #[error("the worker protocol is broken: {0} [A0054]")]
    Wire(#[from] WireError),
    /// The transport failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
}

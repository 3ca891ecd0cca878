use crate::Effect;
use antiphon_history::{Bytes, Timestamp};

/// One segment's worth of decisions: what to make durable, and what to do once it is.
#[derive(Debug)]
pub struct Batch {
    /// What must be durable before any effect: an encoded [`antiphon_history::SegmentBody`]. `None`: nothing was decided,
    /// the effects follow the segment before.
    pub segment: Option<Bytes>,
    /// When the batch was closed.
    pub at: Timestamp,
    /// What may leave once `segment` and all segments before it are durable, in this order.
    pub effects: Vec<Effect>,
}

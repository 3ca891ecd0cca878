use crate::Error;
use antiphon_history::{Digest, Segment, Timestamp};

/// Where the chain of segments ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tip {
    /// The last segment's number; 0 if there is none.
    pub id: u64,
    /// The last segment's digest; [`Digest::START`] if there is none.
    pub digest: Digest,
    /// When the engine closed the last segment.
    pub at: Timestamp,
}

impl Tip {
    /// The tip of a log that never held a segment.
    pub const START: Tip = Tip { id: 0, digest: Digest::START, at: Timestamp(0) };

    /// The tip once `segment` is there.
    pub fn of(segment: &Segment) -> Tip {
        Tip { id: segment.id, digest: segment.digest, at: segment.at }
    }

    /// Refuses a segment that does not continue the chain here.
    pub(crate) fn check_next(&self, segment: &Segment) -> Result<(), Error> {
        if segment.id != self.id + 1 {
            return Err(Error::Conflict {
                expected: self.id + 1,
                found: segment.id,
                problem: "its number is not next",
            });
        }
        if !segment.follows(self.digest) {
            let problem = "its digest does not continue the chain";
            return Err(Error::Conflict { expected: self.id + 1, found: segment.id, problem });
        }
        Ok(())
    }
}

/// The chain of segments: what is in it is durable. One writer; see [`crate::Store`].
pub trait Log: Send {
    /// Where the chain ends.
    fn tip(&self) -> Tip;

    /// Appends one segment. It is durable when this returns.
    ///
    /// Errors: [`Error::Conflict`] if it does not follow the tip (nothing was written); [`Error::Full`] (nothing was
    /// written); [`Error::Unknown`] if it may or may not be there, after which every append is refused: open the store
    /// again and look; [`Error::Fenced`] if somebody else has written that number.
    fn append(&mut self, segment: &Segment) -> Result<(), Error>;

    /// Segments with numbers above `after`, oldest first, at most `max_segments`; those that were pruned
    /// are absent. Each continues the chain of the one before it.
    fn read_after(&mut self, after: u64, max_segments: usize) -> Result<Vec<Segment>, Error>;

    /// Notes that segments up to `through` may go. They go with later appends, a few with each: a long deletion would
    /// stall a commit, one of its own would cost a sync. Never goes beyond what the archive has durably taken over.
    fn prune(&mut self, through: u64);

    /// Commits since the store was opened. Each is one sync under full durability.
    fn syncs(&self) -> u64;
}

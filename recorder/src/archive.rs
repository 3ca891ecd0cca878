use crate::{Error, Tip};
use antiphon_history::{Digest, Segment, Timestamp};

/// How far the archive is: everything up to `segment` has been folded into it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watermark {
    /// The last segment that was folded; 0 if none was.
    pub segment: u64,
    /// Its digest.
    pub digest: Digest,
    /// When the engine closed it.
    pub at: Timestamp,
    /// The digest of the last ledger row: a chain over all batches, the runs that they moved and their tips.
    pub ledger: Digest,
    /// How many batches were folded, which is the number of the last ledger row.
    pub batches: u64,
}

impl Watermark {
    /// The watermark of an empty archive.
    pub const START: Watermark =
        Watermark { segment: 0, digest: Digest::START, at: Timestamp(0), ledger: Digest::START, batches: 0 };

    /// The place in the chain of segments.
    pub fn tip(&self) -> Tip {
        Tip { id: self.segment, digest: self.digest, at: self.at }
    }
}

/// The single writer of the archive: catalogue, packed histories, large payloads, all derived from the log.
pub trait Archive: Send {
    /// How far it is. Durable.
    fn watermark(&self) -> Watermark;

    /// Folds consecutive segments that follow the watermark, in one transaction, durable when this returns: catalogue
    /// rows, each run's new records packed into one row, large payloads, one ledger row, the watermark. No segments, no
    /// change.
    ///
    /// How the segments are portioned makes no difference to what a [`crate::Reader`] sees; only the ledger shows it.
    ///
    /// Errors: [`Error::Conflict`] if the first does not follow the watermark or another its predecessor;
    /// [`Error::LogDamaged`] if a segment does not fold. After an error the archive is as before, except after
    /// [`Error::Unknown`], when it must be opened again.
    fn fold(&mut self, segments: &[Segment]) -> Result<Watermark, Error>;
}

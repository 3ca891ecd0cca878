use super::{CatchUp, Overlap, RoutineState, Schedule};
use crate::Timestamp;

impl RoutineState {
    /// When a slot of the schedule starts: at its moment, or later by its jitter.
    ///
    /// The draw follows from the routine's id and the slot alone, so that every engine and every look gives the same.
    pub fn starts_at(&self, slot: Timestamp) -> Timestamp {
        if self.spec.jitter_ms == 0 {
            return slot;
        }
        let mut hasher = blake3::Hasher::new_derive_key("antiphon 2026 routine jitter");
        hasher.update(self.id.as_bytes());
        hasher.update(&slot.0.to_le_bytes());
        let mut draw = [0u8; 8];
        draw.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        slot.plus_ms(u64::from_le_bytes(draw) % self.spec.jitter_ms.saturating_add(1))
    }

    /// Whether a run is open or a slot waits for its next attempt: then a slot that falls due goes by the overlap policy.
    pub fn is_busy(&self) -> bool {
        !self.open.is_empty() || !self.retries.is_empty()
    }

    /// Whether the next slot was missed before the open run began and waits for its end. Such a slot overlaps with nothing:
    /// it only comes late, in its turn.
    pub fn next_waits_its_turn(&self) -> bool {
        let since = self.open.first().map(|open| open.started_at).or(self.last.as_ref().map(|last| last.started_at));
        let missed = |next| since.is_some_and(|since| self.starts_at(next) <= since);
        let once = matches!(self.spec.schedule, Schedule::Once { .. });
        self.is_busy()
            && self.spec.overlap != Overlap::AllowAll
            && (self.spec.catch_up == CatchUp::All || once)
            && self.next.is_some_and(missed)
    }

    /// The moment from which on there is something to decide or to start; none while it is paused, over, or only waits for
    /// a run to end.
    pub fn due_at(&self) -> Option<Timestamp> {
        if self.end.is_some() || self.paused.is_some() {
            return None;
        }
        let retry = self.retries.iter().map(|retry| retry.at).min();
        let buffered = self.buffer.first().filter(|_| self.may_start()).map(|slot| self.starts_at(*slot));
        let next = self.next.filter(|_| !self.next_waits_its_turn()).map(|next| self.starts_at(next));
        let backfill = self.backfills.first().filter(|_| self.may_start()).map(|backfill| backfill.next);
        [retry, buffered, next, backfill].into_iter().flatten().min()
    }

    /// Whether a slot that waits may start now.
    pub fn may_start(&self) -> bool {
        !self.is_busy() || self.spec.overlap == Overlap::AllowAll && self.has_room()
    }

    /// Whether one more slot may be started beside those that are open or wait for their next attempt.
    pub fn has_room(&self) -> bool {
        self.open.len() + self.retries.len() < super::RoutineSpec::OPEN_MAX
    }
}

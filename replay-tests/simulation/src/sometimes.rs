//! What must happen sometimes: a simulation that never comes to a place says nothing about it.

/// A place that enough seeds must come to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(usize)]
pub(crate) enum Point {
    CrashBeforeTake,
    CrashAfterTake,
    CrashBeforeEffects,
    CrashAmongEffects,
    CrashAfterEffects,
    StoreFull,
    StoreBusy,
    UnknownApplied,
    UnknownNotApplied,
    SlowCommitOverlapped,
    LateAnswerRefused,
    SecondAnswerRefused,
    ForgedTokenRefused,
    ForeignTokenRefused,
    StaleHeartbeatRefused,
    HeartbeatRecorded,
    TimerAfterReload,
    EvictedThenSignalled,
    EvictedThenStartedAgain,
    LoadedWithOpenConversation,
    ArchivedWordLate,
    ClockSetBack,
    DuplicateStartFound,
    ConflictRefused,
    SignalRepeated,
    StartRepeatedAfterUnknown,
    RaceWonByActivity,
    RaceWonByTimer,
    RaceWonBySignal,
    JoinOutOfOrder,
    RetriedThenCompleted,
    AttemptsExhausted,
    LossesExhausted,
    AtMostOnceLost,
    TimedOutToStart,
    TimedOutToClose,
    TimedOutInAll,
    TimedOutHeartbeat,
    NoWorkerFailedFast,
    ExcludedWorkerLeftOut,
    CancelInDoubt,
    CancelWatched,
    CompensationsRun,
    BlockedByPanic,
    BlockedInReplay,
    UnblockedWithHeldArrivals,
    LargePayload,
    RunCompleted,
    RunFailed,
    RunCancelled,
    ClaimTaken,
    ClaimAnsweredAgain,
    AnswerRepeated,
    AnswerConflicting,
    ClaimFenced,
    ClaimReleased,
    ClaimForged,
    ClaimForeign,
    ClaimRevision,
    LeaseProlonged,
    LeaseOutlivedEngine,
    LeaseExpired,
    SlotStarted,
    SlotSkipped,
    SlotRetried,
    Repaired,
    QueueChanged,
    LetterSettled,
    HeldWhileEvicted,
    WorkerDied,
    LeaseEdge,
    FoundRepaired,
    RepairRefused,
    DaysPassed,
    CronSlotStarted,
}

pub(crate) const POINTS: usize = Point::CronSlotStarted as usize + 1;

/// How often each point was met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sometimes([u64; POINTS]);

impl Default for Sometimes {
    fn default() -> Sometimes {
        Sometimes([0; POINTS])
    }
}

impl Sometimes {
    pub(crate) fn met(&mut self, point: Point) {
        self.0[point as usize] += 1;
    }

    /// Adds what another life met.
    pub fn add(&mut self, other: &Sometimes) {
        self.0.iter_mut().zip(other.0).for_each(|(ours, theirs)| *ours += theirs);
    }

    /// Every point by name, with its count.
    pub fn counts(&self) -> Vec<(String, u64)> {
        self.0.iter().zip(NAMES).map(|(count, point)| (format!("{point:?}"), *count)).collect()
    }

    /// The points that were never met.
    pub fn never(&self) -> Vec<String> {
        self.counts().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name).collect()
    }
}

use Point as P;
const NAMES: [Point; POINTS] = [
    P::CrashBeforeTake,
    P::CrashAfterTake,
    P::CrashBeforeEffects,
    P::CrashAmongEffects,
    P::CrashAfterEffects,
    P::StoreFull,
    P::StoreBusy,
    P::UnknownApplied,
    P::UnknownNotApplied,
    P::SlowCommitOverlapped,
    P::LateAnswerRefused,
    P::SecondAnswerRefused,
    P::ForgedTokenRefused,
    P::ForeignTokenRefused,
    P::StaleHeartbeatRefused,
    P::HeartbeatRecorded,
    P::TimerAfterReload,
    P::EvictedThenSignalled,
    P::EvictedThenStartedAgain,
    P::LoadedWithOpenConversation,
    P::ArchivedWordLate,
    P::ClockSetBack,
    P::DuplicateStartFound,
    P::ConflictRefused,
    P::SignalRepeated,
    P::StartRepeatedAfterUnknown,
    P::RaceWonByActivity,
    P::RaceWonByTimer,
    P::RaceWonBySignal,
    P::JoinOutOfOrder,
    P::RetriedThenCompleted,
    P::AttemptsExhausted,
    P::LossesExhausted,
    P::AtMostOnceLost,
    P::TimedOutToStart,
    P::TimedOutToClose,
    P::TimedOutInAll,
    P::TimedOutHeartbeat,
    P::NoWorkerFailedFast,
    P::ExcludedWorkerLeftOut,
    P::CancelInDoubt,
    P::CancelWatched,
    P::CompensationsRun,
    P::BlockedByPanic,
    P::BlockedInReplay,
    P::UnblockedWithHeldArrivals,
    P::LargePayload,
    P::RunCompleted,
    P::RunFailed,
    P::RunCancelled,
    P::ClaimTaken,
    P::ClaimAnsweredAgain,
    P::AnswerRepeated,
    P::AnswerConflicting,
    P::ClaimFenced,
    P::ClaimReleased,
    P::ClaimForged,
    P::ClaimForeign,
    P::ClaimRevision,
    P::LeaseProlonged,
    P::LeaseOutlivedEngine,
    P::LeaseExpired,
    P::SlotStarted,
    P::SlotSkipped,
    P::SlotRetried,
    P::Repaired,
    P::QueueChanged,
    P::LetterSettled,
    P::HeldWhileEvicted,
    P::WorkerDied,
    P::LeaseEdge,
    P::FoundRepaired,
    P::RepairRefused,
    P::DaysPassed,
    P::CronSlotStarted,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_stands_at_its_own_place_in_the_list() {
        assert!(NAMES.iter().enumerate().all(|(place, point)| *point as usize == place));
    }
}

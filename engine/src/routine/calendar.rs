use antiphon_history::Timestamp;

/// Reads cron expressions and knows time zones. Stands outside the engine, since the tables of the world's clocks are large
/// and change; what it says is recorded with each slot, so that a later table changes nothing that is past.
///
/// A local time that a zone skips stands for the first moment after the gap; one that comes twice, for the first of the two.
pub trait Calendar: Send + Sync {
    /// Whether both can be read.
    fn check(&self, expression: &str, zone: &str) -> Result<(), CalendarError>;

    /// The first matching moment that is later than `after`; none if there is none within some years.
    fn next(&self, expression: &str, zone: &str, after: Timestamp) -> Option<Timestamp>;
}

/// What a calendar cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// The cron expression.
    #[error("{problem}")]
    Expression {
        /// What is wrong with it.
        problem: String,
    },
    /// The time zone.
    #[error("there is no such time zone; use a name such as Europe/Berlin or UTC")]
    Zone,
    /// This program was built without a calendar.
    #[error("this program was built without the feature `cron`")]
    Absent,
}

/// The calendar of a program that was built without one: it refuses every cron schedule.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCalendar;

impl Calendar for NoCalendar {
    fn check(&self, _: &str, _: &str) -> Result<(), CalendarError> {
        Err(CalendarError::Absent)
    }

    fn next(&self, _: &str, _: &str, _: Timestamp) -> Option<Timestamp> {
        None
    }
}

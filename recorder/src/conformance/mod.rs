//! The properties that every store must have, to be run against each implementation.
//!
//! One function per property, named as a sentence. Each is given a way to make fresh stores and fails by a panic whose
//! message says what does not hold, or by the store's own error. [`conformance_suite!`](crate::conformance_suite)
//! makes one test of each:
//!
//! ```ignore
//! antiphon_recorder::conformance_suite!(MySubject::new());
//! ```

mod archive_properties;
mod log_properties;
mod picture;
mod reader_properties;
mod sample;

pub use archive_properties::*;
pub use log_properties::*;
pub use picture::{Picture, picture};
pub use reader_properties::*;
pub use sample::Sample;

use crate::{Error, Reader, Store};

/// A store that can be opened again and again.
pub trait Subject {
    /// Opens it, creating it the first time. The one opened before was dropped, as in a crash.
    fn open(&mut self) -> Result<Store, Error>;

    /// Everything durable, whether the store is open or not, once it was created.
    fn snapshot(&self) -> Result<Box<dyn Reader>, Error>;
}

/// Makes fresh, empty stores.
pub type Fresh<'a> = &'a mut dyn FnMut() -> Box<dyn Subject>;

/// Makes one test of each property. Give an expression that makes a fresh [`Subject`](crate::conformance::Subject).
#[macro_export]
macro_rules! conformance_suite {
    ($subject:expr) => {
        $crate::conformance_suite! { @each $subject;
            an_empty_store_has_nothing_and_says_so
            an_appended_segment_is_the_tip_and_reads_back
            a_gap_or_a_fork_is_refused_and_writes_nothing
            every_append_counts_one_sync_and_survives_reopening
            a_second_opening_is_refused_until_the_first_is_gone
            only_what_the_archive_has_is_pruned_and_numbers_go_on
            a_fold_that_does_not_follow_is_refused_and_changes_nothing
            any_portions_fold_to_the_same_archive
            opening_folds_what_only_the_log_has
            a_record_that_cannot_follow_is_reported_as_damage
            histories_have_every_record_and_every_payload
            lists_show_what_their_filters_let_through_newest_first
            pages_join_to_the_whole_list
            due_runs_come_earliest_first
            a_snapshot_sees_the_tail_and_does_not_move
            the_newest_run_of_a_workflow_id_is_found
        }
    };
    (@each $subject:expr; $($property:ident)*) => {
        $(
            #[test]
            fn $property() -> Result<(), $crate::Error> {
                $crate::conformance::$property(&mut || Box::new($subject))
            }
        )*
    };
}

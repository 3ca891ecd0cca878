//! Why a run cannot go on, as it is written down.

use crate::Site;
use serde::{Deserialize, Serialize};

/// Why a run cannot go on with the code it met.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Blocked {
    /// What happened.
    #[serde(rename = "w")]
    pub reason: BlockedReason,
    /// How many arrivals directly before this event the workflow has not taken in: the turn that broke, if it was new.
    #[serde(rename = "h", default, skip_serializing_if = "is_zero")]
    pub held: u32,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// What stopped a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BlockedReason {
    /// The code asked something else than the record says.
    #[serde(rename = "dv")]
    Divergence(DivergenceReport),
    /// The workflow code panicked.
    #[serde(rename = "pn")]
    Panic {
        /// The panic's message.
        #[serde(rename = "m")]
        message: String,
        /// The last call that the workflow made before, as the nearest known place.
        #[serde(rename = "s", default, skip_serializing_if = "Site::is_unknown")]
        site: Site,
    },
    /// The workflow awaited something that is not Antiphon's.
    #[serde(rename = "fa")]
    ForeignAwait {
        /// The last call that the workflow made before, as the nearest known place.
        #[serde(rename = "s", default, skip_serializing_if = "Site::is_unknown")]
        after: Site,
    },
    /// The workflow kept waking itself without asking for anything.
    #[serde(rename = "sp")]
    Spinning {
        /// How often it was polled in the turn.
        #[serde(rename = "n")]
        polls: u32,
    },
    /// A recorded value cannot be read by this code.
    #[serde(rename = "un")]
    Undecodable {
        /// What could not be read, and why.
        #[serde(rename = "m")]
        message: String,
        /// Where the workflow asked for it.
        #[serde(rename = "s", default, skip_serializing_if = "Site::is_unknown")]
        site: Site,
    },
    /// The workflow asked for more in one turn than can be made durable at once.
    #[serde(rename = "ov")]
    Oversized {
        /// About how many bytes its commands would take.
        #[serde(rename = "n")]
        bytes: u64,
        /// The bound.
        #[serde(rename = "x")]
        max: u64,
    },
    /// This binary has no code for the workflow type.
    #[serde(rename = "uw")]
    UnknownWorkflow {
        /// The type.
        #[serde(rename = "t")]
        workflow_type: String,
    },
}

/// Where and how replay left the record: one report an author can act on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DivergenceReport {
    /// The sequence number of the recorded event where replay stood.
    #[serde(rename = "q")]
    pub seq: u64,
    /// The recorded call in one line, or why there is none.
    #[serde(rename = "r")]
    pub recorded: String,
    /// Where the recorded call was asked for, when it was recorded.
    #[serde(rename = "rs", default, skip_serializing_if = "Site::is_unknown")]
    pub recorded_site: Site,
    /// The attempted call in one line, or why there is none.
    #[serde(rename = "a")]
    pub attempted: String,
    /// Where the attempted call stands in today's code.
    #[serde(rename = "as", default, skip_serializing_if = "Site::is_unknown")]
    pub attempted_site: Site,
    /// The first field that differs, with both values.
    #[serde(rename = "f")]
    pub field: String,
    /// What will probably mend it.
    #[serde(rename = "fix")]
    pub repair: String,
}

use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// What can go wrong with a file. Recorded, when an activity meets it; so it holds texts, not errors of the system.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// The source could not be read.
    #[error("cannot read {path}: {problem}")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// What the system said.
        problem: String,
    },
    /// The file was there when the folder was listed and is gone now.
    #[error("{path} vanished after the folder was listed")]
    Vanished {
        /// The file.
        path: String,
    },
    /// The file had other bytes, size or time at the end of reading than at its beginning.
    #[error("{path} changed while it was read")]
    Changed {
        /// The file.
        path: String,
    },
    /// The target could not be written or read: nothing can be backed up until that is mended.
    #[error("the target is not usable: {path}: {problem}")]
    Target {
        /// The file or folder in the target.
        path: String,
        /// What the system said.
        problem: String,
    },
    /// What the target holds is not what was written to it.
    #[error("{path} is damaged: {problem}; back up again into a new target, or restore the file from elsewhere")]
    Damaged {
        /// The file in the target.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What was asked for cannot be done.
    #[error("{0}")]
    Refused(String),
}

impl Fault {
    /// Whether another attempt would be of no use: what is gone or damaged stays so.
    pub fn is_final(&self) -> bool {
        matches!(self, Fault::Vanished { .. } | Fault::Damaged { .. } | Fault::Refused(_))
    }

    /// Whether the fault is one file's own. The others stop the whole backup: no file would fare better.
    pub fn concerns_one_file(&self) -> bool {
        matches!(self, Fault::Unreadable { .. } | Fault::Vanished { .. } | Fault::Changed { .. })
    }

    /// A failure to read something of the source.
    pub fn reading(path: &Path, error: &io::Error) -> Fault {
        let shown = path.display().to_string();
        match error.kind() {
            io::ErrorKind::NotFound => Fault::Vanished { path: shown },
            _ => Fault::Unreadable { path: shown, problem: error.to_string() },
        }
    }

    /// A failure to read or write something of the target; for `map_err`.
    pub fn target(path: &Path) -> impl FnOnce(io::Error) -> Fault {
        let path = path.display().to_string();
        move |error| Fault::Target { path, problem: error.to_string() }
    }

    /// Something in the target that is not as it was written.
    pub fn damaged(path: &Path, problem: impl ToString) -> Fault {
        Fault::Damaged { path: path.display().to_string(), problem: problem.to_string() }
    }
}

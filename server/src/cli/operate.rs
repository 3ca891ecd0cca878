//! Acting on a store that no engine has open.

use super::Error;
use antiphon_engine::{Operation, OperationError, Programs, RequestError};
use antiphon_recorder::sqlite;
use antiphon_runtime::{OperateError, Operated, SqliteFolder, SystemClock};
use std::path::Path;

/// Carries out one operation on a store. Durable, archived and anchored on return.
///
/// Errors: [`Error::NeedsCode`] where only the code of a workflow could tell; [`Error::Operate`] for the rest.
pub(super) fn operate(store: &Path, programs: &Programs, operation: Operation) -> Result<Operated, Error> {
    let source = SqliteFolder::new(store, sqlite::Options::default());
    antiphon_runtime::operate(&source, &SystemClock::new(), programs.clone(), operation).map_err(|error| match error {
        OperateError::Refused(OperationError::Refused(RequestError::UnknownWorkflow { workflow_type, .. })) => {
            Error::NeedsCode { workflow_type }
        }
        error => Error::Operate(Box::new(error)),
    })
}

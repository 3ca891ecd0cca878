use crate::Context;
use crate::router::Routes;
use antiphon_history::{Failure, Payload};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// The running code of one workflow. Not `Send`: it lives and is polled on the partition's own thread.
pub type RunFuture = Pin<Box<dyn Future<Output = Ending>>>;

/// What a workflow returned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// A result.
    Completed(Vec<Payload>),
    /// An error.
    Failed(Failure),
}

/// The code of one workflow type.
pub trait Program: Send + Sync {
    /// The type's name, as recorded.
    fn name(&self) -> &str;

    /// The version that new runs are stamped with.
    fn version(&self) -> u32;

    /// Where the code stands, for error messages (`file:line`).
    fn site(&self) -> String;

    /// Whether `input` can be read by this code; the reason if not. Called before anything is written.
    fn check_input(&self, input: &[Payload]) -> Result<(), String>;

    /// Makes the future of a run. Must not do anything before it is first polled.
    fn begin(&self, context: Context, input: Vec<Payload>) -> RunFuture;
}

/// What this process has code for: workflow types by name, and what takes part in choosing workers.
#[derive(Clone, Default)]
pub struct Programs {
    types: BTreeMap<String, Arc<dyn Program>>,
    /// Registered routes and guards. Replay has them too, and calls none.
    pub routes: Routes,
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.types.keys()).finish()
    }
}

/// A set of workflow types that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A0019. Two workflows have the same name.
    #[error("two workflows are named {name:?}: one at {first}, one at {second}; rename one of them [A0019]")]
    Duplicate {
        /// The name.
        name: String,
        /// Where the first stands.
        first: String,
        /// Where the second stands.
        second: String,
    },
}

impl Programs {
    /// Adds a workflow type.
    ///
    /// Errors: [`ProgramError::Duplicate`], naming both places.
    pub fn add(&mut self, program: Arc<dyn Program>) -> Result<(), ProgramError> {
        let name = program.name().to_owned();
        if let Some(first) = self.types.get(&name) {
            return Err(ProgramError::Duplicate { name, first: first.site(), second: program.site() });
        }
        self.types.insert(name, program);
        Ok(())
    }

    /// The code of a type.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Program>> {
        self.types.get(name)
    }

    /// The names of all types, in order.
    pub fn names(&self) -> Vec<&str> {
        self.types.keys().map(String::as_str).collect()
    }
}

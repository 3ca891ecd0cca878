use crate::Context;
use crate::RoutineGuards;
use crate::router::Routes;
use crate::standalone::Standalone;
use antiphon_history::{Failure, Payload, RESERVED_PREFIX};
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
///
/// The engine's own types, whose names begin with `antiphon.`, are always among them and are not listed.
#[derive(Clone)]
pub struct Programs {
    types: BTreeMap<String, Arc<dyn Program>>,
    /// Registered routes and guards. Replay has them too, and calls none.
    pub routes: Routes,
    /// Registered guards of routines.
    pub routine_guards: RoutineGuards,
}

impl Default for Programs {
    fn default() -> Programs {
        let standalone: Arc<dyn Program> = Arc::new(Standalone);
        let types = BTreeMap::from([(standalone.name().to_owned(), standalone)]);
        Programs { types, routes: Routes::default(), routine_guards: RoutineGuards::default() }
    }
}

impl fmt::Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
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
    /// A0047. The name belongs to the engine.
    #[error(
        "the workflow at {site} is named {name:?}, and names that begin with \"antiphon.\" belong to the engine: rename it [A0047]"
    )]
    Reserved {
        /// The name.
        name: String,
        /// Where it stands.
        site: String,
    },
}

impl Programs {
    /// Adds a workflow type.
    ///
    /// Errors: [`ProgramError::Duplicate`], naming both places; [`ProgramError::Reserved`].
    pub fn add(&mut self, program: Arc<dyn Program>) -> Result<(), ProgramError> {
        let name = program.name().to_owned();
        if name.starts_with(RESERVED_PREFIX) {
            return Err(ProgramError::Reserved { name, site: program.site() });
        }
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

    /// The names of the users' types, in order.
    pub fn names(&self) -> Vec<&str> {
        self.types.keys().map(String::as_str).filter(|name| !name.starts_with(RESERVED_PREFIX)).collect()
    }
}

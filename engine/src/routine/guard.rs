//! Guards of routines: who may say no to one that is to be created or changed.

use super::RoutineError;
use crate::driver::panic_message;
use antiphon_history::limits::bounded_text;
use antiphon_history::{Name, RoutineSpec};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a guard of routines is asked: may this be?
#[derive(Debug)]
pub struct RoutineAsk<'a> {
    /// The routine's id; empty for a new one that was given none.
    pub id: &'a str,
    /// What it is to be.
    pub spec: &'a RoutineSpec,
    /// What it is now; `None` for a new one.
    pub before: Option<&'a RoutineSpec>,
    /// Who asks, in their own words.
    pub who: &'a str,
}

/// A guard that a program registers under a name: `Err` with a reason refuses the request. It should be quick: the partition
/// waits.
pub type RoutineGuard = Arc<dyn Fn(&RoutineAsk<'_>) -> Result<(), String> + Send + Sync>;

/// The guards of routines that this program has, by name.
#[derive(Clone, Default)]
pub struct RoutineGuards(BTreeMap<Name, RoutineGuard>);

impl fmt::Debug for RoutineGuards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl RoutineGuards {
    /// Registers a guard. False, and nothing changes, if the name is taken.
    pub fn add(&mut self, name: impl Into<Name>, guard: RoutineGuard) -> bool {
        match self.0.entry(name.into()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(guard);
                true
            }
        }
    }

    /// Asks the guard that the routine names, and the one that it named before: whoever is guarded must not be able to
    /// choose another guard. One that is not there, or panics, has not agreed.
    ///
    /// Errors: [`RoutineError::Denied`].
    pub(crate) fn agree(&self, ask: &RoutineAsk<'_>) -> Result<(), RoutineError> {
        let before = ask.before.and_then(|before| before.guard.as_ref());
        let now = ask.spec.guard.as_ref().filter(|now| Some(*now) != before);
        for guard in before.into_iter().chain(now) {
            let refusal = match self.0.get(guard) {
                None => "this program has no guard of that name, and nobody else may agree for it".to_owned(),
                Some(agrees) => match catch_unwind(AssertUnwindSafe(|| agrees(ask))) {
                    Ok(Ok(())) => continue,
                    Ok(Err(reason)) => reason,
                    Err(panic) => format!("it panicked: {}", panic_message(panic.as_ref())),
                },
            };
            let verb = if ask.before.is_some() { "updated" } else { "created" };
            let (id, reason) = (ask.id.to_owned(), bounded_text(&refusal));
            return Err(RoutineError::Denied { id, verb, guard: guard.clone(), reason });
        }
        Ok(())
    }
}

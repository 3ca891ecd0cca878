//! The start of a workflow before a client has it.

use crate::error::CallRefused;
use crate::value::EncodeError;
use crate::{Args, WorkflowDefinition};
use antiphon_history::{IdError, Payload};
use std::fmt;
use std::marker::PhantomData;

/// One start of the workflow `D`, made by the function that [`workflow`](crate::workflow) leaves behind.
///
/// It does nothing until it is handed over. Arguments are encoded at once; a fault in them surfaces when it is used.
#[must_use = "a start does nothing until it is handed to a client, with a workflow id"]
pub struct WorkflowCall<D: WorkflowDefinition> {
    input: Result<Vec<Payload>, EncodeError>,
    definition: PhantomData<fn() -> D>,
}

/// What is recorded of a start, but for the ids.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkflowParts {
    /// The workflow's recorded name.
    pub workflow_type: &'static str,
    /// The version of the code in this process.
    pub version: u32,
    /// The arguments.
    pub input: Vec<Payload>,
}

impl<D: WorkflowDefinition> WorkflowCall<D> {
    /// A start with these arguments.
    pub fn new(args: D::Args) -> WorkflowCall<D> {
        WorkflowCall { input: args.to_payloads(), definition: PhantomData }
    }

    /// The start as it is recorded.
    ///
    /// Errors: [`CallRefused`], for the first argument that cannot be written, or an unusable name.
    pub fn into_parts(self) -> Result<WorkflowParts, CallRefused> {
        // The macro refuses unusable names, but a definition may also be written by hand.
        IdError::check("workflow name", D::NAME)?;
        Ok(WorkflowParts { workflow_type: D::NAME, version: D::VERSION, input: self.input? })
    }
}

impl<D: WorkflowDefinition> fmt::Debug for WorkflowCall<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkflowCall").field("workflow", &D::NAME).field("input", &self.input).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Never, WorkflowContext};
    use std::collections::BTreeMap;

    struct Order;
    impl WorkflowDefinition for Order {
        const NAME: &'static str = "order";
        const VERSION: u32 = 3;
        const SITE: &'static str = "here:1";
        type Args = (BTreeMap<(u8, u8), u8>,);
        type Output = ();
        type Error = Never;
        async fn run<'run>(_: WorkflowContext<'run>, _: Self::Args) -> crate::Result<(), Never> {
            Ok(())
        }
    }

    #[test]
    fn a_start_carries_name_version_and_input() {
        let parts = WorkflowCall::<Order>::new((BTreeMap::new(),)).into_parts().unwrap();
        let input = vec![Payload::json("{}".as_bytes())];
        assert_eq!(parts, WorkflowParts { workflow_type: "order", version: 3, input });
    }

    #[test]
    fn a_fault_in_an_argument_surfaces_when_the_start_is_used() {
        let refused = WorkflowCall::<Order>::new((BTreeMap::from([((1, 2), 3)]),)).into_parts().unwrap_err();
        assert!(refused.to_string().starts_with("argument 1 of type"), "{refused}");
    }
}

//! The one workflow that the engine itself has code for: it makes one activity call and ends as that does.

use crate::{Context, Ending, Program, RunFuture};
use antiphon_history::{ActivityCall, Payload, STANDALONE, Site};

/// A standalone activity: a run whose workflow id is the key by which it was scheduled. All that holds of runs holds of it.
pub(crate) struct Standalone;

impl Program for Standalone {
    fn name(&self) -> &str {
        STANDALONE
    }

    fn version(&self) -> u32 {
        1
    }

    fn site(&self) -> String {
        "the engine".to_owned()
    }

    fn check_input(&self, input: &[Payload]) -> Result<(), String> {
        ActivityCall::from_standalone(input).map(drop).map_err(|error| error.to_string())
    }

    fn begin(&self, context: Context, input: Vec<Payload>) -> RunFuture {
        Box::pin(async move {
            let call = match ActivityCall::from_standalone(&input) {
                Ok(call) => call,
                Err(error) => {
                    // It was readable when the run was accepted: a newer engine wrote it.
                    context.block_undecodable(error.to_string(), Site::default());
                    return std::future::pending().await;
                }
            };
            match context.activity(call).await.to_standalone() {
                Ok(failure) => Ending::Failed(failure),
                Err(result) => Ending::Completed(result),
            }
        })
    }
}

use crate::value::{decode, encode};
use antiphon_history::{ConversationKey, RunId};
use antiphon_runtime::Task;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Values that activities share: connections, clients, configuration. One per type.
#[derive(Clone, Default)]
pub(crate) struct States(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl States {
    pub(crate) fn with<T: Send + Sync + 'static>(&self, value: T) -> States {
        let mut states = HashMap::clone(&self.0);
        states.insert(TypeId::of::<T>(), Arc::new(value));
        States(Arc::new(states))
    }

    fn get<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref())
    }
}

/// What an activity's body has of the engine. Cheap to clone, `Send`.
///
/// The body may do anything. It is run at least once (at most once if the call says so): make outside effects
/// idempotent with [`idempotency_key`](Self::idempotency_key).
#[derive(Clone)]
pub struct ActivityContext {
    task: Option<Arc<Task>>,
    states: States,
}

impl fmt::Debug for ActivityContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Some(task) => write!(f, "ActivityContext({})", task.request.conversation),
            None => f.write_str("ActivityContext(unit test)"),
        }
    }
}

impl ActivityContext {
    pub(crate) fn new(task: Task, states: States) -> ActivityContext {
        ActivityContext { task: Some(Arc::new(task)), states }
    }

    /// A context for calling a body in a unit test: `charge::run(ActivityContext::unit_test(), 7, 100).await`. Heartbeats
    /// go nowhere; the attempt is 1.
    pub fn unit_test() -> ActivityContext {
        ActivityContext { task: None, states: States::default() }
    }

    /// The same context with a shared value, for unit tests.
    pub fn with_state<T: Send + Sync + 'static>(self, value: T) -> ActivityContext {
        ActivityContext { states: self.states.with(value), ..self }
    }

    /// The shared value of type `T`, as given to the builder by `.state(value)`.
    ///
    /// Panics if there is none; the panic is on record as the leg's exit and names the type.
    pub fn state<T: Send + Sync + 'static>(&self) -> &T {
        self.states.get().unwrap_or_else(|| {
            panic!("no state of type {}: give it to the builder with .state(..) before start()", type_name::<T>())
        })
    }

    /// Tells that the body is alive, and how far it is. Needed more often than the call's heartbeat timeout.
    ///
    /// Returns at once. The latest details are given to the next leg or attempt, should there be one. Being an await, it
    /// is also a place at which a cancelled body ends.
    pub async fn heartbeat<T: Serialize>(&self, details: T) {
        if let Some(task) = &self.task {
            // Details that cannot be encoded are left out: a sign of life must not fail.
            task.responder.heartbeat(encode(&details).ok());
        }
        tokio::task::yield_now().await;
    }

    /// The latest progress that an earlier leg or attempt told by [`heartbeat`](Self::heartbeat); `None` if there was
    /// none, or if it cannot be read as `T`.
    pub fn progress<T: DeserializeOwned>(&self) -> Option<T> {
        decode(self.task.as_ref()?.request.details.as_ref()?).ok()
    }

    /// Which attempt this is, from 1. Attempts follow reported failures and timeouts.
    pub fn attempt(&self) -> u32 {
        self.task.as_ref().map_or(1, |task| task.request.conversation.attempt)
    }

    /// Which leg of the attempt this is, from 1. Legs follow lost workers.
    pub fn leg(&self) -> u32 {
        self.task.as_ref().map_or(1, |task| task.request.leg)
    }

    /// 64 hexadecimal digits that are the same for every attempt and leg of this call and for no other call. Hand it to
    /// outside systems that recognise a repeated request.
    pub fn idempotency_key(&self) -> String {
        self.task.as_ref().map_or_else(|| "unit-test".to_owned(), |task| task.request.idempotency_key().to_string())
    }

    /// The run that asked; `None` in a unit test.
    pub fn run_id(&self) -> Option<RunId> {
        self.task.as_ref().map(|task| task.request.run_id)
    }

    /// The conversation on record; `None` in a unit test.
    pub fn conversation(&self) -> Option<ConversationKey> {
        self.task.as_ref().map(|task| task.request.conversation)
    }
}

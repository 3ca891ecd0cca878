use crate::desk::Desk;
use crate::waits::{ActivityWait, CancelWait, SideEffectWait, SignalWait, TimerWait};
use antiphon_history::{ActivityCall, BlockedReason, Payload, RunEvent, RunId, Site, Timestamp, WorkflowKey};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

/// The only door from workflow code to the world. Cheap to clone; neither `Send` nor `Sync`.
///
/// Untyped: the author's crate puts types and encodings on top. Places in a run (ordinals) are taken when a wait is
/// made, commands are given when it is first polled or started.
#[derive(Clone)]
pub struct Context(pub(crate) Rc<RefCell<Desk>>);

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({})", self.0.borrow().started.workflow_id)
    }
}

impl Context {
    /// The user's id of the run.
    pub fn workflow(&self) -> WorkflowKey {
        let started = &self.0.borrow().started;
        WorkflowKey { namespace: started.namespace.clone(), id: started.workflow_id.clone() }
    }

    /// The engine's id of the run.
    pub fn run_id(&self) -> RunId {
        self.0.borrow().started.run_id
    }

    /// The recorded time of the arrival that the workflow is acting on. Stands still between arrivals.
    pub fn now(&self) -> Timestamp {
        self.0.borrow().now
    }

    /// The next 16 bytes of the run's own random stream: over the run id and the number of draws so far, so that replay
    /// draws the same. Not for secrets: whoever knows the run id can compute them.
    pub fn random(&self) -> [u8; 16] {
        let mut desk = self.0.borrow_mut();
        desk.draws += 1;
        let mut hasher = blake3::Hasher::new_derive_key("antiphon 2026 workflow random stream");
        hasher.update(&desk.started.run_id.0);
        hasher.update(&desk.draws.to_le_bytes());
        let mut bytes = [0u8; 16];
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        bytes
    }

    /// Makes an activity call. It is scheduled when first polled or started.
    pub fn activity(&self, call: ActivityCall) -> ActivityWait {
        ActivityWait::new(self.clone(), Some(Arc::new(call)))
    }

    /// Reserves a place for an activity call that is still being put together; see [`ActivityWait::fill`].
    pub fn activity_place(&self) -> ActivityWait {
        ActivityWait::new(self.clone(), None)
    }

    /// Makes a timer that runs `ms` milliseconds from the moment it is first polled.
    pub fn timer(&self, ms: u64, site: Site) -> TimerWait {
        TimerWait::new(self.clone(), ms, site)
    }

    /// Waits for the next signal of a name. Signals that came earlier were kept.
    pub fn signal(&self, name: impl Into<String>) -> SignalWait {
        SignalWait::new(self.clone(), name.into())
    }

    /// Waits for a request to cancel the run. While such a wait is alive a cancel does not drop the workflow.
    pub fn cancelled(&self) -> CancelWait {
        CancelWait::new(self.clone())
    }

    /// Takes a value from outside once and writes it down; replay returns what was written and never calls `take`.
    pub fn side_effect<F: FnOnce() -> Payload>(&self, take: F, site: Site) -> SideEffectWait<F> {
        SideEffectWait::new(self.clone(), take, site)
    }

    /// Whether this run takes the new side of the change `name`: yes for new runs, no for runs that passed this place
    /// before the change.
    pub fn patched(&self, name: &str, site: &Site) -> bool {
        self.0.borrow_mut().patched(name, site)
    }

    /// Pushes an activity that runs if the workflow fails or is cancelled, last pushed first.
    pub fn compensate(&self, call: ActivityCall) {
        let mut desk = self.0.borrow_mut();
        let ordinal = desk.ordinal();
        let site = call.site.clone();
        let call = Arc::new(call);
        desk.command(RunEvent::CompensationPushed { ordinal, call: Arc::clone(&call) }, &site);
        desk.compensations.push(call);
    }

    /// How many waits of the run were polled and had to wait since its poll began. A combinator that polls a future and sees
    /// this grow knows that the future waits for something that arrives here.
    pub fn waits(&self) -> u32 {
        self.0.borrow().waits
    }

    /// A combinator waits on futures that it has not polled this time, because they were not woken.
    pub fn still_waits(&self) {
        self.0.borrow_mut().waits += 1;
    }

    /// Stops the run: a recorded value cannot be read by this code. The run is blocked, not failed; code that can read
    /// the value lets it go on. The caller must not return from its future afterwards.
    pub fn block_undecodable(&self, message: String, site: Site) {
        let mut desk = self.0.borrow_mut();
        if !desk.is_shut() {
            desk.halted = Some(Box::new(BlockedReason::Undecodable { message, site }));
        }
    }
}

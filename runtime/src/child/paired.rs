use super::link::{Link, LinkError};
use antiphon_conversation::wire::Frame;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// One of two links that lead to each other, in memory: for tests.
#[derive(Debug)]
pub struct PairedLink {
    out: Arc<Queue>,
    back: Arc<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Vec<u8>>,
    closed: bool,
}

/// Frames that may lie in one direction; then a sender waits, as on a socket.
const FRAMES_MAX: usize = 64;

impl PairedLink {
    /// Two ends of one link.
    pub fn pair() -> (PairedLink, PairedLink) {
        let (there, back) = (Arc::new(Queue::default()), Arc::new(Queue::default()));
        (PairedLink { out: Arc::clone(&there), back: Arc::clone(&back) }, PairedLink { out: back, back: there })
    }
}

impl Link for PairedLink {
    fn send(&self, frames: &[Frame]) -> Result<(), LinkError> {
        for frame in frames {
            // Through the bytes, so that a test on a pair is a test of the frames too.
            let mut bytes = Vec::new();
            frame.write(&mut bytes);
            let full = |state: &mut State| state.frames.len() >= FRAMES_MAX && !state.closed;
            let waited = self.out.changed.wait_while(self.out.lock(), full);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            if state.closed {
                return Err(std::io::Error::from(ErrorKind::BrokenPipe).into());
            }
            state.frames.push_back(bytes);
            self.out.changed.notify_all();
        }
        Ok(())
    }

    fn receive(&self) -> Result<Option<Frame>, LinkError> {
        let empty = |state: &mut State| state.frames.is_empty() && !state.closed;
        let waited = self.back.changed.wait_while(self.back.lock(), empty);
        let next = waited.unwrap_or_else(PoisonError::into_inner).frames.pop_front();
        self.back.changed.notify_all();
        Ok(next.map(|bytes| Frame::read(&bytes)).transpose()?)
    }

    fn close(&self) {
        for queue in [&self.out, &self.back] {
            queue.lock().closed = true;
            queue.changed.notify_all();
        }
    }
}

impl Drop for PairedLink {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

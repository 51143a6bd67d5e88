//! Rings between control and a worker: questions, and answers a few rows at a time.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use datapath::{Answer, Request};

/// Questions that wait.
const REQUESTS: usize = 4;
/// Answers that wait: two whole ones.
const ANSWERS: usize = 2 * (ROWS + 1);
/// Rows in one answer.
pub(crate) const ROWS: usize = 256;

/// The worker's side.
pub struct WorkerDesk {
    pub(crate) requests: Arc<ArrayQueue<Request>>,
    pub(crate) answers: Arc<ArrayQueue<Answer>>,
}

impl WorkerDesk {
    /// Whether a whole answer has room.
    pub(crate) fn has_room(&self) -> bool {
        self.answers.capacity() - self.answers.len() > ROWS
    }
}

/// Control's side.
pub struct ControlDesk {
    requests: Arc<ArrayQueue<Request>>,
    answers: Arc<ArrayQueue<Answer>>,
}

impl ControlDesk {
    /// Asks; gives the question back when too many wait.
    ///
    /// # Errors
    /// The request, when the ring is full.
    pub fn ask(&self, request: Request) -> Result<(), Request> {
        self.requests.push(request)
    }

    /// The next row or end of an answer, when there is one.
    #[must_use]
    pub fn next(&self) -> Option<Answer> {
        self.answers.pop()
    }
}

/// A desk between control and one worker.
#[must_use]
pub fn desk() -> (ControlDesk, WorkerDesk) {
    let (requests, answers) = (Arc::new(ArrayQueue::new(REQUESTS)), Arc::new(ArrayQueue::new(ANSWERS)));
    let worker = WorkerDesk { requests: Arc::clone(&requests), answers: Arc::clone(&answers) };
    (ControlDesk { requests, answers }, worker)
}

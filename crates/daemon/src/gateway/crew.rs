//! The workers that run, each on its processor.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use dpdk::{Eal, MbufSource, RxQueue, TscClock, TxQueue, lcore::Handle};
use worker::Worker;

use super::{arrivals, remedies};
use crate::failure::Failure;

/// A worker on DPDK's queues.
pub(crate) type RunningWorker = Worker<RxQueue, TxQueue, MbufSource, TscClock>;

/// The workers that were launched. Dropping it makes them leave their loops, and waits for that.
pub(crate) struct Crew {
    stop: Arc<AtomicBool>,
    handles: Vec<Handle<RunningWorker>>,
}

impl Crew {
    /// Nobody yet.
    pub(crate) fn new() -> Self {
        Self { stop: Arc::new(AtomicBool::new(false)), handles: Vec::new() }
    }

    /// Hands a worker to its processor.
    ///
    /// # Errors
    /// When there is no processor for it.
    pub(crate) fn launch(&mut self, eal: &Eal, mut worker: RunningWorker) -> Result<(), Failure> {
        let number = worker.id();
        let Some(lcore) = eal.workers().get(number.index()) else {
            return Err(Failure::device(format_args!("worker {number} has no processor"))
                .remedy("see workers.lcores"));
        };
        let stop = Arc::clone(&self.stop);
        let polling = move || {
            if let Err(error) = arrivals::take() {
                tracing::error!("worker {number} does not hear of frames on taps: {error}");
            }
            worker.run(&stop);
            worker
        };
        self.handles
            .push(dpdk::lcore::launch(eal, *lcore, polling).map_err(|error| remedies::launch(&error))?);
        Ok(())
    }

    /// The processors that they run on.
    pub(crate) fn processors(&self) -> Vec<u32> {
        self.handles.iter().map(|handle| handle.lcore().cpu()).collect()
    }

    /// Makes all leave their loops, and only then give up what they hold: nothing is handed over any more.
    pub(crate) fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let mut workers: Vec<_> = self.handles.drain(..).map(Handle::join).collect();
        workers.iter_mut().for_each(RunningWorker::finish);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // The handles wait.
        self.stop.store(true, Ordering::Relaxed);
    }
}

//! DPDK's worker threads: to hand one of them a closure, and to wait for what it returns.
//!
//! What must stay true: a closure that panics aborts the process (unwinding cannot pass through C, and a gateway with a
//! dead worker must not go on); the environment does not end while a closure runs.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::Eal;
use crate::eal::Running;

/// A worker thread of DPDK, pinned to one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lcore {
    id: u32,
    cpu: u32,
}

impl Lcore {
    pub(crate) const fn new(id: u32, cpu: u32) -> Self {
        Self { id, cpu }
    }

    /// DPDK's number of the thread; 1 is the first worker.
    #[must_use]
    pub const fn id(self) -> u32 {
        self.id
    }

    /// The processor that it is pinned to.
    #[must_use]
    pub const fn cpu(self) -> u32 {
        self.cpu
    }
}

/// Why a closure did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The thread runs another closure, or its result was not fetched yet.
    #[error("lcore {0} is busy")]
    Busy(u32),
}

/// A closure that runs on a worker thread; dropping it waits for the end, too.
#[derive(Debug)]
pub struct Handle<T> {
    lcore: Lcore,
    result: Receiver<T>,
    _running: Arc<Running>,
}

struct Task<F, T> {
    work: F,
    result: SyncSender<T>,
}

/// Runs `work` on `lcore`.
///
/// # Errors
/// When the thread is busy; `work` is dropped then.
pub fn launch<F, T>(eal: &Eal, lcore: Lcore, work: F) -> Result<Handle<T>, LaunchError>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let (sender, result) = sync_channel(1);
    let task = Box::into_raw(Box::new(Task { work, result: sender }));
    // Two threads must not find the same lcore idle.
    let census = eal.running().census();
    // SAFETY: `lcore` is one of EAL's workers, `run` takes the ownership of `task`, whose type it knows.
    let outcome = unsafe { dpdk_sys::rte_eal_remote_launch(Some(run::<F, T>), task.cast(), lcore.id) };
    drop(census);
    if outcome != 0 {
        // SAFETY: the thread did not get `task`, so it is still ours, as `Box::into_raw` gave it.
        drop(unsafe { Box::from_raw(task) });
        return Err(LaunchError::Busy(lcore.id));
    }
    Ok(Handle { lcore, result, _running: Arc::clone(eal.running()) })
}

/// What the thread calls; a panic in `work` cannot unwind out of here, it aborts.
extern "C" fn run<F: FnOnce() -> T, T>(task: *mut c_void) -> c_int {
    // SAFETY: `launch` passed a `Box<Task<F, T>>` and gave up its ownership.
    let task = unsafe { Box::from_raw(task.cast::<Task<F, T>>()) };
    let Task { work, result } = *task;
    // Nobody listens when the handle was dropped, which waits for the thread instead.
    let _ = result.send(work());
    0
}

impl<T> Handle<T> {
    /// The thread that the closure runs on.
    #[must_use]
    pub const fn lcore(&self) -> Lcore {
        self.lcore
    }

    /// Whether the closure has returned.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        // SAFETY: `lcore` is one of EAL's workers.
        let state = unsafe { dpdk_sys::rte_eal_get_lcore_state(self.lcore.id) };
        state == dpdk_sys::WAIT
    }

    /// Sleeps until the closure has returned; what it returned.
    pub fn join(self) -> T {
        match self.result.recv() {
            Ok(result) => result,
            // Unreachable: the sender goes without sending only in a panic, which has aborted already.
            Err(_) => std::process::abort(),
        }
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: `lcore` is one of EAL's workers, and EAL is running.
        let _ = unsafe { dpdk_sys::rte_eal_wait_lcore(self.lcore.id) };
    }
}

//! The thread that control runs on. It is there before EAL starts: EAL pins the thread that starts it, and threads
//! inherit that.

use std::{
    io,
    sync::mpsc::{SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use control::{Order, Runtime};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use tokio::sync::mpsc;

/// Signals that wait for control; more of the same would say nothing new.
const ORDERS: usize = 4;

/// A thread that waits for what it is to run, or runs it. Dropping it ends it, and waits for that.
pub(crate) struct ControlThread {
    begin: Option<SyncSender<Runtime>>,
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlThread {
    /// Starts the thread, on `cpu` alone if that is given.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(crate) fn start(cpu: Option<usize>) -> io::Result<Self> {
        let (begin, what) = sync_channel(1);
        let (orders, carried_out) = mpsc::channel(ORDERS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new().name("control".to_owned()).spawn(move || {
            pin(cpu);
            // Without a runtime to run the start has failed, and the sender is gone.
            let Ok(control) = what.recv() else { return };
            if let Err(error) = runtime.block_on(control::run(control, carried_out)) {
                tracing::error!("control does not run, traffic is forwarded as it was: {error}");
            }
        })?;
        Ok(Self { begin: Some(begin), orders: Some(orders), thread: Some(thread) })
    }

    /// Gives the thread what it is to run.
    pub(crate) fn begin(&mut self, control: Runtime) {
        if let Some(begin) = self.begin.take() {
            // It fails only when the thread has ended, which `is_finished` tells.
            let _ = begin.send(control);
        }
    }

    /// Passes an order on.
    pub(crate) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // It is full of the same.
            let _ = orders.try_send(order);
        }
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        drop(self.begin.take());
        drop(self.orders.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the control thread panicked");
        }
    }
}

fn pin(cpu: Option<usize>) {
    let Some(cpu) = cpu else { return };
    let mut alone = CpuSet::new();
    let pinned = alone.set(cpu).and_then(|()| sched_setaffinity(THIS_THREAD, &alone));
    if let Err(error) = pinned {
        tracing::warn!("control is not pinned to processor {cpu}: {error}");
    }
}

const THIS_THREAD: Pid = Pid::from_raw(0);

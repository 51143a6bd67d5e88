//! A port's queues: DPDK's `rte_eth_rx_burst` and `rte_eth_tx_burst`, in Rust over the same table.
//!
//! What must stay true: as in the C inline functions, one load from the table and one indirect call a burst, then the
//! callbacks, which is how packet capture and latency statistics from outside see the frames.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use dpdk_sys::{rte_eth_fp_ops, rte_eth_rxtx_callback};
use nic::{Burst, Frame};

use crate::Mbuf;
use crate::mbuf::as_pointers;
use crate::port::OpenPort;

/// A receive queue, for one thread.
///
/// It can go to the thread that polls it:
///
/// ```
/// fn poll(mut queue: dpdk::RxQueue) {
///     std::thread::spawn(move || nic::RxQueue::receive(&mut queue, &mut nic::Burst::new(), 32));
/// }
/// ```
///
/// But two threads cannot share it:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: &T) {}
/// fn share(queue: &dpdk::RxQueue) {
///     shared(queue);
/// }
/// ```
///
/// Nor can it be doubled:
///
/// ```compile_fail,E0599
/// fn twice(queue: dpdk::RxQueue) -> (dpdk::RxQueue, dpdk::RxQueue) {
///     (queue.clone(), queue)
/// }
/// ```
#[derive(Debug)]
pub struct RxQueue(Queue);

/// A transmit queue, for one thread.
///
/// What it transmits is no longer the caller's:
///
/// ```compile_fail,E0505
/// use nic::{Burst, Frame, TxQueue};
/// fn read_while_sent(queue: &mut dpdk::TxQueue, burst: &mut Burst<dpdk::Mbuf>) -> u8 {
///     let first = burst.remove(0);
///     let byte = first.head();
///     burst.push(first);
///     queue.transmit(burst);
///     byte[0]
/// }
/// ```
///
/// ```compile_fail,E0502
/// use nic::{Burst, Frame, TxQueue};
/// fn read_after_transmit(queue: &mut dpdk::TxQueue, burst: &mut Burst<dpdk::Mbuf>) -> u8 {
///     let byte = burst[0].head();
///     queue.transmit(burst);
///     byte[0]
/// }
/// ```
///
/// Two threads cannot share it:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: &T) {}
/// fn share(queue: &dpdk::TxQueue) {
///     shared(queue);
/// }
/// ```
#[derive(Debug)]
pub struct TxQueue {
    queue: Queue,
    /// Whether the device sends frames of several segments.
    segments: bool,
}

/// What both kinds have in common.
#[derive(Debug)]
struct Queue {
    /// The port's entry in DPDK's table. A raw pointer also makes a queue not `Sync`.
    table: *const rte_eth_fp_ops,
    port: u16,
    index: u16,
    /// Keeps the port open and its pools mapped.
    open: Arc<OpenPort>,
}

// SAFETY: a queue may be polled by any one thread; `&mut self` sees to it that it is one at a time.
unsafe impl Send for Queue {}

impl Queue {
    fn new(open: Arc<OpenPort>, index: u16) -> Self {
        let table = (&raw const dpdk_sys::rte_eth_fp_ops).cast::<rte_eth_fp_ops>();
        let table = table.wrapping_add(usize::from(open.id()));
        Self { table, port: open.id(), index, open }
    }

    /// The port's functions and queues.
    #[inline]
    fn table(&self) -> &rte_eth_fp_ops {
        // SAFETY: the port's id is an index of the table, whose entry does not change while the port is started.
        unsafe { &*self.table }
    }

    /// The callbacks of this queue in `lists`, null when there are none.
    #[inline]
    fn callbacks(&self, lists: *mut *mut c_void) -> *mut c_void {
        let list = lists.wrapping_add(usize::from(self.index));
        // SAFETY: DPDK allocates a list for every queue, and changes its head atomically.
        let list = unsafe { AtomicPtr::from_ptr(list) };
        // What is behind the pointer depends on it, so no stronger order is needed (as in DPDK's own function).
        list.load(Ordering::Relaxed)
    }

    /// The driver's data of this queue in `queues`.
    #[inline]
    fn driver_data(&self, queues: *mut *mut c_void) -> *mut c_void {
        let slot = queues.wrapping_add(usize::from(self.index));
        // SAFETY: the queue was set up, so its slot exists and does not change while the port is started.
        unsafe { *slot }
    }
}

impl RxQueue {
    pub(crate) fn new(open: Arc<OpenPort>, index: u16) -> Self {
        Self(Queue::new(open, index))
    }
}

impl nic::RxQueue for RxQueue {
    type Frame = Mbuf;

    #[inline]
    fn receive(&mut self, burst: &mut Burst<Mbuf>, limit: usize) {
        let queue = &self.0;
        let table = queue.table();
        let Some(receive) = table.rx_pkt_burst else { return };
        let present = burst.len();
        // Fits: a burst's room is at most `MAX_BURST`.
        let limit = limit.min(burst.remaining_capacity()) as u16;
        let room = as_pointers(burst).wrapping_add(present);
        let data = queue.driver_data(table.rxq.data);
        // SAFETY: `receive` and `data` belong together, and `room` has space for `limit` pointers.
        let mut count = unsafe { receive(data, room, limit) };
        let callbacks = queue.callbacks(table.rxq.clbk);
        if !callbacks.is_null() {
            let list = callbacks.cast::<rte_eth_rxtx_callback>();
            // SAFETY: `list` is this queue's, and `room` holds `count` frames and space for `limit`.
            count = unsafe {
                dpdk_sys::rte_eth_call_rx_callbacks(queue.port, queue.index, room, count, limit, list.cast())
            };
        }
        // SAFETY: the driver wrote `count` frames behind the `present` ones and gave up their ownership.
        unsafe { burst.set_len(present + usize::from(count)) };
    }
}

impl TxQueue {
    pub(crate) fn new(open: Arc<OpenPort>, index: u16, segments: bool) -> Self {
        Self { queue: Queue::new(open, index), segments }
    }

    /// Makes one segment of each frame; drops the frames that do not fit into one, since the driver would read beyond
    /// their first.
    #[cold]
    fn join_segments(&self, burst: &mut Burst<Mbuf>) {
        burst.retain(|frame| {
            let length = frame.length();
            let joined = frame.pull(length) && frame.raw().nb_segs == 1;
            if !joined {
                self.queue.open.count_unsendable();
            }
            joined
        });
    }
}

impl nic::TxQueue for TxQueue {
    type Frame = Mbuf;

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) {
        if !self.segments && burst.iter().any(|frame| frame.raw().nb_segs != 1) {
            self.join_segments(burst);
        }
        let queue = &self.queue;
        let table = queue.table();
        let Some(transmit) = table.tx_pkt_burst else { return };
        let present = burst.len();
        let frames = as_pointers(burst);
        // Fits: a burst has at most `MAX_BURST` frames.
        let mut count = present as u16;
        let callbacks = queue.callbacks(table.txq.clbk);
        if !callbacks.is_null() {
            let list = callbacks.cast::<rte_eth_rxtx_callback>();
            // SAFETY: `list` is this queue's, and `frames` holds `count` frames.
            count = unsafe {
                dpdk_sys::rte_eth_call_tx_callbacks(queue.port, queue.index, frames, count, list.cast())
            };
        }
        let data = queue.driver_data(table.txq.data);
        // SAFETY: `transmit` and `data` belong together, and `frames` holds `count` frames that we own.
        let sent = unsafe { transmit(data, frames, count) };
        forget_front(burst, usize::from(sent));
    }
}

/// Takes the first `count` frames out of the burst without dropping them: somebody else owns them now.
#[inline]
fn forget_front(burst: &mut Burst<Mbuf>, count: usize) {
    let left = burst.len().saturating_sub(count);
    let start = burst.as_mut_ptr();
    if left != 0 {
        // SAFETY: both ranges lie inside the burst's `count + left` frames; moved from are the last `left` of them.
        unsafe { ptr::copy(start.wrapping_add(count), start, left) };
    }
    // SAFETY: the first `left` places hold frames that we own, each once.
    unsafe { burst.set_len(left) };
}

//! A port's queues: DPDK's `rte_eth_rx_burst` and `rte_eth_tx_burst`, in Rust over the same table.
//!
//! What must stay true: as in the C inline functions, one load from the table and one indirect call a burst, then the
//! callbacks, which is how packet capture and latency statistics from outside see the frames.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use dpdk_sys::{rte_eth_fp_ops, rte_eth_rxtx_callback, rte_mbuf};
use nic::{Burst, Frame};

use crate::mbuf::as_pointers;
use crate::port::OpenPort;
use crate::{CutsBy, Mbuf, Offloads, PortFacts};

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
    limits: Limits,
    /// Frames that were freed because the device cannot send them, and that nobody has been told of.
    unsendable: usize,
}

/// Which frames a device does not send as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most segments of a frame.
    segments: u16,
    /// The same of a frame that is to be cut.
    segments_to_cut: u16,
    /// Whether frames may be to be cut, which drivers want to see before.
    cuts: bool,
}

impl Limits {
    /// What a device can that is asked for these offloads.
    pub(crate) fn of(facts: &PortFacts, offloads: Offloads) -> Self {
        let (segments, segments_to_cut) = if offloads.segments {
            (facts.transmit_segments, facts.transmit_segments_to_cut)
        } else {
            (1, 1)
        };
        Self { segments, segments_to_cut, cuts: offloads.cuts != CutsBy::None }
    }

    /// Whether any frame needs to be looked at.
    #[inline]
    const fn is_needed(self) -> bool {
        self.segments < u16::MAX || self.cuts
    }

    /// Whether a device sends a frame without more.
    #[inline]
    const fn lets_pass(self, frame: &rte_mbuf) -> bool {
        frame.nb_segs <= self.segments && frame.ol_flags & dpdk_sys::SHIM_MBUF_TX_CUT == 0
    }

    /// The most segments that a frame may lie in.
    const fn segments_of(self, frame: &rte_mbuf) -> u16 {
        if frame.ol_flags & dpdk_sys::SHIM_MBUF_TX_CUT == 0 { self.segments } else { self.segments_to_cut }
    }
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
    pub(crate) fn new(open: Arc<OpenPort>, index: u16, limits: Limits) -> Self {
        Self { queue: Queue::new(open, index), limits, unsendable: 0 }
    }

    /// Makes frames such as the device sends: of fewer segments, and seen by its driver before if they are to be cut. Frees those
    /// that cannot be made so, since drivers would read beyond the last segment that they take, or stop there for good.
    #[cold]
    fn prepare(&mut self, burst: &mut Burst<Mbuf>) {
        let before = burst.len();
        let limits = self.limits;
        burst.retain(|frame| {
            let length = frame.length();
            frame.raw().nb_segs <= limits.segments_of(frame.raw())
                || frame.pull(length) && frame.raw().nb_segs == 1
        });
        if limits.cuts {
            self.show_to_driver(burst);
        }
        let freed = before - burst.len();
        self.unsendable += freed;
        self.queue.open.count_unsendable(freed as u64);
    }

    /// Lets the driver see frames before it sends them (`rte_eth_tx_prepare`); frees those that it refuses.
    fn show_to_driver(&self, burst: &mut Burst<Mbuf>) {
        let table = self.queue.table();
        let Some(prepare) = table.tx_pkt_prepare else { return };
        let data = self.queue.driver_data(table.txq.data);
        let mut seen = 0;
        while let Some(left) = burst.len().checked_sub(seen).filter(|left| *left > 0) {
            let frames = as_pointers(burst).wrapping_add(seen);
            // Fits: a burst has at most `MAX_BURST` frames.
            // SAFETY: `prepare` and `data` belong together, and `frames` holds `left` frames that we own.
            let good = unsafe { prepare(data, frames, left as u16) };
            seen += usize::from(good);
            // It stops in front of one that it refuses.
            if seen < burst.len() {
                burst.remove(seen);
            }
        }
    }
}

impl nic::TxQueue for TxQueue {
    type Frame = Mbuf;

    #[inline]
    fn transmit(&mut self, burst: &mut Burst<Mbuf>) {
        let limits = self.limits;
        if limits.is_needed() && !burst.iter().all(|frame| limits.lets_pass(frame.raw())) {
            self.prepare(burst);
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

    #[inline]
    fn take_unsendable(&mut self) -> usize {
        std::mem::take(&mut self.unsendable)
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

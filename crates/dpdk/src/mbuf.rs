//! A frame in DPDK's memory.

use std::ptr::NonNull;

use dpdk_sys::rte_mbuf;
use nic::{Burst, Frame, ReceivedChecksum, Segmentation};

use crate::segments;

/// A frame in one or more segments of DPDK's memory; dropping it gives the segments back to their pool.
///
/// It belongs to one holder. It cannot be copied:
///
/// ```compile_fail,E0599
/// fn twice(frame: dpdk::Mbuf) -> (dpdk::Mbuf, dpdk::Mbuf) {
///     (frame.clone(), frame)
/// }
/// ```
///
/// It can go to another thread:
///
/// ```
/// fn send(frame: dpdk::Mbuf) {
///     std::thread::spawn(move || drop(frame));
/// }
/// ```
///
/// But two threads cannot look at it at once:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: &T) {}
/// fn share(frame: &dpdk::Mbuf) {
///     shared(frame);
/// }
/// ```
///
/// And who freed it has it no longer:
///
/// ```compile_fail,E0382
/// use nic::Frame;
/// fn read_after_free(frame: dpdk::Mbuf) -> usize {
///     drop(frame);
///     frame.length()
/// }
/// ```
// Invariant: it points to the first segment of a chain that nobody else refers to. Transparent, because a burst of them
// is DPDK's array of pointers.
#[repr(transparent)]
#[derive(Debug)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: the chain has one owner, and DPDK lets any thread free into a pool (its rings are multi-producer).
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// The owner of the chain that starts at `first`.
    ///
    /// # Safety
    /// Nobody else may refer to the chain, which must come from a pool.
    pub(crate) const unsafe fn from_raw(first: NonNull<rte_mbuf>) -> Self {
        Self(first)
    }

    /// Gives up the ownership.
    pub(crate) const fn into_raw(self) -> NonNull<rte_mbuf> {
        let first = self.0;
        std::mem::forget(self);
        first
    }

    /// The first segment's description.
    #[inline]
    pub(crate) const fn raw(&self) -> &rte_mbuf {
        // SAFETY: the pointer is valid and nobody else writes, because the chain is owned by `self`.
        unsafe { self.0.as_ref() }
    }

    /// The first segment's description, to change.
    #[inline]
    pub(crate) const fn raw_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: the pointer is valid and nobody else reads or writes, because the chain is owned by `self`.
        unsafe { self.0.as_mut() }
    }
}

impl Frame for Mbuf {
    #[inline]
    fn head(&self) -> &[u8] {
        segments::bytes(self.raw())
    }

    #[inline]
    fn head_mut(&mut self) -> &mut [u8] {
        segments::bytes_mut(self.raw_mut())
    }

    #[inline]
    fn length(&self) -> usize {
        self.raw().pkt_len as usize
    }

    fn segment(&self, index: usize) -> Option<&[u8]> {
        segments::nth(self.raw(), index).map(segments::bytes)
    }

    #[inline]
    fn pull(&mut self, length: usize) -> bool {
        length <= usize::from(self.raw().data_len) || segments::pull(self.raw_mut(), length)
    }

    #[inline]
    fn resize(&mut self, length: usize) -> bool {
        let first = self.raw_mut();
        // Nearly always: a short frame's padding is cut.
        if first.nb_segs == 1 && length <= usize::from(first.data_len) {
            (first.data_len, first.pkt_len) = (length as u16, length as u32); // not more than `data_len`, which fits
            return true;
        }
        segments::resize(first, length)
    }

    #[inline]
    fn prepend(&mut self, length: usize) -> bool {
        segments::prepend(self.raw_mut(), length)
    }

    #[inline]
    fn behead(&mut self, length: usize) -> bool {
        segments::behead(self.raw_mut(), length)
    }

    fn append(&mut self, other: Self) -> Result<(), Self> {
        segments::chain(self.raw_mut(), other)
    }

    #[inline]
    fn checksum(&self) -> ReceivedChecksum {
        match self.raw().ol_flags & dpdk_sys::SHIM_MBUF_RX_L4_CHECKSUM_MASK {
            dpdk_sys::SHIM_MBUF_RX_L4_CHECKSUM_GOOD => ReceivedChecksum::Good,
            dpdk_sys::SHIM_MBUF_RX_L4_CHECKSUM_BAD => ReceivedChecksum::Bad,
            _ => ReceivedChecksum::Unknown,
        }
    }

    fn cut_on_transmit(&mut self, how: Segmentation) -> bool {
        let Segmentation { is_v4, link, network, transport, share } = how;
        // As many bits are there for them.
        if link >= 1 << 7 || network >= 1 << 9 || transport >= 1 << 8 {
            return false;
        }
        // SAFETY: the chain is owned by `self`, and only its description changes.
        unsafe {
            dpdk_sys::shim_mbuf_cut(self.0.as_ptr(), i32::from(is_v4), link, network, transport, share);
        }
        true
    }

    fn free(burst: &mut Burst<Self>) {
        if burst.is_empty() {
            return;
        }
        let frames = as_pointers(burst);
        let count = burst.len();
        // SAFETY: a length of 0 is always right; the frames' owners are forgotten, not dropped.
        unsafe { burst.set_len(0) };
        free_bulk(frames, count);
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        let mut first = self.0.as_ptr();
        free_bulk(&raw mut first, 1);
    }
}

/// The burst's frames as DPDK's array of pointers, and the burst's unused room behind them.
#[inline]
pub(crate) fn as_pointers(burst: &mut Burst<Mbuf>) -> *mut *mut rte_mbuf {
    // `Mbuf` is transparent over `NonNull`, which has a pointer's layout.
    burst.as_mut_ptr().cast()
}

/// Frees `count` chains; the caller owned them and forgets them.
fn free_bulk(frames: *mut *mut rte_mbuf, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    // SAFETY: `frames` points to `count` chains that the callers in this module owned; a chain is walked by its links.
    unsafe { dpdk_sys::rte_pktmbuf_free_bulk(frames, count) };
}

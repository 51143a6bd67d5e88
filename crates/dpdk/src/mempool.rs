//! Where frames' memory comes from and goes back to.

use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys::rte_mempool;
use nic::{Frame, FrameSource};

use crate::eal::Running;
use crate::error::c_string;
use crate::{Eal, Failure, Mbuf, log};

/// How big a pool is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Its name; at most 25 bytes.
    pub name: String,
    /// Segments in it; one less than a power of two wastes least.
    pub mbufs: u32,
    /// Bytes in a segment, of which the first 128 stay free.
    pub data_room: u16,
    /// Segments that each worker keeps to itself; at most 512 and two thirds of `mbufs`.
    pub cache: u32,
    /// The NUMA node of its memory; `None` is any.
    pub socket: Option<u32>,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { name: "frames".to_owned(), mbufs: 8191, data_room: 2176, cache: 256, socket: None }
    }
}

/// Why there is no pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The name holds a NUL byte.
    #[error("the pool's name {0:?} holds a NUL byte")]
    Name(String),
    /// A port was started on the promise that all frames come from one pool.
    #[error("a second pool must be made before the first port is started")]
    Late,
    /// DPDK refused, mostly for lack of memory.
    #[error("a pool of {mbufs} frames of {data_room} bytes could not be made: {failure}")]
    Refused {
        /// Segments asked for.
        mbufs: u32,
        /// Bytes in a segment.
        data_room: u16,
        /// DPDK's reason.
        failure: Failure,
    },
}

/// A pool of segments for frames; cloning it gives another handle to the same pool.
#[derive(Clone, Debug)]
pub struct Mempool(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    pool: NonNull<rte_mempool>,
    data_room: u16,
    running: Arc<Running>,
}

// SAFETY: DPDK's pools may be used from several threads at once, and their memory is not bound to a thread.
unsafe impl Send for Pool {}
// SAFETY: as above; counting, taking and giving back are thread-safe.
unsafe impl Sync for Pool {}

/// The bytes of packet memory that a pool takes in ordinary pages, rounded up generously.
#[must_use]
pub fn bytes_needed(options: &PoolOptions) -> u64 {
    bytes_in_pages(options, 4 << 10)
}

/// The bytes of packet memory that a pool takes in huge pages, rounded up generously.
#[must_use]
pub fn bytes_needed_in_hugepages(options: &PoolOptions) -> u64 {
    bytes_in_pages(options, 2 << 20)
}

/// DPDK lets no segment cross a page's end that could lie in the page before it.
fn bytes_in_pages(options: &PoolOptions, page: u64) -> u64 {
    const DESCRIPTION: u64 = 64 + 128;
    const SPREAD_OVER_CHANNELS: u64 = 64;
    const CACHES_OF_ALL_LCORES: u64 = 4 << 20;
    let segment = (DESCRIPTION + u64::from(options.data_room)).next_multiple_of(64) + SPREAD_OVER_CHANNELS;
    let segments = match page / segment {
        0 => u64::from(options.mbufs) * segment.next_multiple_of(page),
        in_a_page => u64::from(options.mbufs).div_ceil(in_a_page) * page,
    };
    let ring = (u64::from(options.mbufs) + 1).next_power_of_two() * 8;
    segments + ring + CACHES_OF_ALL_LCORES
}

impl Mempool {
    /// Makes a pool.
    ///
    /// # Errors
    /// When memory is short, the name is taken, or a port relies on there being one pool only.
    pub fn try_new(eal: &Eal, options: &PoolOptions) -> Result<Self, PoolError> {
        let name = c_string(&options.name).map_err(|_| PoolError::Name(options.name.clone()))?;
        let socket = options.socket.and_then(|socket| i32::try_from(socket).ok()).unwrap_or(-1);
        let mut census = eal.running().census();
        if census.one_pool {
            return Err(PoolError::Late);
        }
        let mark = log::mark();
        let PoolOptions { mbufs, data_room, cache, .. } = *options;
        // SAFETY: EAL is running, `name` is NUL-terminated and copied; all numbers are checked by DPDK.
        let pool =
            unsafe { dpdk_sys::rte_pktmbuf_pool_create(name.as_ptr(), mbufs, cache, 0, data_room, socket) };
        let Some(pool) = NonNull::new(pool) else {
            return Err(PoolError::Refused { mbufs, data_room, failure: Failure::from_errno(mark) });
        };
        census.pools += 1;
        drop(census);
        Ok(Self(Arc::new(Pool { pool, data_room, running: Arc::clone(eal.running()) })))
    }

    /// Segments that are out: held by us, by a device, or on their way. Exact when nothing moves.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.0.in_use()
    }

    /// A source of new frames from this pool.
    #[must_use]
    pub fn source(&self) -> MbufSource {
        MbufSource { pool: self.clone() }
    }

    /// The longest frame that fits into one segment, in bytes.
    #[must_use]
    pub fn frame_room(&self) -> u32 {
        u32::from(self.0.data_room).saturating_sub(dpdk_sys::RTE_PKTMBUF_HEADROOM)
    }

    pub(crate) fn as_ptr(&self) -> *mut rte_mempool {
        self.0.pool.as_ptr()
    }
}

impl Pool {
    fn in_use(&self) -> u32 {
        // SAFETY: the pool lives as long as `self`.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.pool.as_ptr()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.in_use() != 0 {
            // Somebody holds a frame of it, or a device that is gone did not give it back: its memory must stay.
            std::mem::forget(Arc::clone(&self.running));
            return;
        }
        // SAFETY: no handle is left and no frame is out.
        unsafe { dpdk_sys::rte_mempool_free(self.pool.as_ptr()) };
        self.running.census().pools -= 1;
    }
}

/// New frames from a pool, for one worker.
#[derive(Debug)]
pub struct MbufSource {
    pool: Mempool,
}

impl FrameSource for MbufSource {
    type Frame = Mbuf;

    fn allocate(&mut self, length: usize) -> Option<Mbuf> {
        // SAFETY: the pool lives as long as `self`.
        let first = unsafe { dpdk_sys::shim_mbuf_allocate(self.pool.as_ptr()) };
        let first = NonNull::new(first)?;
        // SAFETY: the segment was just taken from the pool, nobody else has it.
        let mut frame = unsafe { Mbuf::from_raw(first) };
        frame.resize(length).then_some(frame)
    }
}

//! What a worker asks of the outside: a frame, a receive queue, a transmit queue, a source of new frames and a clock.
//!
//! The traits are all the datapath and the worker know of a network card. DPDK implements them in `dpdk`, capture files
//! in the daemon's `replay`, memory in `testkit`.
//!
//! What must stay true:
//!
//! - A frame has exactly one owner. Who holds it when it is dropped frees it; a queue that transmits a frame takes it.
//! - Nothing here allocates, blocks or fails: an empty queue yields nothing, a full one takes nothing.
//!
//! What it leaves to others: what is in the bytes (`wire`), and which device they come from (`dpdk`).
#![forbid(unsafe_code)]

use arrayvec::ArrayVec;

/// The most frames that one turn handles; `workers.burst` may ask for fewer.
pub const MAX_BURST: usize = 64;

/// The frames handled in one turn, in the order in which they arrived.
pub type Burst<F> = ArrayVec<F, MAX_BURST>;

/// Ticks of a processor's time stamp counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cycles(pub u64);

impl Cycles {
    /// The ticks from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

/// The bytes of one frame, from the destination MAC address to the last byte of payload (no preamble, no FCS).
///
/// A frame may lie in several segments. Headers are read from the first one: [`Frame::head`]; [`Frame::pull`] makes
/// sure that enough of them lie there.
pub trait Frame: Sized {
    /// The bytes of the first segment.
    fn head(&self) -> &[u8];

    /// The bytes of the first segment, to change in place.
    fn head_mut(&mut self) -> &mut [u8];

    /// Bytes in all segments together.
    fn length(&self) -> usize;

    /// The bytes of segment `index` (0 is [`Frame::head`]), `None` behind the last one.
    fn segment(&self, index: usize) -> Option<&[u8]>;

    /// Makes the first `length` bytes lie in the first segment, by moving bytes from the following ones.
    ///
    /// False, with the frame unchanged, when the frame is shorter than that or its first segment has no room.
    #[must_use]
    fn pull(&mut self, length: usize) -> bool;

    /// Makes the frame `length` bytes long: cuts the tail, or adds zeros to it.
    ///
    /// False, with the frame unchanged, when the last segment has no room for what is to be added.
    #[must_use]
    fn resize(&mut self, length: usize) -> bool;

    /// Adds `length` bytes in front of the frame; what they hold is not said.
    ///
    /// False, with the frame unchanged, when the first segment has no room in front.
    #[must_use]
    fn prepend(&mut self, length: usize) -> bool;

    /// Cuts `length` bytes off the front of the frame.
    ///
    /// False, with the frame unchanged, when the first segment has not more than that.
    #[must_use]
    fn behead(&mut self, length: usize) -> bool;

    /// Puts the bytes of another frame behind this one's, as further segments of it.
    ///
    /// # Errors
    /// Gives the other one back, with both unchanged, when they are too long to be one; always, where frames have one segment only.
    fn append(&mut self, other: Self) -> Result<(), Self> {
        Err(other)
    }

    /// What the device found out about the L4 checksum while receiving.
    fn checksum(&self) -> ReceivedChecksum {
        ReceivedChecksum::Unknown
    }

    /// Has the device cut the frame into several TCP segments while it sends it.
    ///
    /// The TCP checksum must be the sum of the pseudo-header, without a length, by the time that it is sent, and an IPv4 header's 0. False,
    /// with the frame unchanged, where no device can be asked.
    #[must_use]
    fn cut_on_transmit(&mut self, _how: Segmentation) -> bool {
        false
    }

    /// Frees all frames of a burst at once.
    fn free(burst: &mut Burst<Self>) {
        burst.clear();
    }
}

/// What a device says of the L4 checksum of a frame that it received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivedChecksum {
    /// The device did not look.
    Unknown,
    /// The device found it right.
    Good,
    /// The device found it wrong.
    Bad,
}

/// How a device is to cut a frame into TCP segments. Lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segmentation {
    /// Whether the IP header is one of IPv4.
    pub is_v4: bool,
    /// What lies in front of the IP header.
    pub link: u16,
    /// The IP header.
    pub network: u16,
    /// The TCP header.
    pub transport: u16,
    /// The data of each segment but for the last.
    pub share: u16,
}

/// A queue that frames come out of.
pub trait RxQueue {
    /// The frames that this queue yields.
    type Frame: Frame;

    /// Appends at most `limit` frames to `burst`, fewer when the queue or the burst's room ends first.
    fn receive(&mut self, burst: &mut Burst<Self::Frame>, limit: usize);
}

/// A queue that frames go into.
pub trait TxQueue {
    /// The frames that this queue takes.
    type Frame: Frame;

    /// Takes frames from the front of `burst` while there is room; what it did not take stays, in order.
    fn transmit(&mut self, burst: &mut Burst<Self::Frame>);

    /// How many of the frames taken since the last call were freed, and not sent: they lie in more segments than the device can send.
    fn take_unsendable(&mut self) -> usize {
        0
    }
}

/// Where new frames come from: answers and requests that are not made from a received frame.
pub trait FrameSource {
    /// The frames that this source yields.
    type Frame: Frame;

    /// A frame of `length` zero bytes in one segment; `None` when the source is exhausted.
    fn allocate(&mut self, length: usize) -> Option<Self::Frame>;
}

/// What time it is, in ticks of one counter that all cores share.
pub trait Clock {
    /// The present tick.
    fn now(&self) -> Cycles;

    /// Ticks in a second; constant for the life of the process, never zero.
    fn hertz(&self) -> u64;
}

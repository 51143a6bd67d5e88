//! Frames in memory that is allocated once.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use nic::{Burst, Frame, FrameSource};

/// Bytes that a frame has room for.
pub(super) const ROOM: usize = 128;
/// Bytes in front of it, for outer headers.
const HEADROOM: usize = 64;

/// Headroom, the frame, and as much again, so that a byte counts them all and nothing is compared to find one; in pieces so that the frame is
/// a piece of its own.
type Bytes = [[u8; HEADROOM]; 256 / HEADROOM];

/// A frame's memory, on cache lines of its own as packet memory is.
#[repr(C, align(64))]
struct Room {
    bytes: Bytes,
    start: u8,
    end: u8,
    home: Weak<Pool>,
}

/// A frame of a [`Pool`], to which it goes back when it is freed: as long as a pointer, like DPDK's.
pub(super) struct PoolFrame(Box<Room>);

/// Frames that nobody uses, the last one to come back the first to go out again.
pub(super) struct Pool(RefCell<Vec<PoolFrame>>);

impl Pool {
    /// A pool of so many frames.
    pub(super) fn new(frames: usize) -> Rc<Self> {
        Rc::new_cyclic(|home| {
            let room = || Room {
                bytes: [[0; _]; _],
                start: HEADROOM as u8,
                end: HEADROOM as u8,
                home: Weak::clone(home),
            };
            Self(RefCell::new((0..frames).map(|_| PoolFrame(Box::new(room()))).collect()))
        })
    }

    /// Frames that nobody uses.
    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Appends a frame for each item to a burst that has room for all, and lets `fill` write it.
    #[inline(always)]
    pub(super) fn hand_out<I>(
        &self,
        burst: &mut Burst<PoolFrame>,
        items: impl Iterator<Item = I>,
        mut fill: impl FnMut(&mut PoolFrame, I),
    ) {
        let mut frames = self.0.borrow_mut();
        for item in items {
            let Some(mut frame) = frames.pop() else { return };
            fill(&mut frame, item);
            burst.push(frame);
        }
    }

    /// Takes frames back.
    #[inline]
    pub(super) fn take_back(&self, burst: &mut Burst<PoolFrame>) {
        self.0.borrow_mut().extend(burst.drain(..));
    }
}

impl PoolFrame {
    /// All of its memory, to be written; `length` bytes of it are the frame.
    #[inline(always)]
    pub(super) fn begin(&mut self, length: usize) -> &mut [u8; ROOM] {
        let Room { bytes: [_, frame @ .., _], start, end, .. } = &mut *self.0;
        (*start, *end) = (HEADROOM as u8, (HEADROOM + length.min(ROOM)) as u8);
        zerocopy::transmute_mut!(frame)
    }
}

impl Frame for PoolFrame {
    #[inline(always)]
    fn head(&self) -> &[u8] {
        let Room { bytes, start, end, .. } = &*self.0;
        bytes.as_flattened().get(usize::from(*start)..usize::from(*end)).unwrap_or_default()
    }

    #[inline(always)]
    fn head_mut(&mut self) -> &mut [u8] {
        let Room { bytes, start, end, .. } = &mut *self.0;
        bytes.as_flattened_mut().get_mut(usize::from(*start)..usize::from(*end)).unwrap_or_default()
    }

    #[inline(always)]
    fn length(&self) -> usize {
        usize::from(self.0.end.wrapping_sub(self.0.start))
    }

    fn segment(&self, index: usize) -> Option<&[u8]> {
        (index == 0).then(|| self.head())
    }

    fn pull(&mut self, length: usize) -> bool {
        length <= self.length()
    }

    #[inline(always)]
    fn resize(&mut self, length: usize) -> bool {
        let Room { bytes, start, end, .. } = &mut *self.0;
        let new_end = usize::from(*start) + length;
        let Ok(new) = u8::try_from(new_end) else { return false };
        // To cut is told apart, since to write no zeros takes a call.
        if new > *end {
            let added = bytes.as_flattened_mut().get_mut(usize::from(*end)..new_end);
            let Some(added) = added.filter(|_| length <= ROOM) else { return false };
            added.fill(0);
        }
        *end = new;
        true
    }

    #[inline(always)]
    fn prepend(&mut self, length: usize) -> bool {
        let start = u8::try_from(length).ok().and_then(|length| self.0.start.checked_sub(length));
        self.0.start = start.unwrap_or(self.0.start);
        start.is_some()
    }

    fn behead(&mut self, length: usize) -> bool {
        let is_longer = length < self.length();
        self.0.start += if is_longer { length as u8 } else { 0 };
        is_longer
    }

    #[inline]
    fn free(burst: &mut Burst<Self>) {
        // All are of one pool.
        let home = burst.first().and_then(|frame| frame.0.home.upgrade());
        match home {
            Some(home) => home.take_back(burst),
            None => burst.clear(),
        }
    }
}

/// A source of no frames: what a worker would say of itself is not measured.
pub(super) struct NoFrames;

impl FrameSource for NoFrames {
    type Frame = PoolFrame;

    fn allocate(&mut self, _: usize) -> Option<PoolFrame> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_when_it_is_freed_or_taken_back() {
        let pool = Pool::new(3);
        for give_back in [PoolFrame::free, |burst: &mut Burst<PoolFrame>| pool_of(burst).take_back(burst)] {
            let mut burst = Burst::new();
            pool.hand_out(&mut burst, 0..5_u8, |frame, item| frame.begin(60)[0] = item);
            assert_eq!((burst.len(), pool.len()), (3, 0));
            assert_eq!(burst[2].head()[0], 2);
            give_back(&mut burst);
            assert_eq!((burst.len(), pool.len()), (0, 3));
        }
    }

    fn pool_of(burst: &Burst<PoolFrame>) -> Rc<Pool> {
        burst[0].0.home.upgrade().unwrap()
    }

    #[test]
    fn a_frame_grows_with_zeros_up_to_its_room() {
        let pool = Pool::new(1);
        let mut burst = Burst::new();
        pool.hand_out(&mut burst, 0..1, |frame, _: u8| frame.begin(4).fill(7));
        let frame = &mut burst[0];
        assert!(frame.resize(2) && frame.resize(4));
        assert_eq!(frame.head(), [7, 7, 0, 0]);
        assert!(frame.resize(ROOM) && !frame.resize(ROOM + 1));
        assert_eq!((frame.length(), frame.pull(ROOM), frame.pull(ROOM + 1)), (ROOM, true, false));
        assert!(frame.segment(1).is_none() && NoFrames.allocate(1).is_none());
    }
}

//! Frames in memory.

use std::{cell::Cell, rc::Rc};

use nic::{Frame, FrameSource, ReceivedChecksum, Segmentation};

use crate::card;

/// A frame in memory, in one or several segments. Counts its drop, so that a test sees that none was lost.
#[derive(Debug)]
pub struct MemoryFrame {
    segments: Vec<Vec<u8>>,
    /// Bytes that may be added behind the last segment.
    tailroom: usize,
    /// Bytes that may be added in front of the first segment.
    pub headroom: usize,
    /// What the device says of the L4 checksum.
    pub checksum: ReceivedChecksum,
    /// How the device is to cut it.
    pub cut: Option<Segmentation>,
    alive: Option<Rc<Cell<isize>>>,
}

impl MemoryFrame {
    /// A frame in one segment, with 128 bytes of room in front of it and behind it.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self::scattered(&[bytes])
    }

    /// A frame in the given segments.
    #[must_use]
    pub fn scattered(segments: &[&[u8]]) -> Self {
        Self {
            segments: segments.iter().map(|bytes| bytes.to_vec()).collect(),
            tailroom: 128,
            headroom: 128,
            checksum: ReceivedChecksum::Unknown,
            cut: None,
            alive: None,
        }
    }

    /// The same frame, counted in `alive` for as long as it lives.
    #[must_use]
    pub fn counted(mut self, alive: &Rc<Cell<isize>>) -> Self {
        alive.set(alive.get() + 1);
        self.alive = Some(Rc::clone(alive));
        self
    }

    /// All bytes, over all segments.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.segments.concat()
    }
}

impl MemoryFrame {
    /// What a card makes of the frame while it sends it: itself, or the segments that it was asked to cut it into.
    ///
    /// # Panics
    /// When the frame is not such as cards cut.
    #[must_use]
    pub fn as_sent(&self) -> Vec<Vec<u8>> {
        self.cut.map_or_else(|| vec![self.bytes()], |how| card::cut(&self.bytes(), how))
    }
}

impl Drop for MemoryFrame {
    fn drop(&mut self) {
        if let Some(alive) = &self.alive {
            alive.set(alive.get() - 1);
        }
    }
}

impl Frame for MemoryFrame {
    fn head(&self) -> &[u8] {
        self.segments.first().map_or(&[], Vec::as_slice)
    }

    fn head_mut(&mut self) -> &mut [u8] {
        self.segments.first_mut().map_or(&mut [], Vec::as_mut_slice)
    }

    fn length(&self) -> usize {
        self.segments.iter().map(Vec::len).sum()
    }

    fn segment(&self, index: usize) -> Option<&[u8]> {
        self.segments.get(index).map(Vec::as_slice)
    }

    fn pull(&mut self, length: usize) -> bool {
        if length > self.length() {
            return false;
        }
        while self.head().len() < length {
            let missing = length - self.head().len();
            let Some(next) = self.segments.get_mut(1) else { return false };
            let moved: Vec<u8> = next.drain(..missing.min(next.len())).collect();
            if next.is_empty() {
                self.segments.remove(1);
            }
            if let Some(first) = self.segments.first_mut() {
                first.extend(moved);
            }
        }
        true
    }

    fn resize(&mut self, length: usize) -> bool {
        let now = self.length();
        if length > now + self.tailroom {
            return false;
        }
        if let Some(last) = self.segments.last_mut().filter(|_| length > now) {
            last.resize(last.len() + length - now, 0);
            self.tailroom -= length - now;
        }
        let mut left = length;
        for segment in &mut self.segments {
            segment.truncate(left);
            left -= segment.len();
        }
        true
    }

    fn prepend(&mut self, length: usize) -> bool {
        let Some(left) = self.headroom.checked_sub(length) else { return false };
        let Some(first) = self.segments.first_mut() else { return false };
        // What lies there is not said: something that shows where it was not overwritten.
        first.splice(..0, std::iter::repeat_n(0xa5, length));
        self.headroom = left;
        true
    }

    fn behead(&mut self, length: usize) -> bool {
        let Some(first) = self.segments.first_mut().filter(|first| length < first.len()) else {
            return false;
        };
        first.drain(..length);
        self.headroom += length;
        true
    }

    fn append(&mut self, mut other: Self) -> Result<(), Self> {
        self.segments.append(&mut other.segments);
        self.tailroom = other.tailroom;
        Ok(())
    }

    fn checksum(&self) -> ReceivedChecksum {
        self.checksum
    }

    fn cut_on_transmit(&mut self, how: Segmentation) -> bool {
        self.cut = Some(how);
        true
    }
}

/// A source of frames in memory, with a limit.
#[derive(Debug)]
pub struct MemorySource {
    /// Frames that it has left to give.
    pub left: usize,
    alive: Option<Rc<Cell<isize>>>,
}

impl MemorySource {
    /// A source of so many frames.
    #[must_use]
    pub const fn new(left: usize) -> Self {
        Self { left, alive: None }
    }

    /// The same source, with its frames counted in `alive`.
    #[must_use]
    pub fn counted(mut self, alive: &Rc<Cell<isize>>) -> Self {
        self.alive = Some(Rc::clone(alive));
        self
    }
}

impl FrameSource for MemorySource {
    type Frame = MemoryFrame;

    fn allocate(&mut self, length: usize) -> Option<MemoryFrame> {
        self.left = self.left.checked_sub(1)?;
        let frame = MemoryFrame::new(&vec![0; length]);
        Some(match &self.alive {
            Some(alive) => frame.counted(alive),
            None => frame,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulling_moves_bytes_to_the_first_segment() {
        let mut frame = MemoryFrame::scattered(&[&[1, 2], &[3], &[4, 5, 6]]);
        assert!(frame.pull(4));
        assert_eq!((frame.head(), frame.segment(1)), (&[1, 2, 3, 4][..], Some(&[5, 6][..])));
        assert!(!frame.pull(7));
    }

    #[test]
    fn a_frame_grows_in_front_while_there_is_room() {
        let mut frame = MemoryFrame::scattered(&[&[1, 2], &[3]]);
        assert!(frame.prepend(100) && !frame.prepend(29) && frame.prepend(28));
        assert_eq!((frame.length(), &frame.bytes()[128..]), (131, &[1, 2, 3][..]));
        assert!(!frame.behead(130) && frame.behead(129));
        assert_eq!((frame.bytes(), frame.headroom), (vec![2, 3], 129));
    }

    #[test]
    fn a_frame_grows_by_the_segments_of_another_one() {
        let mut frame = MemoryFrame::scattered(&[&[1, 2], &[3]]);
        assert!(frame.append(MemoryFrame::scattered(&[&[4], &[5]])).is_ok());
        assert_eq!((frame.bytes(), frame.segment(3)), (vec![1, 2, 3, 4, 5], Some(&[5][..])));
    }

    #[test]
    fn resizing_cuts_and_adds_at_the_end() {
        let mut frame = MemoryFrame::scattered(&[&[1, 2], &[3]]);
        assert!(frame.resize(5));
        assert_eq!(frame.bytes(), [1, 2, 3, 0, 0]);
        assert!(frame.resize(1));
        assert_eq!(frame.bytes(), [1]);
        assert!(!frame.resize(1000));
    }
}

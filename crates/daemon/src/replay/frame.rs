//! Frames in ordinary memory.

use nic::{Frame, FrameSource};

/// The longest frame that one can become, as long as an IP packet can be and its link header.
const LONGEST: usize = 65_535 + 18;

/// A frame in ordinary memory, all of it in one segment.
#[derive(Clone, Debug)]
pub(crate) struct PlainFrame(pub(crate) Vec<u8>);

impl Frame for PlainFrame {
    fn head(&self) -> &[u8] {
        &self.0
    }

    fn head_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    fn length(&self) -> usize {
        self.0.len()
    }

    fn segment(&self, index: usize) -> Option<&[u8]> {
        (index == 0).then_some(&self.0)
    }

    fn pull(&mut self, length: usize) -> bool {
        length <= self.0.len()
    }

    fn resize(&mut self, length: usize) -> bool {
        let fits = length <= LONGEST.max(self.0.len());
        if fits {
            self.0.resize(length, 0);
        }
        fits
    }

    fn prepend(&mut self, length: usize) -> bool {
        let fits = self.0.len() + length <= LONGEST;
        if fits {
            self.0.splice(..0, std::iter::repeat_n(0, length));
        }
        fits
    }

    fn behead(&mut self, length: usize) -> bool {
        let is_longer = length < self.0.len();
        if is_longer {
            self.0.drain(..length);
        }
        is_longer
    }

    fn append(&mut self, other: Self) -> Result<(), Self> {
        if self.0.len() + other.0.len() > LONGEST {
            return Err(other);
        }
        self.0.extend(other.0);
        Ok(())
    }
}

/// Makes frames without end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainSource;

impl FrameSource for PlainSource {
    type Frame = PlainFrame;

    fn allocate(&mut self, length: usize) -> Option<PlainFrame> {
        Some(PlainFrame(vec![0; length]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_grows_with_zeros_and_shrinks_at_its_end() {
        let mut frame = PlainFrame(vec![1, 2, 3]);
        assert!(frame.resize(5));
        assert_eq!(frame.head(), [1, 2, 3, 0, 0]);
        assert!(frame.resize(1));
        assert_eq!((frame.length(), frame.segment(0), frame.segment(1)), (1, Some(&[1][..]), None));
        assert!(!frame.resize(LONGEST + 1) && frame.pull(1) && !frame.pull(2));
    }

    #[test]
    fn a_frame_grows_in_front() {
        let mut frame = PlainFrame(vec![1, 2, 3]);
        assert!(frame.prepend(2) && !frame.prepend(LONGEST));
        assert_eq!(frame.head(), [0, 0, 1, 2, 3]);
        assert!(!frame.behead(5) && frame.behead(3));
        assert_eq!(frame.head(), [2, 3]);
    }

    #[test]
    fn a_frame_grows_by_another_one() {
        let mut frame = PlainFrame(vec![1, 2]);
        assert!(frame.append(PlainFrame(vec![3])).is_ok());
        assert_eq!(frame.head(), [1, 2, 3]);
        assert!(frame.append(PlainFrame(vec![0; LONGEST])).is_err_and(|other| other.length() == LONGEST));
    }

    #[test]
    fn a_new_frame_is_zeros() {
        assert_eq!(PlainSource.allocate(3).unwrap().head(), [0, 0, 0]);
    }
}

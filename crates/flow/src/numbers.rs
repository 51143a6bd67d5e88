//! What is remembered of a flow's sequence numbers, by its position.
//!
//! Nothing is, of most flows for most of their lives: packets of an established flow are passed on without a look at their numbers.
//! As with IPv6 addresses (`wide`), the kernel makes memory of it only where something was written.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Side;

/// Words of a [`Numbers`].
const WORDS: usize = 6;

/// Sequence numbers of a flow, by [`Side`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Numbers {
    /// What follows the FIN of a side.
    ends: [u32; 2],
    /// What the client expects next, and what follows what it has said; of flows that are kept alive.
    pub heard: [u32; 2],
    /// When the client was asked last whether it is still there, in milliseconds as [`Flow::last_seen`](crate::Flow::last_seen).
    pub asked: u32,
    /// The number of the first byte that the client sends, as its backend knows it; where the backend is shown who the client is.
    first: u32,
    /// Whether the backend has been shown; 0 or 1.
    shown: u32,
    /// What its client has offered, in the datapath's form; of flows that were opened with a SYN cookie.
    pub accord: u32,
    /// What is added to sequence numbers and to values of timestamps of the backend, before the client sees them; of the same flows.
    /// Until the backend has answered: the values of timestamps that client and gateway have said.
    pub shifts: [u32; 2],
    /// Bytes of the largest packet that the paths of the flow with this [creation](crate::Hot::created) take, of which half is kept.
    path: [u16; 2],
    /// How windows are scaled, in the datapath's form; of flows whose windows are said anew.
    pub scales: u32,
}

impl Numbers {
    /// Bytes of the largest packet that the paths of a flow that was created at that time take, if somebody has said so.
    #[must_use]
    pub const fn path_mtu(&self, created: u32) -> Option<u16> {
        let [mtu, of] = self.path;
        if of == created as u16 && mtu != 0 { Some(mtu) } else { None }
    }

    /// Remembers that somebody says that a path takes no larger packets.
    pub fn lower_path_mtu(&mut self, mtu: u16, created: u32) {
        let known = self.path_mtu(created).unwrap_or(u16::MAX);
        self.path = [mtu.min(known), created as u16];
    }

    /// What follows the FIN of a side, if it has sent one.
    #[must_use]
    pub const fn end(&self, side: Side) -> u32 {
        let [client, backend] = self.ends;
        match side {
            Side::Client => client,
            Side::Backend => backend,
        }
    }

    /// The number of the first byte that the client sends, as its backend knows it.
    #[must_use]
    pub const fn first(&self) -> u32 {
        self.first
    }

    /// Begins to show the backend who the client is, whose first byte has this number.
    pub const fn show_from(&mut self, first: u32) {
        (self.first, self.shown) = (first, 0);
    }

    /// Whether the backend knows who the client is.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        self.shown != 0
    }

    /// The backend knows.
    pub const fn set_shown(&mut self) {
        self.shown = 1;
    }

    /// Remembers what follows the FIN of a side.
    pub const fn set_end(&mut self, side: Side, end: u32) {
        let [client, backend] = &mut self.ends;
        match side {
            Side::Client => *client = end,
            Side::Backend => *backend = end,
        }
    }
}

/// [`Numbers`] for every position.
pub(crate) struct AllNumbers(Vec<u64>);

impl AllNumbers {
    pub(crate) fn new(positions: usize) -> Self {
        Self(cpu::zeros_on_huge_pages(positions * WORDS))
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, position: usize) -> Option<&mut Numbers> {
        let words: &mut [u64; WORDS] = self.0.get_mut(position * WORDS..)?.first_chunk_mut()?;
        Some(zerocopy::transmute_mut!(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_takes_is_known_of_its_own_flow_and_only_lowered() {
        let mut numbers = Numbers::default();
        assert_eq!(numbers.path_mtu(0), None);
        numbers.lower_path_mtu(1280, 70_000);
        numbers.lower_path_mtu(1400, 70_000);
        assert_eq!((numbers.path_mtu(70_000), numbers.path_mtu(70_001)), (Some(1280), None));
        numbers.lower_path_mtu(1400, 70_001);
        assert_eq!(numbers.path_mtu(70_001), Some(1400));
    }

    #[test]
    fn each_position_has_numbers_of_its_own() {
        let mut all = AllNumbers::new(3);
        for position in 0..3 {
            all.get_mut(position).unwrap().set_end(Side::Backend, position as u32 + 7);
        }
        for position in 0..3 {
            let numbers = *all.get_mut(position).unwrap();
            assert_eq!((numbers.end(Side::Client), numbers.end(Side::Backend)), (0, position as u32 + 7));
        }
        assert!(all.get_mut(3).is_none());
    }
}

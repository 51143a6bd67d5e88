//! The addresses of IPv6 flows, by a flow's position.
//!
//! There is room for every position of the table, but the kernel makes memory of it only where an IPv6 flow has been: all of it
//! is zero from the start, and nobody writes zeros.

use model::Address;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Flow, Side};

/// Words of a [`Wide`].
const WORDS: usize = 8;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Addresses of an IPv6 flow's packets: source and destination of the client's, and of the backend's. In a table it is a
/// cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Wide {
    client: [Address; 2],
    reply: [Address; 2],
}

impl Wide {
    /// Of a flow.
    #[must_use]
    pub const fn of(flow: &Flow) -> Self {
        Self {
            client: [flow.client.source, flow.client.destination],
            reply: [flow.reply.source, flow.reply.destination],
        }
    }

    /// Source and destination of packets from one side.
    #[inline(always)]
    #[must_use]
    pub const fn addresses(&self, side: Side) -> &[Address; 2] {
        match side {
            Side::Client => &self.client,
            Side::Backend => &self.reply,
        }
    }
}

/// A [`Wide`] for every position.
pub(crate) struct Wides {
    words: Vec<u64>,
    /// The first word that begins a cache line.
    first: usize,
}

impl Wides {
    pub(crate) fn new(positions: usize) -> Self {
        let words = cpu::zeros_on_huge_pages((positions + 1) * WORDS);
        let address = words.as_ptr().addr();
        Self { first: (address.next_multiple_of(LINE) - address) / size_of::<u64>(), words }
    }

    #[inline(always)]
    pub(crate) fn get(&self, position: usize) -> Option<&Wide> {
        let words: &[u64; WORDS] = self.words.get(self.first + position * WORDS..)?.first_chunk()?;
        Some(zerocopy::transmute_ref!(words))
    }

    pub(crate) fn set(&mut self, position: usize, wide: Wide) {
        let words = self.words.get_mut(self.first + position * WORDS..).unwrap_or_default();
        if let Some(words) = words.first_chunk_mut::<WORDS>() {
            *words = zerocopy::transmute!(wide);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_position_has_a_cache_line_of_its_own() {
        let mut wides = Wides::new(3);
        let wide = |number| Wide { client: [Address::from_v4([number; 4]); 2], ..Wide::default() };
        for position in 0..3 {
            wides.set(position, wide(position as u8));
            assert!(std::ptr::from_ref(wides.get(position).unwrap()).addr().is_multiple_of(LINE));
        }
        assert_eq!([0, 1, 2].map(|position| *wides.get(position).unwrap()), [0, 1, 2].map(wide));
        assert!(wides.get(4).is_none());
    }
}

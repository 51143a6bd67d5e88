//! TCP segments by their numbers, RFC 9293.

use wire::tcp::{Tcp, flags};

use crate::packet::Packet;

/// What a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    /// Sequence numbers that it takes: its data, and one each for SYN and FIN (RFC 9293, 3.4).
    pub(crate) length: u32,
}

impl Segment {
    /// That of a TCP packet; `None` for all else.
    pub(crate) fn read(head: &[u8], packet: &Packet) -> Option<Self> {
        if !packet.is_tcp() {
            return None;
        }
        let header: &Tcp = wire::header(head, usize::from(packet.transport))?;
        let end = u32::from(packet.network) + u32::from(packet.length);
        let data = u32::from(packet.transport) + u32::from(header.offset >> 4) * 4;
        let flags = header.flags;
        let controls = u32::from(flags & flags::SYN != 0) + u32::from(flags & flags::FIN != 0);
        Some(Self {
            flags,
            sequence: header.sequence.get(),
            acknowledgement: header.acknowledgement.get(),
            length: end.saturating_sub(data) + controls,
        })
    }

    /// Whether all of these flags are set.
    pub(crate) const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether it asks for a new conversation.
    pub(crate) const fn is_first(&self) -> bool {
        self.flags & (flags::SYN | flags::ACK) == flags::SYN
    }

    /// The number that follows it.
    pub(crate) const fn end(&self) -> u32 {
        self.sequence.wrapping_add(self.length)
    }
}

/// Whether a sequence number is `other` or follows it, as far as 32 bits that wrap can say (RFC 9293, 3.4).
pub(crate) const fn is_at_or_after(number: u32, other: u32) -> bool {
    number.wrapping_sub(other) as i32 >= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_compared_across_their_wrap() {
        for number in [0, 5, 0x7fff_fff0, 0xffff_fff0] {
            assert!(is_at_or_after(number, number));
            assert!(is_at_or_after(number.wrapping_add(20), number));
            assert!(!is_at_or_after(number, number.wrapping_add(1)));
        }
    }
}

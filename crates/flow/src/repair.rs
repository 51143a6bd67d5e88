//! What rewriting does to checksums, computed once for a flow.

use wire::checksum::Delta;

/// What is to be added to checksums for rewritten addresses and ports: one's complement differences (RFC 1624, eqn. 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// For the IPv4 header's checksum.
    pub network: u16,
    /// For the TCP or UDP checksum.
    pub transport: u16,
}

impl Repair {
    /// What the rewriting of packets in the other direction does: addresses and ports change back, and the TTL as it did.
    #[inline(always)]
    pub(crate) const fn back(self) -> Self {
        // `network` has one step of the TTL in it, which has to be taken out and put in again.
        let network = Delta(self.network).inverse().plus(Delta(TTL_STEP)).plus(Delta(TTL_STEP));
        Self { network: network.0, transport: !self.transport }
    }
}

/// What a step of the TTL, the high byte of its word, does to a checksum.
pub const TTL_STEP: u16 = !0x0100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_that_was_repaired_there_and_back_has_lost_two_steps_of_the_ttl() {
        for network in [1, 0x00ff, 0x0100, 0xfeff, 0xffff, 0xabcd] {
            let there = Repair { network, transport: network };
            let back = there.back();
            for checksum in [0x0001, 0x1234, 0xff00, 0xfffe] {
                let both = |there, back| Delta(back).apply(Delta(there).apply(checksum));
                assert_eq!(both(there.transport, back.transport), checksum);
                let two_steps = Delta(TTL_STEP).apply(Delta(TTL_STEP).apply(checksum));
                assert_eq!(both(there.network, back.network), two_steps);
            }
        }
    }
}

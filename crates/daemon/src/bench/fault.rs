//! What is wrong with packets that are dropped before a flow is opened for them.

use datapath::DropReason;
use wire::Refusal;

use super::Family;

/// One change of a right frame, and why the frame is dropped then.
pub(super) struct Fault {
    pub(super) reason: DropReason,
    families: &'static [Family],
    /// Whether it is measured when everything is.
    is_typical: bool,
    /// Offsets, and what is written there.
    bytes: &'static [(usize, u8)],
    /// Where the frame ends, if not where it did.
    length: Option<usize>,
}

const V4: &[Family] = &[Family::V4];
const V6: &[Family] = &[Family::V6];
const BOTH: &[Family] = &[Family::V4, Family::V6];

/// Frames begin with an Ethernet header. An IPv4 header is at 14, TCP behind it at 34; an IPv6 header at 14, TCP behind it
/// at 54. What the generator writes (the client's address and port, the checksums) is of no use here.
const FAULTS: &[Fault] = {
    use DropReason::*;
    use Refusal::*;
    &[
        typical(fault(BOTH, DestinationMacNotOurs, &[(5, 0xee)])),
        fault(BOTH, SourceMacGroup, &[(6, 3)]),
        fault(BOTH, GroupFrameUnicastPacket, &[(0, 3)]),
        fault(BOTH, EtherTypeUnknown, &[(12, 0x88), (13, 0xcc)]),
        fault(BOTH, EtherTypeIsLength, &[(12, 0), (13, 46)]),
        fault(BOTH, VlanUnknown, &[(12, 0x81), (13, 0), (14, 0), (15, 5)]),
        cut(fault(BOTH, Malformed(EthernetTruncated), &[]), 12),
        fault(V4, Malformed(ArpNotIpv4OverEthernet), &[(12, 8), (13, 6)]),
        cut(fault(V4, Malformed(Ipv4Truncated), &[]), 30),
        fault(V4, Malformed(Ipv4Version), &[(14, 0x65)]),
        fault(V4, Malformed(Ipv4HeaderLengthTooSmall), &[(14, 0x44)]),
        fault(V4, Malformed(Ipv4TotalLengthBeyondFrame), &[(16, 5)]),
        typical(fault(V4, Malformed(Ipv4HeaderChecksum), &[])),
        fault(V4, Malformed(Ipv4TtlZero), &[(22, 0)]),
        fault(V4, Malformed(FragmentLength), &[(20, 0x20)]),
        fault(V4, Malformed(TcpTruncated), &[(17, 30)]),
        fault(V4, Malformed(TcpDataOffsetTooSmall), &[(46, 0x40)]),
        fault(V4, Malformed(TcpPortZero), &[(36, 0), (37, 0)]),
        fault(V4, Malformed(TcpFlagsNone), &[(47, 0)]),
        cut(fault(V6, Malformed(Ipv6Truncated), &[]), 50),
        fault(V6, Malformed(Ipv6Version), &[(14, 0x40)]),
        fault(V6, Malformed(Ipv6PayloadLengthBeyondFrame), &[(18, 5)]),
        fault(V6, Malformed(Ipv6HopLimitZero), &[(21, 0)]),
        fault(V6, Malformed(Ipv6NoNextHeader), &[(20, 59)]),
        fault(V6, Malformed(Ipv6RoutingHeaderZero), &[(20, 43), (56, 0)]),
        fault(V6, Malformed(FragmentLength), &[(20, 44), (57, 0x51)]),
        fault(V6, Malformed(TcpTruncated), &[(19, 10)]),
        fault(V6, Malformed(TcpDataOffsetTooSmall), &[(66, 0x40)]),
        fault(V6, Malformed(TcpPortZero), &[(56, 0), (57, 0)]),
        fault(V6, Malformed(TcpFlagsNone), &[(67, 0)]),
        // From here on a flow is looked for in vain first.
        fault(V4, ProtocolUnsupported, &[(23, 132)]),
        fault(V6, ProtocolUnsupported, &[(20, 132)]),
        fault(V4, DestinationMartian, &[(30, 127)]),
        fault(V4, DestinationGroup, &[(30, 224)]),
        fault(V6, DestinationGroup, &[(38, 0xff)]),
        typical(fault(V4, NoVirtualServer, &[(37, 81)])),
        typical(fault(V6, NoVirtualServer, &[(57, 81)])),
    ]
};

const fn fault(families: &'static [Family], reason: DropReason, bytes: &'static [(usize, u8)]) -> Fault {
    Fault { reason, families, is_typical: false, bytes, length: None }
}

const fn typical(fault: Fault) -> Fault {
    Fault { is_typical: true, ..fault }
}

const fn cut(fault: Fault, length: usize) -> Fault {
    Fault { length: Some(length), ..fault }
}

/// Why packets of a family are dropped; of everything only the typical reasons.
pub(super) fn reasons(family: Family, is_short: bool) -> impl Iterator<Item = DropReason> {
    faults(family).filter(move |fault| fault.is_typical || !is_short).map(|fault| fault.reason)
}

/// What makes a gateway drop a family's packets for a reason.
pub(super) fn find(family: Family, reason: DropReason) -> Option<&'static Fault> {
    faults(family).find(|fault| fault.reason == reason)
}

fn faults(family: Family) -> impl Iterator<Item = &'static Fault> {
    FAULTS.iter().filter(move |fault| fault.families.contains(&family))
}

impl Fault {
    /// Changes a frame; checksums are as they were.
    pub(super) fn spoil(&self, frame: &mut [u8]) {
        for &(offset, value) in self.bytes {
            if let Some(byte) = frame.get_mut(offset) {
                *byte = value;
            }
        }
    }

    /// Where a frame of this length ends.
    pub(super) fn length(&self, length: usize) -> usize {
        self.length.unwrap_or(length)
    }

    /// Whether the IPv4 header's checksum is what is wrong.
    pub(super) fn is_of_checksum(&self) -> bool {
        self.reason == DropReason::Malformed(Refusal::Ipv4HeaderChecksum)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Mode;

    use super::*;
    use crate::bench::{Case, Scenario, Size, measure::look, rig::Rig, script::Script};

    #[test]
    fn each_fault_is_dropped_for_its_reason() {
        for family in [Family::V4, Family::V6] {
            let drop = None;
            let case = Case {
                scenario: Scenario::Drops,
                drop,
                mode: Mode::Nat,
                family,
                flows: 64,
                size: Size::default(),
            };
            let mut rig = Rig::try_new(&case, 2_000_000_000, Arc::default()).unwrap();
            assert!(reasons(family, false).count() > 15);
            for reason in reasons(family, false) {
                let case = Case { drop: Some(reason), ..case };
                let script = Script::of(&case).unwrap().first(64);
                assert_eq!(look(&mut rig, &case, &script).map_err(|failure| failure.to_string()), Ok(64));
            }
        }
    }

    #[test]
    fn typical_reasons_are_few_and_known() {
        assert_eq!(reasons(Family::V4, true).count(), 3);
        assert_eq!(reasons(Family::V6, true).count(), 2);
        assert!(find(Family::V6, DropReason::Malformed(Refusal::Ipv4Version)).is_none());
    }
}

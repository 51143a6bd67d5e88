//! What an operator can do about packets that are dropped.

use datapath::DropReason;

/// What to do about packets that are dropped for `reason`, in a sentence or two.
#[expect(clippy::too_many_lines, reason = "a table: an arm for each reason")]
pub(crate) const fn remedy(reason: DropReason) -> &'static str {
    use DropReason as R;
    match reason {
        R::Malformed(_) => {
            "The sender, or something on the way, makes such packets: capture at the port and look at one."
        }
        R::DestinationMacNotOurs => {
            "Send to the port's own MAC address; a switch may flood what it has not learned."
        }
        R::GroupFrameUnicastPacket | R::SourceMacGroup => {
            "The sender's link layer is at fault: look at its ARP table."
        }
        R::EtherTypeUnknown | R::EtherTypeIsLength => "Nothing; such frames are part of any link.",
        R::VlanUnknown => "Give the port the VLAN in `vlans`, or take it off the switch's port.",
        R::VlanStacked => "Take the outer tag off where the switch's port is configured.",
        R::FrameCut => {
            "Give the port's ring larger slots (framesz, blocksz), or switch segmentation offload off at the sender (ethtool -K IFACE tso off gso off)."
        }
        R::FrameOverMtu => {
            "Switch segmentation offload off at the sender (ethtool -K IFACE tso off gso off), or raise the port's mtu."
        }
        R::HeadersScattered => "Raise the port's mtu, so that frames arrive in one piece.",
        R::SourceMartian | R::DestinationMartian => {
            "Such addresses never cross a router: look for who sends them."
        }
        R::SourceIsOurs => "Another machine uses an address of this gateway: find it by its MAC address.",
        R::DestinationGroup => "Nothing; the gateway does not listen to this group.",
        R::NoVirtualServer => {
            "Compare address, port and protocol with `virtual_servers`; send here only what they are for."
        }
        R::SourceDenied => "Allow the source in the virtual server's `sources`, if it may come in.",
        R::ConnectionLimit | R::ConnectionRateLimit | R::SourceRateLimit | R::BandwidthLimit => {
            "Raise the virtual server's `limits`, if the pool can take more; see who sends so much."
        }
        R::BackendLimit => "Add backends to the pool, or raise their `max_connections` or `new_per_second`.",
        R::BackendBandwidthLimit => "Add backends to the pool, or raise the backend's `bandwidth`.",
        R::NoListener => "`host: true` at the port passes such packets to the kernel.",
        R::ProtocolUnsupported => "A virtual server with `protocol: any` takes all but ICMP.",
        R::ProtocolNotTranslated => {
            "Take `dsr`, `ipip` or `gue`, which leave packets as they are; `nat` passes ESP, GRE, SCTP, EtherIP, L2TPv3, MPLS and IP within IP."
        }
        R::Fragment => {
            "Only a virtual server with `protocol: any` takes such packets, and ICMP is never passed on: lower the sender's MTU, so that it does not fragment."
        }
        R::FragmentOverlap => {
            "Nothing sound sends such fragments, but a link that doubles packets: look for who sends them."
        }
        R::FragmentsTooLong => "Nobody means well who sends such fragments: look for who does.",
        R::FramesExhausted => "Give the packet memory more segments (`workers.mbufs`).",
        R::FragmentsScattered | R::FragmentHeadLost | R::FragmentMissing => {
            "Fragments are lost or come far out of order: lower the sender's MTU, so that it does not fragment."
        }
        R::FragmentQueueFull | R::FragmentTableFull => {
            "More fragments come than can be put in order: lower the senders' MTU, or look for who floods."
        }
        R::QuoteUnknown => "Nothing; the flow has ended, or somebody guesses.",
        R::IcmpLimited => "Nothing; who is not told now is told when it sends again.",
        R::IcmpUnsupported => {
            "Nothing, when clients do not depend on it; `host: true` passes the port's own to the kernel."
        }
        R::TransportChecksum => "Look for a faulty cable or card between the sender and here.",
        R::NoFlow => {
            "A conversation begins with a SYN. `loose_initiation: true` in the profile adopts those that began before."
        }
        R::CookieFalse => {
            "Nothing; the conversation has ended, or somebody guesses. With `loose_initiation: true` such packets are adopted."
        }
        R::CookieExpired => "Nothing; the client was silent for minutes after its SYN.",
        R::BackendNotReady => "See why the backend takes so long to answer SYNs.",
        R::NoBackend => "Enable a backend of the pool with a weight, and see why its monitors fail.",
        R::BackendDown => {
            "See why the backend is down, or set `on_backend_down` of its pool to `none` or `reselect`."
        }
        R::BackendRemoved => "Drain backends before removing them, so that their flows end.",
        R::FlowTableFull => "Raise `workers.flows`.",
        R::FlowCollision => {
            "Two virtual servers lead to the same backend: give it two ports, or use full_nat."
        }
        R::SnatExhausted => "Give the virtual server more addresses in `snat`, or the pool more backends.",
        R::TtlExpired => "Look for a routing loop, or whether the sender traces its route.",
        R::NoRoute => "Give the port a network, a route or a gateway that leads there.",
        R::NeighbourUnreachable => {
            "See whether the next hop is up and on this link, or give it in `neighbours`."
        }
        R::NeighbourQueueFull | R::NeighbourTableFull => {
            "Reach backends through a router, or give them in `neighbours`."
        }
        R::ArpNotForUs | R::NdNotForUs => "Nothing; such questions are part of any link.",
        R::ToHostRateLimit | R::FromHostRateLimit => {
            "Raise the port's `host_limit` if the host needs more; see who sends so much."
        }
        R::TransmitQueueFull | R::HostQueueFull | R::HandOverFull => {
            "More arrives than can leave: see `worker list`."
        }
        R::FrameUnsendable => {
            "Raise the largest `mtu` of the ports: packet memory is made in pieces of that size."
        }
        R::OptionsUntranslatable => {
            "Have the client leave its IP options out, or give the pool a backend of the client's family."
        }
        R::FragmentWithoutChecksum => {
            "Have the client send UDP checksums or smaller datagrams, or give the pool a backend of the client's family."
        }
        R::NoHeadroom => {
            "Look for what takes the room in front of packets at the port's device: DPDK leaves 128 bytes."
        }
        R::NoRoomForAnswer | R::NoRoomForTag => "Raise the port's mtu.",
        R::Shutdown => "Nothing; the gateway was stopping.",
    }
}

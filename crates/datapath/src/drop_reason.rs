//! Why a packet was not forwarded.
//!
//! Every refusal has exactly one reason, and every reason is a counter whose name is derived from the variant: adding a
//! variant adds the counter, its documentation and its row in `tidegate drop list`.

use std::fmt;

use wire::Refusal;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident,)*) => {
        /// The one cause for which a packet was not forwarded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DropReason {
            /// Its headers are malformed; [`Refusal`] says how.
            Malformed(Refusal),
            $($(#[doc = $doc])+ $variant,)*
        }

        /// The variants besides `Malformed`, as numbers.
        enum Number { $($variant,)* }

        /// Reasons besides `Malformed`, with the text of their documentation.
        const OWN: &[(DropReason, &str, &str)] =
            &[$((DropReason::$variant, stringify!($variant), concat!($($doc),+)),)*];

        impl DropReason {
            /// How many reasons there are.
            pub const COUNT: usize = Refusal::ALL.len() + OWN.len();

            /// The position of this reason's counter, less than [`Self::COUNT`].
            #[must_use]
            pub const fn index(self) -> usize {
                match self {
                    Self::Malformed(refusal) => refusal as usize,
                    $(Self::$variant => Refusal::ALL.len() + Number::$variant as usize,)*
                }
            }
        }
    };
}

reasons! {
    /// The destination MAC address is another machine's.
    DestinationMacNotOurs,
    /// A unicast packet came in a broadcast or multicast frame (RFC 1122, 3.3.6).
    GroupFrameUnicastPacket,
    /// The source MAC address is a group address.
    SourceMacGroup,
    /// The EtherType is none of IPv4, IPv6, ARP.
    EtherTypeUnknown,
    /// An 802.3 frame with a length instead of an EtherType.
    EtherTypeIsLength,
    /// The VLAN id is not configured on the port.
    VlanUnknown,
    /// More than one VLAN tag.
    VlanStacked,
    /// The capture ring of a software port cut the frame.
    FrameCut,
    /// The packet is larger than the port that it would leave by takes, and its sender is not told: larger than the port that it came
    /// by takes as well (a sender's segmentation offload is on), a later fragment, or itself an ICMP error.
    FrameOverMtu,
    /// The headers lie in too many segments to be gathered.
    HeadersScattered,
    /// The source address can be nobody's: this network, loopback, multicast, reserved (RFC 1812, 5.3.7).
    SourceMartian,
    /// The source address is one of ours.
    SourceIsOurs,
    /// The destination address can be nobody's.
    DestinationMartian,
    /// A broadcast or multicast that nobody here listens to.
    DestinationGroup,
    /// The destination is no virtual server.
    NoVirtualServer,
    /// The virtual server takes no new flows from this source.
    SourceDenied,
    /// The virtual server has as many open flows as it may have.
    ConnectionLimit,
    /// The virtual server has opened as many flows as it may in a second.
    ConnectionRateLimit,
    /// The source has opened as many flows as one may in a second with this virtual server.
    SourceRateLimit,
    /// The virtual server's bandwidth is used up.
    BandwidthLimit,
    /// No backend of the pool was found that has fewer open flows, or has opened fewer in this second, than it may.
    BackendLimit,
    /// The backend's bandwidth is used up.
    BackendBandwidthLimit,
    /// The destination is one of our own addresses, and nothing listens there.
    NoListener,
    /// No virtual server takes this L4 protocol.
    ProtocolUnsupported,
    /// `nat` would change addresses that something in packets of this L4 protocol depends on, or may depend on.
    ProtocolNotTranslated,
    /// A fragment of a packet that no virtual server takes, being neither TCP nor UDP.
    Fragment,
    /// A fragment with bytes that have come before, or that contradicts where its packet ends.
    FragmentOverlap,
    /// A fragment of a packet with more gaps between fragments than are kept in mind.
    FragmentsScattered,
    /// The first fragment of its packet did not come in time.
    FragmentHeadLost,
    /// Others of the packet's fragments did not come in time, without which it cannot be put together.
    FragmentMissing,
    /// The packet that was put together of fragments is longer than any packet.
    FragmentsTooLong,
    /// Too many fragments wait for others of their packet.
    FragmentQueueFull,
    /// Fragments of too many packets came while it waited for the first one of its own.
    FragmentTableFull,
    /// An ICMP message that is neither answered nor translated.
    IcmpUnsupported,
    /// An ICMP error about a packet of no flow, or for another than who has sent that packet.
    QuoteUnknown,
    /// A packet whose sender was to be told why it does not go on, when too many had been told of late.
    IcmpLimited,
    /// The L4 checksum is wrong: the device found it so, or a segment was to be answered here.
    TransportChecksum,
    /// A segment in mid-conversation that belongs to no flow, while SYNs are answered with cookies, and acknowledges none.
    CookieFalse,
    /// The same that acknowledges a SYN cookie which was made too long ago.
    CookieExpired,
    /// A segment of a conversation that was opened with a SYN cookie, before the backend has agreed to it: it will come again.
    BackendNotReady,
    /// A packet in mid-conversation that belongs to no flow.
    NoFlow,
    /// No backend of the pool takes new flows.
    NoBackend,
    /// The flow's backend was removed or disabled.
    BackendRemoved,
    /// The flow's backend is down, and its pool says that flows end then.
    BackendDown,
    /// The worker's flow table has no room.
    FlowTableFull,
    /// Another flow has the same addresses and ports on the backend's side.
    FlowCollision,
    /// No SNAT port is free for this backend.
    SnatExhausted,
    /// The time to live ended here, and the sender is not told: a later fragment, or itself an ICMP error.
    TtlExpired,
    /// No network, route or gateway leads to the next hop.
    NoRoute,
    /// The next hop did not answer ARP or neighbour solicitations.
    NeighbourUnreachable,
    /// Too many packets wait for next hops to answer.
    NeighbourQueueFull,
    /// Too many next hops to remember.
    NeighbourTableFull,
    /// ARP that asks for, or tells of, somebody else.
    ArpNotForUs,
    /// Neighbour discovery that asks for, or tells of, somebody else.
    NdNotForUs,
    /// The transmit queue had no room.
    TransmitQueueFull,
    /// The frame lies in more segments of memory than the port that it would leave by can send, and does not fit into one.
    FrameUnsendable,
    /// The host twin's queue had no room.
    HostQueueFull,
    /// It was for the host twin, which has got as many packets as it may of late (`host_limit`).
    ToHostRateLimit,
    /// The host twin has sent as many packets as it may of late (`host_limit`).
    FromHostRateLimit,
    /// The ring to the flow's owner had no room.
    HandOverFull,
    /// IPv4 options or IPv6 extension headers, where the backend is of the other family, which has nothing like them.
    OptionsUntranslatable,
    /// A part of an IPv4 datagram without a checksum, where the backend is of IPv6, which demands one (RFC 7915, 4.5).
    FragmentWithoutChecksum,
    /// The frame has no room in front of it for the outer headers of `ipip` or `gue`, or for the longer header of the other family.
    NoHeadroom,
    /// The packet was to be cut into several, and the pool had no frame left for one of these.
    FramesExhausted,
    /// The answer is longer than the request, and its frame has no room.
    NoRoomForAnswer,
    /// The frame has no room for the tag of the VLAN that it would leave by.
    NoRoomForTag,
    /// The gateway stopped with the packet in its hands.
    Shutdown,
}

impl DropReason {
    /// All reasons, in the order of their counters.
    pub fn all() -> impl Iterator<Item = Self> {
        let malformed = Refusal::ALL.iter().map(|&refusal| Self::Malformed(refusal));
        malformed.chain(OWN.iter().map(|&(reason, ..)| reason))
    }

    /// The name in counters, tables and JSON: the variant in snake case.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Malformed(refusal) => refusal.name().to_string(),
            _ => self.own().map_or_else(String::new, |(variant, _)| snake_case(variant)),
        }
    }

    /// What it means, in a sentence.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::Malformed(refusal) => refusal.description(),
            _ => self.own().map_or("", |(_, text)| text.trim()),
        }
    }

    fn own(self) -> Option<(&'static str, &'static str)> {
        let index = self.index().checked_sub(Refusal::ALL.len())?;
        OWN.get(index).map(|&(_, variant, text)| (variant, text))
    }
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        Self::Malformed(refusal)
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

fn snake_case(camel: &str) -> String {
    let mut name = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_name_and_description() {
        let all: Vec<_> = DropReason::all().collect();
        assert_eq!(all.len(), DropReason::COUNT);
        for (position, reason) in all.iter().enumerate() {
            assert_eq!(reason.index(), position, "{reason}");
            assert!(!reason.description().is_empty(), "{reason}");
        }
        assert_eq!(all.iter().map(|reason| reason.name()).collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a_name_is_the_variant_in_snake_case() {
        assert_eq!(DropReason::NoVirtualServer.to_string(), "no_virtual_server");
    }
}

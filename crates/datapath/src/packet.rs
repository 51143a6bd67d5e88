//! What the passes know of each packet of a burst, side by side with the frames.

use flow::{Candidate, FlowKey, Place};
use model::{Address, PortId};
use nic::MAX_BURST;
use wire::{
    U16,
    ipv4::Ipv4,
    ipv6::{self, Ipv6},
    protocol,
};

use crate::{Verdict, neighbour::NeighbourIndex, plan::Plan};

/// What a packet turned out to be when it was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// TCP or UDP with all headers where nearly all packets have them: `wire::ipv4::EthernetIpv4Tcp`. It may belong to a flow.
    PlainV4,
    /// TCP over IPv6 of that kind: `wire::ipv6::EthernetIpv6Tcp`.
    PlainV6,
    /// Any other TCP and UDP: it may belong to a flow.
    Balanced,
    /// ARP.
    Arp,
    /// Neither IP nor ARP, but for the host: LLDP, IS-IS.
    Link,
    /// ICMP or ICMPv6.
    Icmp,
    /// A part of a packet, of any L4 protocol.
    Fragment,
    /// Any other L4 protocol. Without ports, but it may belong to a flow all the same.
    Other,
}

/// Where the headers of one packet lie, and perhaps its flow. Offsets count from the first byte of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) kind: Kind,
    pub(crate) v6: bool,
    /// Of the IP header, or of the ARP message.
    pub(crate) network: u8,
    /// TCP flags; 0 for all else.
    pub(crate) flags: u8,
    /// Of the L4 header.
    pub(crate) transport: u16,
    /// Bytes of the IP packet, its header included.
    pub(crate) length: u16,
    /// Where its flow is looked for.
    pub(crate) place: Place,
}

const _: () = assert!(size_of::<Packet>() == 24);

impl Packet {
    /// Nothing is known.
    pub(crate) const NONE: Self = Self {
        kind: Kind::Other,
        v6: false,
        network: 0,
        flags: 0,
        transport: 0,
        length: 0,
        place: Place::NOWHERE,
    };

    /// Its key in a route domain, read from the headers of its frame; the default one, which no flow has, if it is not IP.
    pub(crate) fn key(&self, head: &[u8], domain: u8) -> FlowKey {
        let network = usize::from(self.network);
        let (source, destination, protocol) = if matches!(self.kind, Kind::Arp | Kind::Link) {
            return FlowKey::default();
        } else if self.v6 {
            let Some(header) = wire::header::<Ipv6>(head, network) else { return FlowKey::default() };
            (Address::from_v6(header.source), Address::from_v6(header.destination), self.protocol_v6(head))
        } else {
            let Some(header) = wire::header::<Ipv4>(head, network) else { return FlowKey::default() };
            (Address::from_v4(header.source), Address::from_v4(header.destination), header.protocol)
        };
        let ports = wire::header::<[U16; 2]>(head, usize::from(self.transport));
        let [source_port, destination_port] =
            ports.filter(|_| self.is_balanced()).map_or([0; 2], |ports| ports.map(U16::get));
        FlowKey { source, destination, source_port, destination_port, protocol, domain, ..FlowKey::default() }
    }

    /// Behind extension headers the L4 protocol is known by what was made of it, or found once more.
    fn protocol_v6(&self, head: &[u8]) -> u8 {
        match self.kind {
            Kind::Icmp => protocol::ICMPV6,
            Kind::PlainV4 | Kind::PlainV6 | Kind::Balanced => self.protocol(),
            Kind::Other => {
                let packet = head.get(usize::from(self.network)..).unwrap_or_default();
                ipv6::check_beginning(packet).map_or(0, |layout| layout.protocol)
            }
            Kind::Arp | Kind::Link | Kind::Fragment => 0,
        }
    }

    /// Whether it is TCP, if it has ports: every TCP packet that was accepted has a flag set.
    #[inline(always)]
    pub(crate) const fn is_tcp(&self) -> bool {
        self.flags != 0
    }

    /// Its L4 protocol, if it has ports.
    #[inline(always)]
    pub(crate) const fn protocol(&self) -> u8 {
        if self.is_tcp() { protocol::TCP } else { protocol::UDP }
    }

    /// Whether it has ports.
    pub(crate) const fn is_balanced(&self) -> bool {
        matches!(self.kind, Kind::PlainV4 | Kind::PlainV6 | Kind::Balanced)
    }

    /// Whether it may belong to a flow, by itself.
    pub(crate) const fn has_flow(&self) -> bool {
        self.is_balanced() || matches!(self.kind, Kind::Other)
    }
}

/// How far a packet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is known but its headers.
    Parsed,
    /// It is complete but for its next hop, which has yet to answer.
    Wait(PortId, NeighbourIndex),
    /// It is a fragment that waits for others of its packet.
    WaitForParts,
    /// It is complete, but has to be cut into several of this many bytes at most; the next hop is none if it has answered.
    Cut { port: PortId, hop: NeighbourIndex, size: u16 },
    /// Nothing more is to be done but what the verdict says.
    Done(Verdict),
}

const _: () = assert!(size_of::<Step>() == 8);

/// The packets of a burst: one array per thing known, at the position of the frame. What is behind `count` is stale.
pub(crate) struct Packets {
    pub(crate) count: usize,
    pub(crate) packets: [Packet; MAX_BURST],
    pub(crate) steps: [Step; MAX_BURST],
    pub(crate) candidates: [Candidate; MAX_BURST],
    /// Of packets without a candidate.
    pub(crate) plans: [Option<Plan>; MAX_BURST],
}

impl Packets {
    pub(crate) fn new() -> Self {
        Self {
            count: 0,
            packets: [Packet::NONE; MAX_BURST],
            steps: [Step::Parsed; MAX_BURST],
            candidates: [Candidate::NONE; MAX_BURST],
            plans: [None; MAX_BURST],
        }
    }
}

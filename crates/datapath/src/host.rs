//! What is for the host, by way of the twin of a port (`host: true`), and how much of it.
//!
//! The host gets what is for the port's own addresses and is not answered here (`stray`), among it BGP, BFD and unicast OSPF; answers to
//! its ARP and ND; what routing protocols say to groups of the link; LLDP and IS-IS. It gets nothing of virtual servers.
//!
//! With an IPv6 address a twin has the link-local one of the port's Ethernet address too, from which OSPFv3 and router discovery speak. It is the
//! gateway that answers for it, as for the others.

use flow::FlowKey;
use model::{Address, Millis, PortId};
use nic::Frame;
use wire::{
    U16,
    ethernet::{self, Ethernet, ether_type},
    icmpv6,
    ipv4::{self, Ipv4},
    ipv6, protocol, vlan,
};

use crate::{
    DropReason, Snapshot, Verdict, WorkerState,
    limit::HostWay,
    packet::{Packet, Step},
    parse::SMALLEST_ETHER_TYPE,
    serve::Occasion,
    snat::BFD_PORTS,
    state::Memory,
    stray,
};

/// Groups that LLDP speaks to (IEEE 802.1AB, 7.1).
const LLDP_GROUPS: [[u8; 6]; 3] =
    [[0x01, 0x80, 0xc2, 0, 0, 0x0e], [0x01, 0x80, 0xc2, 0, 0, 0x03], [0x01, 0x80, 0xc2, 0, 0, 0x00]];
/// All intermediate systems of level 1 and of level 2 (ISO/IEC 10589, 8.4.8), and all of them on a link between two (RFC 5309, 4.1).
const IS_IS_GROUPS: [[u8; 6]; 3] =
    [[0x01, 0x80, 0xc2, 0, 0, 0x14], [0x01, 0x80, 0xc2, 0, 0, 0x15], [0x09, 0, 0x2b, 0, 0, 0x05]];

/// What is in an IS-IS frame before the PDU: both service access points (ISO/IEC 10589, 8.4.7).
const IS_IS_LLC: [u8; 2] = [0xfe, 0xfe];

/// Ports of routing protocols over UDP that speak to groups of the link: RIP (RFC 2453, 3.1), RIPng (RFC 2080, 2.1), LDP (RFC 5036, 3.10),
/// Babel (RFC 8966, 4).
const GROUP_PORTS: [u16; 4] = [520, 521, 646, 6696];
/// RFC 4271, 8.2.1
const BGP_PORT: u16 = 179;

/// Whether a frame that is neither IP nor ARP is for the host.
#[cold]
pub(crate) fn is_of_link(head: &[u8], kind: u16) -> bool {
    let Some(Ethernet { destination, .. }) = wire::header(head, 0) else { return false };
    match kind {
        ether_type::LLDP => LLDP_GROUPS.contains(destination),
        length if length < SMALLEST_ETHER_TYPE => {
            IS_IS_GROUPS.contains(destination)
                && head.get(ethernet::HEADER..).is_some_and(|llc| llc.starts_with(&IS_IS_LLC))
        }
        _ => false,
    }
}

/// Whether an address is the link-local one of the host on the port that a packet for it came by.
pub(crate) fn is_own(occasion: &Occasion<'_>, address: Address) -> bool {
    let port =
        occasion.snapshot.port(occasion.arrival.port).filter(|port| port.host && port.senders.v6.is_some());
    port.is_some_and(|port| address == Address::from_v6(port.mac.link_local().octets()))
}

/// Whether a packet is from a switch that asks for listeners and has no address (RFC 4541, 2.1.1).
pub(crate) const fn is_query_of_nobody(key: &FlowKey) -> bool {
    key.protocol == protocol::IGMP
        && matches!(key.source.octets(), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0])
}

/// What becomes of a packet that is to be dropped for `reason`: one for a group may be the host's.
pub(crate) fn instead<F: Frame>(
    occasion: &Occasion<'_>,
    (frame, packet): (&F, &Packet),
    key: &FlowKey,
    reason: DropReason,
) -> Result<Step, DropReason> {
    match reason {
        DropReason::DestinationGroup => group(occasion, frame, packet, key).map(Step::Done),
        reason => Err(reason),
    }
}

/// A packet for a group: the host's if the group is of the link and a routing protocol speaks to it, or what keeps groups.
pub(crate) fn group<F: Frame>(
    occasion: &Occasion<'_>,
    frame: &F,
    packet: &Packet,
    key: &FlowKey,
) -> Result<Verdict, DropReason> {
    let said = Said::of(frame.head(), usize::from(packet.network), packet.v6);
    let is_for_host =
        said.is_some_and(|said| is_on_link(key.destination, said.protocol) && said.is_of_groups());
    let otherwise = DropReason::DestinationGroup;
    match stray::to_host(occasion, occasion.arrival.port, otherwise) {
        Verdict::ToHost(port) if is_for_host => Ok(Verdict::ToHost(port)),
        _ => Err(otherwise),
    }
}

/// Whether packets for a group stay on the link (RFC 5771, 4; RFC 4291, 2.7). A query or report names the group that it is about, whichever
/// that is (RFC 3376, 4.1.12; RFC 2236, 9).
fn is_on_link(group: Address, number: u8) -> bool {
    match group.octets() {
        [.., 224, 0, 0, _] if group.is_v4() => true,
        [.., 224..=239, _, _, _] if group.is_v4() => number == protocol::IGMP,
        [0xff, flags_and_scope, ..] => flags_and_scope & 0xf == 2 || number == protocol::ICMPV6,
        _ => false,
    }
}

/// What a packet says of its purpose.
#[derive(Clone, Copy)]
struct Said {
    protocol: u8,
    /// Ports of TCP and UDP; 0 of all else.
    ports: [u16; 2],
    /// The kind of an ICMPv6 message; 0 of all else.
    kind: u8,
}

impl Said {
    /// Of the IP packet that begins there. A fragment without the beginning says its protocol only.
    fn of(head: &[u8], network: usize, v6: bool) -> Option<Self> {
        let packet = head.get(network..)?;
        let (protocol, transport, is_later) = if v6 {
            let layout = ipv6::check_beginning(packet).ok()?;
            (layout.protocol, layout.transport, layout.fragment.is_some_and(|fragment| !fragment.is_first()))
        } else {
            let header: &Ipv4 = wire::header(packet, 0)?;
            let length = usize::from(header.version_and_length & 0xf) * 4;
            (header.protocol, length, !ipv4::fragment(header).is_first())
        };
        let inside = if is_later { &[] } else { packet.get(transport..).unwrap_or_default() };
        let has_ports = matches!(protocol, protocol::TCP | protocol::UDP);
        let ports = wire::header::<[U16; 2]>(inside, 0).filter(|_| has_ports);
        let kind = inside.first().filter(|_| protocol == protocol::ICMPV6);
        Some(Self {
            protocol,
            ports: ports.map_or([0; 2], |ports| ports.map(U16::get)),
            kind: kind.copied().unwrap_or_default(),
        })
    }

    /// Whether it is said to groups by what routes, or by what keeps groups.
    const fn is_of_groups(self) -> bool {
        let Self { protocol, ports: [_, port], kind } = self;
        match protocol {
            protocol::IGMP | protocol::EIGRP | protocol::OSPF | protocol::PIM | protocol::VRRP => true,
            protocol::UDP => is_among(&GROUP_PORTS, port),
            protocol::ICMPV6 => matches!(
                kind,
                icmpv6::LISTENER_QUERY
                    ..=icmpv6::LISTENER_DONE
                        | icmpv6::LISTENER_REPORT
                        | icmpv6::ROUTER_SOLICITATION
                        | icmpv6::ROUTER_ADVERTISEMENT
            ),
            _ => false,
        }
    }

    /// Whether routes or neighbours may be lost without it.
    const fn is_vital(self) -> bool {
        let Self { protocol, ports: [source, destination], kind } = self;
        match protocol {
            protocol::TCP => source == BGP_PORT || destination == BGP_PORT,
            protocol::UDP => is_among(&BFD_PORTS, destination) || is_among(&GROUP_PORTS, destination),
            protocol::ICMPV6 => {
                self.is_of_groups() || matches!(kind, icmpv6::NEIGHBOUR_SOLICITATION..=icmpv6::REDIRECT)
            }
            _ => self.is_of_groups(),
        }
    }
}

const fn is_among(ports: &[u16], port: u16) -> bool {
    match ports {
        [first, rest @ ..] => *first == port || is_among(rest, port),
        [] => false,
    }
}

/// Whether routes or neighbours may be lost without a frame.
fn is_vital(head: &[u8]) -> bool {
    let Some(Ethernet { ether_type: outer, .. }) = wire::header(head, 0) else { return false };
    let (network, kind) = match outer.get() {
        ether_type::VLAN => match wire::header::<vlan::Tag>(head, ethernet::HEADER) {
            Some(tag) => (ethernet::HEADER + vlan::TAG, tag.ether_type.get()),
            None => return false,
        },
        kind => (ethernet::HEADER, kind),
    };
    match kind {
        ether_type::IPV4 | ether_type::IPV6 => {
            Said::of(head, network, kind == ether_type::IPV6).is_some_and(Said::is_vital)
        }
        // ARP, LLDP, IS-IS
        _ => true,
    }
}

/// What becomes of a frame that was about to go to the host: more than the host may get is dropped.
#[inline]
pub(crate) fn within_limit<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    head: &[u8],
    step: Step,
) -> Step {
    match step {
        Step::Done(Verdict::ToHost(port)) => Step::Done(pass_to(memory, occasion, head, port)),
        step => step,
    }
}

#[cold]
fn pass_to<F>(memory: &mut Memory<F>, occasion: &Occasion<'_>, head: &[u8], id: PortId) -> Verdict {
    if passes(memory, occasion.snapshot, (id, HostWay::ToHost), head, occasion.now) {
        Verdict::ToHost(id)
    } else {
        Verdict::Drop(DropReason::ToHostRateLimit)
    }
}

/// Whether a frame to or from the host is within its limit; if it is, it counts.
fn passes<F>(
    memory: &mut Memory<F>,
    snapshot: &Snapshot,
    (id, way): (PortId, HostWay),
    head: &[u8],
    now: Millis,
) -> bool {
    let limit = snapshot.port(id).map_or(0, |port| port.host_limit);
    let Some(meters) = memory.meters.port(id) else { return true };
    let is_within = memory.limiter.passes_host((id, way), (limit, is_vital(head)), now);
    if is_within {
        let counter = match way {
            HostWay::ToHost => &meters.to_host_passed,
            HostWay::FromHost => &meters.from_host_passed,
        };
        counter.add(1);
    }
    is_within
}

impl<F: Frame> WorkerState<F> {
    /// Whether a frame that the host twin of a port has sent goes on: it does not if the host has sent too many of late.
    pub fn passes_from_host(&mut self, snapshot: &Snapshot, port: PortId, frame: &F, now: Millis) -> bool {
        passes(&mut self.memory, snapshot, (port, HostWay::FromHost), frame.head(), now)
    }
}

//! Opens flows for plain first packets: the common case of what `admit` does, in one go.
//!
//! Floods of new flows take this way, so it looks at each thing once and copies nothing twice. Whatever is not as in nearly all
//! first packets (another worker's flow, `full_nat`, an address that is nobody's, a limit, a hop that is not known, a full table) is left
//! to `admit`, with nothing changed.

use flow::{FlowState, Hot, Identity, Repair, Side};
use model::{MacAddress, Mode, PortId};
use nic::Frame;
use wire::{
    checksum::{Delta, Sum},
    ethernet,
    ipv4::{Ends, EthernetIpv4Tcp, Ipv4},
};

use crate::{
    admit,
    begin::{is_first_segment, may_open},
    neighbour::Neighbours,
    packet::{Kind, Packet},
    pass,
    plan::Plan,
    resolve,
    serve::Occasion,
    snapshot::{Backend, VirtualServer},
    state::{Memory, count_opened},
    tally::Tallies,
    track,
    translation::repair,
    treat, tunnel,
};

/// Opens the flow of a packet, and sends the packet; the port that it leaves by. `None`, with
/// nothing changed but that the flow may be open, when there is more to it.
#[inline(never)]
pub(crate) fn open_v4<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (head, packet): (&mut [u8], &Packet),
    plan: &Plan,
) -> Option<PortId> {
    let server = occasion.snapshot.virtual_server(plan.server)?;
    if !matches!(server.mode, Mode::Nat | Mode::Dsr) {
        return None;
    }
    let translate = |ends: &Ends, backend: &Backend, _| Some(translation(server, ends, backend));
    let (hot, parts) = enter_v4(memory, occasion, (head, packet), (plan, server), translate)?;
    pass::send_v4((Side::Client, packet.protocol()), hot, parts, occasion, head, packet)
}

/// The same in `ipip` and `gue`; nothing in any other mode.
#[inline(never)]
pub(crate) fn open_tunnel_v4<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    plan: &Option<Plan>,
) -> Option<PortId> {
    let plan = plan.as_ref()?;
    let server = occasion.snapshot.virtual_server(plan.server)?;
    if packet.kind != Kind::PlainV4 || !server.mode.is_tunnel() {
        return None;
    }
    let outer = |_: &Ends, backend: &Backend, egress| {
        tunnel::outer(occasion.snapshot, server, (backend, egress), (true, plan.hash))
    };
    let (hot, parts) = enter_v4(memory, occasion, (frame.head_mut(), packet), (plan, server), outer)?;
    tunnel::send::<F, Ipv4>(hot, parts, occasion, (frame, ethernet::HEADER), packet)
}

/// A flow, and what sending its packets takes.
type Entered<'a, F> = (&'a mut Hot, (&'a mut Neighbours<F>, &'a mut Tallies));

/// Takes the flow of a packet in.
#[inline(always)]
fn enter_v4<'a, F>(
    memory: &'a mut Memory<F>,
    occasion: &Occasion<'_>,
    (head, packet): (&mut [u8], &Packet),
    (plan, server): (&Plan, &VirtualServer),
    translate: impl FnOnce(&Ends, &Backend, PortId) -> Option<(Ends, Repair)>,
) -> Option<Entered<'a, F>> {
    let headers = wire::header::<EthernetIpv4Tcp>(head, 0)?;
    let (snapshot, ends) = (occasion.snapshot, headers.ends());
    let is_ours = admit::foreign_owner(memory, occasion, || packet.key(head, 0)).is_none();
    if server.extent.first || !is_ours || !may_open(server, packet) || memory.flows.is_full() {
        return None;
    }
    if memory.guard.concerns(&server.cookies) {
        return None;
    }
    if !server.permits_v4(ends.source) || !server.limits.is_none() {
        return None;
    }
    let id = plan.backend?;
    let backend = snapshot.backend(id).filter(|backend| backend.limits.is_none())?;
    if !snapshot.addresses.is_client_v4(ends.source) {
        return None;
    }
    let hop = resolve::only_hop(snapshot, backend)?;
    let neighbour = memory.neighbours.remembered(id, hop)?;
    let (reply, to_backend) = translate(&ends, backend, hop.port)?;
    let link = (occasion.arrival.port, MacAddress(headers.link.source));
    let identity = Identity::new(true, packet.protocol(), 0);
    let state = if is_first_segment(packet) { FlowState::Handshake } else { FlowState::Established };
    let mut hot = Hot::new_v4(([ends, reply], to_backend), identity, server.mode, plan.server, link);
    hot.set_state(state);
    hot.created = occasion.flow_time();
    hot.incarnation = backend.incarnation as u8;
    hot.checked = track::checked((state, server.mode), occasion.flow_generation(), false);
    hot.backend = id;
    hot.neighbour = neighbour.0;
    let Memory { flows, neighbours, tallies, meters, guard, outlook, .. } = memory;
    let hot = flows.open_v4(packet.place, hot)?;
    guard.opened(state, occasion.now);
    count_opened(meters, (id, plan.server));
    if state == FlowState::Handshake && server.rtt.is_any() {
        outlook.begin_handshake((ends.source, ends.source_port.get()), hot.created, id);
    }
    if has_options(headers) && server.extent.handshakes && is_first_segment(packet) {
        treat::handshake(
            head,
            packet,
            &server.treatment,
            resolve::largest(neighbours, snapshot, hot, Side::Client),
        );
    }
    Some((hot, (neighbours, tallies)))
}

/// Whether a TCP header has any; of a datagram's data nothing follows.
const fn has_options(headers: &EthernetIpv4Tcp) -> bool {
    headers.transport.offset > 0x5f
}

/// What the backend's replies carry, and how rewriting for the backend changes checksums.
#[inline(always)]
fn translation(server: &VirtualServer, ends: &Ends, backend: &Backend) -> (Ends, Repair) {
    if server.mode == Mode::Dsr {
        return (ends.reversed(), Repair::default());
    }
    let address = backend.address.v4();
    let port = server.port_behind(backend, ends.destination_port.get());
    let reply = Ends { source: address, source_port: port.into(), ..ends.reversed() };
    // The client's end stays as it is.
    let addresses = Delta::between(Sum::of_two(ends.destination), Sum::of_two(address));
    let word = |port| Sum::default().plus_word(port);
    let ports = Delta::between(word(ends.destination_port.get()), word(port));
    (reply, repair(addresses, ports))
}

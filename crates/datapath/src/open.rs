//! Opens flows for plain first packets: the common case of what `admit` does, in one go.
//!
//! Floods of new flows take this way, so it looks at each thing once and copies nothing twice. Whatever is not as in nearly all
//! first packets (another worker's flow, `full_nat`, an address that is nobody's, a hop that is not known, a full table) is left
//! to `admit`, with nothing changed.

use flow::{FlowState, Hot, Identity, Place, Repair, Side};
use model::{MacAddress, Mode, PortId};
use wire::{
    checksum::{Delta, Sum},
    ipv4::{Ends, EthernetIpv4Tcp},
};

use crate::{
    admit::{self, count_opened, is_first_segment, may_open, repair},
    packet::Packet,
    pass,
    plan::Plan,
    resolve,
    serve::Occasion,
    snapshot::Backend,
    state::Memory,
    track, treat,
};

/// Opens the flow of a packet that was looked for at a place, and sends the packet; the port that it leaves by. `None`, with
/// nothing changed but that the flow may be open, when there is more to it.
#[inline(never)]
pub(crate) fn open_v4<F>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (head, packet): (&mut [u8], &Packet),
    place: Place,
    plan: &Plan,
) -> Option<PortId> {
    let headers = wire::header::<EthernetIpv4Tcp>(head, 0)?;
    let (snapshot, ends) = (occasion.snapshot, headers.ends());
    let server = snapshot.virtual_server(plan.server)?;
    let is_ours = admit::foreign_owner(memory, occasion, || packet.key(head)).is_none();
    if server.extent.all
        || !is_ours
        || server.mode == Mode::FullNat
        || !may_open(server, packet)
        || memory.flows.is_full()
    {
        return None;
    }
    let id = plan.backend?;
    let backend = snapshot.backend(id).filter(|_| snapshot.addresses.is_client_v4(ends.source))?;
    let neighbour = memory.neighbours.remembered(id, resolve::only_hop(snapshot, backend)?)?;
    let (reply, to_backend) = translation(server.mode, &ends, backend);
    let link = (occasion.arrival.port, MacAddress(headers.link.source));
    let identity = Identity::new(true, packet.protocol(), 0);
    let state = if is_first_segment(packet) { FlowState::Handshake } else { FlowState::Established };
    let mut hot = Hot::new_v4(([ends, reply], to_backend), identity, server.mode, plan.server, link);
    hot.set_state(state);
    hot.created = occasion.flow_time();
    hot.incarnation = backend.incarnation as u8;
    hot.checked = track::checked(state, occasion.flow_generation());
    hot.backend = id;
    hot.neighbour = neighbour.0;
    let Memory { flows, neighbours, tallies, meters, .. } = memory;
    let hot = flows.open_v4(place, hot)?;
    count_opened(meters, (id, plan.server));
    if has_options(headers) && server.extent.handshakes && is_first_segment(packet) {
        treat::handshake(head, packet, &server.treatment, resolve::largest(neighbours, snapshot, hot));
    }
    pass::send_v4((Side::Client, packet.protocol()), hot, (neighbours, tallies), occasion, head, packet)
}

/// Whether a TCP header has any; of a datagram's data nothing follows.
const fn has_options(headers: &EthernetIpv4Tcp) -> bool {
    headers.transport.offset > 0x5f
}

/// What the backend's replies carry, and how rewriting for the backend changes checksums.
#[inline(always)]
fn translation(mode: Mode, ends: &Ends, backend: &Backend) -> (Ends, Repair) {
    if mode == Mode::Dsr {
        return (ends.reversed(), Repair::default());
    }
    let (address, port) = (backend.address.v4(), backend.port);
    let reply = Ends { source: address, source_port: port.into(), ..ends.reversed() };
    // The client's end stays as it is.
    let addresses = Delta::between(Sum::of_two(ends.destination), Sum::of_two(address));
    let word = |port| Sum::default().plus_word(port);
    let ports = Delta::between(word(ends.destination_port.get()), word(port));
    (reply, repair(addresses, ports))
}

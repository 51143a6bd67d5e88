//! What changes between the packets of a flow's two sides, found when it is opened.

use flow::{FlowKey, Repair, TTL_STEP};
use model::{Address, Mode, ShowClient, VirtualServerId};
use wire::{
    checksum::{Delta, Sum},
    ipv4::Ends,
};

use crate::{
    DropReason, Snapshot,
    neighbour::NeighbourIndex,
    packet::Packet,
    plan,
    segment::Segment,
    snapshot::{Backend, VirtualServer},
    snat,
    state::Memory,
    tunnel,
};

/// What the backend's replies will carry (in `ipip` and `gue`: what outer headers are made of), and how rewriting for the backend
/// changes checksums.
pub(crate) fn translation<F>(
    memory: &mut Memory<F>,
    (snapshot, server): (&Snapshot, &VirtualServer),
    backend: &Backend,
    key: &FlowKey,
    (neighbour, hash, begins): (NeighbourIndex, u64, Option<(VirtualServerId, u32)>),
) -> Result<(FlowKey, Repair), DropReason> {
    let egress = memory.neighbours.hop(neighbour).ok_or(DropReason::NoRoute)?.port;
    let reply = match server.mode {
        Mode::Dsr => return Ok((key.reversed(), Repair::default())),
        Mode::Ipip | Mode::Gue => {
            let outer = tunnel::outer(snapshot, server, (backend, egress), (key.is_v4(), hash));
            let (ends, repair) = outer.ok_or(DropReason::NoRoute)?;
            return Ok((outer_key(key, &ends), repair));
        }
        Mode::Nat => plan::reply_in_nat(key, server, backend),
        Mode::FullNat => {
            let wish = snat::Wish {
                worker: memory.id,
                snapshot,
                egress,
                backend: (backend.address, server.port_behind(backend, key.destination_port)),
                protocol: key.protocol,
                domain: key.domain,
                hash,
                begins: begins.filter(|_| shows_numbers(server)),
            };
            let choice = snat::choose(&mut memory.flows, &server.snat, &wish)?;
            if let Some(over) = choice.ends {
                memory.forget(over);
            }
            choice.reply
        }
    };
    let ((old, old_ports), (new, new_ports)) = (sums(key), sums(&reply));
    Ok((reply, repair(Delta::between(old, new), Delta::between(old_ports, new_ports))))
}

/// The virtual server, and the number that a client's SYN begins with; `None` for all other packets.
pub(crate) fn begins(head: &[u8], packet: &Packet, id: VirtualServerId) -> Option<(VirtualServerId, u32)> {
    let first = Segment::read(head, packet).filter(Segment::is_first)?;
    Some((id, first.sequence))
}

/// Whether backends see the numbers that clients give to their segments.
fn shows_numbers(server: &VirtualServer) -> bool {
    !server.treatment.generate_isn && server.show_client != ShowClient::ProxyV2
}

/// Whether a packet with this key becomes one of the other family on its way to a backend.
pub(crate) fn crosses(server: &VirtualServer, backend: &Backend, key: &FlowKey) -> bool {
    server.mode == Mode::FullNat && backend.address.is_v4() != key.is_v4()
}

/// Outer ends in the form of a key; nobody's.
fn outer_key(key: &FlowKey, ends: &Ends) -> FlowKey {
    FlowKey {
        source: Address::from_v4(ends.source),
        destination: Address::from_v4(ends.destination),
        source_port: ends.source_port.get(),
        destination_port: ends.destination_port.get(),
        ..*key
    }
}

/// Of the addresses of a key, and of its ports.
fn sums(key: &FlowKey) -> (Sum, Sum) {
    let (source, destination) = if key.is_v4() {
        (Sum::of_two(key.source.v4()), Sum::of_two(key.destination.v4()))
    } else {
        (Sum::of(&key.source.octets()), Sum::of(&key.destination.octets()))
    };
    let ports = Sum::default().plus_word(key.source_port).plus_word(key.destination_port);
    (source.plus(destination), ports)
}

/// For the changes of addresses and of ports. The network part contains the step of the TTL.
#[inline(always)]
pub(crate) fn repair(addresses: Delta, ports: Delta) -> Repair {
    Repair { network: addresses.plus(Delta(TTL_STEP)).0, transport: addresses.plus(ports).0 }
}

//! Choosing a source port for a `full_nat` flow.
//!
//! There is no list of free ports: a port is free for a backend when the flow table has no flow with it, so different
//! backends share a port. The search starts at a hash of the client, which spreads clients over the ports and gives a
//! returning client its port back; it ends after a bounded number of tries.
//!
//! Of all ports a worker takes those that name it (`ownership`), so that replies find their way to it.

use flow::{FlowKey, FlowTable};
use model::{Address, PortId, WorkerId};
use wire::protocol;

use crate::{DropReason, snapshot::SnatRange};

/// Ports tried for one flow. At 95 % use of the ports the search fails once in 27 times.
const TRIES: u32 = 64;

/// Ports of BFD: on a link, its echo, and over several hops (RFC 5881, 4; RFC 5883, 5). The host speaks it from the addresses that are sources
/// too, so these are no source ports over UDP.
pub(crate) const BFD_PORTS: [u16; 3] = [3784, 3785, 4784];

/// Whether a port is left to the host.
pub(crate) const fn is_left_to_host(protocol: u8, port: u16) -> bool {
    let [on_link, echo, over_hops] = BFD_PORTS;
    protocol == protocol::UDP && (port == on_link || port == echo || port == over_hops)
}

/// Who asks for a source, and for what.
pub(crate) struct Wish {
    pub(crate) worker: WorkerId,
    pub(crate) workers: u8,
    /// The port by which the packets will leave.
    pub(crate) egress: PortId,
    /// The backend.
    pub(crate) backend: (Address, u16),
    pub(crate) protocol: u8,
    pub(crate) domain: u8,
    /// A hash of the client.
    pub(crate) hash: u64,
}

/// A key for the backend's replies that no flow has yet.
pub(crate) fn choose(flows: &FlowTable, ranges: &[SnatRange], wish: &Wish) -> Result<FlowKey, DropReason> {
    let (address, port) = wish.backend;
    let mut reply = FlowKey {
        source: address,
        source_port: port,
        protocol: wish.protocol,
        domain: wish.domain,
        ..FlowKey::default()
    };
    let usable = |range: &&SnatRange| range.port.is_none_or(|port| port == wish.egress);
    let usable = |range: &&SnatRange| usable(range) && range.address.is_v4() == address.is_v4();
    let count = ranges.iter().filter(usable).count() as u64;
    let start = wish.hash.checked_rem(count).ok_or(DropReason::SnatExhausted)?;
    let rotated = ranges.iter().filter(usable).cycle().skip(start as usize).take(count as usize);
    for range in rotated {
        reply.destination = range.address;
        for port in candidates(range, wish) {
            reply.destination_port = port;
            if flows.find(&reply).is_none() {
                return Ok(reply);
            }
        }
    }
    Err(DropReason::SnatExhausted)
}

/// The ports of a range that name the worker, from a place given by the hash on.
fn candidates(range: &SnatRange, wish: &Wish) -> impl Iterator<Item = u16> + use<> {
    let (workers, worker) = (u32::from(wish.workers.max(1)), u32::from(wish.worker.0));
    let (first, last) = (u32::from(range.first), u32::from(range.last));
    let count = (last + 1).saturating_sub(first + worker).div_ceil(workers);
    let (start, protocol) = ((wish.hash >> 32) as u32, wish.protocol);
    (0..TRIES.min(count)).filter_map(move |try_number| {
        let turn = start.wrapping_add(try_number).checked_rem(count)?;
        let port = u16::try_from(first + worker + turn * workers).ok()?;
        (!is_left_to_host(protocol, port)).then_some(port)
    })
}

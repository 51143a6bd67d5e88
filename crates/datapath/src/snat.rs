//! Choosing a source port for a `full_nat` flow.
//!
//! There is no list of free ports: a port is free for a backend when the flow table has no flow with it, so different
//! backends share a port. The search starts at a hash of the client, which spreads clients over the ports and gives a
//! returning client its port back; it ends after a bounded number of tries.
//!
//! Of all ports a worker takes those whose replies come to it: where it is known how the card spreads what it receives, by computing
//! that ([`Spread`]), and elsewhere those that name it (`ownership`), so that who receives a reply knows where it belongs.
//!
//! When none of them is free, the port of a connection that is over and waits ([`TcpRules::time_wait`]) is taken again, if the
//! backend would take the new connection for a new one (RFC 6191).
//!
//! [`Spread`]: crate::snapshot::Spread
//! [`TcpRules::time_wait`]: crate::snapshot::TcpRules::time_wait

use flow::{FlowIndex, FlowKey, FlowTable, Side};
use model::{Address, PortId, VirtualServerId, WorkerId};
use wire::protocol;

use crate::{
    DropReason, Snapshot,
    segment::is_at_or_after,
    snapshot::{Home, SnatRange},
    track,
};

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
pub(crate) struct Wish<'a> {
    pub(crate) worker: WorkerId,
    pub(crate) snapshot: &'a Snapshot,
    /// The port by which the packets will leave.
    pub(crate) egress: PortId,
    /// The backend.
    pub(crate) backend: (Address, u16),
    pub(crate) protocol: u8,
    pub(crate) domain: u8,
    /// A hash of the client.
    pub(crate) hash: u64,
    /// The virtual server, and the number that the client's SYN begins with, if the backend will see it as it is.
    pub(crate) begins: Option<(VirtualServerId, u32)>,
}

/// What was chosen.
pub(crate) struct Choice {
    /// The key of the backend's replies.
    pub(crate) reply: FlowKey,
    /// The flow that has it still, and is to end.
    pub(crate) ends: Option<FlowIndex>,
}

/// A key for the backend's replies that no flow has, or none that goes on.
pub(crate) fn choose(
    flows: &mut FlowTable,
    ranges: &[SnatRange],
    wish: &Wish<'_>,
) -> Result<Choice, DropReason> {
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
    let mut over = None;
    for range in rotated {
        reply.destination = range.address;
        for port in candidates(range, &reply, wish) {
            reply.destination_port = port;
            match flows.find(&reply) {
                None => return Ok(Choice { reply, ends: None }),
                Some(found) if over.is_none() && is_over(flows, found.index, wish) => {
                    over = Some(Choice { reply, ends: Some(found.index) });
                }
                Some(_) => {}
            }
        }
    }
    over.ok_or(DropReason::SnatExhausted)
}

/// The ports of a range whose replies come to the worker, from a place given by the hash on.
fn candidates<'a>(
    range: &SnatRange,
    reply: &FlowKey,
    wish: &Wish<'a>,
) -> impl Iterator<Item = u16> + use<'a> {
    let worker = wish.worker;
    let owned = wish.snapshot.addresses_in(wish.domain).owner(range.address);
    let spread = owned.and_then(|owned| wish.snapshot.spread(owned));
    let home: Option<Home<'a>> = spread.and_then(|spread| spread.home(reply));
    let workers = u32::from(wish.snapshot.workers.max(1));
    // What names the worker is every so many; what comes to it, one in so many.
    let (first, step, tries) = match home {
        Some(_) => (u32::from(range.first), 1, TRIES * workers),
        None => (u32::from(range.first) + u32::from(worker.0), workers, TRIES),
    };
    let count = (u32::from(range.last) + 1).saturating_sub(first).div_ceil(step);
    let (start, protocol) = ((wish.hash >> 32) as u32, wish.protocol);
    (0..tries.min(count)).filter_map(move |try_number| {
        let turn = start.wrapping_add(try_number).checked_rem(count)?;
        let port = u16::try_from(first + turn * step).ok()?;
        let is_home = home.is_none_or(|home| home.worker(port) == worker);
        (is_home && !is_left_to_host(protocol, port)).then_some(port)
    })
}

/// Whether a flow is one of TCP that both sides have ended, and the backend takes a SYN with the client's number for the first of a new one:
/// who is in TIME-WAIT does if it comes after all that there was (RFC 6191, 2; RFC 9293, 3.6.1).
fn is_over(flows: &mut FlowTable, index: FlowIndex, wish: &Wish<'_>) -> bool {
    let Some((server, begins)) = wish.begins.filter(|_| wish.protocol == protocol::TCP) else { return false };
    flows.tracked(index).is_some_and(|flow| {
        track::waits_for_stragglers(flow.hot)
            && flow.hot.virtual_server() == server
            && !track::is_translated(flow.hot)
            && is_at_or_after(begins, flow.numbers.end(Side::Client))
    })
}

//! ICMP errors that others send about packets of flows: translated, and sent on to whom they concern (RFC 792, RFC 4443;
//! RFC 5508, 4; RFC 1812, 4.3.3).
//!
//! An error quotes the packet that it is about as the gateway has sent it. Reversed, that packet's key is one of a flow. The
//! quote gets back the addresses and ports that the packet had before, so that its sender knows it again; the error goes there.
//! In `dsr` the packet was not changed, and neither is the error.
//!
//! Who says so is not to be seen from outside: towards the client an error comes from the virtual server, and in `full_nat` towards
//! the backend from the source address that it knows. In `nat` the backend sees the client's side as it is, and so it does here.

use flow::{FlowKey, Found, Hit, Side, TTL_STEP};
use model::{Address, MacAddress, Mode, WorkerId};
use nic::Frame;
use wire::{
    Refusal, U16, U32,
    checksum::{Delta, Sum, pseudo_v6},
    ethernet::Ethernet,
    icmpv4::{self, Icmpv4},
    icmpv6,
    ipv4::Ipv4,
    ipv6::Ipv6,
    protocol,
    quote::{self, Quote},
};

use crate::{
    DropReason, Snapshot, Verdict, complete, cross, hashed,
    neighbour::Link,
    ownership,
    packet::{Packet, Step},
    resolve, rewrite,
    serve::Occasion,
    state::Memory,
    stray, treat, tunnel,
};

/// Bytes of the smallest MTU of a link (RFC 791, 3.2).
const SMALLEST_MTU_V4: u16 = 68;
/// The same for IPv6 (RFC 8200, 5; RFC 8201, 4).
const SMALLEST_MTU_V6: u32 = 1280;

/// An ICMP error about a packet.
pub(crate) struct Error {
    /// Where the quote begins in the frame.
    pub(crate) at: usize,
    pub(crate) quote: Quote,
    /// The quoted packet's.
    pub(crate) key: FlowKey,
    /// Bytes of the largest packet that passes, if that is what it is about.
    mtu: Option<u16>,
}

/// Whether an ICMP message is an error.
pub(crate) fn is_error<F: Frame>(frame: &F, packet: &Packet) -> bool {
    let kind = frame.head().get(usize::from(packet.transport)).copied().unwrap_or_default();
    if packet.v6 { icmpv6::is_error(kind) } else { icmpv4::is_error(kind) }
}

/// Sends an ICMP error with this key, which is its own and not the quoted packet's, to whom it concerns.
#[cold]
#[inline(never)]
pub(crate) fn serve<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    key: &FlowKey,
) -> Result<Step, DropReason> {
    let read = read(frame, packet, key);
    let quoted = read.as_ref().ok().map(|error| error.key);
    let found = read.and_then(|error| {
        let sought = error.key.reversed();
        match memory.flows.find(&sought) {
            Some(found) => pass_on(memory, occasion, (frame, packet), &error, found),
            None => elsewhere(memory, occasion, (frame, packet), &sought),
        }
    });
    found.or_else(|reason| to_host(occasion, (key, quoted.as_ref()), reason))
}

/// An error about what the host has sent is the host's. What virtual servers have sent from an address of the host's is not.
fn to_host(
    occasion: &Occasion<'_>,
    (key, quoted): (&FlowKey, Option<&FlowKey>),
    reason: DropReason,
) -> Result<Step, DropReason> {
    let is_ours = |quoted: &FlowKey| {
        let owned = occasion.addresses().owner(quoted.source);
        owned.is_some_and(|owned| owned.is_snat_port(quoted.protocol, quoted.source_port))
    };
    match stray::unanswered(occasion, key, reason) {
        Verdict::ToHost(port) if !quoted.is_some_and(is_ours) => Ok(Step::Done(Verdict::ToHost(port))),
        _ => Err(reason),
    }
}

/// Reads what an error is about.
fn read<F: Frame>(frame: &F, packet: &Packet, key: &FlowKey) -> Result<Error, DropReason> {
    let (start, end) =
        (usize::from(packet.transport), usize::from(packet.network) + usize::from(packet.length));
    if pseudo(packet, key).plus(complete::payload_sum(frame, start)).fold() != 0xffff {
        return Err(Refusal::IcmpChecksum.into()); // RFC 5508, REQ-3 a
    }
    if key.source == Address::UNSPECIFIED {
        return Err(DropReason::SourceMartian);
    }
    let head = frame.head();
    let message = head.get(start..end.min(head.len())).unwrap_or_default();
    check_mtu(message, packet.v6)?;
    let quoted = message.get(quote::OFFSET..).ok_or(Refusal::QuoteTruncated)?;
    let quote = if packet.v6 { quote::check_v6(quoted)? } else { quote::check_v4(quoted)? };
    let [source, destination] = addresses(quoted, packet.v6).ok_or(Refusal::QuoteTruncated)?;
    // To all that follows a mapped address is IPv4's.
    if packet.v6 && destination.is_v4() {
        return Err(Refusal::QuoteMalformed.into());
    }
    // An error goes to who has sent the packet, and to nobody else (RFC 1122, 3.2.2; RFC 4443, 2.2).
    if source != key.destination {
        return Err(DropReason::QuoteUnknown);
    }
    let key = FlowKey {
        source,
        destination,
        source_port: quote.source_port,
        destination_port: quote.destination_port,
        protocol: quote.protocol,
        domain: key.domain,
        ..FlowKey::default()
    };
    Ok(Error { at: start + quote::OFFSET, quote, key, mtu: mtu(message, packet.v6) })
}

/// The sum of the pseudo-header, which ICMP over IPv4 does not have.
fn pseudo(packet: &Packet, key: &FlowKey) -> Sum {
    if !packet.v6 {
        return Sum::default();
    }
    let before = u32::from(packet.transport) - u32::from(packet.network);
    let length = u32::from(packet.length).saturating_sub(before);
    pseudo_v6(&key.source.octets(), &key.destination.octets(), protocol::ICMPV6, length)
}

/// Source and destination of the packet at the beginning of `bytes`.
fn addresses(bytes: &[u8], v6: bool) -> Option<[Address; 2]> {
    if v6 {
        let header: &Ipv6 = wire::header(bytes, 0)?;
        return Some([header.source, header.destination].map(Address::from_v6));
    }
    let header: &Ipv4 = wire::header(bytes, 0)?;
    Some([header.source, header.destination].map(Address::from_v4))
}

/// Refuses an MTU that no link has: who believed it would send more headers than data. One of 0 over IPv4 is from a router that
/// is older than RFC 1191, 5, and says nothing.
fn check_mtu(message: &[u8], v6: bool) -> Result<(), Refusal> {
    let &[kind, code, _, _, a, b, c, d, ..] = message else { return Err(Refusal::QuoteTruncated) };
    let is_too_small = if v6 {
        kind == icmpv6::PACKET_TOO_BIG && u32::from_be_bytes([a, b, c, d]) < SMALLEST_MTU_V6
    } else {
        let is_about_mtu = kind == icmpv4::DESTINATION_UNREACHABLE && code == icmpv4::FRAGMENTATION_NEEDED;
        is_about_mtu && (1..SMALLEST_MTU_V4).contains(&u16::from_be_bytes([c, d]))
    };
    if is_too_small { Err(Refusal::IcmpMtuTooSmall) } else { Ok(()) }
}

/// The MTU of an error that says one: for who sends as large frames as it likes and leaves it to us to cut them up (`cut`). Nothing
/// is cut smaller than every network takes, whoever says so.
fn mtu(message: &[u8], v6: bool) -> Option<u16> {
    /// RFC 791, 3.2: what every host takes.
    const LEAST_V4: u16 = 576;
    let &[kind, code, _, _, a, b, c, d, ..] = message else { return None };
    match (v6, kind, code) {
        (true, icmpv6::PACKET_TOO_BIG, _) => u16::try_from(u32::from_be_bytes([a, b, c, d])).ok(),
        (false, icmpv4::DESTINATION_UNREACHABLE, icmpv4::FRAGMENTATION_NEEDED) => {
            Some(u16::from_be_bytes([c, d])).filter(|mtu| *mtu != 0).map(|mtu| mtu.max(LEAST_V4))
        }
        _ => None,
    }
}

/// An error about a packet of no flow here: another worker may have it, and in `dsr` the hash knows.
fn elsewhere<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    sought: &FlowKey,
) -> Result<Step, DropReason> {
    match next_worker(memory.id, occasion, frame, sought) {
        Some(worker) => Ok(Step::Done(Verdict::HandOver(worker))),
        None => hashed::send(memory, occasion, (frame, packet), sought, DropReason::QuoteUnknown),
    }
}

/// The first five bytes of a source address that says how many workers are yet to be asked. A frame that was handed over
/// needs no other: an error is no client's packet, whose sender would be remembered.
const TO_BE_ASKED: [u8; 5] = [2, 0, 0, 0, 0];

/// The worker that is to look for a flow next. Where the key does not name its owner, all are asked one after the other.
fn next_worker<F: Frame>(
    own: WorkerId,
    occasion: &Occasion<'_>,
    frame: &mut F,
    sought: &FlowKey,
) -> Option<WorkerId> {
    let (snapshot, arrival) = (occasion.snapshot, occasion.arrival);
    if snapshot.workers <= 1 {
        return None;
    }
    if let Some(owner) = ownership::owner(snapshot, arrival.port, sought) {
        return (owner != own && !arrival.is_handed_over).then_some(owner);
    }
    snapshot.service(sought)?;
    let [a, b, c, d, e] = TO_BE_ASKED;
    let header: &mut Ethernet = wire::header_mut(frame.head_mut(), 0)?;
    let left = match header.source {
        [.., left] if arrival.is_handed_over => left.checked_sub(1)?,
        _ => snapshot.workers - 2,
    };
    header.source = [a, b, c, d, e, left];
    Some(WorkerId((own.0 + 1) % snapshot.workers))
}

/// Sends an error about a packet of the flow that was found by its key, reversed, to where that packet came from.
fn pass_on<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    error: &Error,
    Found { index, side }: Found,
) -> Result<Step, DropReason> {
    let Memory { flows, neighbours, .. } = memory;
    let flow = flows.tracked(index).ok_or(DropReason::QuoteUnknown)?;
    // Hosts do not believe what quotes other numbers than theirs (RFC 5927, 4.1).
    let shift = treat::shift(occasion.snapshot, &flow, side.opposite());
    let (numbers, mut flow) = (flow.numbers, Hit { hot: flow.hot, wide: flow.wide, side });
    let step = resolve::go_on(neighbours, occasion, &mut flow, |flow, link| {
        write(frame, (packet, error, shift), flow, (link, occasion.snapshot))
    })?;
    if let Some(mtu) = error.mtu {
        numbers.lower_path_mtu(mtu, flow.hot.created);
    }
    Ok(step)
}

/// Writes all that changes in an error. One that is refused is unchanged: nobody hears of it (RFC 1122, 3.2.2).
fn write<F: Frame>(
    frame: &mut F,
    (packet, error, shift): (&Packet, &Error, u32),
    flow: &Hit<'_>,
    (link, snapshot): (&Link<'_>, &Snapshot),
) -> Result<(), DropReason> {
    if flow.hot.mode().is_tunnel() {
        // It goes the way of the client's packets, and is not changed either.
        return tunnel::encapsulate(frame, packet, flow.hot, link, snapshot);
    }
    if flow.hot.crosses() {
        return cross::error(frame, (packet, error), flow, link);
    }
    let head = frame.head_mut();
    if packet.length > link.mtu {
        return Err(DropReason::FrameOverMtu);
    }
    let mode = flow.hot.mode();
    if mode != Mode::Dsr {
        // The quoted packet as its sender knows it.
        let original = flow.hot.key(flow.side.opposite(), flow.wide);
        let shows_sender = mode == Mode::Nat && flow.side == Side::Client;
        let from = (!shows_sender).then_some(original.destination);
        let outer = translate_outer(head, packet, from, original.source)?;
        translate_message(head, packet, error, (&original, shift, outer))
            .ok_or(DropReason::HeadersScattered)?;
    }
    let (to, from): (MacAddress, MacAddress) = (*link.to, *link.from);
    rewrite::write_link(head, to, from);
    Ok(())
}

/// Writes the error's own addresses and TTL; what that changes in a checksum over the addresses.
fn translate_outer(
    head: &mut [u8],
    packet: &Packet,
    from: Option<Address>,
    to: Address,
) -> Result<Delta, DropReason> {
    let network = head.get(usize::from(packet.network)..).unwrap_or_default();
    let [source, destination] = addresses(network, packet.v6).ok_or(DropReason::HeadersScattered)?;
    let from = from.unwrap_or(source);
    let change = Delta::between(sum(source).plus(sum(destination)), sum(from).plus(sum(to)));
    let repair = flow::Repair { network: change.plus(Delta(TTL_STEP)).0, transport: 0 };
    rewrite::translate_network(head, packet, [to, from], repair)?;
    Ok(change)
}

fn sum(address: Address) -> Sum {
    if address.is_v4() { Sum::of(&address.v4()) } else { Sum::of(&address.octets()) }
}

/// Writes the quoted packet's addresses and ports, and repairs the checksums: those of the quote as far as it has them, and the
/// message's, which is also over the quote.
fn translate_message(
    head: &mut [u8],
    packet: &Packet,
    error: &Error,
    (original, shift, outer): (&FlowKey, u32, Delta),
) -> Option<()> {
    let quoted = head.get_mut(error.at..error.at + error.quote.end())?;
    let before = Sum::of(quoted);
    translate_quote(quoted, packet.v6, error, (original, shift))?;
    let change = Delta::between(before, Sum::of(quoted));
    // Over IPv6 the checksum is over the error's own addresses as well.
    let change = if packet.v6 { change.plus(outer) } else { change };
    let message: &mut Icmpv4 = wire::header_mut(head, usize::from(packet.transport))?;
    message.checksum = U16::new(change.apply(message.checksum.get()));
    Some(())
}

fn translate_quote(
    quoted: &mut [u8],
    v6: bool,
    error: &Error,
    (original, shift): (&FlowKey, u32),
) -> Option<()> {
    let Error { quote, key, .. } = error;
    let addresses = Delta::between(
        sum(key.source).plus(sum(key.destination)),
        sum(original.source).plus(sum(original.destination)),
    );
    if v6 {
        let header: &mut Ipv6 = wire::header_mut(quoted, 0)?;
        (header.source, header.destination) = (original.source.octets(), original.destination.octets());
    } else {
        let header: &mut Ipv4 = wire::header_mut(quoted, 0)?;
        (header.source, header.destination) = (original.source.v4(), original.destination.v4());
        header.checksum = U16::new(addresses.apply(header.checksum.get()));
    }
    if !quote.has_ports() {
        return Some(());
    }
    let ports: &mut [U16; 2] = wire::header_mut(quoted, quote.transport)?;
    *ports = [U16::new(original.source_port), U16::new(original.destination_port)];
    let words = |key: &FlowKey| Sum::default().plus_word(key.source_port).plus_word(key.destination_port);
    let mut change = addresses.plus(Delta::between(words(key), words(original)));
    if shift != 0 {
        let number: &mut U32 = wire::header_mut(quoted, quote.transport + 4)?;
        let was = number.to_bytes();
        number.set(number.get().wrapping_sub(shift));
        change = change.plus(Delta::of(&was, &number.to_bytes()));
    }
    if let Some(checksum) = quote.checksum {
        let field: &mut U16 = wire::header_mut(quoted, checksum)?;
        let is_udp = quote.protocol == protocol::UDP;
        let repaired = if is_udp { change.apply_udp(field.get()) } else { change.apply(field.get()) };
        *field = U16::new(repaired);
    }
    Some(())
}

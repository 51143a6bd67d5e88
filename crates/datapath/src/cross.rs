//! `full_nat` between families: a packet of the one becomes a packet of the other (RFC 7915).
//!
//! What the flow says of addresses and ports is written as in any `full_nat`; what is new is the IP header, which is another one and
//! shorter or longer by 20 bytes. Service class, hops (one less) and parts of packets are carried over. Checksums of segments and
//! datagrams are repaired by what the flow knows: in both pseudo-headers all but the addresses sums to the same.
//!
//! - What IPv4 options or IPv6 extension headers ask for has no counterpart: such packets are dropped, but for the fragment header.
//! - To IPv4, a packet that every IPv6 link would take may be fragmented, any other one not (RFC 7915, 5.1): so a path whose MTU
//!   is less than IPv6 knows still works.
//! - A datagram over IPv4 may be without a checksum, one over IPv6 not: it gets one, if it is whole (RFC 7915, 4.5).
//!
//! Packets of these flows are never steady: all of them come here by `admit`.

mod error;

use flow::{Hit, Hot, Repair, Side};
use model::Address;
use nic::Frame;
use wire::{
    U16,
    checksum::{Delta, Sum, pseudo_v6},
    ethernet::ether_type,
    fragment::{self, Fragment},
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    protocol,
    tcp::Tcp,
    udp::{self, Udp},
};
use zerocopy::IntoBytes;

pub(crate) use self::error::error;
use crate::{
    DropReason, complete, cut,
    neighbour::Link,
    packet::{Kind, Packet},
    rewrite,
};

/// Bytes of the largest IPv4 packet that routers may fragment: as IPv6 it has the length that all links take (RFC 7915, 5.1).
const MAY_BE_FRAGMENTED: usize = 1260;
/// Bytes that IPv6's header has more than IPv4's.
pub(crate) const LONGER: u16 = (ipv6::HEADER - ipv4::HEADER) as u16;

/// What both families' headers say.
#[derive(Clone, Copy)]
struct Internet {
    class: u8,
    hops: u8,
    protocol: u8,
    /// Bytes behind all headers.
    payload: usize,
    fragment: Option<Fragment>,
}

/// Writes all that changes in a packet of a flow whose sides are of different families. A packet that is refused is unchanged.
#[cold]
#[inline(never)]
pub(crate) fn translate<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    flow: &Hit<'_>,
    link: &Link<'_>,
) -> Result<(), DropReason> {
    let Hit { hot, wide, side } = flow;
    let internet = read(frame.head(), packet)?;
    let new = header_length(!packet.v6, internet.fragment.is_some());
    if internet.payload + new > usize::from(link.mtu) {
        return Err(DropReason::FrameOverMtu);
    }
    if internet.hops <= 1 {
        return Err(DropReason::TtlExpired);
    }
    let has_ports = packet.kind != Kind::Fragment;
    let is_udp = has_ports && !packet.is_tcp();
    let lacks_checksum = is_udp && checksum_of(frame.head(), packet)? == 0;
    if lacks_checksum && internet.fragment.is_some() {
        return Err(DropReason::FragmentWithoutChecksum);
    }
    let network = usize::from(packet.network);
    reshape(frame, network, usize::from(packet.transport) - network, new)?;
    let (head, ends) = (frame.head_mut(), hot.ends(side.opposite()));
    // What the other side's packets say, the other way round.
    let [destination, source] = hot.addresses(side.opposite(), *wide);
    let transport = network + new;
    if has_ports && let Some(ports) = wire::header_mut::<[U16; 2]>(head, transport) {
        *ports = [ends.destination_port, ends.source_port];
        repair(head, transport, packet, hot.repair(*side));
    }
    let internet = Internet { hops: internet.hops.wrapping_sub(1), ..internet };
    write(head, network, (&internet, packet), [source, destination]).ok_or(DropReason::HeadersScattered)?;
    if lacks_checksum {
        let length = internet.payload as u32;
        let pseudo = pseudo_v6(&source.octets(), &destination.octets(), protocol::UDP, length);
        compute(frame, transport, pseudo);
    }
    rewrite::write_link(frame.head_mut(), *link.to, *link.from);
    Ok(())
}

/// The same packet behind the gateway: where its headers lie then. Its length is not looked at any more.
pub(crate) fn translated(packet: &Packet) -> Packet {
    let header = header_length(!packet.v6, false) as u16;
    Packet { v6: !packet.v6, transport: u16::from(packet.network) + header, ..*packet }
}

/// A packet that has been written: the other family's, if it has become one of that. Outer headers are longer than what headers differ by, or
/// make it longer where it would be shorter.
pub(crate) fn as_it_left<F: Frame>(frame: &F, packet: &Packet) -> Packet {
    // A tag may be in front by now.
    let network = cut::network(frame.head()).unwrap_or(usize::from(packet.network));
    let kind = wire::header::<U16>(frame.head(), network.wrapping_sub(size_of::<U16>()));
    let (other, length) = if packet.v6 {
        (ether_type::IPV4, packet.length.wrapping_sub(LONGER))
    } else {
        (ether_type::IPV6, packet.length.wrapping_add(LONGER))
    };
    let has_crossed =
        kind.is_some_and(|kind| kind.get() == other) && frame.length() == network + usize::from(length);
    if has_crossed { Packet { length, ..translated(packet) } } else { *packet }
}

/// The largest packet like this one that fits an MTU when it is of the other family.
pub(crate) fn largest(head: &[u8], packet: &Packet, mtu: u16) -> Option<u16> {
    let is_part = read(head, packet).ok()?.fragment.is_some();
    let old = packet.transport.saturating_sub(packet.network.into());
    Some(mtu.saturating_add(old).saturating_sub(header_length(!packet.v6, is_part) as u16))
}

/// The MTUs of the client's and the backend's port, as if the other side's packets had a header of this side's family.
pub(crate) fn as_of_side([client, backend]: [Option<u16>; 2], flow: &Hot, side: Side) -> [Option<u16>; 2] {
    let other = |mtu: u16| {
        if flow.is_v6(side) { mtu.saturating_add(LONGER) } else { mtu.saturating_sub(LONGER) }
    };
    match side {
        Side::Client => [client, backend.map(other)],
        Side::Backend => [client.map(other), backend],
    }
}

/// Bytes of the headers that come before those of L4.
const fn header_length(v6: bool, is_part: bool) -> usize {
    match (v6, is_part) {
        (false, _) => ipv4::HEADER,
        (true, false) => ipv6::HEADER,
        (true, true) => ipv6::HEADER + fragment::HEADER_V6,
    }
}

/// What a packet's headers say, unless it is more than the other family can.
fn read(head: &[u8], packet: &Packet) -> Result<Internet, DropReason> {
    let (network, transport) = (usize::from(packet.network), usize::from(packet.transport));
    let bytes = head.get(network..).ok_or(DropReason::HeadersScattered)?;
    let headers = transport - network;
    let payload = usize::from(packet.length).saturating_sub(headers);
    if !packet.v6 {
        let header: &Ipv4 = wire::header(bytes, 0).ok_or(DropReason::HeadersScattered)?;
        if headers != ipv4::HEADER {
            return Err(DropReason::OptionsUntranslatable);
        }
        let (class, hops, fragment) = (header.tos, header.ttl, ipv4::fragment(header));
        let fragment = Some(fragment).filter(|fragment| !fragment.is_atomic());
        return Ok(Internet { class, hops, protocol: header.protocol, payload, fragment });
    }
    let layout = ipv6::check_beginning(bytes).map_err(|_| DropReason::HeadersScattered)?;
    let is_fragment = layout.header.next_header == fragment::NUMBER_V6;
    let most = ipv6::HEADER + if is_fragment { fragment::HEADER_V6 } else { 0 };
    if headers != most {
        return Err(DropReason::OptionsUntranslatable);
    }
    let (class, hops) = (layout.header.class(), layout.header.hop_limit);
    Ok(Internet { class, hops, protocol: layout.protocol, payload, fragment: layout.fragment })
}

/// Makes room for headers of another length behind the link's, which stay in front of them.
fn reshape<F: Frame>(frame: &mut F, network: usize, old: usize, new: usize) -> Result<(), DropReason> {
    if let Some(more) = new.checked_sub(old) {
        if !frame.prepend(more) {
            return Err(DropReason::NoHeadroom);
        }
        frame.head_mut().copy_within(more..more + network, 0);
        return Ok(());
    }
    let less = old - new;
    if frame.head().len() <= network + less {
        return Err(DropReason::HeadersScattered);
    }
    frame.head_mut().copy_within(..network, less);
    if frame.behead(less) { Ok(()) } else { Err(DropReason::HeadersScattered) }
}

/// Writes the header of the other family, and its EtherType.
fn write(
    head: &mut [u8],
    network: usize,
    (internet, packet): (&Internet, &Packet),
    addresses: [Address; 2],
) -> Option<()> {
    let to_v6 = !packet.v6;
    let kind = if to_v6 { ether_type::IPV6 } else { ether_type::IPV4 };
    *wire::header_mut::<U16>(head, network.checked_sub(size_of::<U16>())?)? = U16::new(kind);
    if to_v6 {
        return write_v6(head.get_mut(network..)?, internet, addresses);
    }
    // Unlike those of other packets, in all likelihood (RFC 6864, 4.2): their checksums differ.
    let varying = checksum_field(head, network + ipv4::HEADER, internet.protocol);
    write_v4(head.get_mut(network..)?, internet, addresses, varying.unwrap_or_default())
}

/// RFC 7915, 5.1 and 5.1.1
fn write_v4(bytes: &mut [u8], internet: &Internet, addresses: [Address; 2], varying: u16) -> Option<()> {
    let total = ipv4::HEADER + internet.payload;
    let (identification, fragment) = match internet.fragment {
        Some(Fragment { identification, offset, has_more }) => {
            (identification as u16, (offset / 8) | if has_more { ipv4::MORE_FRAGMENTS } else { 0 })
        }
        None if total > MAY_BE_FRAGMENTED => (0, ipv4::DONT_FRAGMENT),
        None => (varying, 0),
    };
    let [source, destination] = addresses.map(|address| address.v4());
    let mut header = Ipv4 {
        version_and_length: 0x45,
        tos: internet.class,
        total_length: U16::new(total as u16),
        identification: U16::new(identification),
        fragment: U16::new(fragment),
        ttl: internet.hops,
        protocol: internet.protocol,
        checksum: U16::ZERO,
        source,
        destination,
    };
    header.checksum = U16::new(!Sum::of(header.as_bytes()).fold());
    *wire::header_mut::<Ipv4>(bytes, 0)? = header;
    Some(())
}

/// RFC 7915, 4.1
fn write_v6(bytes: &mut [u8], internet: &Internet, addresses: [Address; 2]) -> Option<()> {
    let [source, destination] = addresses.map(|address| address.octets());
    let part = internet.fragment.map(|fragment| fragment::header_v6(&fragment, internet.protocol));
    let payload = internet.payload + part.map_or(0, |part| part.len());
    *wire::header_mut::<Ipv6>(bytes, 0)? = Ipv6 {
        version_class_label: [0x60 | internet.class >> 4, internet.class << 4, 0, 0],
        payload_length: U16::new(payload as u16),
        next_header: if part.is_some() { fragment::NUMBER_V6 } else { internet.protocol },
        hop_limit: internet.hops,
        source,
        destination,
    };
    if let Some(part) = part {
        bytes.get_mut(ipv6::HEADER..)?.first_chunk_mut::<8>()?.copy_from_slice(&part);
    }
    Some(())
}

fn repair(head: &mut [u8], transport: usize, packet: &Packet, repair: Repair) {
    let delta = Delta(repair.transport);
    if packet.is_tcp() {
        if let Some(header) = wire::header_mut::<Tcp>(head, transport) {
            header.checksum = U16::new(delta.apply(header.checksum.get()));
        }
    } else if let Some(header) = wire::header_mut::<Udp>(head, transport) {
        header.checksum = U16::new(delta.apply_udp(header.checksum.get()));
    }
}

/// The checksum that a datagram came with.
fn checksum_of(head: &[u8], packet: &Packet) -> Result<u16, DropReason> {
    let header = wire::header::<Udp>(head, usize::from(packet.transport));
    header.map(|header| header.checksum.get()).ok_or(DropReason::HeadersScattered)
}

/// A checksum, of whatever it is.
fn checksum_field(head: &[u8], transport: usize, number: u8) -> Option<u16> {
    let field = if number == protocol::TCP { wire::tcp::CHECKSUM } else { udp::CHECKSUM };
    wire::header::<U16>(head, transport + field).map(|field| field.get())
}

/// Gives a datagram a checksum that has none.
fn compute<F: Frame>(frame: &mut F, transport: usize, pseudo: Sum) {
    let sum = pseudo.plus(complete::payload_sum(frame, transport));
    if let Some(header) = wire::header_mut::<Udp>(frame.head_mut(), transport) {
        // RFC 768: 0 would say that there is none.
        header.checksum = U16::new(if sum.fold() == 0xffff { 0xffff } else { !sum.fold() });
    }
}

//! What a profile changes in packets, beyond where they go: options of the handshake, sequence numbers, timestamps, and fields of
//! the IP header. Checksums are repaired as things change (RFC 1624).
//!
//! Handshakes are few, so what is of handshakes only costs other packets nothing. A flow of which every packet is treated is
//! never steady.

use flow::{FlowKey, Side, Tracked};
use model::{Df, Timestamps, Treatment, Ttl, WindowScale};
use wire::{
    U16, U32,
    checksum::Delta,
    ipv4::{self, Ipv4},
    ipv6::Ipv6,
    protocol,
    tcp::{self, Tcp, flags},
};

use crate::{
    Snapshot,
    cookie::{Terms, Translation},
    notice::Saying,
    packet::Packet,
    scale::Scales,
};

/// What both sides' numbers are moved by, by the side whose they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shifts {
    /// Sequence numbers.
    sequence: [u32; 2],
    /// Values of timestamps.
    time: [u32; 2],
}

impl Shifts {
    /// Those of the flow with this client's key. They are not remembered: as the host's own ISN grows with time, so does what is
    /// said instead, which is RFC 6528's `M + F(...)`.
    fn of(
        snapshot: &Snapshot,
        (client, translation): (&FlowKey, Option<Translation>),
        treatment: &Treatment,
    ) -> Self {
        let halves = |hash: u64| [hash as u32, (hash >> 32) as u32];
        let secret = |is_wanted: bool, key: &FlowKey| {
            if is_wanted { halves(snapshot.hash_key.hash(key)) } else { [0; 2] }
        };
        // Not the hash that chooses the backend, which the number of choices may tell something of.
        let sequence = secret(treatment.generate_isn, &client.reversed());
        let is_rewritten = treatment.timestamps == Timestamps::Rewrite;
        let time = secret(is_rewritten, &FlowKey { protocol: !client.protocol, ..*client });
        let Some(Translation { shifts: Some([of_numbers, of_times]), .. }) = translation else {
            return Self { sequence, time };
        };
        // The backend's follow from what the client was told, which nobody could guess either.
        let ([client, _], [time, _]) = (sequence, time);
        Self { sequence: [client, of_numbers], time: [time, of_times] }
    }
}

/// One of a pair, by side.
const fn of_side([client, backend]: [u32; 2], side: Side) -> u32 {
    match side {
        Side::Client => client,
        Side::Backend => backend,
    }
}

/// What is done to a packet before it is rewritten, and then lies as another one says. Returns what is left to be done afterwards.
pub(crate) fn before(
    head: &mut [u8],
    (packet, leaves): (&Packet, &Packet),
    (side, client, translation): (Side, &FlowKey, Option<Translation>),
    (treatment, largest): (&Treatment, u16),
    snapshot: &Snapshot,
) -> Option<After> {
    if packet.is_tcp() {
        if packet.flags & flags::SYN != 0 {
            handshake(head, packet, treatment, largest);
        }
        if treatment.moves_numbers() || translation.is_some() {
            move_numbers(head, packet, side, Shifts::of(snapshot, (client, translation), treatment));
        }
        if let Some(Translation { scales, .. }) = translation {
            scale_window(head, packet, side, scales);
        }
    }
    treatment.is_of_all().then(|| After::of(head, (packet, leaves), side, treatment)).flatten()
}

/// Changes the options of a SYN or SYN-ACK. `largest`: bytes of the largest IP packet that fits both ports; 0 for any.
#[inline(never)]
pub(crate) fn handshake(head: &mut [u8], packet: &Packet, treatment: &Treatment, largest: u16) {
    for_each_option(head, packet, |kind, option| match (kind, option) {
        (option::MSS, [_, _, size @ ..]) if size.len() == 2 => {
            let said = u16::from_be_bytes([size.first().copied()?, size.last().copied()?]);
            size.copy_from_slice(&mss(said, treatment, largest, packet.v6).to_be_bytes());
            Some(())
        }
        (option::SACK_PERMITTED, option) if treatment.strip_sack => strip(option),
        (option::WINDOW_SCALE, option) => rescale(option, treatment.window_scale),
        (option::TIMESTAMPS, option) if treatment.timestamps == Timestamps::Strip => strip(option),
        _ => Some(()),
    });
}

/// Says another scale of windows, if any.
fn rescale(option: &mut [u8], way: WindowScale) -> Option<()> {
    if way == WindowScale::Strip {
        return strip(option);
    }
    if let [_, _, shift] = option
        && let Some(told) = way.told(*shift)
    {
        *shift = told;
    }
    Some(())
}

/// The MSS to be said instead of one, where the largest IP packet that fits has so many bytes; 0 for any.
fn mss(said: u16, treatment: &Treatment, largest: u16, v6: bool) -> u16 {
    let wanted = if treatment.mss_override == 0 { said } else { treatment.mss_override };
    wanted.min(largest_mss(treatment, largest, v6))
}

/// The largest MSS that is said where the largest IP packet that fits has so many bytes; 0 for any.
pub(crate) fn largest_mss(treatment: &Treatment, largest: u16, v6: bool) -> u16 {
    let headers: u16 = if v6 { 60 } else { 40 };
    if treatment.mss_clamp && largest != 0 { largest.saturating_sub(headers) } else { u16::MAX }
}

/// What a profile leaves of the options of a SYN.
pub(crate) fn terms(said: Terms, treatment: &Treatment) -> Terms {
    Terms {
        window_scale: said.window_scale.and_then(|own| treatment.window_scale.told(own)),
        sack: said.sack && !treatment.strip_sack,
        timestamps: said.timestamps.filter(|_| treatment.timestamps != Timestamps::Strip),
        ..said
    }
}

/// A client's SYN that the gateway says, as the backend is to get it.
pub(crate) fn say(
    syn: Saying,
    snapshot: &Snapshot,
    (client, translation): (&FlowKey, Option<Translation>),
    (treatment, largest): (&Treatment, u16),
) -> Saying {
    let shifts = Shifts::of(snapshot, (client, translation), treatment);
    let v6 = !client.is_v4();
    let mut terms = terms(syn.terms, treatment);
    terms.mss = terms.mss.map(|said| mss(said, treatment, largest, v6));
    let time = of_side(shifts.time, Side::Client);
    terms.timestamps = terms.timestamps.map(|[value, echo]| [value.wrapping_add(time), echo]);
    let sequence = syn.sequence.wrapping_add(of_side(shifts.sequence, Side::Client));
    Saying { sequence, terms, ..syn }
}

/// Puts nothing in an option's place.
#[expect(clippy::unnecessary_wraps, reason = "one of several things that are done to options")]
pub(crate) fn strip(option: &mut [u8]) -> Option<()> {
    option.fill(option::NOTHING);
    Some(())
}

/// TCP options, RFC 9293, 3.1; RFC 7323, 2.2 and 3.2; RFC 2018, 2 and 3.
pub(crate) mod option {
    pub(crate) const END: u8 = 0;
    pub(crate) const NOTHING: u8 = 1;
    pub(crate) const MSS: u8 = 2;
    pub(crate) const WINDOW_SCALE: u8 = 3;
    pub(crate) const SACK_PERMITTED: u8 = 4;
    pub(crate) const SACK: u8 = 5;
    pub(crate) const TIMESTAMPS: u8 = 8;
    /// RFC 7413, 4.1.1
    pub(crate) const FAST_OPEN: u8 = 34;
}

/// Lets something change the options of a segment, whole as they lie there with kind and length, and repairs its checksum. Ends at
/// what is no option.
pub(crate) fn for_each_option(
    head: &mut [u8],
    packet: &Packet,
    mut change: impl FnMut(u8, &mut [u8]) -> Option<()>,
) -> Option<()> {
    /// Bytes of the options at most: 15 words less the header.
    const MOST: usize = 40;
    let transport = usize::from(packet.transport);
    let length = usize::from(wire::header::<Tcp>(head, transport)?.offset >> 4) * 4;
    let options = head.get_mut(transport + tcp::HEADER..transport + length)?;
    let (mut before, size) = ([0; MOST], options.len());
    before.get_mut(..size)?.copy_from_slice(options);
    let mut rest = &mut *options;
    // An option has a byte at least.
    for _ in 0..MOST {
        let (kind, length) = match *rest {
            [] | [option::END, ..] => break,
            [option::NOTHING, ..] => (option::NOTHING, 1),
            [kind, length, ..] => (kind, usize::from(length)),
            [_] => break,
        };
        if length == 0 || length > rest.len() || kind != option::NOTHING && length < 2 {
            break;
        }
        let (one, others) = rest.split_at_mut(length);
        if kind != option::NOTHING {
            change(kind, one)?;
        }
        rest = others;
    }
    let delta = Delta::of(before.get(..size)?, options);
    repair(head, transport, delta)
}

/// Repairs the checksum of a segment.
pub(crate) fn repair(head: &mut [u8], transport: usize, delta: Delta) -> Option<()> {
    let header = wire::header_mut::<Tcp>(head, transport)?;
    header.checksum = U16::new(delta.apply(header.checksum.get()));
    Some(())
}

/// Moves the numbers of a segment: the sender's own by its shift, those that it has from the other side back by that one's.
fn move_numbers(head: &mut [u8], packet: &Packet, side: Side, shifts: Shifts) -> Option<()> {
    let transport = usize::from(packet.transport);
    let own = of_side(shifts.sequence, side);
    let theirs = of_side(shifts.sequence, side.opposite());
    let header = wire::header_mut::<Tcp>(head, transport)?;
    let mut delta = add(&mut header.sequence, own);
    let has_theirs = header.flags & flags::ACK != 0;
    if has_theirs {
        delta = delta.plus(add(&mut header.acknowledgement, theirs.wrapping_neg()));
    }
    repair(head, transport, delta)?;
    let (time, echo) = (of_side(shifts.time, side), of_side(shifts.time, side.opposite()));
    for_each_option(head, packet, |kind, option| {
        let (_, numbers) = option.split_at_mut_checked(2)?;
        let (numbers, _) = numbers.as_chunks_mut::<4>();
        match (kind, numbers) {
            (option::SACK, edges) => edges.iter_mut().for_each(|edge| add_to(edge, theirs.wrapping_neg())),
            (option::TIMESTAMPS, [value, echoed]) => {
                add_to(value, time);
                // Without ACK there is nothing to be echoed (RFC 7323, 3.2).
                if has_theirs {
                    add_to(echoed, echo.wrapping_neg());
                }
            }
            _ => {}
        }
        Some(())
    })
}

/// Moves the numbers of a segment back that goes nowhere.
pub(crate) fn take_numbers_back(
    head: &mut [u8],
    packet: &Packet,
    (side, client, translation): (Side, &FlowKey, Option<Translation>),
    treatment: &Treatment,
    snapshot: &Snapshot,
) {
    if packet.is_tcp() && (treatment.moves_numbers() || translation.is_some()) {
        let Shifts { sequence, time } = Shifts::of(snapshot, (client, translation), treatment);
        let back = |shifts: [u32; 2]| shifts.map(u32::wrapping_neg);
        move_numbers(head, packet, side, Shifts { sequence: back(sequence), time: back(time) });
    }
}

/// What the numbers of a side's segments are moved by before the other side sees them.
pub(crate) fn shift(snapshot: &Snapshot, flow: &Tracked<'_>, side: Side) -> u32 {
    let server = snapshot.virtual_server(flow.hot.virtual_server());
    let treatment = server.map_or(Treatment::NONE, |server| server.treatment);
    if flow.hot.protocol() != protocol::TCP {
        return 0;
    }
    let of = (side, &flow.key(Side::Client), Translation::of(flow));
    let [shift, _] = moved(snapshot, of, &treatment, [0; 2]);
    shift
}

/// Makes the window of a segment mean to its receiver what it means to its sender.
fn scale_window(head: &mut [u8], packet: &Packet, side: Side, scales: Scales) -> Option<()> {
    // In a SYN it is not scaled (RFC 7323, 2.2).
    if packet.flags & flags::SYN != 0 {
        return None;
    }
    let transport = usize::from(packet.transport);
    let header = wire::header_mut::<Tcp>(head, transport)?;
    let said = header.window.get();
    let read = scales.window(side, said);
    header.window.set(read);
    repair(head, transport, Delta::of(&said.to_be_bytes(), &read.to_be_bytes()))
}

/// The numbers of a segment of one side's, as the other side knows them.
pub(crate) fn moved(
    snapshot: &Snapshot,
    (side, client, translation): (Side, &FlowKey, Option<Translation>),
    treatment: &Treatment,
    [sequence, acknowledgement]: [u32; 2],
) -> [u32; 2] {
    let shifts = Shifts::of(snapshot, (client, translation), treatment).sequence;
    [
        sequence.wrapping_add(of_side(shifts, side)),
        acknowledgement.wrapping_sub(of_side(shifts, side.opposite())),
    ]
}

/// Adds to a number; what that does to a checksum.
fn add(number: &mut U32, shift: u32) -> Delta {
    let old = *number;
    number.set(old.get().wrapping_add(shift));
    Delta::of(&old.to_bytes(), &number.to_bytes())
}

fn add_to(number: &mut [u8; 4], shift: u32) {
    *number = u32::from_be_bytes(*number).wrapping_add(shift).to_be_bytes();
}

/// What is left to be done to a packet when its headers are rewritten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct After {
    ttl: Option<u8>,
    tos: Option<u8>,
    /// Of a packet that becomes one of IPv4.
    df: Option<Df>,
    /// What the packet came with, for [`After::undo`].
    before: (u8, Option<[U16; 2]>),
    /// The priority of its VLAN tag, if it leaves with one.
    pub(crate) priority: Option<u8>,
}

impl After {
    /// A TTL that nobody sees: it lasts until the rewriting is done.
    const WHILE: u8 = 64;

    fn of(
        head: &mut [u8],
        (packet, leaves): (&Packet, &Packet),
        side: Side,
        treatment: &Treatment,
    ) -> Option<Self> {
        let came_with = ttl(head, packet)?;
        let ttl = match treatment.ttl {
            Ttl::Decrement => None,
            Ttl::Preserve => Some(came_with),
            Ttl::Set { v4, v6 } => Some(if leaves.v6 { v6 } else { v4 }),
        };
        if ttl.is_some() {
            set_ttl(head, packet, Self::WHILE)?;
        }
        let (tos, priority) = match side {
            Side::Client => (treatment.tos_to_server, treatment.qos_to_server),
            Side::Backend => (treatment.tos_to_client, treatment.qos_to_client),
        };
        // Before it is known whether the packet fits its way: this says whether it may be cut if it does not.
        let fragment = if packet.v6 { None } else { set_df(head, packet, treatment.df) };
        // What was IPv6 has that only when it has become IPv4.
        let df = (packet.v6 && !leaves.v6).then_some(treatment.df);
        Some(Self { ttl, tos, df, before: (came_with, fragment), priority })
    }

    /// Makes the packet what it came as, since it goes no further.
    pub(crate) fn undo(self, head: &mut [u8], packet: &Packet) {
        let (ttl, fragment) = self.before;
        if self.ttl.is_some() {
            set_ttl(head, packet, ttl);
        }
        if let Some(fragment) = fragment {
            set_fragment(head, packet, fragment);
        }
    }

    /// Does it.
    pub(crate) fn finish(self, head: &mut [u8], packet: &Packet) {
        if let Some(ttl) = self.ttl {
            set_ttl(head, packet, ttl);
        }
        if let Some(tos) = self.tos {
            set_tos(head, packet, tos);
        }
        if let Some(df) = self.df {
            set_df(head, packet, df);
        }
    }
}

fn ttl(head: &[u8], packet: &Packet) -> Option<u8> {
    let network = usize::from(packet.network);
    if packet.v6 {
        wire::header::<Ipv6>(head, network).map(|header| header.hop_limit)
    } else {
        wire::header::<Ipv4>(head, network).map(|header| header.ttl)
    }
}

fn set_ttl(head: &mut [u8], packet: &Packet, ttl: u8) -> Option<()> {
    let network = usize::from(packet.network);
    if packet.v6 {
        wire::header_mut::<Ipv6>(head, network)?.hop_limit = ttl;
        return Some(());
    }
    let header = wire::header_mut::<Ipv4>(head, network)?;
    let delta = Delta::of(&[header.ttl, 0], &[ttl, 0]);
    header.ttl = ttl;
    header.checksum = U16::new(delta.apply(header.checksum.get()));
    Some(())
}

/// Writes the DSCP (RFC 2474, 3); what is said of congestion is not ours to change (RFC 3168, 5).
fn set_tos(head: &mut [u8], packet: &Packet, tos: u8) -> Option<()> {
    const ECN: u8 = 3;
    let network = usize::from(packet.network);
    if packet.v6 {
        let [first, second, ..] = &mut wire::header_mut::<Ipv6>(head, network)?.version_class_label;
        // The class begins in the middle of the first byte.
        let class = tos & !ECN | (*second >> 4) & ECN;
        *first = *first & 0xf0 | class >> 4;
        *second = *second & 0x0f | class << 4;
        return Some(());
    }
    let header = wire::header_mut::<Ipv4>(head, network)?;
    let new = tos & !ECN | header.tos & ECN;
    let delta = Delta::of(&[0, header.tos], &[0, new]);
    header.tos = new;
    header.checksum = U16::new(delta.apply(header.checksum.get()));
    Some(())
}

/// Says whether a packet may be fragmented; what stood in both words before. A fragment stays as it is.
fn set_df(head: &mut [u8], packet: &Packet, df: Df) -> Option<[U16; 2]> {
    // Half of the sequence number, or the checksum of a datagram.
    let varying = wire::header::<U16>(head, usize::from(packet.transport) + 6)?.get();
    let header: &Ipv4 = wire::header(head, usize::from(packet.network))?;
    let (old, is_fragment) = ([header.fragment, header.identification], ipv4::is_fragment(header));
    let [mut field, mut identification] = old;
    match df {
        _ if is_fragment => return None,
        Df::Preserve => return None,
        Df::Pmtu if !packet.is_tcp() => return None,
        Df::Set | Df::Pmtu => field.set(field.get() | ipv4::DONT_FRAGMENT),
        Df::Clear => {
            field.set(field.get() & !ipv4::DONT_FRAGMENT);
            // What may be fragmented must have an id of its own, which what may not need not have (RFC 6864, 4.1): something that
            // differs from one packet with data to the next.
            if identification.get() == 0 {
                identification.set(varying | 1);
            }
        }
    }
    set_fragment(head, packet, [field, identification])?;
    Some(old)
}

/// Writes flags and offset, and identification.
fn set_fragment(head: &mut [u8], packet: &Packet, [field, identification]: [U16; 2]) -> Option<()> {
    let header = wire::header_mut::<Ipv4>(head, usize::from(packet.network))?;
    let words = |[one, other]: [U16; 2]| {
        let ([a, b], [c, d]) = (one.to_bytes(), other.to_bytes());
        [a, b, c, d]
    };
    let old = [header.fragment, header.identification];
    let delta = Delta::of(&words(old), &words([field, identification]));
    (header.fragment, header.identification) = (field, identification);
    header.checksum = U16::new(delta.apply(header.checksum.get()));
    Some(())
}

//! What comes from a client that has no flow: a SYN, which is answered with a cookie, and the segment that brings it back, which becomes
//! a SYN for the backend.

use flow::{FlowIndex, FlowKey, Side};
use model::VirtualServerId;
use nic::{Frame, ReceivedChecksum};
use wire::{
    U16, ethernet, ipv4, ipv6,
    tcp::{Tcp, flags},
};

use super::{
    Terms,
    mint::{self, Found, SIZES},
    terms::{Accord, SCALE},
};
use crate::{
    DropReason, Snapshot, Verdict,
    answer::turn_round,
    begin, complete,
    notice::{self, Saying},
    packet::{Kind, Packet},
    scale,
    segment::Segment,
    serve::Occasion,
    snapshot::VirtualServer,
    state::Memory,
    track, treat,
};

/// The MSS that clients are told unless a profile says another one: what backends take nearly everywhere.
const USUAL_V4: u16 = 1460;
/// The same for IPv6.
const USUAL_V6: u16 = 1440;
/// The MSS of who says none (RFC 9293, 3.7.1).
const UNSAID_V4: u16 = 536;
/// The same for IPv6.
const UNSAID_V6: u16 = 1220;

/// What a packet was that continues no flow.
pub(crate) enum Met {
    /// Nothing to do with cookies.
    Nothing,
    /// A SYN, answered.
    Answered(Verdict),
    /// A cookie: the frame has the client's SYN for the backend now, as this packet.
    Cookie(Packet, Proof),
}

/// What a client has shown.
#[derive(Clone, Copy)]
pub(crate) struct Proof {
    isn: u32,
    cookie: u32,
    /// The values of timestamps that the client and we have said.
    stamps: [u32; 2],
    accord: Accord,
}

/// Looks at a packet of a client that continues no flow.
pub(crate) fn meet<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    of: (&mut F, &Packet),
    (key, id): (&FlowKey, VirtualServerId),
) -> Result<Met, DropReason> {
    match occasion.snapshot.virtual_server(id) {
        Some(server) if memory.guard.concerns(&server.cookies) => {
            examine(memory, occasion, of, key, (id, server))
        }
        _ => Ok(Met::Nothing),
    }
}

#[cold]
#[inline(never)]
fn examine<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    key: &FlowKey,
    (id, server): (VirtualServerId, &VirtualServer),
) -> Result<Met, DropReason> {
    let Some(segment) = Segment::read(frame.head(), packet) else { return Ok(Met::Nothing) };
    if segment.is_first() {
        let source = source_hash(occasion.snapshot, key);
        if !memory.guard.wants(&server.cookies, source, occasion.now) {
            return Ok(Met::Nothing);
        }
        return answer(memory, occasion, (frame, packet, &segment), key, (id, server)).map(Met::Answered);
    }
    if segment.flags & (flags::SYN | flags::RST) != 0 || !segment.has(flags::ACK) {
        return Ok(Met::Nothing);
    }
    let number = segment.acknowledgement.wrapping_sub(1);
    let cookie_key = occasion.snapshot.cookie_key;
    let (isn, mss) = match memory.guard.mint.find(cookie_key, (key, segment.sequence), number, occasion.now) {
        Found::Valid { isn, mss } => (isn, mss),
        // It is what it would be without cookies.
        _ if server.loose_initiation => return Ok(Met::Nothing),
        Found::Expired => return Err(DropReason::CookieExpired),
        Found::False => return Err(DropReason::CookieFalse),
    };
    check_checksum(frame, packet)?;
    let proof = prove(frame.head(), packet, (isn, number), mss);
    let whole = into_syn(frame, packet, key, &proof).ok_or(DropReason::NoRoomForAnswer)?;
    memory.meters.cookies_accepted.add(1);
    Ok(Met::Cookie(whole, proof))
}

/// Answers a SYN in its place.
fn answer<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet, segment): (&mut F, &Packet, &Segment),
    key: &FlowKey,
    (id, server): (VirtualServerId, &VirtualServer),
) -> Result<Verdict, DropReason> {
    begin::may_have_new(memory, occasion, (id, server), key, packet)?;
    if !occasion.snapshot.is_available(id) {
        return Err(DropReason::NoBackend);
    }
    check_checksum(frame, packet)?;
    let said = Terms::read(frame.head(), packet);
    let left = treat::terms(said, &server.treatment);
    // Its own, which its windows are scaled by, whatever the backend is told.
    let offered = Terms { window_scale: left.window_scale.and(said.window_scale), ..left };
    let mss = mint::number_of(offered.mss.unwrap_or(if packet.v6 { UNSAID_V6 } else { UNSAID_V4 }));
    let cookie_key = occasion.snapshot.cookie_key;
    let cookie = memory.guard.mint.make(cookie_key, (key, segment.sequence), mss, occasion.now);
    // Without timestamps nothing would be left of them when the client's answer comes.
    let lasting = if offered.timestamps.is_some() { offered } else { Terms::NONE };
    let terms = Terms {
        mss: offered.mss.map(|_| mss_for_client(occasion, server, packet.v6)),
        window_scale: lasting.window_scale.and(server.treatment.window_scale.told(SCALE)),
        sack: lasting.sack,
        timestamps: lasting.timestamps.map(|[value, _]| [lasting.stamp(cookie.moment), value]),
    };
    let saying = Saying {
        terms,
        ..Saying::new(flags::SYN | flags::ACK, cookie.number, segment.sequence.wrapping_add(1))
    };
    // The window is 0: what the client would send could not be kept.
    notice::overwrite(frame, packet, &key.reversed(), &saying).ok_or(DropReason::NoRoomForAnswer)?;
    memory.guard.note_given(&server.cookies, occasion.now);
    memory.meters.cookies_given.add(1);
    Ok(turn_round(occasion, frame, packet))
}

/// The MSS that a client is told.
fn mss_for_client(occasion: &Occasion<'_>, server: &VirtualServer, v6: bool) -> u16 {
    let usual = if v6 { USUAL_V6 } else { USUAL_V4 };
    let said = [server.cookies.mss, server.treatment.mss_override].into_iter().find(|&mss| mss != 0);
    let mtu = occasion.snapshot.port(occasion.arrival.port).map_or(0, |port| port.mtu);
    said.unwrap_or(usual).min(treat::largest_mss(&server.treatment, mtu, v6))
}

/// What a client that has brought a cookie back has agreed to.
fn prove(head: &[u8], packet: &Packet, (isn, cookie): (u32, u32), mss: u8) -> Proof {
    let window = wire::header::<Tcp>(head, usize::from(packet.transport)).map_or(0, |tcp| tcp.window.get());
    let timestamps = Terms::read(head, packet).timestamps;
    let [value, stamp] = timestamps.unwrap_or_default();
    let offered = timestamps.map_or(Terms::NONE, |_| Terms::of_stamp(stamp));
    let accord = Accord {
        window,
        mss,
        sack: offered.sack,
        timestamps: timestamps.is_some(),
        client_scale: offered.window_scale,
    };
    Proof { isn, cookie, stamps: [value, stamp], accord }
}

impl Proof {
    fn syn(&self) -> Saying {
        syn(self.accord, self.isn, self.stamps)
    }
}

/// The SYN of a client that has brought a cookie back, for the backend.
pub(super) fn syn(accord: Accord, isn: u32, [value, _]: [u32; 2]) -> Saying {
    let terms = Terms {
        mss: SIZES.get(usize::from(accord.mss)).copied(),
        window_scale: accord.client_scale,
        sack: accord.sack,
        timestamps: accord.timestamps.then_some([value, 0]),
    };
    Saying { terms, window: accord.window_of_syn(), ..Saying::new(flags::SYN, isn, 0) }
}

/// Writes the SYN over the segment that brought the cookie back. What data that had, the client will send again.
fn into_syn<F: Frame>(frame: &mut F, packet: &Packet, key: &FlowKey, proof: &Proof) -> Option<Packet> {
    let length = notice::overwrite(frame, packet, key, &proof.syn())?;
    let header = if packet.v6 { ipv6::HEADER } else { ipv4::HEADER } as u16;
    let transport = u16::from(packet.network) + header;
    let is_plain = usize::from(packet.network) == ethernet::HEADER;
    let kind = match packet.kind {
        // What it had that was not plain is gone.
        Kind::Balanced if is_plain && packet.v6 => Kind::PlainV6,
        Kind::Balanced if is_plain => Kind::PlainV4,
        kind => kind,
    };
    Some(Packet { kind, flags: flags::SYN, transport, length, ..*packet })
}

/// Notes what a flow has to do with the cookie that it was opened with.
pub(crate) fn begin<F>(memory: &mut Memory<F>, occasion: &Occasion<'_>, index: FlowIndex, proof: &Proof) {
    let Memory { flows, guard, .. } = memory;
    let Some(flow) = flows.tracked(index) else { return };
    flow.hot.checked = track::BY_COOKIE;
    flow.numbers.heard = [proof.cookie.wrapping_add(1), proof.isn.wrapping_add(1)];
    flow.numbers.asked = occasion.flow_time();
    flow.numbers.accord = proof.accord.word();
    flow.numbers.shifts = proof.stamps;
    let server = occasion.snapshot.virtual_server(flow.hot.virtual_server());
    scale::begin(flow.numbers, proof.accord.client_scale, server);
    // Of the flow's client it is known that it is there.
    guard.end();
    let source = source_hash(occasion.snapshot, &flow.key(Side::Client));
    guard.note_proof(source, occasion.now);
}

/// What stands for a source.
fn source_hash(snapshot: &Snapshot, key: &FlowKey) -> u64 {
    snapshot.hash_key.hash_end(key.source, U16::ZERO, 0, key.domain)
}

/// Refuses a segment with a wrong checksum (RFC 9293, 3.1): here it ends, so that nobody else would. So does a part of one.
fn check_checksum<F: Frame>(frame: &F, packet: &Packet) -> Result<(), DropReason> {
    let is_right = frame.checksum() == ReceivedChecksum::Good || complete::is_right(frame, packet);
    if is_right { Ok(()) } else { Err(DropReason::TransportChecksum) }
}

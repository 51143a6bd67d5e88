//! TCP segments that the gateway says by itself, in the name of the other end: that a flow is over, or to ask whether it is.
//!
//! What a reset must carry to be believed (exactly the number that its receiver expects next, RFC 5961, 3.2) is not remembered for flows.
//! It is asked for: whoever gets a segment that does not fit answers with an ACK that has both its numbers
//! (RFC 9293, 3.10.7.4; RFC 5961, 4.2). What answers is turned round as a reset (RFC 9293, 3.5.2), and the other end gets one with the
//! numbers of the answer.

use flow::{FlowKey, FlowState, Side, Tracked};
use model::{Address, MacAddress, PortId, Treatment};
use nic::{Frame, FrameSource};
use wire::{
    U16, U32,
    checksum::{Sum, pseudo_v4, pseudo_v6},
    ethernet::{self, Ethernet, ether_type},
    ipv4::{self, Ipv4},
    ipv6::{self, Ipv6},
    protocol,
    tcp::{self, Tcp, flags},
};
use zerocopy::IntoBytes;

use crate::{
    DropReason, Outputs, Snapshot, Verdict,
    answer::{TTL, turn_round},
    cookie::{Terms, Translation},
    emit,
    neighbour::Neighbours,
    packet::Packet,
    resolve,
    segment::Segment,
    serve::Occasion,
    show::{self, Show},
    state::Memory,
    track, treat,
};

/// Notices that wait, at most: what one round of housekeeping asks, and what one burst has to tell.
pub(crate) const NOTICES: usize = 128;

/// A segment to be made and sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Notice {
    /// The port that it leaves by, and both Ethernet addresses.
    link: (PortId, MacAddress, MacAddress),
    /// Of the segment as its receiver sees it.
    key: FlowKey,
    numbers: Saying,
}

/// What a segment without data says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Saying {
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) window: u16,
    /// Its options.
    pub(crate) terms: Terms,
}

/// Notices that wait to be sent.
pub(crate) type Notices = arrayvec::ArrayVec<Notice, NOTICES>;

impl Saying {
    /// Bytes of the segment.
    const fn length(&self) -> usize {
        tcp::HEADER + self.terms.length()
    }

    /// Without options or a window.
    pub(crate) const fn new(flags: u8, sequence: u32, acknowledgement: u32) -> Self {
        Self { flags, sequence, acknowledgement, window: 0, terms: Terms::NONE }
    }

    /// The reset that a segment gets from somebody who knows nothing of it (RFC 9293, 3.5.2); `None` for a reset.
    pub(crate) const fn reset_for(segment: &Segment) -> Option<Self> {
        if segment.has(flags::RST) {
            return None;
        }
        if segment.has(flags::ACK) {
            return Some(Self::new(flags::RST, segment.acknowledgement, 0));
        }
        Some(Self::new(flags::RST | flags::ACK, 0, segment.end()))
    }

    /// The reset that the receiver of a segment believes, if it has got all before it.
    const fn reset_after(segment: &Segment) -> Self {
        Self::new(flags::RST | flags::ACK, segment.end(), segment.acknowledgement)
    }

    /// The numbers of the one side's segment as the other side knows them.
    fn as_known_to(self, snapshot: &Snapshot, (flow, to): (&Tracked<'_>, Side)) -> Self {
        let server = snapshot.virtual_server(flow.hot.virtual_server());
        let treatment = server.map_or(Treatment::NONE, |server| server.treatment);
        let of = (to.opposite(), &flow.key(Side::Client), Translation::of(flow));
        let numbers = [self.sequence, self.acknowledgement];
        let [sequence, acknowledgement] = treat::moved(snapshot, of, &treatment, numbers);
        let show = server.and_then(|server| Show::of(server.show_client, of.1));
        let [sequence, acknowledgement] = show::moved(show, of.0, [sequence, acknowledgement]);
        Self { sequence, acknowledgement, ..self }
    }

    /// What makes whoever is there say where it is: with a SYN even if it falls into the window (RFC 5961, 4.2).
    const fn question(flags: u8, number: u32) -> Self {
        Self::new(flags, number, 0)
    }
}

/// What it takes to say something to the ends of flows.
pub(crate) struct Voice<'a, F> {
    pub(crate) notices: &'a mut Notices,
    pub(crate) neighbours: &'a mut Neighbours<F>,
    pub(crate) snapshot: &'a Snapshot,
    /// As flows remember it.
    pub(crate) now: u32,
}

impl<F> Voice<'_, F> {
    /// Whether both ends of a flow can still be told something in this round.
    pub(crate) fn has_room(&self) -> bool {
        self.notices.remaining_capacity() >= 2
    }

    /// Says something to an end of a flow. False when that cannot be done now.
    pub(crate) fn tell(&mut self, (flow, to): (&Tracked<'_>, Side), numbers: Saying) -> bool {
        // What goes to the backend of a tunnel goes within another packet.
        if to == Side::Backend && flow.hot.mode().is_tunnel() {
            return false;
        }
        let link = resolve::known_link(self.neighbours, self.snapshot, flow.hot, to.opposite());
        let Some(link) = link.map(|link| (link.port, *link.to, *link.from)) else { return false };
        let key = flow.key(to).reversed();
        self.notices.try_push(Notice { link, key, numbers }).is_ok()
    }

    /// Gives a flow up: its ends are asked where they are, and whatever they say will be refused. False, with nothing changed, when
    /// nobody can be asked. Where the backend's packets do not pass, the client is asked alone; its answer speaks for both.
    pub(crate) fn give_up(&mut self, flow: &mut Tracked<'_>) -> bool {
        let question = Saying::question(flags::SYN, self.now);
        let client = self.tell((flow, Side::Client), question);
        let backend = self.snapshot.backend(flow.hot.backend).filter(|_| track::is_two_way(flow.hot));
        let is_there = backend.is_some_and(|backend| backend.incarnation as u8 == flow.hot.incarnation);
        let backend = is_there && self.tell((flow, Side::Backend), question);
        if client || backend {
            track::give_up(flow.hot, self.snapshot.generation.0 as u32, self.now);
        }
        client || backend
    }

    /// Asks the client of a silent flow whether it is still there, as its peer would do (RFC 9293, 3.8.4): with the number before the one
    /// that it expects.
    pub(crate) fn keep_alive(&mut self, flow: &mut Tracked<'_>) {
        let [expected, acknowledgement] = flow.numbers.heard;
        let question = Saying::new(flags::ACK, expected.wrapping_sub(1), acknowledgement);
        if self.tell((flow, Side::Client), question) {
            flow.numbers.asked = self.now;
        }
    }

    /// Tells a client whose cookie has opened a flow that its backend does not answer.
    pub(crate) fn apologise(&mut self, flow: &Tracked<'_>) {
        let [expected, acknowledgement] = flow.numbers.heard;
        self.tell((flow, Side::Client), Saying::new(flags::RST | flags::ACK, expected, acknowledgement));
    }

    /// Asks the end that was told that the other has broken off whether it has believed it. False when it cannot be asked.
    pub(crate) fn doubt(&mut self, flow: &mut Tracked<'_>) -> bool {
        let told = track::told(flow.hot);
        // Not with a SYN: most have believed it, and a backend that listens would begin anew.
        let question = Saying::question(flags::ACK, self.now);
        let can_be_asked = told == Side::Client || track::is_two_way(flow.hot);
        if !can_be_asked || !self.tell((flow, told), question) {
            return false;
        }
        flow.hot.set_state(FlowState::Doubted);
        flow.hot.last_seen = self.now;
        true
    }
}

/// Refuses a packet of a flow that was given up: its sender gets a reset, and if it is the first to say anything, the other end too.
pub(crate) fn refuse<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    (flow, side): (flow::FlowIndex, Side),
    segment: &Segment,
) -> Result<Verdict, DropReason> {
    /// In [`flow::Flow::marks`] of a flow that was given up: both ends were told.
    const BOTH_TOLD: u8 = 1;
    let Memory { flows, neighbours, notices, .. } = memory;
    if let Some(flow) = flows.tracked(flow)
        && segment.flags & (flags::RST | flags::SYN) == 0
        && segment.has(flags::ACK)
        && flow.hot.marks() & BOTH_TOLD == 0
    {
        let reset = Saying::reset_after(segment).as_known_to(occasion.snapshot, (&flow, side.opposite()));
        let mut voice = Voice { notices, neighbours, snapshot: occasion.snapshot, now: occasion.flow_time() };
        if voice.tell((&flow, side.opposite()), reset) {
            flow.hot.set_marks(BOTH_TOLD);
        }
    }
    turn_into_reset(occasion, frame, packet, segment)
}

/// Writes a reset over a packet and sends it back. A reset is not answered: it was for us, if we have asked for it.
pub(crate) fn turn_into_reset<F: Frame>(
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    segment: &Segment,
) -> Result<Verdict, DropReason> {
    let Some(numbers) = Saying::reset_for(segment) else { return Ok(Verdict::Absorbed) };
    let key = packet.key(frame.head(), occasion.domain).reversed();
    overwrite(frame, packet, &key, &numbers).ok_or(DropReason::NoRoomForAnswer)?;
    Ok(turn_round(occasion, frame, packet))
}

/// Writes a segment with this key over a packet; the bytes of the packet that it is then.
pub(crate) fn overwrite<F: Frame>(
    frame: &mut F,
    packet: &Packet,
    key: &FlowKey,
    saying: &Saying,
) -> Option<u16> {
    let (network, length) = (usize::from(packet.network), length(key.is_v4(), saying));
    // What is cut may leave a first segment that is shorter than what is written.
    if !frame.resize(network + length) || !frame.pull(network + length) {
        return None;
    }
    write(frame.head_mut(), network, key, saying)?;
    Some(length as u16)
}

/// Sends the notices that wait. One for which there is no frame is lost, as it may be on the way.
#[inline]
pub(crate) fn send_all<F, S>(memory: &mut Memory<F>, outputs: &mut Outputs<F>, source: &mut S)
where
    F: Frame,
    S: FrameSource<Frame = F>,
{
    if !memory.notices.is_empty() {
        make_all(memory, outputs, source);
    }
}

#[cold]
fn make_all<F, S>(memory: &mut Memory<F>, outputs: &mut Outputs<F>, source: &mut S)
where
    F: Frame,
    S: FrameSource<Frame = F>,
{
    let Memory { notices, meters, .. } = memory;
    for notice in notices.drain(..) {
        let Some(frame) = make(&notice, source) else { continue };
        meters.originated_frames.add(1);
        emit::transmit(meters, outputs, notice.link.0, frame);
    }
}

fn make<S: FrameSource>(Notice { link, key, numbers }: &Notice, source: &mut S) -> Option<S::Frame> {
    let mut frame = source.allocate(ethernet::HEADER + length(key.is_v4(), numbers))?;
    let kind = if key.is_v4() { ether_type::IPV4 } else { ether_type::IPV6 };
    let &(_, to, from) = link;
    *wire::header_mut::<Ethernet>(frame.head_mut(), 0)? =
        Ethernet { destination: to.0, source: from.0, ether_type: U16::new(kind) };
    write(frame.head_mut(), ethernet::HEADER, key, numbers)?;
    Some(frame)
}

/// Bytes of a packet that says something.
const fn length(is_v4: bool, saying: &Saying) -> usize {
    saying.length() + if is_v4 { ipv4::HEADER } else { ipv6::HEADER }
}

/// Writes a packet from its IP header on.
fn write(head: &mut [u8], network: usize, key: &FlowKey, saying: &Saying) -> Option<()> {
    let (addresses, length) = ((key.source, key.destination), length(key.is_v4(), saying));
    let transport = network
        + if key.is_v4() {
            write_v4(head, network, addresses, length)?
        } else {
            write_v6(head, network, addresses, saying.length())?
        };
    let header = Tcp {
        source_port: U16::new(key.source_port),
        destination_port: U16::new(key.destination_port),
        sequence: U32::new(saying.sequence),
        acknowledgement: U32::new(saying.acknowledgement),
        offset: (saying.length() as u8 / 4) << 4,
        flags: saying.flags,
        window: U16::new(saying.window),
        checksum: U16::ZERO,
        urgent: U16::ZERO,
    };
    let segment = head.get_mut(transport..transport + saying.length())?;
    *wire::header_mut::<Tcp>(segment, 0)? = header;
    saying.terms.write(segment.get_mut(tcp::HEADER..)?)?;
    let pseudo = if key.is_v4() {
        pseudo_v4(&key.source.v4(), &key.destination.v4(), protocol::TCP, saying.length() as u16)
    } else {
        pseudo_v6(&key.source.octets(), &key.destination.octets(), protocol::TCP, saying.length() as u32)
    };
    let checksum = !pseudo.plus(Sum::of(segment)).fold();
    wire::header_mut::<Tcp>(segment, 0)?.checksum = U16::new(checksum);
    Some(())
}

fn write_v4(
    head: &mut [u8],
    network: usize,
    (source, destination): (Address, Address),
    length: usize,
) -> Option<usize> {
    let mut header = Ipv4 {
        version_and_length: 0x45,
        tos: 0,
        total_length: U16::new(length as u16),
        identification: U16::ZERO,
        fragment: U16::new(ipv4::DONT_FRAGMENT),
        ttl: TTL,
        protocol: protocol::TCP,
        checksum: U16::ZERO,
        source: source.v4(),
        destination: destination.v4(),
    };
    header.checksum = U16::new(!Sum::of(header.as_bytes()).fold());
    *wire::header_mut::<Ipv4>(head, network)? = header;
    Some(ipv4::HEADER)
}

fn write_v6(
    head: &mut [u8],
    network: usize,
    (source, destination): (Address, Address),
    payload: usize,
) -> Option<usize> {
    *wire::header_mut::<Ipv6>(head, network)? = Ipv6 {
        version_class_label: [0x60, 0, 0, 0],
        payload_length: U16::new(payload as u16),
        next_header: protocol::TCP,
        hop_limit: TTL,
        source: source.octets(),
        destination: destination.octets(),
    };
    Some(ipv6::HEADER)
}

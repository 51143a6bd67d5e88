//! Packets that are too big for the way out, cut into several that fit (decision 25).
//!
//! A packet that may be cut is rewritten and encapsulated as any other, as if the way took packets of any size, and cut when that is
//! done: TCP into segments, all else over IPv4 into fragments (RFC 791, 3.2). What goes into a tunnel is cut inside of it, so that each piece
//! has outer headers of its own and the tunnel's end has nothing to put together.
//!
//! Cut are packets over IPv4 that say that they may be ("do not fragment" is not set), and segments of a sender that leaves cutting to its
//! network card, where there is none: only such a sender makes frames larger than its own link takes, and larger ones than it was told. All
//! else goes back as an error ([`crate::answer::error`]), which tells it.
//!
//! Where the port that a segment leaves by cuts by itself, it is asked to ([`card`]). Else
//! pieces are copies in frames of the worker's pool. Frames this large come from devices that copy as well (af_packet), or are put together
//! of fragments; cards deliver none.

mod card;
mod whole;

use model::{PortId, WorkerId};
use nic::{Frame, FrameSource};
use wire::{
    ipv4::{self, Ipv4},
    ipv6,
    tcp::flags,
};

use self::whole::Whole;
pub(crate) use self::whole::network;
use crate::{
    DropReason, Outputs, Snapshot, Verdict, cross, emit,
    neighbour::{Link, NeighbourIndex},
    packet::{Packet, Step},
    serve::Occasion,
    snapshot::Cuts,
    state::Memory,
};

/// Bytes of the largest outer headers: IPv6 and UDP.
const OUTER: usize = 48;

/// How a packet that is cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) port: PortId,
    /// The next hop, if it has yet to answer.
    pub(crate) hop: NeighbourIndex,
    /// Bytes of the largest piece.
    pub(crate) size: u16,
}

/// What the sender of a packet has been told of the largest packet that passes, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told(pub(crate) Option<u16>);

impl Told {
    /// Whether it knows better than to send more than fits.
    fn fits(self, mtu: u16) -> bool {
        self.0.is_some_and(|told| told <= mtu)
    }
}

/// Lets a packet be written for a link: if it is too big for that, and may be cut, as if the link took any. The size of its pieces then,
/// for [`step`].
pub(crate) fn write_for<F: Frame>(
    link: &Link<'_>,
    (frame, packet): (&mut F, &Packet),
    (occasion, told): (&Occasion<'_>, Told),
    write: impl FnOnce(&mut F, &Link<'_>) -> Result<(), DropReason>,
) -> Result<Option<u16>, DropReason> {
    let largest = usize::from(link.mtu);
    if usize::from(packet.length) + OUTER <= largest
        || !may_be_cut(frame.head(), packet, occasion, told.fits(link.mtu))
    {
        return write(frame, link).map(|()| None);
    }
    write(frame, &Link { mtu: u16::MAX, ..*link })?;
    let is_too_big = frame.length() > usize::from(packet.network) + largest;
    Ok(is_too_big.then_some(link.mtu))
}

/// A packet's step, if it is to be cut into pieces of a size.
pub(crate) fn step(step: Step, size: Option<u16>) -> Step {
    match (step, size) {
        (Step::Done(Verdict::Transmit(port)), Some(size)) => {
            Step::Cut { port, hop: NeighbourIndex::NONE, size }
        }
        (Step::Wait(port, hop), Some(size)) => Step::Cut { port, hop, size },
        (step, _) => step,
    }
}

/// A step, if it is to be cut for a path that takes no more than its sender was told.
pub(crate) fn for_path(step: Step, Told(told): Told) -> Step {
    match (step, told) {
        (Step::Cut { port, hop, size }, Some(mtu)) => Step::Cut { port, hop, size: size.min(mtu) },
        (step, _) => step,
    }
}

/// Takes its identification from a packet that is to be cut: many clients have the same address now, and may have given the same ones.
/// Its fragments get another one. The header's checksum is made anew with them.
pub(crate) fn forget_identification(head: &mut [u8], packet: &Packet) {
    let header = wire::header_mut::<Ipv4>(head, usize::from(packet.network)).filter(|_| !packet.v6);
    if let Some(header) = header.filter(|header| !ipv4::is_fragment(header)) {
        header.identification = wire::U16::ZERO;
    }
}

/// Whether a packet that is too big for its way may be cut.
#[cold]
fn may_be_cut(head: &[u8], packet: &Packet, occasion: &Occasion<'_>, was_told: bool) -> bool {
    let network = usize::from(packet.network);
    let is_of_several = || {
        let port = occasion.snapshot.port(occasion.arrival.port);
        is_divisible(packet.flags) && (was_told || port.is_some_and(|port| packet.length > port.mtu))
    };
    if packet.v6 {
        let layout = head.get(network..).and_then(|bytes| ipv6::check_beginning(bytes).ok());
        return layout.is_some_and(|layout| layout.fragment.is_none()) && is_of_several();
    }
    let Some(header) = wire::header::<Ipv4>(head, network) else { return false };
    if !ipv4::must_not_be_fragmented(header) {
        return true;
    }
    !ipv4::is_fragment(header) && is_of_several()
}

/// Whether TCP flags are of a segment that can be sent as several: one that carries nothing but data, perhaps the last.
const fn is_divisible(flags: u8) -> bool {
    flags & flags::ACK != 0 && flags & (flags::SYN | flags::RST | flags::URG) == 0
}

/// Identifications for packets that are cut into fragments and have none of their own.
pub(crate) struct Identifications(u16);

impl Identifications {
    /// Each worker has others than the others, for as long as they do not wrap.
    pub(crate) const fn new(worker: WorkerId) -> Self {
        Self(worker.0 as u16)
    }

    fn next(&mut self, snapshot: &Snapshot) -> u16 {
        self.0 = self.0.wrapping_add(u16::from(snapshot.workers.max(1)));
        self.0.max(1)
    }
}

/// Sends a packet, which is complete but for its size, in pieces; what there is no frame for is lost, and the packet counts as dropped.
#[cold]
#[inline(never)]
pub(crate) fn send<F, S>(
    memory: &mut Memory<F>,
    (snapshot, source): (&Snapshot, &mut S),
    outputs: &mut Outputs<F>,
    (packet, way): (&Packet, Way),
    mut frame: F,
) where
    F: Frame,
    S: FrameSource<Frame = F>,
{
    let packet = &cross::as_it_left(&frame, packet);
    let fresh = whole::lacks_identification(&frame, packet).then(|| memory.identifications.next(snapshot));
    let Some(whole) = Whole::of(&frame, packet, way.size, fresh) else {
        return emit::drop(&memory.meters, outputs, DropReason::FrameOverMtu, frame);
    };
    let cuts = snapshot.port(way.port).map_or(Cuts::default(), |port| port.device.cuts);
    if card::ask(&whole, cuts, &mut frame) {
        return leave(memory, outputs, way, frame);
    }
    for piece in whole.pieces() {
        let new = source.allocate(whole.length(&piece));
        let written = new.and_then(|mut new| whole.write(&frame, &piece, &mut new).map(|()| new));
        let Some(new) = written else {
            return emit::drop(&memory.meters, outputs, DropReason::FramesExhausted, frame);
        };
        // The last one stands for the packet itself.
        if !piece.is_last {
            memory.meters.originated_frames.add(1);
        }
        leave(memory, outputs, way, new);
    }
    outputs.free(frame);
}

fn leave<F: Frame>(memory: &mut Memory<F>, outputs: &mut Outputs<F>, way: Way, piece: F) {
    if way.hop == NeighbourIndex::NONE {
        emit::transmit(&memory.meters, outputs, way.port, piece);
    } else {
        emit::wait(memory, outputs, (way.port, way.hop), piece);
    }
}

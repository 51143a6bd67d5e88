//! Packets of flows that were opened with a cookie.

use flow::{FlowIndex, FlowState, Side, Tracked};
use model::RoundTrips;
use nic::Frame;
use wire::{
    U16,
    checksum::Delta,
    tcp::{Tcp, flags},
};

use super::{Terms, Translation, meet, terms::Accord};
use crate::{
    DropReason, Snapshot, admit,
    notice::{self, Saying, Voice},
    packet::{Packet, Step},
    scale::{self, Scales},
    segment::Segment,
    serve::Occasion,
    state::Memory,
    track,
    treat::{self, option},
};

/// Milliseconds after which a backend that has not answered gets the SYN again.
const PATIENCE: u32 = 1000;

/// Moves a flow on that was opened with a cookie, by a packet of it.
#[cold]
#[inline(never)]
pub(crate) fn follow<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    (index, side): (FlowIndex, Side),
    segment: Segment,
) -> Result<Step, DropReason> {
    let mut flow = memory.flows.tracked(index).ok_or(DropReason::NoFlow)?;
    let (state, shifts) = (flow.hot.state(), flow.numbers.shifts);
    let is_agreement = segment.has(flags::SYN | flags::ACK);
    match (side, state) {
        // A reset with another number than the client's next is not its own (RFC 5961, 3.2).
        (Side::Client, FlowState::Handshake)
            if !segment.has(flags::RST) || segment.sequence != flow.numbers.heard[1] =>
        {
            return Err(DropReason::BackendNotReady);
        }
        // Of the backend no number is known that it could be about.
        (Side::Client, FlowState::Handshake) => flow.numbers.shifts = [0; 2],
        (Side::Backend, FlowState::Handshake) => match reply(occasion.snapshot, &mut flow, &segment) {
            Reply::Agrees => return join(memory, occasion, (frame, packet), index, segment),
            Reply::Refuses => {}
            Reply::Old => return Err(DropReason::BackendNotReady),
            Reply::Contradicts => return reset(occasion, (frame, packet), &segment),
        },
        // Ours was lost that acknowledges it.
        (Side::Backend, FlowState::Established) if is_agreement => {
            return join(memory, occasion, (frame, packet), index, segment);
        }
        (Side::Backend, FlowState::Refused) if is_agreement => {
            return reset(occasion, (frame, packet), &segment);
        }
        // To a SYN that the client has sent over the old conversation: the new one needs no translation.
        (Side::Backend, FlowState::Broken | FlowState::Doubted | FlowState::Closing) if is_agreement => {
            flow.hot.checked = scale::without_cookie(flow.numbers, occasion.flow_generation());
        }
        _ => {}
    }
    let step = admit::goes_on(memory, occasion, (frame, packet), (index, side), Some(segment));
    if let (Err(_), FlowState::Handshake) = (&step, state) {
        keep_waiting(memory, index, shifts);
    }
    step
}

/// A segment that would have ended the wait for the backend goes nowhere: if it has not ended it, what the backend is told stays.
fn keep_waiting<F>(memory: &mut Memory<F>, index: FlowIndex, shifts: [u32; 2]) {
    if let Some(flow) = memory.flows.tracked(index)
        && flow.hot.state() == FlowState::Handshake
    {
        flow.numbers.shifts = shifts;
    }
}

/// What a backend's segment means to our SYN (RFC 9293, 3.10.7.3).
enum Reply {
    Agrees,
    Refuses,
    /// Nothing: it is of an earlier conversation.
    Old,
    /// It has another conversation with this client still.
    Contradicts,
}

fn reply(snapshot: &Snapshot, flow: &mut Tracked<'_>, segment: &Segment) -> Reply {
    let [next_of_backend, next_of_client] = flow.numbers.heard;
    let expected = as_told(snapshot, flow, next_of_client);
    let fits = segment.has(flags::ACK) && segment.acknowledgement == expected;
    if segment.has(flags::RST) && fits {
        // The client believes a reset with exactly the number that it expects next (RFC 5961, 3.2).
        flow.numbers.shifts = [next_of_backend.wrapping_sub(segment.sequence), 0];
        return Reply::Refuses;
    }
    match (fits, segment.has(flags::SYN)) {
        (true, true) => Reply::Agrees,
        (false, _) if segment.has(flags::ACK) && !segment.has(flags::RST) => Reply::Contradicts,
        _ => Reply::Old,
    }
}

/// A sequence number of the client as the backend knows it.
fn as_told(snapshot: &Snapshot, flow: &Tracked<'_>, number: u32) -> u32 {
    let server = snapshot.virtual_server(flow.hot.virtual_server());
    let of = (Side::Client, &flow.key(Side::Client), None);
    server.map_or(number, |server| {
        let [moved, _] = treat::moved(snapshot, of, &server.treatment, [number, 0]);
        moved
    })
}

/// What a host says to a segment that contradicts it.
fn reset<F: Frame>(
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    segment: &Segment,
) -> Result<Step, DropReason> {
    notice::turn_into_reset(occasion, frame, packet, segment).map(Step::Done)
}

/// Takes a backend's SYN-ACK: it is acknowledged, and what goes on to the client is the acknowledgement that makes it begin, with the
/// backend's window. When any of this is lost, the backend or the client asks again.
fn join<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    index: FlowIndex,
    segment: Segment,
) -> Result<Step, DropReason> {
    let Memory { flows, neighbours, notices, outlook, meters, .. } = memory;
    let mut flow = flows.tracked(index).ok_or(DropReason::NoFlow)?;
    let terms = Terms::read(frame.head(), packet);
    if flow.hot.state() == FlowState::Handshake {
        let server = occasion.snapshot.virtual_server(flow.hot.virtual_server());
        let measured = server.map_or(RoundTrips::NONE, |server| server.rtt);
        outlook.follow_handshake(meters, flow.hot, (Side::Backend, true), measured);
        agree(&mut flow, &terms, &segment);
    }
    let (accord, scales) = (Accord::of_word(flow.numbers.accord), Scales::of(flow.numbers));
    let acknowledgement = Saying {
        window: scales.window(Side::Client, accord.window),
        terms: Terms { timestamps: terms.timestamps.map(|[value, echo]| [echo, value]), ..Terms::NONE },
        ..Saying::new(flags::ACK, segment.acknowledgement, segment.end())
    };
    let mut voice = Voice { notices, neighbours, snapshot: occasion.snapshot, now: occasion.flow_time() };
    // If it cannot be said now, the backend asks again.
    let _ = voice.tell((&flow, Side::Backend), acknowledgement);
    into_acknowledgement(frame.head_mut(), packet, scales).ok_or(DropReason::HeadersScattered)?;
    let (packet, sequence) = (Packet { flags: flags::ACK, ..*packet }, segment.sequence.wrapping_add(1));
    let segment = Segment { flags: flags::ACK, sequence, length: 0, ..segment };
    admit::goes_on(memory, occasion, (frame, &packet), (index, Side::Backend), Some(segment))
}

/// Remembers what is between both sides' numbers.
fn agree(flow: &mut Tracked<'_>, terms: &Terms, segment: &Segment) {
    let [next_of_backend, _] = flow.numbers.heard;
    let [_, stamp] = flow.numbers.shifts;
    scale::agree_by_cookie(flow.numbers, terms.window_scale);
    flow.numbers.shifts = [
        next_of_backend.wrapping_sub(segment.sequence.wrapping_add(1)),
        terms.timestamps.map_or(0, |[value, _]| stamp.wrapping_sub(value)),
    ];
    flow.hot.set_state(FlowState::Established);
}

/// Makes of a SYN-ACK the ACK that its sender would send next. Its window is not scaled yet.
fn into_acknowledgement(head: &mut [u8], packet: &Packet, scales: Scales) -> Option<()> {
    treat::for_each_option(head, packet, |kind, option| {
        if kind == option::TIMESTAMPS { Some(()) } else { treat::strip(option) }
    })?;
    let header = wire::header_mut::<Tcp>(head, usize::from(packet.transport))?;
    let words = |header: &Tcp| {
        let ([a, b, c, d], [e, f]) = (header.sequence.to_bytes(), header.window.to_bytes());
        [a, b, c, d, e, f, header.offset, header.flags]
    };
    let before = words(header);
    header.sequence.set(header.sequence.get().wrapping_add(1));
    header.flags = flags::ACK;
    header.window = U16::new(header.window.get() >> scales.of_backend());
    let delta = Delta::of(&before, &words(header));
    header.checksum = U16::new(delta.apply(header.checksum.get()));
    Some(())
}

/// Sends the SYN again to a backend that has not answered. Its client, which believes that it is connected, may have nothing to say.
pub(crate) fn resume<F>(voice: &mut Voice<'_, F>, flow: &mut Tracked<'_>) {
    let is_waiting = flow.hot.state() == FlowState::Handshake && track::is_by_cookie(flow.hot);
    if !is_waiting || voice.now.wrapping_sub(flow.numbers.asked) < PATIENCE {
        return;
    }
    let Some(server) = voice.snapshot.virtual_server(flow.hot.virtual_server()) else { return };
    let [_, next_of_client] = flow.numbers.heard;
    let accord = Accord::of_word(flow.numbers.accord);
    let syn = meet::syn(accord, next_of_client.wrapping_sub(1), flow.numbers.shifts);
    let largest = crate::resolve::largest(voice.neighbours, voice.snapshot, flow.hot, Side::Client);
    let of = (&flow.key(Side::Client), Translation::of(flow));
    let syn = treat::say(syn, voice.snapshot, of, (&server.treatment, largest));
    if voice.tell((flow, Side::Backend), syn) {
        flow.numbers.asked = voice.now;
        scale::tell_again(flow.numbers, syn.terms.window_scale);
    }
}

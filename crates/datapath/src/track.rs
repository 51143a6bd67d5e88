//! How a packet moves its flow on.
//!
//! Most packets of an established flow change nothing ([`is_steady`]) and are only counted. With the others its
//! TCP state follows. A flow whose backend is gone ends; one that begins anew (a SYN over an old flow, a datagram to a backend
//! that is down) ends as well, and its packet is admitted like the first of any flow.
//!
//! Sequence numbers of established flows are not remembered (decision 19), so whether a RST is true is not known here. The side that it
//! was for knows (RFC 5961): a flow that was broken off is over when nobody says anything more.

use flow::{FlowState, Hot, Numbers, Side, Tracked};
use model::{Mode, OnBackendDown};
use wire::{protocol, tcp::flags};

use crate::{
    Snapshot,
    packet::Packet,
    segment::{Segment, is_at_or_after},
    snapshot::{TcpRules, VirtualServer},
};

/// Milliseconds that an established flow may be silent whose virtual server is gone.
const ORPHAN_TIMEOUT: u32 = 300_000;
/// Milliseconds that both sides of a flow that was given up have to answer, so that they are told.
const GIVEN_UP_TIMEOUT: u32 = 3_000;

/// In [`flow::Flow::marks`]: the client has sent a FIN.
const CLIENT_FIN: u8 = 1;
/// The backend has sent a FIN.
const BACKEND_FIN: u8 = 2;
/// Both have.
const BOTH_FINS: u8 = CLIENT_FIN | BACKEND_FIN;
/// That side's FIN was acknowledged: its mark, moved by so many bits.
const ACKNOWLEDGED: u32 = 2;
/// Both have sent a FIN, which the other has acknowledged.
const ALL_DONE: u8 = BOTH_FINS | BOTH_FINS << ACKNOWLEDGED;
/// It was the backend that broke off.
const BY_BACKEND: u8 = 16;

/// What a packet means for the flow whose key it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// The packet continues it.
    GoesOn,
    /// It is over: the packet is the first of a new one.
    BeginsAnew,
    /// It is over, but the packet goes on to another backend.
    Reselects,
    /// It is over: its backend is no longer in the configuration.
    BackendRemoved,
    /// It was given up, and the packet's sender is to be told so.
    IsRefused,
    /// It is over: its backend is down.
    BackendDown,
    /// It is over for the same reason, and both sides are to be told so.
    IsReset,
}

/// What a packet means for the flow whose key it has.
pub(crate) fn course(
    flow: &Tracked<'_>,
    side: Side,
    (packet, segment): (&Packet, Option<&Segment>),
    snapshot: &Snapshot,
) -> Course {
    if flow.hot.state() == FlowState::GivenUp {
        let is_first = side == Side::Client && segment.is_some_and(Segment::is_first);
        return if is_first { Course::BeginsAnew } else { Course::IsRefused };
    }
    let Some(backend) = snapshot.backend(flow.hot.backend) else { return Course::BackendRemoved };
    if backend.incarnation as u8 != flow.hot.incarnation {
        return Course::BackendRemoved;
    }
    let is_up = snapshot.up.is_up(flow.hot.backend);
    if begins_anew(flow, side, (packet, segment), is_up) {
        return Course::BeginsAnew;
    }
    let is_tcp = flow.hot.protocol() == protocol::TCP;
    match backend.on_down {
        OnBackendDown::Drop if is_tcp && !is_up => Course::BackendDown,
        OnBackendDown::Reset if is_tcp && !is_up => Course::IsReset,
        OnBackendDown::Reselect if is_tcp && !is_up && side == Side::Client => Course::Reselects,
        _ => Course::GoesOn,
    }
}

/// Whether a flow is established, and a packet does nothing to change that: it is passed on without looking further.
///
/// A new generation is the only thing that makes its backend another one, so that is looked at once a generation.
#[inline(always)]
pub(crate) fn is_steady(flow: &Hot, packet: &Packet, generation: u32) -> bool {
    flow.checked == generation && packet.flags & (flags::SYN | flags::RST | flags::FIN) == 0
}

/// Moves a flow on that goes on under a snapshot: its TCP state follows the segment. Whether it is another conversation from now on:
/// the backend has agreed to a client's SYN over what it knew to be over.
///
/// Packets of special flows are all looked at.
pub(crate) fn track(
    flow: &mut Tracked<'_>,
    side: Side,
    segment: Option<&Segment>,
    generation: u32,
    is_special: bool,
) -> bool {
    let is_renewed = segment.is_some_and(|segment| follow(flow.hot, flow.numbers, side, segment));
    // A backend's datagram does not speak for the client's: those are looked at for whether they begin anew.
    if (side == Side::Client || segment.is_some()) && !is_translated(flow.hot) {
        let is_special = is_special || flow.hot.crosses();
        flow.hot.checked = checked((flow.hot.state(), flow.hot.mode()), generation, is_special);
    }
    is_renewed
}

/// What a flow remembers of being looked at under a generation: that one if it is established, since only then nothing more is
/// to be seen to, and otherwise another one, as if it is special, which has to do with its bandwidth or its profile. A flow whose packets travel within others has another one too, of its
/// own, so that those who send packets of steady flows leave its packets to those who encapsulate: [`is_steady_in_tunnel`].
pub(crate) const fn checked((state, mode): (FlowState, Mode), generation: u32, is_special: bool) -> u32 {
    match state {
        FlowState::Established if is_special => !generation,
        FlowState::Established if mode.is_tunnel() => generation ^ IN_TUNNEL,
        FlowState::Established => generation,
        _ => !generation,
    }
}

/// What makes a generation another one: none is so far away.
const IN_TUNNEL: u32 = 1 << 31;

/// What a flow remembers instead whose packets are translated because it was opened with a SYN cookie, as long as it lives. None of its
/// packets passes without that: no generation is as far away, and what else is remembered has both of the highest bits or the other one.
pub(crate) const BY_COOKIE: u32 = 1 << 30;
/// The same of a flow whose windows are said anew, for as long as they have to be.
pub(crate) const SCALED: u32 = BY_COOKIE | 1;

/// Whether a flow's packets are translated, for one of both reasons.
#[inline(always)]
pub(crate) const fn is_translated(flow: &Hot) -> bool {
    flow.checked >> BY_COOKIE.trailing_zeros() == 1
}

/// Whether a flow was opened with a SYN cookie, and its packets are therefore translated.
#[inline(always)]
pub(crate) const fn is_by_cookie(flow: &Hot) -> bool {
    flow.checked == BY_COOKIE
}

/// Whether a flow takes room though nobody has shown yet that its client is there. It has such a state and has remembered such a check.
#[inline(always)]
pub(crate) const fn is_embryonic(state: FlowState, checked: u32) -> bool {
    matches!(state, FlowState::Handshake | FlowState::Answered) && checked != BY_COOKIE
}

/// The same as [`is_steady`] for a flow whose packets travel within others; false for all other flows.
#[inline(always)]
pub(crate) fn is_steady_in_tunnel(flow: &Hot, packet: &Packet, generation: u32) -> bool {
    is_steady(flow, packet, generation ^ IN_TUNNEL)
}

/// Notes that a flow is given up: whatever its ends say from now on is refused.
pub(crate) fn give_up(flow: &mut Hot, generation: u32, now: u32) {
    flow.set_state(FlowState::GivenUp);
    flow.set_marks(0);
    // What it takes to tell the other end what one end answers is remembered.
    if !is_translated(flow) {
        flow.checked = checked((FlowState::GivenUp, flow.mode()), generation, false);
    }
    flow.last_seen = now;
}

/// Whether a client's packet is the first of a new conversation with the addresses and ports of an old one.
fn begins_anew(
    flow: &Tracked<'_>,
    side: Side,
    (packet, segment): (&Packet, Option<&Segment>),
    backend_up: bool,
) -> bool {
    if side == Side::Backend {
        return false;
    }
    let Some(segment) = segment else {
        return packet.protocol() != protocol::TCP && !backend_up; // collectors never fall silent
    };
    if !segment.is_first() {
        return false;
    }
    match flow.hot.state() {
        // Its client has begun anew: this is not the SYN that it has got an answer to.
        FlowState::Handshake if is_by_cookie(flow.hot) => {
            let [_, next] = flow.numbers.heard;
            !backend_up || segment.sequence.wrapping_add(1) != next
        }
        FlowState::Handshake | FlowState::Answered | FlowState::Broken | FlowState::Doubted => !backend_up,
        FlowState::Refused | FlowState::GivenUp => true,
        // As a host in TIME-WAIT decides (RFC 6191, 2; RFC 9293, 3.6.1): a SYN from before the end is an old one. That the
        // backend decides, which may know its timestamps.
        FlowState::Closing => {
            !backend_up
                || flow.hot.marks() & CLIENT_FIN == 0
                || is_at_or_after(segment.sequence, flow.numbers.end(Side::Client))
        }
        FlowState::Established => false,
    }
}

/// RFC 9293, 3.3.2, as far as an observer in the middle can tell; with the backend's half of it where that passes. Whether a new
/// conversation has taken the place of the old one.
fn follow(flow: &mut Hot, numbers: &mut Numbers, side: Side, segment: &Segment) -> bool {
    if segment.has(flags::RST) {
        break_off(flow, side);
        return false;
    }
    let is_renewed = move_on(flow, side, segment);
    if segment.has(flags::FIN) {
        flow.set_marks(flow.marks() | fin_of(side));
        numbers.set_end(side, segment.end());
        // Of what the backend says nothing is seen here: the client's word stands for both.
        let both = if is_two_way(flow) { BOTH_FINS } else { CLIENT_FIN };
        if flow.state() == FlowState::Established && flow.marks() & both == both {
            flow.set_state(FlowState::Closing);
        }
    }
    let fin = fin_of(side.opposite());
    let is_acknowledged = segment.has(flags::ACK) && flow.marks() & fin != 0;
    if is_acknowledged && is_at_or_after(segment.acknowledgement, numbers.end(side.opposite())) {
        flow.set_marks(flow.marks() | fin << ACKNOWLEDGED);
    }
    is_renewed
}

/// A side has broken off, or somebody in its name.
fn break_off(flow: &mut Hot, side: Side) {
    let by = if side == Side::Backend { BY_BACKEND } else { 0 };
    match flow.state() {
        FlowState::Handshake | FlowState::Answered => flow.set_state(FlowState::Refused),
        FlowState::Established => {
            flow.set_state(FlowState::Broken);
            flow.set_marks(flow.marks() & !BY_BACKEND | by);
        }
        // The side that it was for agrees, or was asked and knows nothing of the flow.
        FlowState::Broken | FlowState::Doubted if flow.marks() & BY_BACKEND != by => {
            flow.set_state(FlowState::Closing);
        }
        _ => {}
    }
}

/// The state after a segment without RST. Whether a new conversation has taken the place of the old one.
fn move_on(flow: &mut Hot, side: Side, segment: &Segment) -> bool {
    use FlowState::{Answered, Broken, Closing, Doubted, Established, GivenUp, Handshake, Refused};
    let is_agreement = side == Side::Backend && segment.has(flags::SYN | flags::ACK);
    let is_of_client = side == Side::Client && !segment.has(flags::SYN);
    match flow.state() {
        Handshake if is_agreement => flow.set_state(Answered),
        Handshake if is_of_client && !is_two_way(flow) => flow.set_state(Established),
        Answered if is_of_client => flow.set_state(Established),
        // A backend that goes on has not believed it.
        Refused if side == Side::Backend => flow.set_state(Answered),
        Broken | Doubted | Closing if is_agreement => {
            flow.set_state(Answered);
            flow.set_marks(0);
            return true;
        }
        // Who goes on has not broken off, or not believed it (RFC 5961, 3.2).
        Broken | Doubted if !segment.has(flags::SYN) => flow.set_state(Established),
        Handshake | Answered | Established | Refused | Broken | Doubted | Closing | GivenUp => {}
    }
    false
}

const fn fin_of(side: Side) -> u8 {
    match side {
        Side::Client => CLIENT_FIN,
        Side::Backend => BACKEND_FIN,
    }
}

/// Whether the backend's packets pass as well.
pub(crate) fn is_two_way(flow: &Hot) -> bool {
    !flow.mode().is_direct()
}

/// The side that was told that the other has broken off.
pub(crate) const fn told(flow: &Hot) -> Side {
    if flow.marks() & BY_BACKEND == 0 { Side::Backend } else { Side::Client }
}

/// Milliseconds that a flow may be silent.
#[inline]
pub(crate) fn lifetime(state: FlowState, marks: u8, server: Option<&VirtualServer>) -> u32 {
    let rules = server.map_or(&TcpRules::DEFAULT, |server| &server.tcp);
    match state {
        FlowState::Handshake | FlowState::Answered => rules.handshake_timeout,
        // Without a server it is no longer configured; its backend is.
        FlowState::Established => server.map_or(ORPHAN_TIMEOUT, |server| server.idle_timeout),
        FlowState::Closing if marks & ALL_DONE == ALL_DONE => rules.time_wait,
        FlowState::Refused | FlowState::Broken | FlowState::Doubted | FlowState::Closing => {
            rules.close_timeout
        }
        FlowState::GivenUp => GIVEN_UP_TIMEOUT,
    }
}

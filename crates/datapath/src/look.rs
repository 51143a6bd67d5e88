//! First pass: what each frame is (`parse`), and where its flow may be (`flow`).
//!
//! A packet's flow is looked up some packets after the packet was parsed, when the tags that this reads have arrived; the flow's
//! record, which it asks for, is on its way while further packets are parsed. That is why these are one pass: asked for all at
//! once, as many records as a burst has packets are more than a processor has under way, and it would wait.

use flow::FlowTable;
use nic::{Burst, Frame};

use crate::{
    DropReason, Verdict,
    packet::{Packets, Step},
    parse::{self, Lens, Memo},
};

/// How many packets a look-up is behind.
const LAG: usize = 8;

/// What is known of a burst.
pub(crate) struct Seen {
    /// Whether any packet is to go on.
    pub(crate) goes_on: bool,
    /// Whether all that do have a candidate.
    pub(crate) is_complete: bool,
    /// Why all packets are dropped, if it is one reason for all, as in floods it often is.
    pub(crate) refused: Option<DropReason>,
}

/// Looks at all frames of a burst.
#[inline(never)]
pub(crate) fn look_all<F: Frame>(lens: Lens<'_>, burst: &mut Burst<F>, packets: &mut Packets) -> Seen {
    for frame in burst.iter() {
        // Its line: the shortest frames are shorter than that.
        if let Some(first) = frame.head().first() {
            cpu::prefetch(first);
        }
    }
    packets.count = burst.len();
    let mut memo = Memo::new(lens);
    let (mut refused, mut refusals, mut changes, mut is_complete) = (None, 0, 0, true);
    for (position, frame) in burst.iter_mut().enumerate() {
        let known = (packets.packets.get_mut(position), packets.steps.get_mut(position));
        let (Some(packet), Some(step)) = known else { break };
        *step = Step::Parsed;
        if let Err(reason) = parse::parse_one(lens, &mut memo, frame, packet) {
            *step = Step::Done(Verdict::Drop(reason));
            refusals += 1;
            changes += u32::from(refused.replace(reason) != Some(reason));
        }
        if let Some(before) = position.checked_sub(LAG) {
            is_complete &= find(lens.flows, packets, before);
        }
    }
    let goes_on = refusals < packets.count;
    if goes_on {
        for position in packets.count.saturating_sub(LAG)..packets.count {
            is_complete &= find(lens.flows, packets, position);
        }
    }
    Seen { goes_on, is_complete, refused: refused.filter(|_| !goes_on && changes == 1) }
}

/// Looks a packet's flow up, and asks for it; false when there is none though the packet goes on.
#[inline(always)]
fn find(flows: &FlowTable, packets: &mut Packets, position: usize) -> bool {
    let Packets { packets, steps, candidates, .. } = packets;
    let known = (packets.get(position), steps.get(position), candidates.get_mut(position));
    let (Some(packet), Some(Step::Parsed), Some(candidate)) = known else { return true };
    *candidate = flows.look_up(packet.place);
    candidate.is_some()
}

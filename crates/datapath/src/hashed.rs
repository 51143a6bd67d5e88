//! Packets of `dsr` that no flow is remembered for: the hash alone says which backend has their conversation.

use flow::{Flow, FlowKey, Hit, Hot, Side, Wide};
use model::Mode;
use nic::Frame;

use crate::{
    DropReason,
    cut::{self, Told},
    packet::{Packet, Step},
    plan::Plan,
    resolve, rewrite,
    serve::{self, Occasion},
    state::Memory,
};

/// Sends a packet to the backend that a client's packet with this key would get; for `reason` it is dropped when it is not for a
/// `dsr` virtual server.
pub(crate) fn send<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    key: &FlowKey,
    reason: DropReason,
) -> Result<Step, DropReason> {
    let snapshot = occasion.snapshot;
    let plan = Plan::find(snapshot, key).ok_or(reason)?;
    snapshot.virtual_server(plan.server).filter(|server| server.mode == Mode::Dsr).ok_or(reason)?;
    let id = plan.backend.ok_or(DropReason::NoBackend)?;
    let backend = snapshot.backend(id).ok_or(DropReason::NoBackend)?;
    let hop = resolve::backend_hop(&mut memory.neighbours, snapshot, (id, backend), plan.hash, occasion.now)?;
    let (link, step) = resolve::destination(&mut memory.neighbours, snapshot, hop)?;
    let size = cut::write_for(&link, (frame, packet), (occasion, Told(None)), |frame, link| {
        if packet.length > link.mtu {
            return Err(DropReason::FrameOverMtu);
        }
        rewrite::write_link(frame.head_mut(), *link.to, *link.from);
        Ok(())
    })?;
    memory.meters.untracked_packets.add(1);
    Ok(cut::step(step, size))
}

/// A packet that the table has no room for goes, in modes in which nothing comes back, by hash alone.
pub(crate) fn send_untracked<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    frame: &mut F,
    packet: &Packet,
    flow: &Flow,
) -> Result<Step, DropReason> {
    let Memory { neighbours, tallies, meters, .. } = memory;
    let (mut hot, wide) = (Hot::of(flow), Wide::of(flow));
    let flow = Hit { hot: &mut hot, wide: Some(&wide), side: Side::Client };
    let step = serve::pass_on(neighbours, tallies, occasion, (frame, packet), (flow, Told(None)))?;
    meters.untracked_packets.add(1);
    Ok(step)
}

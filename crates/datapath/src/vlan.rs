//! VLANs (IEEE 802.1Q): what comes and goes by a port with tags is of ports of its own.
//!
//! Tags are taken off before anything else is looked at and put on after everything else, so that all between sees frames
//! without. A burst from a trunk is handled in runs of frames that follow each other and are of the same VLAN, so that each
//! VLAN's frames stay in their order, and those of a run have one port.

use model::{Millis, PortId};
use nic::{Burst, Frame, FrameSource};
use wire::{
    U16,
    ethernet::{self, Ethernet, ether_type},
    vlan::{self, Tag},
};

use crate::{
    Arrival, DropReason, Outputs, Snapshot, Verdict, WorkerMeters, WorkerState, emit, forward::forward_from,
    packet::Step, snapshot::Port,
};

/// Bytes before a tag: both addresses.
const BEFORE: usize = ethernet::HEADER - 2;
/// Where a tag has its priority.
const PRIORITY: u32 = 13;

/// Handles a burst from a port that has VLANs.
#[inline(never)]
pub(crate) fn forward_trunk<F, S>(
    state: &mut WorkerState<F>,
    snapshot: &Snapshot,
    (arrival, trunk): (Arrival, &Port),
    now: Millis,
    burst: &mut Burst<F>,
    outputs: &mut Outputs<F>,
    source: &mut S,
) where
    F: Frame,
    S: FrameSource<Frame = F>,
{
    let (mut run, mut of) = (Burst::new(), arrival.port);
    let mut flush = |run: &mut Burst<F>, id: PortId| {
        if let Some(port) = snapshot.port(id).filter(|_| !run.is_empty()) {
            let arrival = Arrival { port: id, ..arrival };
            forward_from(state, snapshot, (arrival, port), now, run, outputs, source);
            F::free(&mut outputs.dropped);
        }
    };
    for mut frame in burst.drain(..) {
        let port = untag(&mut frame, trunk).unwrap_or(arrival.port);
        if port != of {
            flush(&mut run, of);
            of = port;
        }
        run.push(frame);
    }
    flush(&mut run, of);
}

/// Takes the tag of a VLAN of the port off. `None`, with the frame unchanged, when it has none; what is wrong with its tags is told when it
/// is parsed.
fn untag<F: Frame>(frame: &mut F, trunk: &Port) -> Option<PortId> {
    let header: &Ethernet = wire::header(frame.head(), 0)?;
    if header.ether_type.get() != ether_type::VLAN {
        return None;
    }
    let tag: &Tag = wire::header(frame.head(), ethernet::HEADER)?;
    if matches!(tag.ether_type.get(), ether_type::VLAN | ether_type::QINQ) {
        return None;
    }
    let &(_, port) = trunk.vlans.iter().find(|(id, _)| *id == tag.id())?;
    frame.head_mut().copy_within(..BEFORE, vlan::TAG);
    frame.behead(vlan::TAG).then_some(port)
}

/// Moves what leaves by VLANs to the ports that they are on, with tags.
#[inline(never)]
pub(crate) fn tag_all<F: Frame>(meters: &WorkerMeters, snapshot: &Snapshot, outputs: &mut Outputs<F>) {
    for (id, port) in snapshot.port_ids().zip(&snapshot.ports) {
        let Some((parent, vlan)) = port.tag else { continue };
        while let Some(mut burst) = outputs.port(id).and_then(crate::Lane::take_first) {
            for mut frame in burst.drain(..) {
                match put_tag(&mut frame, vlan) {
                    Some(()) => emit::transmit(meters, outputs, parent, frame),
                    None => emit::drop(meters, outputs, DropReason::NoRoomForTag, frame),
                }
            }
        }
    }
}

/// Gives a frame that leaves by a VLAN a priority: in a tag without a VLAN (IEEE 802.1Q, 6.9), which becomes the VLAN's.
pub(crate) fn prioritise<F: Frame>(
    frame: &mut F,
    snapshot: &Snapshot,
    step: Step,
    priority: Option<u8>,
) -> Result<(), DropReason> {
    let Some(priority) = priority else { return Ok(()) };
    let (Step::Done(Verdict::Transmit(id)) | Step::Wait(id, _) | Step::Cut { port: id, .. }) = step else {
        return Ok(());
    };
    if snapshot.port(id).is_none_or(|port| port.tag.is_none()) {
        return Ok(());
    }
    let control = U16::new(u16::from(priority) << PRIORITY);
    match priority_tag(frame) {
        Some(tag) => tag.control = control,
        None => put_tag(frame, control.get()).ok_or(DropReason::NoRoomForTag)?,
    }
    Ok(())
}

/// The tag of a frame that has one with a priority only.
fn priority_tag<F: Frame>(frame: &mut F) -> Option<&mut Tag> {
    let header: &Ethernet = wire::header(frame.head(), 0)?;
    let is_tagged = header.ether_type.get() == ether_type::VLAN;
    let tag = wire::header_mut::<Tag>(frame.head_mut(), ethernet::HEADER)?;
    (is_tagged && tag.id() == 0).then_some(tag)
}

/// Puts a tag on, or completes the one that has a priority only; `None`, with the frame unchanged, when there is no room for it.
fn put_tag<F: Frame>(frame: &mut F, control: u16) -> Option<()> {
    if let Some(tag) = priority_tag(frame) {
        tag.control = U16::new(control | u16::from(tag.priority()) << PRIORITY);
        return Some(());
    }
    if frame.head().len() < ethernet::HEADER || !frame.prepend(vlan::TAG) {
        return None;
    }
    frame.head_mut().copy_within(vlan::TAG..vlan::TAG + BEFORE, 0);
    wire::header_mut::<Ethernet>(frame.head_mut(), 0)?.ether_type = U16::new(ether_type::VLAN);
    // What followed the addresses follows the tag.
    wire::header_mut::<Tag>(frame.head_mut(), ethernet::HEADER)?.control = U16::new(control);
    Some(())
}

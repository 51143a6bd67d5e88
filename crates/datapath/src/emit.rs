//! Last pass: every frame goes where its verdict says, in the order of arrival, and is counted there.
//!
//! Frames for a port are counted when the transmit queue has taken them, which is the worker's to know.

use model::{MacAddress, PortId, WorkerId};
use nic::{Burst, Frame, FrameSource};

use crate::{
    Arrival, DropReason, Outputs, Verdict, WorkerMeters,
    cut::{self, Way},
    fragment,
    neighbour::NeighbourIndex,
    packet::{Packet, Packets, Step},
    resolve,
    serve::Occasion,
    state::Memory,
};

/// Moves all frames of a burst out; `together` is the port that all of them leave by, if it is one. What waited for a hop that is known by now leaves before them.
#[inline(never)]
pub(crate) fn emit_all<F: Frame, S: FrameSource<Frame = F>>(
    memory: &mut Memory<F>,
    packets: &Packets,
    (occasion, together): (&Occasion<'_>, Option<PortId>),
    burst: &mut Burst<F>,
    (outputs, source): (&mut Outputs<F>, &mut S),
) {
    release_held(memory, outputs);
    if leaves_together(together, burst, outputs) {
        return;
    }
    let count = burst.len();
    for (frame, position) in burst.drain(..).zip(0..count) {
        match packets.steps.get(position) {
            Some(Step::Done(Verdict::Transmit(port))) => transmit(&memory.meters, outputs, *port, frame),
            Some(Step::Done(verdict)) => emit(&memory.meters, outputs, occasion.arrival, *verdict, frame),
            Some(&Step::Wait(port, neighbour)) => wait(memory, outputs, (port, neighbour), frame),
            Some(Step::WaitForParts) => {
                wait_for_parts(memory, occasion, outputs, packets.packets.get(position), frame)
            }
            Some(&Step::Cut { port, hop, size }) => {
                if let Some(packet) = packets.packets.get(position) {
                    let way = Way { port, hop, size };
                    cut::send(memory, (occasion.snapshot, source), outputs, (packet, way), frame);
                }
            }
            // No pass leaves a packet in any other step; if one did, it would be counted all the same.
            _ => drop(&memory.meters, outputs, DropReason::NoFlow, frame),
        }
    }
    memory.count_held();
}

/// Makes a fragment wait for others of its packet.
#[cold]
fn wait_for_parts<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    outputs: &mut Outputs<F>,
    packet: Option<&Packet>,
    frame: F,
) {
    match packet {
        Some(packet) => fragment::hold(memory, occasion, outputs, packet, frame),
        None => drop(&memory.meters, outputs, DropReason::NoFlow, frame),
    }
}

#[cold]
pub(crate) fn emit<F: Frame>(
    meters: &WorkerMeters,
    outputs: &mut Outputs<F>,
    arrival: Arrival,
    verdict: Verdict,
    frame: F,
) {
    match verdict {
        Verdict::Transmit(port) => transmit(meters, outputs, port, frame),
        Verdict::ToHost(port) => to_host(meters, outputs, port, frame),
        Verdict::Drop(reason) => drop(meters, outputs, reason, frame),
        Verdict::HandOver(worker) => hand_over(meters, outputs, arrival.port, worker, frame),
        Verdict::Absorbed => {
            meters.absorbed_frames.add(1);
            outputs.free(frame);
        }
        // Packets that wait are in `Step::Wait` until they do.
        Verdict::Held => drop(meters, outputs, DropReason::NeighbourQueueFull, frame),
    }
}

/// Lets a burst leave as it is when all of it goes to one port, as most bursts do; false when it does not.
#[inline]
fn leaves_together<F: Frame>(
    together: Option<PortId>,
    burst: &mut Burst<F>,
    outputs: &mut Outputs<F>,
) -> bool {
    let lane = together.and_then(|port| outputs.port(port));
    lane.is_some_and(|lane| lane.take_all(burst))
}

/// Puts a frame among those that leave by a port.
#[inline]
pub(crate) fn transmit<F: Frame>(meters: &WorkerMeters, outputs: &mut Outputs<F>, port: PortId, frame: F) {
    match outputs.port(port).map(|lane| lane.push(frame)) {
        Some(Ok(())) => {}
        Some(Err(frame)) => drop(meters, outputs, DropReason::TransmitQueueFull, frame),
        None => meters.drop_packets(DropReason::TransmitQueueFull, 1),
    }
}

fn to_host<F: Frame>(meters: &WorkerMeters, outputs: &mut Outputs<F>, port: PortId, frame: F) {
    match outputs.host(port).map(|lane| lane.push(frame)) {
        Some(Ok(())) => {}
        Some(Err(frame)) => drop(meters, outputs, DropReason::HostQueueFull, frame),
        None => meters.drop_packets(DropReason::HostQueueFull, 1),
    }
}

fn hand_over<F: Frame>(
    meters: &WorkerMeters,
    outputs: &mut Outputs<F>,
    port: PortId,
    worker: WorkerId,
    frame: F,
) {
    match outputs.worker(worker).map(|burst| burst.try_push((port, frame))) {
        Some(Ok(())) => {}
        Some(Err(full)) => drop(meters, outputs, DropReason::HandOverFull, full.element().1),
        None => meters.drop_packets(DropReason::HandOverFull, 1),
    }
}

pub(crate) fn drop<F: Frame>(meters: &WorkerMeters, outputs: &mut Outputs<F>, reason: DropReason, frame: F) {
    meters.drop_packets(reason, 1);
    outputs.free(frame);
}

/// Makes a frame wait for its hop, unless it was learned in this very burst.
pub(crate) fn wait<F: Frame>(
    memory: &mut Memory<F>,
    outputs: &mut Outputs<F>,
    (port, hop): (PortId, NeighbourIndex),
    mut frame: F,
) {
    if let Some(link) = memory.neighbours.link(hop) {
        write_destination(&mut frame, *link.to);
        return transmit(&memory.meters, outputs, port, frame);
    }
    if let Err((frame, reason)) = memory.neighbours.hold(hop, frame, port) {
        drop(&memory.meters, outputs, reason, frame);
    }
}

/// Sends what waited for hops that are known by now.
pub(crate) fn release_held<F: Frame>(memory: &mut Memory<F>, outputs: &mut Outputs<F>) {
    if memory.neighbours.held() == 0 {
        return;
    }
    let Memory { neighbours, meters, .. } = memory;
    neighbours.release(|mut frame, port, mac| {
        write_destination(&mut frame, mac);
        transmit(meters, outputs, port, frame);
    });
    memory.count_held();
}

fn write_destination<F: Frame>(frame: &mut F, mac: MacAddress) {
    let from = resolve::source_mac(frame);
    resolve::address_frame(frame, mac, from);
}

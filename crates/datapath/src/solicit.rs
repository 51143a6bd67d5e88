//! Questions to the link: who has this address? (RFC 826; RFC 4861, 7.2.2)

use model::MacAddress;
use nic::{Frame, FrameSource};
use wire::{
    U16,
    arp::{self, Arp},
    ethernet::{self, Ethernet, ether_type},
    ipv6,
    nd::{self, Message},
};

use crate::{Outputs, Snapshot, answer, neighbour::Solicitation, snapshot::Port, state::Memory};

/// Sends the questions that wait. One for which there is no frame or no sender address is asked again by its timer.
pub(crate) fn send_all<F, S>(
    memory: &mut Memory<F>,
    snapshot: &Snapshot,
    outputs: &mut Outputs<F>,
    source: &mut S,
) where
    F: Frame,
    S: FrameSource<Frame = F>,
{
    if !memory.neighbours.has_solicitations() {
        return;
    }
    for question in memory.neighbours.take_solicitations() {
        let Some(port) = snapshot.port(question.hop.port) else { continue };
        let Some(frame) = frame(port, &question, source) else { continue };
        memory.meters.originated_frames.add(1);
        super::emit::transmit(&memory.meters, outputs, question.hop.port, frame);
    }
}

fn frame<S: FrameSource>(port: &Port, question: &Solicitation, source: &mut S) -> Option<S::Frame> {
    if question.hop.address.is_v4() {
        arp_request(port, question, source)
    } else {
        solicitation(port, question, source)
    }
}

fn arp_request<S: FrameSource>(port: &Port, question: &Solicitation, source: &mut S) -> Option<S::Frame> {
    let sender = port.senders.v4?;
    let mut frame = source.allocate(ethernet::HEADER + arp::MESSAGE)?;
    let to = question.to.unwrap_or(MacAddress::BROADCAST);
    write_ethernet(&mut frame, to.0, port.mac, ether_type::ARP)?;
    let target = ([0; 6], question.hop.address.v4());
    *wire::header_mut::<Arp>(frame.head_mut(), ethernet::HEADER)? =
        Arp::new(arp::REQUEST, (port.mac.0, sender), target);
    Some(frame)
}

fn solicitation<S: FrameSource>(port: &Port, question: &Solicitation, source: &mut S) -> Option<S::Frame> {
    let sender = port.senders.v6?;
    let target = question.hop.address.octets();
    let group = nd::solicited_node(target);
    let (destination, to) = match question.to {
        Some(mac) => (target, mac.0),
        None => (group, nd::multicast_mac(group)),
    };
    let mut frame = source.allocate(ethernet::HEADER + ipv6::HEADER + nd::MESSAGE)?;
    write_ethernet(&mut frame, to, port.mac, ether_type::IPV6)?;
    let message = Message::solicitation(target, port.mac.0);
    answer::nd::write(frame.head_mut(), ethernet::HEADER, sender, destination, message)?;
    Some(frame)
}

fn write_ethernet<F: Frame>(frame: &mut F, to: [u8; 6], from: MacAddress, kind: u16) -> Option<()> {
    *wire::header_mut::<Ethernet>(frame.head_mut(), 0)? =
        Ethernet { destination: to, source: from.0, ether_type: U16::new(kind) };
    Some(())
}

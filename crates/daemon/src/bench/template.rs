//! A frame that becomes any flow's by writing an address, a port and the checksums over them.

use std::net::SocketAddr;

use model::{MacAddress, Protocol};
use wire::{
    U16,
    checksum::Sum,
    ethernet,
    ipv4::{self, EthernetIpv4Tcp},
    ipv6::EthernetIpv6Tcp,
};

use super::{
    Family, clients,
    fault::Fault,
    frame::{PoolFrame, ROOM},
    gateway::service_of,
};
use crate::replay::{Notation, compose};

/// The shortest frame that Ethernet has.
const SHORTEST: usize = 60;
/// Bytes of the IPv4 frame that are written at once.
const LINE: usize = 64;

/// A frame but for the client's address and port.
pub(super) struct Template {
    bytes: [u8; ROOM],
    length: usize,
    family: Family,
    /// The sums that checksums are made of, without the client's part.
    network: u16,
    transport: u16,
    /// Virtual servers that its frames are for.
    services: u16,
}

impl Template {
    /// A segment that a client, as flow 0 has it, sends `to` somebody, or is sent `from` somebody. `None` when the frame has
    /// no room.
    pub(super) fn try_new(family: Family, ends: Ends, flags: u8) -> Option<Self> {
        Self::of(family, &Self::segment(family, ends, flags)?)
    }

    /// The same with something wrong.
    pub(super) fn faulty(family: Family, ends: Ends, flags: u8, fault: &Fault) -> Option<Self> {
        let mut frame = Self::segment(family, ends, flags)?;
        fault.spoil(&mut frame);
        if family == Family::V4 {
            repair(&mut frame)?;
        }
        let mut template = Self::of(family, &frame)?;
        template.length = fault.length(template.length);
        if fault.is_of_checksum() {
            template.network ^= 0x5555;
        }
        Some(template)
    }

    fn segment(family: Family, ends: Ends, flags: u8) -> Option<Vec<u8>> {
        let client = clients::client(family, 0);
        let ((from, from_mac), (to, to_mac)) = match ends {
            Ends::FromClient { to, macs: (from_mac, to_mac) } => ((client, from_mac), (to, to_mac)),
            Ends::ToClient { from, macs: (from_mac, to_mac) } => ((from, from_mac), (client, to_mac)),
        };
        let segment = Notation::Balanced { protocol: Protocol::Tcp, from, to, flags };
        let mut frame = compose(&segment, from_mac, to_mac)?;
        frame.resize(frame.len().max(SHORTEST), 0);
        Some(frame)
    }

    /// Of a frame as flow 0 has it.
    fn of(family: Family, frame: &[u8]) -> Option<Self> {
        let mut bytes = [0; ROOM];
        bytes.get_mut(..frame.len())?.copy_from_slice(frame);
        let (network, transport) = match family {
            Family::V4 => {
                let headers: &EthernetIpv4Tcp = wire::header(&bytes, 0)?;
                (headers.network.checksum.get(), headers.transport.checksum.get())
            }
            Family::V6 => (0, wire::header::<EthernetIpv6Tcp>(&bytes, 0)?.transport.checksum.get()),
        };
        let [high, low] = words(clients::address_bits(family, 0));
        let without = |checksum: u16| {
            Sum::default().plus_word(!checksum).plus_word(!(high as u16)).plus_word(!(low as u16))
        };
        Some(Self {
            bytes,
            length: frame.len(),
            family,
            network: without(network).fold(),
            transport: without(transport).plus_word(!clients::port(0)).fold(),
            services: 1,
        })
    }

    /// The same for the virtual server of each flow, of so many; it was made for the first of them.
    pub(super) const fn with_services(self, services: u16) -> Self {
        Self { services, ..self }
    }

    /// The last two bytes of a flow's destination, where the first virtual server has others, and by how much they are more.
    #[inline(always)]
    fn service(&self, flow: u32, first: &[u8]) -> Option<([u8; 2], u32)> {
        if self.services == 1 {
            return None;
        }
        let number = service_of(flow, self.services);
        let &[.., high, low] = first else { return None };
        Some(((u16::from_be_bytes([high, low]) + number).to_be_bytes(), u32::from(number)))
    }

    /// Which address family.
    pub(super) const fn family(&self) -> Family {
        self.family
    }

    /// Makes `frame` an IPv4 flow's.
    #[inline(always)]
    pub(super) fn write_v4<const FROM_CLIENT: bool>(&self, frame: &mut PoolFrame, flow: u32) {
        let bytes = frame.begin(self.length);
        if let (Some(to), Some(from)) = (bytes.first_chunk_mut::<LINE>(), self.bytes.first_chunk::<LINE>()) {
            *to = *from;
        }
        let (address, port) = (clients::address_bits(Family::V4, flow), clients::port(flow));
        let [high, low] = words(address);
        let Some(EthernetIpv4Tcp { network, transport, .. }) = wire::header_mut(bytes, 0) else { return };
        let mut sums = (u32::from(self.network), u32::from(self.transport));
        if FROM_CLIENT {
            network.source = address.to_be_bytes();
            transport.source_port = U16::new(port);
            if let Some((last, more)) = self.service(flow, &network.destination) {
                if let Some(bytes) = network.destination.last_chunk_mut() {
                    *bytes = last;
                }
                sums = (sums.0 + more, sums.1 + more);
            }
        } else {
            network.destination = address.to_be_bytes();
            transport.destination_port = U16::new(port);
        }
        network.checksum = checksum(sums.0 + high + low);
        transport.checksum = checksum(sums.1 + high + low + u32::from(port));
    }

    /// Makes `frame` an IPv6 flow's.
    #[inline(always)]
    pub(super) fn write_v6<const FROM_CLIENT: bool>(&self, frame: &mut PoolFrame, flow: u32) {
        let bytes = frame.begin(self.length);
        *bytes = self.bytes;
        let (address, port) = (clients::address_bits(Family::V6, flow), clients::port(flow));
        let [high, low] = words(address);
        let Some(EthernetIpv6Tcp { network, transport, .. }) = wire::header_mut(bytes, 0) else { return };
        let mut sum = u32::from(self.transport);
        let client = if FROM_CLIENT {
            transport.source_port = U16::new(port);
            if let Some((last, more)) = self.service(flow, &network.destination) {
                if let Some(bytes) = network.destination.last_chunk_mut() {
                    *bytes = last;
                }
                sum += more;
            }
            &mut network.source
        } else {
            transport.destination_port = U16::new(port);
            &mut network.destination
        };
        if let Some(last) = client.last_chunk_mut() {
            *last = address.to_be_bytes();
        }
        transport.checksum = checksum(sum + high + low + u32::from(port));
    }
}

/// Makes the checksum of an IPv4 header without options right.
fn repair(frame: &mut [u8]) -> Option<()> {
    wire::header_mut::<EthernetIpv4Tcp>(frame, 0)?.network.checksum = U16::new(0);
    let sum = Sum::of(frame.get(ethernet::HEADER..ethernet::HEADER + ipv4::HEADER)?);
    wire::header_mut::<EthernetIpv4Tcp>(frame, 0)?.network.checksum = U16::new(!sum.fold());
    Some(())
}

/// Who sends a segment to whom, with the MAC addresses that it is from and for.
#[derive(Clone, Copy)]
pub(super) enum Ends {
    FromClient { to: SocketAddr, macs: (MacAddress, MacAddress) },
    ToClient { from: SocketAddr, macs: (MacAddress, MacAddress) },
}

/// The words of which checksums are sums.
#[inline(always)]
const fn words(bits: u32) -> [u32; 2] {
    [bits >> 16, bits & 0xffff]
}

/// The checksum for a sum of a few words.
#[inline(always)]
fn checksum(sum: u32) -> U16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    U16::new(!(sum + (sum >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use nic::{Burst, Frame};
    use testkit::packets::check_checksums;
    use wire::tcp::flags::ACK;

    use super::*;
    use crate::bench::{
        frame::Pool,
        gateway::{CLIENT_MAC, PORT_MAC, backend, service},
    };

    fn frames<const FROM_CLIENT: bool>(family: Family, services: u16) -> Vec<Vec<u8>> {
        let macs = (CLIENT_MAC, PORT_MAC);
        let ends = if FROM_CLIENT {
            Ends::FromClient { to: service(family, 0), macs }
        } else {
            Ends::ToClient { from: backend(family, 1), macs }
        };
        let template = Template::try_new(family, ends, ACK).unwrap().with_services(services);
        let mut burst = Burst::new();
        Pool::new(64).hand_out(&mut burst, (0..1 << 26).step_by(1 << 20), |frame, flow| match family {
            Family::V4 => template.write_v4::<FROM_CLIENT>(frame, flow),
            Family::V6 => template.write_v6::<FROM_CLIENT>(frame, flow),
        });
        burst.iter().map(|frame| frame.head().to_vec()).collect()
    }

    #[test]
    fn another_decoder_finds_the_checksums_right() {
        for family in [Family::V4, Family::V6] {
            for frame in frames::<true>(family, 1)
                .into_iter()
                .chain(frames::<false>(family, 1))
                .chain(frames::<true>(family, 10_000))
            {
                check_checksums(&frame).unwrap_or_else(|wrong| panic!("{family:?}: {wrong}: {frame:02x?}"));
            }
        }
    }
}

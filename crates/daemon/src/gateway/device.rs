//! What a port's device is to Tidegate: a card, a capture of a kernel interface, a tap, a file.

use datapath::snapshot::{Cuts, DeviceTraits};
use dpdk::Device;
use model::Port;

use crate::failure::Failure;

/// The kinds of devices that are treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A card on the PCI bus.
    Card,
    /// A kernel interface, its frames copied (`net_af_packet`).
    AfPacket,
    /// A kernel interface, its frames taken before the kernel sees them (`net_af_xdp`).
    AfXdp,
    /// An interface that the device makes (`net_tap`).
    Tap,
    /// Anything else: capture files, rings, memif, ….
    Other,
}

/// A port's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortDevice {
    /// What DPDK opens.
    pub(crate) device: Device,
    /// What it is.
    pub(crate) kind: Kind,
    /// The kernel interface that it uses or makes.
    pub(crate) interface: Option<String>,
}

/// A ring slot of af_packet is a multiple of this.
const SLOT: u32 = 2048;
/// Bytes of the smallest slot: the kernel hands over whole what was sent in fragments, and datagrams have 8 KiB now and then.
const SMALLEST_SLOT: u32 = 10_240;
/// Bytes of a slot that are not the frame's: the ring's own header, with room to spare.
const SLOT_HEADER: u32 = 128;
/// Slots in each of af_packet's rings: 20 MiB of them absorb what arrives while a worker yields the processor.
const SLOTS: u32 = 2048;
/// The largest slot that DPDK's driver can take, and arguments for slots of that size: 64 MiB a queue.
pub(crate) const LARGEST_SLOT: u32 = 65_408;
pub(crate) const LARGE_SLOTS: &str = "framesz=65408,blocksz=2093056,framecnt=512";
/// An Ethernet header with a VLAN tag.
const LINK_HEADER: u32 = 18;

impl PortDevice {
    /// The device of a port, with the arguments that the configuration leaves to us.
    ///
    /// # Errors
    /// When the description is none, or does not name the interface that it needs.
    pub(crate) fn of(port: &Port, queues: u16) -> Result<Self, Failure> {
        let device = Device::parse(&port.device).map_err(|error| {
            Failure::configuration(format_args!("port {}: {error}", port.name)).remedy(
                "name a card by its PCI address (`lspci -D`), or a virtual device such as net_af_packet0,iface=eth1",
            )
        })?;
        let kind = Kind::of(&device);
        let interface = argument(&device, "iface").map(str::to_owned);
        if matches!(kind, Kind::AfPacket | Kind::AfXdp) && interface.is_none() {
            let what = format!("port {}: the device `{device}` names no interface", port.name);
            return Err(Failure::configuration(what)
                .remedy(format_args!("append the interface: \"{},iface=eth1\"", device.name())));
        }
        let device = match kind {
            Kind::AfPacket => with_rings(&device, port.mtu, queues),
            _ => device,
        };
        Ok(Self { device, kind, interface })
    }

    /// The device of a host twin.
    pub(crate) fn twin(device: Device, interface: &str) -> Self {
        Self { device, kind: Kind::Tap, interface: Some(interface.to_owned()) }
    }

    /// The kernel interface that the gateway takes from the kernel.
    pub(crate) fn taken_interface(&self) -> Option<&str> {
        match self.kind {
            Kind::AfPacket | Kind::AfXdp => self.interface.as_deref(),
            Kind::Card | Kind::Tap | Kind::Other => None,
        }
    }

    /// What the datapath has to know of it.
    pub(crate) fn traits(&self) -> DeviceTraits {
        DeviceTraits {
            partial_checksums: matches!(self.kind, Kind::AfPacket | Kind::AfXdp),
            cuts_frames: matches!(self.kind, Kind::AfPacket),
            spills_over: matches!(self.kind, Kind::AfPacket),
            cuts: Cuts::default(),
        }
    }

    /// Whether it delivers frames of several TCP segments, of senders that leave cutting them to a card.
    pub(crate) fn delivers_uncut(&self) -> bool {
        matches!(self.kind, Kind::AfPacket)
    }

    /// The longest frame that it delivers in one piece.
    pub(crate) fn longest_frame(&self, mtu: u16) -> u32 {
        let slot = argument(&self.device, "framesz").and_then(|size| size.parse().ok());
        slot.unwrap_or(0).max(u32::from(mtu) + LINK_HEADER)
    }
}

impl Kind {
    fn of(device: &Device) -> Self {
        let is = |driver| device.name().starts_with(driver);
        match () {
            () if device.is_pci() => Self::Card,
            () if is("net_af_packet") || is("eth_af_packet") => Self::AfPacket,
            () if is("net_af_xdp") => Self::AfXdp,
            () if is("net_tap") => Self::Tap,
            () => Self::Other,
        }
    }

    /// Whether its driver gives back all segments when it is closed. af_xdp's keeps those of its rings.
    pub(crate) const fn gives_back(self) -> bool {
        !matches!(self, Self::AfXdp)
    }

    /// Segments that the device may hold for each queue pair, besides those that a worker has in its hands.
    pub(crate) const fn segments_per_queue(self) -> u32 {
        match self {
            Self::AfPacket => 0, // it copies
            Self::Tap => 2048,
            Self::Card => 2 * 4096,
            // The fill, receive and completion rings, 2,048 each, and as many on their way.
            Self::AfXdp => 4 * 2048,
            Self::Other => 4096,
        }
    }
}

/// The value of one of a device's arguments.
fn argument<'a>(device: &'a Device, name: &str) -> Option<&'a str> {
    device.arguments().split(',').find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
}

/// The same with queues and rings that suit the port, where the configuration says nothing of them.
fn with_rings(device: &Device, mtu: u16, queues: u16) -> Device {
    let slot = (u32::from(mtu) + LINK_HEADER + SLOT_HEADER).next_multiple_of(SLOT).max(SMALLEST_SLOT);
    let rings = argument(device, "framesz").is_none() && argument(device, "blocksz").is_none();
    let mut text = device.to_string();
    if argument(device, "qpairs").is_none() {
        text += &format!(",qpairs={queues}");
    }
    if rings {
        // Two slots a block make whole pages of it.
        text += &format!(",framesz={slot},blocksz={}", 2 * slot);
        if argument(device, "framecnt").is_none() {
            text += &format!(",framecnt={SLOTS}");
        }
    }
    // It was parsed before and only grew arguments.
    Device::parse(&text).unwrap_or_else(|_| device.clone())
}

#[cfg(test)]
pub(super) mod tests {
    use model::Facing;

    use super::*;

    /// A port with this device and nothing else.
    pub(crate) fn port(device: &str) -> Port {
        Port {
            name: "uplink".to_owned(),
            device: device.to_owned(),
            addresses: vec!["192.0.2.2/24".parse().unwrap(), "2001:db8::2/64".parse().unwrap()],
            gateways: vec!["192.0.2.1".parse().unwrap()],
            routes: Vec::new(),
            last_hop: true,
            mac: None,
            queues: None,
            facing: Facing::Both,
            host: false,
            host_limit: None,
            neighbours: Vec::new(),
            mtu: 1500,
            domain: 0,
            vlans: Vec::new(),
            offloads: true,
        }
    }

    #[test]
    fn af_packet_gets_rings_that_hold_its_mtu() {
        let device = PortDevice::of(&port("net_af_packet0,iface=veth0"), 2).unwrap();
        assert_eq!(
            device.device.to_string(),
            "net_af_packet0,iface=veth0,qpairs=2,framesz=10240,blocksz=20480,framecnt=2048"
        );
        assert_eq!(device.taken_interface(), Some("veth0"));
        let traits = device.traits();
        assert!(traits.cuts_frames && traits.partial_checksums && traits.spills_over);

        let jumbo = Port { mtu: 9000, ..port("net_af_packet0,iface=veth0") };
        let device = PortDevice::of(&jumbo, 1).unwrap();
        assert!(device.device.to_string().ends_with(",framesz=10240,blocksz=20480,framecnt=2048"));
        assert_eq!((device.longest_frame(9000), device.longest_frame(1500)), (10_240, 10_240));
    }

    #[test]
    fn what_the_configuration_says_of_the_rings_stays() {
        let device =
            PortDevice::of(&port("net_af_packet0,iface=veth0,framesz=65280,blocksz=1044480,qpairs=1"), 1)
                .unwrap();
        assert_eq!(
            device.device.to_string(),
            "net_af_packet0,iface=veth0,framesz=65280,blocksz=1044480,qpairs=1"
        );
        assert_eq!(device.longest_frame(1500), 65_280);
    }

    #[test]
    fn a_tap_takes_no_interface_from_the_kernel() {
        let device = PortDevice::of(&port("net_tap0,iface=tap-up"), 1).unwrap();
        assert_eq!((device.kind, device.interface.as_deref()), (Kind::Tap, Some("tap-up")));
        assert_eq!(device.taken_interface(), None);
        assert_eq!(device.traits(), DeviceTraits::default());
    }

    #[test]
    fn a_device_that_is_none_is_a_mistake_of_the_configuration() {
        for (device, what) in [("veth0", "neither a PCI address"), ("net_af_packet0", "names no interface")] {
            let failure = PortDevice::of(&port(device), 1).unwrap_err().to_string();
            assert!(failure.contains(what) && failure.contains("remedy"), "{failure}");
        }
    }
}

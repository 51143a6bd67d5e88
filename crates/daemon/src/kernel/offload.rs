//! What an interface does to received frames before anybody sees them (ethtool's features).
//!
//! Generic receive offload joins the segments of a TCP stream into frames larger than the MTU. Who forwards frames must
//! have it off. `Documentation/networking/ethtool-netlink.rst` of the kernel describes the messages.

use std::io;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLA_F_NESTED, NLA_TYPE_MASK, NetlinkDeserializable, NetlinkHeader,
    NetlinkSerializable, NlaBuffer, NlasIterator,
};

use super::netlink::Netlink;

/// The features that join received frames.
const JOINING: [&str; 5] = ["rx-gro", "rx-gro-hw", "rx-gro-list", "rx-udp-gro-forwarding", "rx-lro"];

/// Whether an interface joins received frames and cannot be kept from it.
///
/// # Errors
/// When there is no such interface, or the kernel does not tell.
pub(crate) fn joins_for_good(interface: &str) -> io::Result<bool> {
    let mut ethtool = Ethtool::open()?;
    let [active, fixed] = [ACTIVE, FIXED].map(|list| ethtool.features(interface, list));
    let fixed = fixed?;
    Ok(active?.iter().any(|name| JOINING.contains(&name.as_str()) && fixed.contains(name)))
}

/// Switches off what joins received frames; the names of what was on.
pub(super) fn stop_joining(interface: &str) -> io::Result<Vec<String>> {
    let mut ethtool = Ethtool::open()?;
    let active = ethtool.active(interface)?;
    let joining: Vec<_> = active.into_iter().filter(|name| JOINING.contains(&name.as_str())).collect();
    if !joining.is_empty() {
        ethtool.set(interface, &joining, false)?;
    }
    Ok(joining)
}

/// Switches features on again.
pub(super) fn resume_joining(interface: &str, features: &[String]) -> io::Result<()> {
    if features.is_empty() { Ok(()) } else { Ethtool::open()?.set(interface, features, true) }
}

// The controller of generic netlink, which knows the families' numbers.
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

const FEATURES_GET: u8 = 11;
const FEATURES_SET: u8 = 12;
const HEADER: u16 = 1;
const HEADER_INTERFACE: u16 = 2;
const WANTED: u16 = 3;
const ACTIVE: u16 = 4;
const FIXED: u16 = 5;
const BITS: u16 = 3;
const BIT: u16 = 1;
const BIT_NAME: u16 = 2;
const BIT_VALUE: u16 = 3;

/// The kernel's ethtool family.
struct Ethtool {
    netlink: Netlink,
    family: u16,
}

impl Ethtool {
    fn open() -> io::Result<Self> {
        let mut netlink = Netlink::generic()?;
        let question = Generic::new(CONTROLLER, GET_FAMILY, vec![text(FAMILY_NAME, "ethtool")]);
        let answers = netlink.request(question, 0)?;
        let id = answers.iter().find_map(|answer| find(&answer.attributes, FAMILY_ID));
        let family = id.and_then(|bytes| Some(u16::from_ne_bytes(*bytes.first_chunk()?)));
        let family = family.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))?;
        Ok(Self { netlink, family })
    }

    /// The names of the features that are on.
    fn active(&mut self, interface: &str) -> io::Result<Vec<String>> {
        self.features(interface, ACTIVE)
    }

    /// The names in one of the lists that the kernel has of an interface.
    fn features(&mut self, interface: &str, list: u16) -> io::Result<Vec<String>> {
        let question = Generic::new(self.family, FEATURES_GET, vec![header(interface)]);
        let answers = self.netlink.request(question, 0)?;
        let bits = answers.iter().find_map(|answer| find(find(&answer.attributes, list)?, BITS));
        Ok(bits.map(names).unwrap_or_default())
    }

    fn set(&mut self, interface: &str, features: &[String], on: bool) -> io::Result<()> {
        let bit = |name: &String| {
            let mut bit = vec![text(BIT_NAME, name)];
            if on {
                bit.push(DefaultNla::new(BIT_VALUE, Vec::new()));
            }
            nested(BIT, &bit)
        };
        let bits: Vec<_> = features.iter().map(bit).collect();
        let wanted = nested(WANTED, &[nested(BITS, &bits)]);
        let order = Generic::new(self.family, FEATURES_SET, vec![header(interface), wanted]);
        self.netlink.request(order, 0).map(drop)
    }
}

fn header(interface: &str) -> DefaultNla {
    nested(HEADER, &[text(HEADER_INTERFACE, interface)])
}

fn text(kind: u16, text: &str) -> DefaultNla {
    DefaultNla::new(kind, [text.as_bytes(), &[0]].concat())
}

fn nested(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    let mut bytes = vec![0; attributes.buffer_len()];
    attributes.emit(&mut bytes);
    DefaultNla::new(kind | NLA_F_NESTED, bytes)
}

/// The attributes of a message or of an attribute.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = NlaBuffer<&[u8]>> {
    NlasIterator::new(bytes).map_while(Result::ok)
}

/// The value of the first attribute of a kind.
fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    let found = attributes(bytes).find(|attribute| attribute.kind() & NLA_TYPE_MASK == kind)?;
    let length = found.value_length();
    found.into_inner().get(4..4 + length)
}

/// The names in a list of bits.
fn names(bits: &[u8]) -> Vec<String> {
    let name = |bit: NlaBuffer<&[u8]>| {
        let name = find(bit.value(), BIT_NAME)?;
        Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned())
    };
    attributes(bits).filter_map(name).collect()
}

/// A message of a generic netlink family.
struct Generic {
    family: u16,
    command: u8,
    attributes: Vec<u8>,
}

/// Command, version, two bytes for later.
const GENERIC_HEADER: usize = 4;

impl Generic {
    fn new(family: u16, command: u8, attributes: Vec<DefaultNla>) -> Self {
        let mut bytes = vec![0; attributes.as_slice().buffer_len()];
        attributes.as_slice().emit(&mut bytes);
        Self { family, command, attributes: bytes }
    }
}

impl NetlinkSerializable for Generic {
    fn message_type(&self) -> u16 {
        self.family
    }

    fn buffer_len(&self) -> usize {
        GENERIC_HEADER + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Some((header, rest)) = buffer.split_first_chunk_mut::<GENERIC_HEADER>() {
            *header = [self.command, 1, 0, 0];
            for (to, from) in rest.iter_mut().zip(&self.attributes) {
                *to = *from;
            }
        }
    }
}

impl NetlinkDeserializable for Generic {
    type Error = DecodeError;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        let [command, _, _, _, attributes @ ..] = payload else {
            return Err(DecodeError::from("a generic netlink message of fewer than 4 bytes"));
        };
        Ok(Self { family: header.message_type, command: *command, attributes: attributes.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_the_features_of_an_interface() {
        let active = Ethtool::open().unwrap().active("lo").unwrap();
        assert!(active.iter().any(|name| name == "tx-scatter-gather"), "{active:?}");
        // Which ones cannot be changed differs between kernels; some cannot in any.
        assert!(!Ethtool::open().unwrap().features("lo", FIXED).unwrap().is_empty());
        assert!(!joins_for_good("lo").unwrap());
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let bits = [nested(BIT, &[text(BIT_NAME, "rx-gro")]), nested(BIT, &[text(BIT_NAME, "rx-lro")])];
        let list = nested(BITS, &bits);
        let message = Generic::new(20, FEATURES_GET, vec![nested(ACTIVE, &[list])]);
        let bits = find(find(&message.attributes, ACTIVE).unwrap(), BITS).unwrap();
        assert_eq!(names(bits), ["rx-gro", "rx-lro"]);
        assert_eq!(find(&message.attributes, WANTED), None);
    }
}

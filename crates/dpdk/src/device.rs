//! What a port is made of: a network card by its PCI address, or a virtual device by its driver and arguments.

use std::fmt;

/// The device behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    name: String,
    arguments: String,
    pci: bool,
}

/// Why a device's description is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The description names neither a PCI address nor a virtual device.
    #[error(
        "`{0}` is neither a PCI address (0000:3b:02.0) nor a virtual device (net_af_packet0,iface=veth0)"
    )]
    Unknown(String),
    /// The description holds a character that no device name or argument has.
    #[error("`{0}` holds a blank or a control character")]
    Character(String),
}

impl Device {
    /// Parses `0000:3b:02.0`, `3b:02.0` or `net_af_packet0,iface=veth0`; a PCI address may have arguments, too.
    ///
    /// # Errors
    /// When the description is neither, or holds white space or control characters.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(DeviceError::Character(text.to_owned()));
        }
        let (name, arguments) = text.split_once(',').unwrap_or((text, ""));
        if let Some(address) = pci_address(name) {
            return Ok(Self { name: address, arguments: arguments.to_owned(), pci: true });
        }
        if name.starts_with("net_") || name.starts_with("virtio_user") || name.starts_with("eth_") {
            return Ok(Self { name: name.to_owned(), arguments: arguments.to_owned(), pci: false });
        }
        Err(DeviceError::Unknown(text.to_owned()))
    }

    /// DPDK's name of the device: the full PCI address, or the virtual device's name without its arguments.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What follows the name, without the comma; empty when nothing does.
    #[must_use]
    pub fn arguments(&self) -> &str {
        &self.arguments
    }

    /// Whether it is a card on the PCI bus.
    #[must_use]
    pub const fn is_pci(&self) -> bool {
        self.pci
    }
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        if self.arguments.is_empty() {
            return Ok(());
        }
        write!(formatter, ",{}", self.arguments)
    }
}

/// `[domain:]bus:device.function`, hexadecimal, with the domain that DPDK wants.
fn pci_address(text: &str) -> Option<String> {
    let (rest, function) = text.rsplit_once('.')?;
    let parts: Vec<&str> = rest.split(':').collect();
    let (domain, bus, device) = match parts.as_slice() {
        [domain, bus, device] => (*domain, *bus, *device),
        [bus, device] => ("0000", *bus, *device),
        _ => return None,
    };
    let hexadecimal = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|digit| digit.is_ascii_hexdigit())
    };
    let right = (hexadecimal(domain, 4) || hexadecimal(domain, 8))
        && hexadecimal(bus, 2)
        && hexadecimal(device, 2)
        && matches!(function.as_bytes(), [b'0'..=b'7']);
    right.then(|| format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pci_address_gets_its_domain() {
        let device = Device::parse("3B:02.0,representor=[0]").unwrap();
        assert!(device.is_pci());
        assert_eq!((device.name(), device.arguments()), ("0000:3b:02.0", "representor=[0]"));
        assert_eq!(Device::parse("0000:3b:02.7").unwrap().to_string(), "0000:3b:02.7");
    }

    #[test]
    fn a_virtual_device_keeps_its_arguments() {
        let device = Device::parse("net_af_packet0,iface=veth0,qpairs=2").unwrap();
        assert!(!device.is_pci());
        assert_eq!((device.name(), device.arguments()), ("net_af_packet0", "iface=veth0,qpairs=2"));
        assert_eq!(device.to_string(), "net_af_packet0,iface=veth0,qpairs=2");
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in ["", "veth0", "0000:3b:02", "0000:3b:02.8", "000:3b:02.0", "3b.0"] {
            assert_eq!(Device::parse(text), Err(DeviceError::Unknown(text.to_owned())), "{text}");
        }
        assert!(matches!(Device::parse("net_tap0, iface=x"), Err(DeviceError::Character(_))));
        assert!(matches!(Device::parse("net_tap0\0"), Err(DeviceError::Character(_))));
    }
}

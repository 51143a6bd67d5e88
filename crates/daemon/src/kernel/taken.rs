//! An interface that the gateway takes from the kernel.
//!
//! The kernel still gets a copy of each frame that arrives (af_packet). With a host twin it even has the addresses that
//! those frames are for, and would answer them a second time: reverse path filtering, a deaf ARP, no forwarding and no
//! IPv6 keep it silent.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use model::MacAddress;

use super::{
    link::{Change, Link},
    offload,
    setting::Setting,
};

/// What keeps the kernel from answering what arrives on an interface.
const SILENCE: [(&str, &str, &str); 4] = [
    ("ipv4", "rp_filter", "1"),
    ("ipv4", "arp_ignore", "8"),
    ("ipv4", "forwarding", "0"),
    ("ipv6", "disable_ipv6", "1"),
];

/// An interface that the gateway took; dropping it gives it back as it was.
#[derive(Debug)]
pub(crate) struct Taken {
    link: Link,
    joining: Vec<String>,
    _settings: Vec<Setting>,
    _claim: UnixListener,
}

impl Taken {
    /// Makes the interface pass frames as they are, multicast included, and the kernel ignore them.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another gateway has it; otherwise when the kernel refuses. What was changed
    /// until then is changed back.
    pub(crate) fn take(link: Link) -> io::Result<Self> {
        let claim = claim(&link.name)?;
        let settings =
            SILENCE.iter().map(|(family, name, value)| Setting::change(family, &link.name, name, value));
        let settings: Vec<Option<Setting>> = settings.collect::<io::Result<_>>()?;
        let settings = settings.into_iter().flatten().collect();
        let mut taken = Self { link, joining: Vec::new(), _settings: settings, _claim: claim };
        taken.joining = match offload::stop_joining(&taken.link.name) {
            // A driver without features joins nothing.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Vec::new(),
            outcome => outcome?,
        };
        taken.link.change(Change::AllMulticast(true))?;
        Ok(taken)
    }

    /// The interface.
    pub(crate) fn name(&self) -> &str {
        &self.link.name
    }

    /// What was switched off because it joins received frames.
    pub(crate) fn switched_off(&self) -> &[String] {
        &self.joining
    }

    /// Undoes what the device's driver changed on its own: MTU, Ethernet address, promiscuous mode.
    fn restore(&self) -> io::Result<()> {
        let Some(now) = Link::find(&self.link.name)?.filter(|now| now.index == self.link.index) else {
            return Ok(());
        };
        offload::resume_joining(&self.link.name, &self.joining).or_else(unsupported_is_fine)?;
        if now.mtu != self.link.mtu {
            self.link.change(Change::Mtu(self.link.mtu))?;
        }
        if now.promiscuous != self.link.promiscuous {
            self.link.change(Change::Promiscuous(self.link.promiscuous))?;
        }
        if now.all_multicast != self.link.all_multicast {
            self.link.change(Change::AllMulticast(self.link.all_multicast))?;
        }
        self.restore_mac(now.mac)
    }

    fn restore_mac(&self, now: Option<MacAddress>) -> io::Result<()> {
        match self.link.mac {
            Some(before) if now != Some(before) => self.link.change(Change::Mac(before)),
            _ => Ok(()),
        }
    }
}

/// Marks an interface as taken, for all gateways of this network namespace. An abstract socket's name leaves no file,
/// and the kernel forgets it with the process.
fn claim(interface: &str) -> io::Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(format!("tidegate-interface-{interface}"))?;
    UnixListener::bind_addr(&address)
}

fn unsupported_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::Unsupported { Ok(()) } else { Err(error) }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            tracing::error!("the interface {} could not be restored: {error}", self.link.name);
        }
    }
}

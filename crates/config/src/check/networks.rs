//! A set of networks that answers quickly whether an address is in one of them, however many there are.

use std::{
    collections::{BTreeSet, HashSet},
    net::IpAddr,
};

use ipnet::IpNet;

/// Networks of both families.
#[derive(Default)]
pub(super) struct Networks {
    networks: HashSet<IpNet>,
    lengths: BTreeSet<u8>,
}

impl Networks {
    pub(super) fn insert(&mut self, network: IpNet) {
        self.lengths.insert(network.prefix_len());
        self.networks.insert(network.trunc());
    }

    /// Whether `address` is in one of them.
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        self.lengths.iter().any(|&length| {
            IpNet::new(address, length).is_ok_and(|network| self.networks.contains(&network.trunc()))
        })
    }

    /// Those of the family of `address`, in words.
    pub(super) fn like(&self, address: IpAddr) -> Option<String> {
        let mut same: Vec<&IpNet> =
            self.networks.iter().filter(|network| network.addr().is_ipv4() == address.is_ipv4()).collect();
        same.sort();
        same.truncate(4);
        let words: Vec<String> = same.iter().map(|network| format!("`{network}`")).collect();
        (!words.is_empty()).then(|| words.join(" or "))
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut all = Self::default();
        networks.into_iter().for_each(|network| all.insert(network));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_networks_of_any_length_and_family() {
        let networks: Networks = ["192.0.2.2/24", "10.0.0.0/8", "2001:db8::2/64"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        for (address, inside) in [
            ("192.0.2.77", true),
            ("10.200.0.1", true),
            ("2001:db8::9", true),
            ("192.0.3.1", false),
            ("2001:db9::1", false),
        ] {
            assert_eq!(networks.contain(address.parse().unwrap()), inside, "{address}");
        }
    }
}

//! How a device spreads frames over its receive queues.

use dpdk_sys::{
    SHIM_RSS_DESTINATION_ONLY, SHIM_RSS_SOURCE_ONLY, SHIM_RSS_TCP_UDP, rte_eth_rss_conf,
    rte_eth_rss_reta_entry64,
};

/// The fields of a frame that decide its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HashFields {
    /// Source and destination, addresses and ports.
    #[default]
    Both,
    /// Source address and port: for ports that face clients.
    Source,
    /// Destination address and port: for ports that face backends.
    Destination,
}

/// How a device spreads frames: Toeplitz over `fields` with `key`, whose low bits index `table`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// The fields that are hashed; [`HashFields::Both`] where the device cannot do what was asked for.
    pub fields: HashFields,
    /// The packets of which ports are hashed as well.
    pub ports: HashedPorts,
    /// The hash key; empty when the device does not tell.
    pub key: Vec<u8>,
    /// The receive queue for each value of the hash's low bits; empty when the device does not tell.
    pub table: Vec<u16>,
}

/// The packets of which a device hashes ports as well as addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashedPorts {
    /// TCP over IPv4.
    pub tcp_v4: bool,
    /// UDP over IPv4.
    pub udp_v4: bool,
    /// TCP over IPv6.
    pub tcp_v6: bool,
    /// UDP over IPv6.
    pub udp_v6: bool,
}

impl HashedPorts {
    const fn of(flags: u64) -> Self {
        Self {
            tcp_v4: flags & dpdk_sys::SHIM_RSS_TCP_V4 != 0,
            udp_v4: flags & dpdk_sys::SHIM_RSS_UDP_V4 != 0,
            tcp_v6: flags & dpdk_sys::SHIM_RSS_TCP_V6 != 0,
            udp_v6: flags & dpdk_sys::SHIM_RSS_UDP_V6 != 0,
        }
    }
}

/// The flags to ask a device for that offers `offered`, and what they amount to; `None` when it cannot hash IP.
pub(crate) const fn flags(offered: u64, wanted: HashFields) -> Option<(u64, HashFields)> {
    let usual = offered & SHIM_RSS_TCP_UDP;
    if usual == 0 {
        return None;
    }
    let only = match wanted {
        HashFields::Both => return Some((usual, HashFields::Both)),
        HashFields::Source => SHIM_RSS_SOURCE_ONLY,
        HashFields::Destination => SHIM_RSS_DESTINATION_ONLY,
    };
    // Half of it (addresses without ports) would spread a flow's directions differently from what was asked.
    if offered & only == only { Some((usual | only, wanted)) } else { Some((usual, HashFields::Both)) }
}

/// Asks the device for its key and its table.
pub(crate) fn read(port: u16, fields: HashFields, key_length: u8, table_length: u16) -> Rss {
    let (key, ports) = read_key(port, key_length);
    Rss { fields, ports, key, table: read_table(port, table_length) }
}

/// The key, and of what it says that ports are hashed.
fn read_key(port: u16, length: u8) -> (Vec<u8>, HashedPorts) {
    // Drivers that do not tell the length use 40 bytes.
    let length = if length == 0 { 40 } else { length };
    let mut key = vec![0; usize::from(length)];
    let mut question =
        rte_eth_rss_conf { rss_key: key.as_mut_ptr(), rss_key_len: length, ..rte_eth_rss_conf::default() };
    // SAFETY: the port is open, and `rss_key` has room for `rss_key_len` bytes.
    let result = unsafe { dpdk_sys::rte_eth_dev_rss_hash_conf_get(port, &raw mut question) };
    if result != 0 || key.iter().all(|byte| *byte == 0) {
        return (Vec::new(), HashedPorts::default());
    }
    (key, HashedPorts::of(question.rss_hf))
}

fn read_table(port: u16, length: u16) -> Vec<u16> {
    let groups = usize::from(length).div_ceil(dpdk_sys::RTE_ETH_RETA_GROUP_SIZE as usize);
    let question = rte_eth_rss_reta_entry64 { mask: u64::MAX, ..rte_eth_rss_reta_entry64::default() };
    let mut table = vec![question; groups];
    // SAFETY: the port is open, and `table` has room for `length` entries in groups of 64.
    let result = unsafe { dpdk_sys::rte_eth_dev_rss_reta_query(port, table.as_mut_ptr(), length) };
    if result != 0 {
        return Vec::new();
    }
    table.iter().flat_map(|group| group.reta).take(usize::from(length)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_can_hash_one_side_is_asked_to() {
        let offered = SHIM_RSS_TCP_UDP | SHIM_RSS_SOURCE_ONLY | SHIM_RSS_DESTINATION_ONLY;
        assert_eq!(
            flags(offered, HashFields::Source),
            Some((SHIM_RSS_TCP_UDP | SHIM_RSS_SOURCE_ONLY, HashFields::Source))
        );
        assert_eq!(
            flags(offered, HashFields::Destination),
            Some((SHIM_RSS_TCP_UDP | SHIM_RSS_DESTINATION_ONLY, HashFields::Destination))
        );
        assert_eq!(flags(offered, HashFields::Both), Some((SHIM_RSS_TCP_UDP, HashFields::Both)));
    }

    #[test]
    fn a_device_that_cannot_hashes_both_and_says_so() {
        let expected = Some((SHIM_RSS_TCP_UDP, HashFields::Both));
        assert_eq!(flags(SHIM_RSS_TCP_UDP, HashFields::Source), expected);
        let half = SHIM_RSS_SOURCE_ONLY & SHIM_RSS_SOURCE_ONLY.wrapping_neg();
        assert_eq!(flags(SHIM_RSS_TCP_UDP | half, HashFields::Source), expected);
    }

    #[test]
    fn a_device_without_a_hash_has_none() {
        assert_eq!(flags(0, HashFields::Source), None);
    }
}

//! What a device is and can do.

use std::ffi::CStr;

use dpdk_sys::rte_eth_dev_info;

/// What a device is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// The driver: `net_af_packet`, `net_tap`, `net_af_xdp`, `net_pcap`, `net_ice`, ….
    pub driver: String,
    /// The NUMA node; `None` where there is none.
    pub socket: Option<u32>,
    /// The most receive queues.
    pub max_receive_queues: u16,
    /// The most transmit queues.
    pub max_transmit_queues: u16,
    /// The least MTU.
    pub min_mtu: u16,
    /// The greatest MTU.
    pub max_mtu: u16,
    /// Whether it checks IPv4, TCP and UDP checksums while receiving (it is then asked to).
    pub receive_checksum: bool,
    /// Whether it receives a frame into several segments when one is too small.
    pub receive_segments: bool,
    /// The most segments of a frame that it sends; 1 where it sends frames of one only.
    pub transmit_segments: u16,
    /// The same of a frame that it cuts while it sends it.
    pub transmit_segments_to_cut: u16,
    /// Whether it cuts TCP frames into segments while it sends them.
    pub cuts: CutsBy,
    /// Whether it spreads IP traffic over receive queues by a hash of its own.
    pub hash: bool,
}

/// The families over which a device cuts TCP frames into segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CutsBy {
    /// Neither.
    #[default]
    None,
    /// IPv4.
    V4,
    /// IPv4 and IPv6.
    Both,
}

/// Ethernet header and checksum: what DPDK adds to an MTU when it compares it with a longest frame.
const FRAME_OVERHEAD: u32 = 18;

/// Drivers over a kernel interface that name an ordinary Ethernet frame as their longest, but carry whatever fits into
/// their ring's slots and the pool's segments. The interface's own MTU is the kernel's business.
const CARRY_MORE_THAN_THEY_SAY: [&str; 2] = ["net_af_packet", "net_tap"];

/// Drivers that send frames of several segments, but do not say so.
const SEND_SEGMENTS: [&str; 2] = ["net_pcap", "net_ring"];

/// Drivers that have DPDK itself cut TCP frames: it loses those over IPv6, and these compare whole frames with their MTU.
const CUT_BY_DPDK: [&str; 1] = ["net_tap"];

impl PortFacts {
    pub(crate) fn from_raw(raw: &rte_eth_dev_info, socket: Option<u32>) -> Self {
        let offers = |capabilities: u64, wanted: u64| capabilities & wanted == wanted;
        let driver = driver(raw);
        let carries_more = CARRY_MORE_THAN_THEY_SAY.contains(&driver.as_str());
        let sends_segments = SEND_SEGMENTS.contains(&driver.as_str())
            || offers(raw.tx_offload_capa, dpdk_sys::SHIM_TX_OFFLOAD_MULTI_SEGMENT);
        Self {
            socket,
            max_receive_queues: raw.max_rx_queues,
            max_transmit_queues: raw.max_tx_queues,
            min_mtu: raw.min_mtu,
            max_mtu: if carries_more { raw.max_mtu } else { max_settable_mtu(raw) },
            receive_checksum: offers(raw.rx_offload_capa, dpdk_sys::SHIM_RX_OFFLOAD_CHECKSUM),
            receive_segments: offers(raw.rx_offload_capa, dpdk_sys::SHIM_RX_OFFLOAD_SCATTER),
            transmit_segments: match raw.tx_desc_lim.nb_mtu_seg_max {
                _ if !sends_segments => 1,
                0 => u16::MAX,
                most => most,
            },
            transmit_segments_to_cut: match raw.tx_desc_lim.nb_seg_max {
                _ if !sends_segments => 1,
                0 => u16::MAX,
                most => most,
            },
            cuts: match offers(raw.tx_offload_capa, dpdk_sys::SHIM_TX_OFFLOAD_CUT) {
                false => CutsBy::None,
                true if CUT_BY_DPDK.contains(&driver.as_str()) => CutsBy::V4,
                true => CutsBy::Both,
            },
            hash: raw.flow_type_rss_offloads & dpdk_sys::SHIM_RSS_TCP_UDP != 0,
            driver,
        }
    }
}

/// The part of `wanted` that DPDK lets this device be told; `None` when there is nothing to tell.
pub(crate) fn mtu_to_tell(raw: &rte_eth_dev_info, wanted: Option<u16>) -> Option<u16> {
    let carries_more = CARRY_MORE_THAN_THEY_SAY.contains(&driver(raw).as_str());
    wanted.filter(|mtu| !carries_more || *mtu <= max_settable_mtu(raw))
}

/// Bytes of the largest frame that this device cuts others into.
pub(crate) fn largest_cut(raw: &rte_eth_dev_info, wanted: Option<u16>) -> u16 {
    if CUT_BY_DPDK.contains(&driver(raw).as_str()) {
        return mtu_to_tell(raw, wanted).unwrap_or(ORDINARY_MTU);
    }
    u16::MAX
}

/// The MTU of an Ethernet device that was told none.
const ORDINARY_MTU: u16 = 1500;

/// The greatest MTU that DPDK sets on this device.
fn max_settable_mtu(raw: &rte_eth_dev_info) -> u16 {
    let by_frame = raw.max_rx_pktlen.saturating_sub(FRAME_OVERHEAD);
    u16::try_from(by_frame).unwrap_or(u16::MAX).min(raw.max_mtu)
}

fn driver(raw: &rte_eth_dev_info) -> String {
    if raw.driver_name.is_null() {
        return String::new();
    }
    // SAFETY: a driver's name is a NUL-terminated text in static memory.
    unsafe { CStr::from_ptr(raw.driver_name) }.to_string_lossy().into_owned()
}

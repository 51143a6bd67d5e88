//! What a port has counted.

/// A port's counters since it was started, as far as its driver counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames received.
    pub received_frames: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Frames sent.
    pub transmitted_frames: u64,
    /// Bytes sent.
    pub transmitted_bytes: u64,
    /// Frames that the device dropped because no worker fetched the ones before in time.
    pub missed_frames: u64,
    /// Frames received with errors.
    pub receive_errors: u64,
    /// Frames that could not be sent: the driver's count, and those of more segments than the device can send.
    pub transmit_errors: u64,
    /// Frames dropped because the pool was exhausted.
    pub pool_exhausted: u64,
}

impl Statistics {
    pub(crate) const fn from_raw(raw: &dpdk_sys::rte_eth_stats, unsendable: u64) -> Self {
        Self {
            received_frames: raw.ipackets,
            received_bytes: raw.ibytes,
            transmitted_frames: raw.opackets,
            transmitted_bytes: raw.obytes,
            missed_frames: raw.imissed,
            receive_errors: raw.ierrors,
            transmit_errors: raw.oerrors + unsendable,
            pool_exhausted: raw.rx_nombuf,
        }
    }
}

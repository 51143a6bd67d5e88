//! What a port says of its link.

/// The state of a port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Whether frames can pass.
    pub up: bool,
    /// Megabits per second; `None` when the device does not know, or the link is down.
    pub megabits_per_second: Option<u32>,
    /// Whether both directions can be used at once.
    pub full_duplex: bool,
}

impl LinkState {
    pub(crate) fn from_raw(link: &dpdk_sys::rte_eth_link) -> Self {
        // 0 is no speed, all ones an unknown one.
        let known = !matches!(link.link_speed, 0 | u32::MAX);
        Self {
            up: link.link_status() == 1,
            megabits_per_second: known.then_some(link.link_speed),
            full_duplex: link.link_duplex() == 1,
        }
    }
}

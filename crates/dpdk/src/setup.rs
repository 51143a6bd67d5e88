//! The steps from an opened device to a started one.

use std::ptr;

use dpdk_sys::{
    SHIM_TX_OFFLOAD_CUT, SHIM_TX_OFFLOAD_FAST_FREE, SHIM_TX_OFFLOAD_MULTI_SEGMENT, rte_eth_conf,
    rte_eth_dev_info, rte_ether_addr,
};

use crate::port::OpenPort;
use crate::{
    CutsBy, Failure, HashFields, Mempool, Offloads, PortError, PortFacts, PortOptions, Rss, facts, log, rss,
};

/// Descriptors in a queue where neither the options nor the driver say.
const DESCRIPTORS: u16 = 1024;
/// A frame's bytes beyond its MTU: Ethernet header, two VLAN tags, checksum.
const OVERHEAD: u32 = 14 + 2 * 4 + 4;
const ANY_SOCKET: u32 = u32::MAX;
const NOT_SUPPORTED: i32 = -95;

/// Configures and starts the port; how it spreads frames over its receive queues.
///
/// And what it does of its own.
pub(crate) fn run(
    open: &OpenPort,
    options: &PortOptions,
    pool: &Mempool,
) -> Result<(Option<Rss>, Offloads), PortError> {
    let information = open.information()?;
    let setup = Setup { open, options, information: &information, mark: log::mark() };
    setup.check_queues()?;
    let (fields, offloads) = setup.configure(pool)?;
    setup.set_mtu()?;
    setup.make_queues(pool)?;
    setup.set_mac()?;
    setup.start()?;
    setup.open_filters()?;
    let rss = |fields| rss::read(open.id(), fields, information.hash_key_size, information.reta_size);
    Ok((fields.map(rss), offloads))
}

struct Setup<'a> {
    open: &'a OpenPort,
    options: &'a PortOptions,
    information: &'a rte_eth_dev_info,
    mark: log::Mark,
}

impl Setup<'_> {
    /// What a DPDK function returned for `step`, as a result.
    fn check(&self, step: &'static str, result: i32) -> Result<(), PortError> {
        if result == 0 {
            return Ok(());
        }
        let failure = Failure::from_result(result, self.mark);
        Err(PortError::Refused { device: self.open.device().to_string(), step, failure })
    }

    /// As [`Self::check`], for what a device may do without.
    fn check_optional(&self, step: &'static str, result: i32) -> Result<(), PortError> {
        if result == NOT_SUPPORTED { Ok(()) } else { self.check(step, result) }
    }

    fn check_queues(&self) -> Result<(), PortError> {
        let (receive, transmit) = (self.information.max_rx_queues, self.information.max_tx_queues);
        if self.options.receive_queues <= receive && self.options.transmit_queues <= transmit {
            return Ok(());
        }
        Err(PortError::Queues { device: self.open.device().to_string(), receive, transmit })
    }

    /// Asks for queues, hash and offloads; what is hashed, and what the device does of its own.
    fn configure(&self, pool: &Mempool) -> Result<(Option<HashFields>, Offloads), PortError> {
        let mut wanted = rte_eth_conf::default();
        let fields = self.ask_for_hash(&mut wanted);
        wanted.rxmode.mtu = self.mtu_to_tell().map_or(0, u32::from);
        wanted.rxmode.offloads = self.receive_offloads(pool);
        // Held until the device is configured, so that no second pool comes into being meanwhile.
        let mut census = self.open.running().census();
        let one_pool = census.pools == 1;
        wanted.txmode.offloads = transmit_offloads(self.information.tx_offload_capa, one_pool, self.options);
        let (receive, transmit) = (self.options.receive_queues, self.options.transmit_queues);
        // SAFETY: the port is open and not started; `wanted` is read only.
        let result =
            unsafe { dpdk_sys::rte_eth_dev_configure(self.open.id(), receive, transmit, &raw const wanted) };
        self.check("its configuration", result)?;
        census.one_pool |= wanted.txmode.offloads & SHIM_TX_OFFLOAD_FAST_FREE != 0;
        Ok((fields, self.in_use(wanted.rxmode.offloads)))
    }

    /// What the device does of its own, when it was asked for this while receiving.
    fn in_use(&self, receive: u64) -> Offloads {
        let facts = PortFacts::from_raw(self.information, None);
        let Self { options, information, .. } = self;
        Offloads {
            checksums: receive & dpdk_sys::SHIM_RX_OFFLOAD_CHECKSUM != 0,
            segments: options.offloads && facts.transmit_segments > 1,
            cuts: if options.offloads && options.cuts { facts.cuts } else { CutsBy::None },
            largest_cut: facts::largest_cut(information, options.mtu),
        }
    }

    fn ask_for_hash(&self, wanted: &mut rte_eth_conf) -> Option<HashFields> {
        if self.options.receive_queues < 2 {
            return None;
        }
        let (flags, fields) = rss::flags(self.information.flow_type_rss_offloads, self.options.hash)?;
        wanted.rxmode.mq_mode = dpdk_sys::RTE_ETH_MQ_RX_RSS;
        wanted.rx_adv_conf.rss_conf.rss_hf = flags;
        Some(fields)
    }

    /// Checksums when they are all checked; several segments when a frame may not fit into one.
    fn receive_offloads(&self, pool: &Mempool) -> u64 {
        let offered = self.information.rx_offload_capa;
        let checksums = dpdk_sys::SHIM_RX_OFFLOAD_CHECKSUM;
        let is_asked = self.options.offloads && offered & checksums == checksums;
        let checksums = if is_asked { checksums } else { 0 };
        let longest = self.options.mtu.map_or(1500, u32::from) + OVERHEAD;
        let segments =
            if longest > pool.frame_room() { offered & dpdk_sys::SHIM_RX_OFFLOAD_SCATTER } else { 0 };
        checksums | segments
    }

    fn make_queues(&self, pool: &Mempool) -> Result<(), PortError> {
        let port = self.open.id();
        let socket = self.open.socket().unwrap_or(ANY_SOCKET);
        let (receive, transmit) = self.descriptors()?;
        for queue in 0..self.options.receive_queues {
            // SAFETY: the port is configured with this queue; the pool outlives the port, which holds it.
            let result = unsafe {
                dpdk_sys::rte_eth_rx_queue_setup(port, queue, receive, socket, ptr::null(), pool.as_ptr())
            };
            self.check("a receive queue", result)?;
        }
        for queue in 0..self.options.transmit_queues {
            // SAFETY: the port is configured with this queue.
            let result =
                unsafe { dpdk_sys::rte_eth_tx_queue_setup(port, queue, transmit, socket, ptr::null()) };
            self.check("a transmit queue", result)?;
        }
        Ok(())
    }

    /// Descriptors for receive and transmit queues, within what the device can do.
    fn descriptors(&self) -> Result<(u16, u16), PortError> {
        let choose = |asked: Option<u16>, preferred: u16| {
            asked.unwrap_or(if preferred == 0 { DESCRIPTORS } else { preferred })
        };
        let information = self.information;
        let mut receive = choose(self.options.receive_descriptors, information.default_rxportconf.ring_size);
        let mut transmit =
            choose(self.options.transmit_descriptors, information.default_txportconf.ring_size);
        // SAFETY: the port is open and both numbers are writable.
        let result = unsafe {
            dpdk_sys::rte_eth_dev_adjust_nb_rx_tx_desc(self.open.id(), &raw mut receive, &raw mut transmit)
        };
        self.check("its numbers of descriptors", result)?;
        Ok((receive, transmit))
    }

    fn mtu_to_tell(&self) -> Option<u16> {
        facts::mtu_to_tell(self.information, self.options.mtu)
    }

    fn set_mtu(&self) -> Result<(), PortError> {
        let Some(mtu) = self.mtu_to_tell() else { return Ok(()) };
        // SAFETY: the port is configured and not started.
        let result = unsafe { dpdk_sys::rte_eth_dev_set_mtu(self.open.id(), mtu) };
        self.check_optional("the MTU", result)
    }

    fn set_mac(&self) -> Result<(), PortError> {
        let Some(mac) = self.options.mac else { return Ok(()) };
        let mut address = rte_ether_addr { addr_bytes: mac };
        // SAFETY: the port is configured, and the address is copied.
        let result = unsafe { dpdk_sys::rte_eth_dev_default_mac_addr_set(self.open.id(), &raw mut address) };
        self.check("the MAC address", result)
    }

    fn start(&self) -> Result<(), PortError> {
        // SAFETY: the port is configured and all its queues are set up.
        let result = unsafe { dpdk_sys::rte_eth_dev_start(self.open.id()) };
        self.check("to start", result)
    }

    /// Lets in what is not for the port's own MAC address.
    fn open_filters(&self) -> Result<(), PortError> {
        // SAFETY: the port is started.
        let result = unsafe { dpdk_sys::rte_eth_allmulticast_enable(self.open.id()) };
        self.check_optional("all multicast frames", result)?;
        if !self.options.promiscuous {
            return Ok(());
        }
        // SAFETY: the port is started.
        let result = unsafe { dpdk_sys::rte_eth_promiscuous_enable(self.open.id()) };
        self.check_optional("promiscuous mode", result)
    }
}

/// What to ask for of what is offered. Fast free wants one pool and frames without a second owner; ours never have one.
fn transmit_offloads(offered: u64, one_pool: bool, options: &PortOptions) -> u64 {
    if !options.offloads {
        return 0;
    }
    let fast_free = if one_pool { SHIM_TX_OFFLOAD_FAST_FREE } else { 0 };
    let cut = if options.cuts && offered & SHIM_TX_OFFLOAD_CUT == SHIM_TX_OFFLOAD_CUT {
        SHIM_TX_OFFLOAD_CUT
    } else {
        0
    };
    offered & (SHIM_TX_OFFLOAD_MULTI_SEGMENT | fast_free) | cut
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(offered: u64, one_pool: bool, cuts: bool) -> u64 {
        transmit_offloads(offered, one_pool, &PortOptions { cuts, ..PortOptions::default() })
    }

    #[test]
    fn fast_free_is_asked_for_while_there_is_one_pool() {
        let both = SHIM_TX_OFFLOAD_MULTI_SEGMENT | SHIM_TX_OFFLOAD_FAST_FREE;
        assert_eq!(asked(u64::MAX, true, false), both);
        assert_eq!(asked(u64::MAX, false, false), SHIM_TX_OFFLOAD_MULTI_SEGMENT);
        assert_eq!(asked(SHIM_TX_OFFLOAD_MULTI_SEGMENT, true, false), SHIM_TX_OFFLOAD_MULTI_SEGMENT);
    }

    #[test]
    fn cutting_is_asked_for_whole_and_where_it_is_wanted() {
        let all = SHIM_TX_OFFLOAD_MULTI_SEGMENT | SHIM_TX_OFFLOAD_CUT;
        assert_eq!(asked(u64::MAX, false, true), all);
        let half = SHIM_TX_OFFLOAD_CUT & SHIM_TX_OFFLOAD_CUT.wrapping_neg();
        assert_eq!(asked(half, false, true), 0);
    }

    #[test]
    fn nothing_is_asked_for_where_the_operator_wants_nothing() {
        let options = PortOptions { offloads: false, cuts: true, ..PortOptions::default() };
        assert_eq!(transmit_offloads(u64::MAX, true, &options), 0);
    }
}

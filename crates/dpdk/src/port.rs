//! A port: a device, opened, then started with queues.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dpdk_sys::rte_eth_dev_info;

use crate::eal::Running;
use crate::{
    CutsBy, Device, Eal, Failure, HashFields, LinkState, Mempool, PortFacts, Rss, RxQueue, Statistics,
    TxQueue, log, plug, queue, setup,
};

/// What to start a port with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOptions {
    /// Receive queues.
    pub receive_queues: u16,
    /// Transmit queues.
    pub transmit_queues: u16,
    /// Descriptors in each receive queue; `None` is what the driver prefers. Drivers may round it.
    pub receive_descriptors: Option<u16>,
    /// Descriptors in each transmit queue; `None` is what the driver prefers. Drivers may round it.
    pub transmit_descriptors: Option<u16>,
    /// Bytes of payload in a frame; `None` leaves what the device has.
    pub mtu: Option<u16>,
    /// The MAC address to set; `None` leaves what the device has.
    pub mac: Option<[u8; 6]>,
    /// What decides a frame's receive queue, where the device lets us choose.
    pub hash: HashFields,
    /// Whether to receive frames for other MAC addresses, too. Multicast is received anyway.
    pub promiscuous: bool,
    /// Whether to have the device do what it can: check checksums, send frames of several segments.
    pub offloads: bool,
    /// Whether it is to cut TCP frames as well ([`nic::Frame::cut_on_transmit`]). Many drivers then send all frames in a slower way.
    pub cuts: bool,
}

impl Default for PortOptions {
    fn default() -> Self {
        Self {
            receive_queues: 1,
            transmit_queues: 1,
            receive_descriptors: None,
            transmit_descriptors: None,
            mtu: None,
            mac: None,
            hash: HashFields::Both,
            promiscuous: false,
            offloads: true,
            cuts: false,
        }
    }
}

/// Why a port did not open or start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The device could not be attached: it does not exist, its arguments are wrong, or it is in use.
    #[error("device {device} could not be attached: {failure}")]
    Attach {
        /// The device.
        device: String,
        /// DPDK's reason.
        failure: Failure,
    },
    /// DPDK has no port for the device: no such card, or none of its drivers took it.
    #[error("DPDK has no port for device {device}: {failure}")]
    Absent {
        /// The device.
        device: String,
        /// DPDK's reason.
        failure: Failure,
    },
    /// The device is open already.
    #[error("device {0} is open already")]
    AlreadyOpen(String),
    /// The port was started already.
    #[error("the port of device {0} was started already")]
    AlreadyStarted(String),
    /// More queues than the device has.
    #[error("device {device} has {receive} receive and {transmit} transmit queues, fewer than asked for")]
    Queues {
        /// The device.
        device: String,
        /// Its receive queues.
        receive: u16,
        /// Its transmit queues.
        transmit: u16,
    },
    /// The device refused a step of its start.
    #[error("device {device} refused {step}: {failure}")]
    Refused {
        /// The device.
        device: String,
        /// What was tried.
        step: &'static str,
        /// DPDK's reason.
        failure: Failure,
    },
}

/// A device that was opened; its queues keep it open, too.
#[derive(Debug)]
pub struct Port(Arc<OpenPort>);

/// What a started port consists of.
#[derive(Debug)]
pub struct Queues {
    /// The receive queues, by index.
    pub receive: Vec<RxQueue>,
    /// The transmit queues, by index.
    pub transmit: Vec<TxQueue>,
    /// How frames are spread over the receive queues; `None` when there is one, or the device does not hash.
    pub rss: Option<Rss>,
    /// What the device does of its own.
    pub offloads: Offloads,
}

/// What a device was asked to do, and does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// Checks the checksums of IPv4, TCP and UDP while it receives.
    pub checksums: bool,
    /// Sends frames of several segments.
    pub segments: bool,
    /// The families over which it cuts TCP frames into segments while it sends them.
    pub cuts: CutsBy,
    /// Bytes of the largest frame that it makes of them.
    pub largest_cut: u16,
}

/// The last holder closes the port.
#[derive(Debug)]
pub(crate) struct OpenPort {
    id: u16,
    device: Device,
    running: Arc<Running>,
    /// Frames dropped because they had more segments than the device can send.
    unsendable: AtomicU64,
    /// Also held during calls that drivers do not expect from two threads at once.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    started: bool,
    /// The pools whose segments the device may hold.
    pools: Vec<Mempool>,
}

impl Port {
    /// Opens `device`, one of those that EAL was started with (if it is a card).
    ///
    /// # Errors
    /// When the device does not exist, cannot be had, or is open already.
    pub fn open(eal: &Eal, device: &Device) -> Result<Self, PortError> {
        let running = Arc::clone(eal.running());
        let mut census = running.census();
        let id = plug::plug(device)?;
        if !census.ports.insert(id) {
            return Err(PortError::AlreadyOpen(device.to_string()));
        }
        drop(census);
        Ok(Self(Arc::new(OpenPort {
            id,
            device: device.clone(),
            running,
            unsendable: AtomicU64::new(0),
            state: Mutex::default(),
        })))
    }

    /// Configures the device and starts it; received frames come from `pool`.
    ///
    /// # Errors
    /// When it was started before, has fewer queues than asked for, or refuses a step.
    pub fn start(&mut self, options: &PortOptions, pool: &Mempool) -> Result<Queues, PortError> {
        let open = &self.0;
        let mut state = open.state();
        if state.started {
            return Err(PortError::AlreadyStarted(open.device.to_string()));
        }
        state.pools.push(pool.clone());
        let captured = log::capture_output();
        let (rss, offloads) = setup::run(open, options, pool)?;
        drop(captured);
        state.started = true;
        let receive = (0..options.receive_queues).map(|index| RxQueue::new(Arc::clone(open), index));
        let limits = queue::Limits::of(&self.0.facts()?, offloads);
        let transmit =
            (0..options.transmit_queues).map(|index| TxQueue::new(Arc::clone(open), index, limits));
        Ok(Queues { receive: receive.collect(), transmit: transmit.collect(), rss, offloads })
    }

    /// What the device is and can do.
    ///
    /// # Errors
    /// When the device does not answer.
    pub fn facts(&self) -> Result<PortFacts, PortError> {
        let _alone = self.0.state();
        self.0.facts()
    }

    /// The device that was opened.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The MAC address; zeros when the device has none.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        let _alone = self.0.state();
        let mut address = dpdk_sys::rte_ether_addr::default();
        // SAFETY: the port is open and `address` is writable.
        let _ = unsafe { dpdk_sys::rte_eth_macaddr_get(self.0.id, &raw mut address) };
        address.addr_bytes
    }

    /// The MTU in bytes.
    #[must_use]
    pub fn mtu(&self) -> u16 {
        let _alone = self.0.state();
        let mut mtu = 0;
        // SAFETY: the port is open and `mtu` is writable.
        let _ = unsafe { dpdk_sys::rte_eth_dev_get_mtu(self.0.id, &raw mut mtu) };
        mtu
    }

    /// The link's present state.
    #[must_use]
    pub fn link_state(&self) -> LinkState {
        let _alone = self.0.state();
        let mut link = dpdk_sys::rte_eth_link::default();
        // SAFETY: the port is open and `link` is writable.
        let _ = unsafe { dpdk_sys::rte_eth_link_get_nowait(self.0.id, &raw mut link) };
        LinkState::from_raw(&link)
    }

    /// The port's counters; zeros where the driver has none.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let _alone = self.0.state();
        let mut raw = dpdk_sys::rte_eth_stats::default();
        // SAFETY: the port is open and `raw` is writable.
        let _ = unsafe { dpdk_sys::rte_eth_stats_get(self.0.id, &raw mut raw) };
        Statistics::from_raw(&raw, self.0.unsendable.load(Ordering::Relaxed))
    }
}

impl OpenPort {
    pub(crate) const fn id(&self) -> u16 {
        self.id
    }

    pub(crate) const fn device(&self) -> &Device {
        &self.device
    }

    pub(crate) const fn running(&self) -> &Arc<Running> {
        &self.running
    }

    /// Counts frames that cannot be sent.
    pub(crate) fn count_unsendable(&self, frames: u64) {
        self.unsendable.fetch_add(frames, Ordering::Relaxed);
    }

    /// The NUMA node; `None` where there is none.
    pub(crate) fn socket(&self) -> Option<u32> {
        // SAFETY: the port is open.
        let socket = unsafe { dpdk_sys::rte_eth_dev_socket_id(self.id) };
        u32::try_from(socket).ok()
    }

    pub(crate) fn information(&self) -> Result<rte_eth_dev_info, PortError> {
        let mark = log::mark();
        let mut raw = MaybeUninit::zeroed();
        // SAFETY: the port is open and `raw` is writable.
        let result = unsafe { dpdk_sys::rte_eth_dev_info_get(self.id, raw.as_mut_ptr()) };
        if result != 0 {
            let failure = Failure::from_result(result, mark);
            return Err(PortError::Refused {
                device: self.device.to_string(),
                step: "to describe itself",
                failure,
            });
        }
        // SAFETY: zeros are valid for each field, and DPDK has filled them.
        Ok(unsafe { raw.assume_init() })
    }

    fn facts(&self) -> Result<PortFacts, PortError> {
        self.information().map(|raw| PortFacts::from_raw(&raw, self.socket()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        let mut census = self.running.census();
        let _captured = log::capture_output();
        // SAFETY: no queue is left that could be polled.
        let _ = unsafe { dpdk_sys::rte_eth_dev_stop(self.id) };
        // SAFETY: the port is stopped, and nobody uses it after this.
        let _ = unsafe { dpdk_sys::rte_eth_dev_close(self.id) };
        plug::unplug(&self.device);
        census.ports.remove(&self.id);
    }
}

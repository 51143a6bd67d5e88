//! What a gateway wants of a machine.

use config::{Configuration, Hugepages};
use model::Port;

use super::machine::{Machine, numbers};
use crate::{
    failure::Failure,
    gateway::{Kind, PortDevice, choose_processors, memory_needed_mib},
};

/// What a gateway wants of a machine.
pub(crate) struct Wanted {
    /// Its ports with their devices; none without a configuration.
    pub(crate) ports: Vec<(Port, PortDevice)>,
    /// Its cards: whose they are, and their addresses on the bus. Without a configuration those that are given to DPDK.
    pub(crate) cards: Vec<(String, String)>,
    /// Its workers' processors; `None` without a configuration.
    pub(crate) workers: Option<Vec<u32>>,
    /// Packet memory in MiB; `None` without a configuration.
    pub(crate) memory_mib: Option<u32>,
    pub(crate) hugepages: Hugepages,
}

impl Wanted {
    /// # Errors
    /// When a device is none.
    pub(crate) fn of(configuration: Option<&Configuration>, machine: &Machine) -> Result<Self, Failure> {
        let Some(configuration) = configuration else { return Ok(Self::in_general(machine)) };
        let ports = &configuration.gateway.ports;
        let with_device =
            |port: &Port, workers: usize| Ok((port.clone(), PortDevice::of(port, workers as u16)?));
        let first: Vec<_> = ports.iter().map(|port| with_device(port, 1)).collect::<Result<_, Failure>>()?;
        let cards: Vec<_> = first
            .iter()
            .filter(|(_, device)| device.kind == Kind::Card)
            .map(|(port, device)| (format!("port {}", port.name), device.device.name().to_owned()))
            .collect();
        let workers = match &configuration.workers.lcores {
            Some(lcores) => lcores.iter().copied().map(u32::from).collect(),
            None => choose_processors(&allowed(machine), !cards.is_empty()),
        };
        let ports: Vec<_> =
            ports.iter().map(|port| with_device(port, workers.len())).collect::<Result<_, Failure>>()?;
        Ok(Self {
            memory_mib: Some(memory_needed_mib(&ports, workers.len(), configuration.workers.mbufs)),
            ports,
            cards,
            workers: Some(workers),
            hugepages: configuration.eal.hugepages,
        })
    }

    fn in_general(machine: &Machine) -> Self {
        let drivers = ["vfio-pci", "igb_uio", "uio_pci_generic"];
        let bound = drivers.iter().flat_map(|driver| machine.names(&format!("sys/bus/pci/drivers/{driver}")));
        let is_network = |address: &String| {
            let class = machine.text(&format!("sys/bus/pci/devices/{address}/class"));
            class.is_some_and(|class| class.starts_with("0x02"))
        };
        let cards = bound.filter(is_network).map(|address| ("card".to_owned(), address)).collect();
        let (ports, hugepages) = (Vec::new(), Hugepages::Auto);
        Self { ports, cards, workers: None, memory_mib: None, hugepages }
    }
}

/// The processors that a process may use, ascending.
fn allowed(machine: &Machine) -> Vec<u32> {
    let status = machine.text("proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(numbers);
    list.unwrap_or_else(|| machine.list("sys/devices/system/cpu/online"))
}

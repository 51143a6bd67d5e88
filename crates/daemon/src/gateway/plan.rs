//! What a configuration amounts to on this machine: devices, queues, processors, memory.

use config::Configuration;
use dpdk::{EalOptions, HashFields, Hugepages, PoolOptions, PortOptions};
use model::{Facing, Port};
use worker::Idle;

use super::{
    device::{Kind, PortDevice},
    processors, sizes,
};
use crate::failure::Failure;

/// All that is decided before anything is touched.
#[derive(Debug)]
pub(crate) struct Plan {
    /// By [`model::PortId`].
    pub(crate) devices: Vec<PortDevice>,
    /// The processor of each worker.
    pub(crate) workers: Vec<u32>,
    /// What a worker does when there is nothing to do.
    pub(crate) idle: Idle,
    /// The packet memory.
    pub(crate) pool: PoolOptions,
    /// How EAL is started.
    pub(crate) eal: EalOptions,
}

impl Plan {
    /// Decides. `arguments` are EAL's from the command line.
    ///
    /// # Errors
    /// When a device is none, or devices, queues and processors do not fit together.
    pub(crate) fn of(configuration: &Configuration, arguments: &[String]) -> Result<Self, Failure> {
        let ports = &configuration.gateway.ports;
        let allowed = processors::allowed();
        let cards =
            ports.iter().any(|port| dpdk::Device::parse(&port.device).is_ok_and(|device| device.is_pci()));
        let workers = match &configuration.workers.lcores {
            Some(lcores) => lcores.iter().copied().map(u32::from).collect(),
            None => processors::choose(&allowed, cards),
        };
        processors::check(&workers, &allowed)?;
        let devices = devices(ports, workers.len())?;
        let sized: Vec<_> = devices.iter().cloned().zip(ports.iter().map(|port| port.mtu)).collect();
        let twins = ports.iter().filter(|port| port.host).count();
        let pool = sizes::pool(&sized, twins, workers.len(), configuration.workers.mbufs);
        let eal = eal(configuration, &devices, &workers, &pool, arguments);
        Ok(Self { idle: idle(configuration, cards), devices, workers, pool, eal })
    }

    /// Queue pairs of each port: one a worker.
    pub(crate) fn queues(&self) -> u16 {
        self.workers.len() as u16
    }

    /// What a port is started with.
    pub(crate) fn port_options(&self, port: &Port) -> PortOptions {
        PortOptions {
            receive_queues: self.queues(),
            transmit_queues: self.queues(),
            mtu: Some(port.mtu),
            mac: port.mac.map(|mac| mac.0),
            hash: match port.facing {
                Facing::Clients => HashFields::Source,
                Facing::Backends => HashFields::Destination,
                Facing::Both => HashFields::Both,
            },
            offloads: port.offloads,
            // Where no port delivers frames that need it, none is asked: many drivers pay for it with each frame.
            cuts: self.devices.iter().any(PortDevice::delivers_uncut),
            ..PortOptions::default()
        }
    }
}

fn devices(ports: &[Port], workers: usize) -> Result<Vec<PortDevice>, Failure> {
    ports
        .iter()
        .map(|port| {
            let device = PortDevice::of(port, workers as u16)?;
            check_queues(port, &device, workers)?;
            Ok(device)
        })
        .collect()
}

/// Each worker polls one queue of each port, and each queue must be polled. A file's mistake where it names the lcores;
/// where it does not, only this machine knows.
fn check_queues(port: &Port, device: &PortDevice, workers: usize) -> Result<(), Failure> {
    let queues = port.queues.map_or(workers, usize::from);
    if device.kind == Kind::AfXdp && workers > 1 {
        let what = format_args!(
            "port {}: af_xdp has one queue here, and there are {workers} workers; each needs one of its own",
            port.name
        );
        return Err(Failure::device(what)
            .remedy("use one worker (`workers: { lcores: [1] }`), or net_af_packet for this port"));
    }
    if queues == workers {
        return Ok(());
    }
    let what = format_args!("port {} asks for {queues} queues, and there are {workers} workers", port.name);
    Err(Failure::device(what).remedy(format_args!(
        "each worker polls one queue of each port: `queues: auto`, or {queues} processors in workers.lcores"
    )))
}

fn idle(configuration: &Configuration, cards: bool) -> Idle {
    match configuration.workers.idle {
        config::Idle::Auto if cards => Idle::Busy,
        config::Idle::Auto => Idle::Adaptive,
        config::Idle::Busy => Idle::Busy,
        config::Idle::Adaptive => Idle::Adaptive,
    }
}

fn eal(
    configuration: &Configuration,
    devices: &[PortDevice],
    workers: &[u32],
    pool: &PoolOptions,
    arguments: &[String],
) -> EalOptions {
    EalOptions {
        workers: workers.to_vec(),
        control: configuration.control.lcore.map(u32::from),
        hugepages: match configuration.eal.hugepages {
            config::Hugepages::Auto => Hugepages::Auto,
            config::Hugepages::On => Hugepages::On,
            config::Hugepages::Off => Hugepages::Off,
        },
        memory_mib: sizes::memory_mib(pool),
        devices: devices.iter().map(|port| port.device.clone()).collect(),
        telemetry: configuration.eal.telemetry,
        arguments: configuration.eal.args.iter().chain(arguments).cloned().collect(),
        log: Some(crate::log::from_dpdk),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::device::tests::port;

    fn refusal(port: &Port, workers: usize) -> String {
        let device = PortDevice::of(port, workers as u16).unwrap();
        check_queues(port, &device, workers).unwrap_err().to_string()
    }

    #[test]
    fn af_xdp_has_one_worker() {
        let text = refusal(&port("net_af_xdp0,iface=x"), 2);
        assert!(text.contains("one queue") && text.contains("remedy"), "{text}");
        let device = PortDevice::of(&port("net_af_xdp0,iface=x"), 1).unwrap();
        assert!(check_queues(&port("net_af_xdp0,iface=x"), &device, 1).is_ok());
    }

    #[test]
    fn a_port_has_as_many_queues_as_there_are_workers() {
        let two = Port { queues: Some(2), ..port("net_tap0,iface=x") };
        assert!(refusal(&two, 1).contains("asks for 2 queues"));
        let device = PortDevice::of(&two, 2).unwrap();
        assert!(check_queues(&two, &device, 2).is_ok());
    }
}

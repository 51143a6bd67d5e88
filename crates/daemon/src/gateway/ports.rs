//! Opened ports with their queues, and their host twins.

use dpdk::{Eal, Mempool, Offloads, Port, PortOptions, Rss, RxQueue, TxQueue};
use model::MacAddress;
use worker::{HostQueues, PortQueues};

use super::{device::PortDevice, host_twin, host_twin::HostTwin, offloads, plan::Plan, remedies};
use crate::failure::Failure;

/// A port that was started.
pub(crate) struct OpenPort {
    /// Its Ethernet address.
    pub(crate) mac: MacAddress,
    /// What its device does of its own.
    pub(crate) offloads: Offloads,
    /// How its device spreads what it receives, where it tells.
    pub(crate) rss: Option<Rss>,
    /// The kernel's side of its host twin. Before the devices: rules go before their interface.
    _twin: Option<HostTwin>,
    /// Keeps the devices open.
    _devices: Vec<Port>,
}

/// What one worker polls of all ports.
pub(crate) type Share = Vec<PortQueues<RxQueue, TxQueue>>;

/// Opens and starts all ports and host twins; the shares of the workers, in their order.
///
/// # Errors
/// When a device refuses, or the kernel refuses a twin its addresses. What was opened until then is closed.
pub(crate) fn open(
    eal: &Eal,
    pool: &Mempool,
    plan: &Plan,
    ports: &[model::Port],
) -> Result<(Vec<OpenPort>, Vec<Share>), Failure> {
    let mut shares: Vec<Share> = (0..plan.queues()).map(|_| Vec::new()).collect();
    let mut opened = Vec::new();
    for (number, (port, device)) in ports.iter().zip(&plan.devices).enumerate() {
        opened.push(open_one(eal, pool, plan, (number, port, device), &mut shares)?);
    }
    Ok((opened, shares))
}

fn open_one(
    eal: &Eal,
    pool: &Mempool,
    plan: &Plan,
    (number, port, device): (usize, &model::Port, &PortDevice),
    shares: &mut [Share],
) -> Result<OpenPort, Failure> {
    let failed = |error: dpdk::PortError| remedies::port(&port.name, device, &error);
    let mut opened = Port::open(eal, &device.device).map_err(failed)?;
    let queues = opened.start(&plan.port_options(port), pool).map_err(failed)?;
    let mac = MacAddress(opened.mac());
    tracing::info!("port {} is {} with {} queue(s), {mac}", port.name, device.device, plan.queues());
    let (offloads, rss) = (queues.offloads, queues.rss.clone());
    tell_offloads(port, offloads);
    let mut devices = vec![opened];
    let mut twin = None;
    let mut of_twin = Vec::new();
    if port.host {
        let (device, queues) = open_twin(eal, pool, plan, (number, port), mac)?;
        devices.push(device);
        of_twin = pair(queues).map(|(rx, tx)| HostQueues { rx, tx }).collect();
        twin = Some(HostTwin::set_up(port, number, mac)?);
    }
    let mut of_twin = of_twin.into_iter();
    for (share, (rx, tx)) in shares.iter_mut().zip(pair(queues)) {
        share.push(PortQueues { rx, tx, host: of_twin.next() });
    }
    Ok(OpenPort { mac, offloads, rss, _twin: twin, _devices: devices })
}

fn tell_offloads(port: &model::Port, offloads: Offloads) {
    match offloads::names(offloads) {
        _ if !port.offloads => tracing::info!("port {}: offloads are off", port.name),
        names if names.is_empty() => tracing::info!("port {} has no offloads that are used", port.name),
        names => tracing::info!("port {} uses offloads: {}", port.name, names.join(", ")),
    }
}

fn open_twin(
    eal: &Eal,
    pool: &Mempool,
    plan: &Plan,
    (number, port): (usize, &model::Port),
    mac: MacAddress,
) -> Result<(Port, dpdk::Queues), Failure> {
    let interface = host_twin::interface(port, number);
    let device = PortDevice::twin(host_twin::device(port, number, mac)?, &interface);
    let failed = |error: dpdk::PortError| remedies::port(&port.name, &device, &error);
    let mut twin = Port::open(eal, &device.device).map_err(failed)?;
    host_twin::keep_plain(&interface).map_err(|error| {
        Failure::device(format_args!("the host twin {interface}: {error}")).remedy("run tidegate as root")
    })?;
    let options = PortOptions {
        receive_queues: plan.queues(),
        transmit_queues: plan.queues(),
        mtu: Some(port.mtu),
        ..PortOptions::default()
    };
    let queues = twin.start(&options, pool).map_err(failed)?;
    Ok((twin, queues))
}

fn pair(queues: dpdk::Queues) -> impl Iterator<Item = (RxQueue, TxQueue)> {
    queues.receive.into_iter().zip(queues.transmit)
}

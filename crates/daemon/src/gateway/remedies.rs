//! What to do when DPDK refuses.

use dpdk::{EalError, PoolError, PortError, lcore::LaunchError};

use super::device::{Kind, PortDevice};
use crate::failure::Failure;

/// EAL did not start.
pub(crate) fn eal(error: &EalError) -> Failure {
    let failure = Failure::device(error);
    match error {
        EalError::Hugepages { needed_mib, .. } => failure.remedy(format_args!(
            "reserve them (`echo {} > /proc/sys/vm/nr_hugepages` for pages of 2 MiB), \
             ask for fewer segments (`workers.mbufs`), or do without (`eal: {{ hugepages: off }}`)",
            needed_mib.div_ceil(2)
        )),
        EalError::Processor { .. } => failure.remedy("choose others in workers.lcores and control.lcore"),
        EalError::TooManyWorkers(_) => failure.remedy("name fewer processors in workers.lcores"),
        EalError::AlreadyStarted | EalError::Argument(_) | EalError::Refused(_) => {
            failure.remedy("see what DPDK says, and the arguments in eal.args and behind `--`")
        }
    }
}

/// There is no packet memory.
pub(crate) fn pool(error: &PoolError) -> Failure {
    Failure::device(error).remedy(
        "ask for fewer segments (`workers.mbufs`), free memory, or reserve huge pages (/proc/sys/vm/nr_hugepages)",
    )
}

/// A port did not open or start.
pub(crate) fn port(name: &str, device: &PortDevice, error: &PortError) -> Failure {
    let failure = Failure::device(format_args!("port {name}: {error}"));
    match (error, device.kind) {
        (PortError::Queues { .. }, _) => failure.remedy("use fewer workers (`workers.lcores`)"),
        (PortError::AlreadyOpen(_), _) => failure.remedy("give each port a device of its own"),
        (_, Kind::Card) => failure.remedy(format_args!(
            "see that the card is there (`lspci -D`) and bound to vfio-pci (`dpdk-devbind.py --status`, then \
             `dpdk-devbind.py --bind=vfio-pci {}`), and that its driver is installed (librte-net-*)",
            device.device.name()
        )),
        (_, Kind::Tap) => failure.remedy(
            "see that /dev/net/tun is there, that no interface has the name already (`ip link`), and that tidegate \
             runs as root",
        ),
        (_, Kind::AfPacket | Kind::AfXdp) => failure.remedy(
            "see that tidegate runs as root, that nothing else uses the interface, and that the device's arguments \
             suit its driver (https://doc.dpdk.org/guides-22.11/nics/)",
        ),
        (_, Kind::Other) => failure
            .remedy("see the arguments of this driver in https://doc.dpdk.org/guides-22.11/nics/, and its files"),
    }
}

/// A worker did not start.
pub(crate) fn launch(error: &LaunchError) -> Failure {
    Failure::device(error).remedy("start tidegate again; if it stays so, report it")
}

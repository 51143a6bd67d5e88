//! How much packet memory a gateway needs.

use dpdk::PoolOptions;
use model::Port;
use worker::mesh::FRAMES_TO_WORKER;

use super::device::PortDevice;

/// Bytes that stay free before each frame, for outer headers.
const HEADROOM: u32 = 128;
/// The frame that fits into the smallest segment.
const SMALLEST_SEGMENT: u32 = 2048;
/// Segments that each worker keeps to itself; DPDK lets it hold half as many again.
const CACHE: u32 = 256;
/// Segments that a worker may have in its hands: bursts on their way, frames that wait for a next hop, and fragments that wait for others.
const IN_HAND: u32 = 2304;
/// The smallest pool.
const FEWEST: u32 = 8191;
/// What DPDK takes for itself, in MiB: ports, rings, its own tables.
const OVERHEAD_MIB: u64 = 32;

/// The pool for these devices. `mbufs` is what the configuration asks for.
pub(crate) fn pool(
    devices: &[(PortDevice, u16)],
    twins: usize,
    workers: usize,
    mbufs: Option<usize>,
) -> PoolOptions {
    let longest = devices.iter().map(|(device, mtu)| device.longest_frame(*mtu)).max().unwrap_or(0);
    let data_room = (longest.max(SMALLEST_SEGMENT) + HEADROOM).next_multiple_of(64);
    PoolOptions {
        mbufs: match mbufs {
            Some(asked) => u32::try_from(asked).unwrap_or(u32::MAX),
            None => needed(devices, twins, workers),
        },
        data_room: u16::try_from(data_room).unwrap_or(u16::MAX),
        cache: CACHE,
        ..PoolOptions::default()
    }
}

/// The memory that a gateway with these ports wants, in MiB.
pub(crate) fn needed_mib(ports: &[(Port, PortDevice)], workers: usize, mbufs: Option<usize>) -> u32 {
    let devices: Vec<_> = ports.iter().map(|(port, device)| (device.clone(), port.mtu)).collect();
    let twins = ports.iter().filter(|(port, _)| port.host).count();
    memory_mib(&pool(&devices, twins, workers, mbufs))
}

/// Enough segments for all queues and workers to be full at once. One less than a power of two wastes least.
fn needed(devices: &[(PortDevice, u16)], twins: usize, workers: usize) -> u32 {
    let taps = twins as u32 * super::device::Kind::Tap.segments_per_queue();
    let queue_of_each: u32 =
        devices.iter().map(|(device, _)| device.kind.segments_per_queue()).sum::<u32>() + taps;
    let handed_over = if workers > 1 { FRAMES_TO_WORKER as u32 } else { 0 };
    let each_worker = queue_of_each + CACHE + CACHE / 2 + IN_HAND + handed_over;
    (each_worker * workers as u32).max(FEWEST).next_power_of_two() - 1
}

/// The memory to start EAL with, in MiB.
pub(crate) fn memory_mib(pool: &PoolOptions) -> u32 {
    let mib = dpdk::bytes_needed(pool).div_ceil(1 << 20) + OVERHEAD_MIB;
    // Huge pages are 2 MiB at least.
    u32::try_from(mib.next_multiple_of(2)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::device::tests::port;

    fn devices(device: &str, mtu: u16) -> Vec<(PortDevice, u16)> {
        vec![(PortDevice::of(&port(device), 1).unwrap(), mtu); 2]
    }

    #[test]
    fn two_af_packet_ports_need_little() {
        let pool = pool(&devices("net_af_packet0,iface=x", 1500), 1, 1, None);
        assert_eq!((pool.mbufs, pool.data_room), (8191, 10_368));
        assert!((96..256).contains(&memory_mib(&pool)), "{}", memory_mib(&pool));
    }

    #[test]
    fn more_workers_need_more() {
        let one = pool(&devices("0000:3b:02.0", 1500), 0, 1, None).mbufs;
        let four = pool(&devices("0000:3b:02.0", 1500), 0, 4, None).mbufs;
        assert!(four > one && (four + 1).is_power_of_two(), "{four}");
    }

    #[test]
    fn a_segment_holds_the_longest_frame() {
        assert!(pool(&devices("0000:3b:02.0", 9000), 0, 1, None).data_room >= 9018 + 128);
        assert!(
            pool(&devices("net_af_packet0,iface=x,framesz=65280,blocksz=1044480", 1500), 0, 1, None)
                .data_room
                >= 65_407
        );
    }

    #[test]
    fn what_the_configuration_asks_for_is_what_there_is() {
        assert_eq!(pool(&devices("0000:3b:02.0", 1500), 0, 1, Some(1000)).mbufs, 1000);
    }
}

//! What the tests need to start DPDK: it starts once in a process, so each test runs in a process of its own
//! (`cargo nextest` sees to that).
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::PathBuf;

use dpdk::{
    Device, Eal, EalOptions, Hugepages, Mbuf, MbufSource, Mempool, PoolOptions, Port, PortOptions, Queues,
};
use nic::{Burst, Frame, FrameSource, RxQueue};

/// Options that work on any machine: no huge pages, no hardware.
pub(crate) fn options() -> EalOptions {
    EalOptions { hugepages: Hugepages::Off, memory_mib: 64, ..EalOptions::default() }
}

/// DPDK without workers.
pub(crate) fn start() -> Eal {
    Eal::start(&options()).unwrap()
}

/// DPDK with `count` workers, all on the first processor that may be used.
pub(crate) fn start_with_workers(count: usize) -> Eal {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let first: String = list.trim().chars().take_while(char::is_ascii_digit).collect();
    Eal::start(&EalOptions { workers: vec![first.parse().unwrap(); count], ..options() }).unwrap()
}

pub(crate) fn pool(eal: &Eal) -> Mempool {
    pool_of(eal, 1023, 2176)
}

pub(crate) fn pool_of(eal: &Eal, mbufs: u32, data_room: u16) -> Mempool {
    Mempool::try_new(eal, &PoolOptions { mbufs, data_room, cache: 32, ..PoolOptions::default() }).unwrap()
}

pub(crate) fn open(eal: &Eal, device: &str) -> Port {
    Port::open(eal, &Device::parse(device).unwrap()).unwrap()
}

pub(crate) fn open_and_start(eal: &Eal, device: &str, pool: &Mempool) -> (Port, Queues) {
    let mut port = open(eal, device);
    let queues = port.start(&PortOptions::default(), pool).unwrap();
    (port, queues)
}

/// `count` frames of 60 bytes; the last byte of each is its place.
pub(crate) fn numbered(source: &mut MbufSource, count: u8) -> Burst<Mbuf> {
    (0..count)
        .map(|place| {
            let mut frame = source.allocate(60).unwrap();
            frame.head_mut()[59] = place;
            frame
        })
        .collect()
}

/// The places of numbered frames.
pub(crate) fn places(burst: &Burst<Mbuf>) -> Vec<u8> {
    burst.iter().map(|frame| frame.head()[59]).collect()
}

/// Receives until `count` frames are there.
pub(crate) fn receive_all(queue: &mut dpdk::RxQueue, count: usize) -> Burst<Mbuf> {
    let mut burst = Burst::new();
    for _ in 0..1_000_000 {
        queue.receive(&mut burst, count);
        if burst.len() >= count {
            return burst;
        }
    }
    panic!("{} of {count} frames came", burst.len());
}

/// Writes a capture file of `frames` (classic pcap, Ethernet).
pub(crate) fn capture(directory: &tempfile::TempDir, frames: &[Vec<u8>]) -> PathBuf {
    let mut file = Vec::new();
    for field in [0xA1B2_C3D4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(field.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap();
        for field in [0, 0, length, length] {
            file.extend(field.to_le_bytes());
        }
        file.extend(frame);
    }
    let path = directory.path().join("frames.pcap");
    std::fs::write(&path, file).unwrap();
    path
}

//! Ports: what they are, how they start, how they refuse to; and workers that poll them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "functions of tests fail by panicking, as tests do"
)]

mod environment;

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dpdk::lcore::{LaunchError, launch};
use dpdk::{Device, HashFields, Port, PortError, PortOptions};
use environment::{numbered, open, open_and_start, pool, receive_all, start, start_with_workers};
use nic::{Burst, RxQueue, TxQueue};

#[test]
fn a_device_says_what_it_is() {
    let eal = start();
    let facts = open(&eal, "net_null0").facts().unwrap();
    assert_eq!(facts.driver, "net_null");
    assert!(facts.max_receive_queues >= 2 && facts.max_transmit_queues >= 2 && facts.hash);
    let facts = open(&eal, "net_ring0").facts().unwrap();
    assert_eq!(facts.driver, "net_ring");
    assert!(!facts.hash && !facts.receive_checksum);
}

#[test]
fn a_started_port_has_what_was_asked_for() {
    let eal = start();
    let pool = pool(&eal);
    let mut port = open(&eal, "net_null0");
    let mac = [2, 0, 0, 0, 0, 7];
    let options =
        PortOptions { mtu: Some(1400), mac: Some(mac), promiscuous: true, ..PortOptions::default() };
    let queues = port.start(&options, &pool).unwrap();
    assert_eq!((queues.receive.len(), queues.transmit.len()), (1, 1));
    assert_eq!((port.mac(), port.mtu(), port.link_state().up), (mac, 1400, true));
    assert!(queues.rss.is_none());
}

#[test]
fn several_queues_are_spread_over_by_a_hash_that_is_told() {
    let eal = start();
    let pool = pool(&eal);
    let mut port = open(&eal, "net_null0");
    let options = PortOptions {
        receive_queues: 2,
        transmit_queues: 2,
        hash: HashFields::Source,
        ..PortOptions::default()
    };
    let queues = port.start(&options, &pool).unwrap();
    assert_eq!((queues.receive.len(), queues.transmit.len()), (2, 2));
    let rss = queues.rss.unwrap();
    assert_eq!(rss.key.len(), 40);
    assert!(!rss.table.is_empty() && rss.table.iter().all(|queue| *queue < 2));
}

#[test]
fn counters_follow_the_frames() {
    let eal = start();
    let pool = pool(&eal);
    let (port, mut queues) = open_and_start(&eal, "net_null0,size=100", &pool);
    let mut burst = receive_all(&mut queues.receive[0], 32);
    queues.transmit[0].transmit(&mut burst);
    let statistics = port.statistics();
    assert_eq!((statistics.received_frames, statistics.transmitted_frames), (32, 32));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_device_that_does_not_exist_is_refused_with_what_dpdk_said() {
    let eal = start();
    let device = Device::parse("net_pcap0,rx_pcap=/nonexistent.pcap").unwrap();
    let text = Port::open(&eal, &device).unwrap_err().to_string();
    assert!(
        text.contains("net_pcap0") && text.contains("nonexistent.pcap") && text.contains("DPDK says"),
        "{text}"
    );
    let device = Device::parse("net_nosuchdriver0").unwrap();
    assert!(matches!(Port::open(&eal, &device), Err(PortError::Attach { .. })));
    let device = Device::parse("0000:ff:1f.7").unwrap();
    assert!(matches!(Port::open(&eal, &device), Err(PortError::Absent { .. })));
}

#[test]
fn a_refusal_without_an_error_number_does_not_invent_one() {
    let eal = start();
    let device = Device::parse("net_af_packet0,iface=no-such-one").unwrap();
    let text = Port::open(&eal, &device).unwrap_err().to_string();
    assert!(text.contains("DPDK says") && !text.contains("not permitted (DPDK"), "{text}");
}

#[test]
fn a_device_is_opened_once_at_a_time() {
    let eal = start();
    let device = Device::parse("net_null0").unwrap();
    let port = Port::open(&eal, &device).unwrap();
    assert_eq!(Port::open(&eal, &device).unwrap_err(), PortError::AlreadyOpen("net_null0".to_owned()));
    drop(port);
    assert!(Port::open(&eal, &device).is_ok());
}

#[test]
fn a_port_starts_once_and_within_its_queues() {
    let eal = start();
    let pool = pool(&eal);
    let mut port = open(&eal, "net_ring0");
    let many = PortOptions { receive_queues: 1000, ..PortOptions::default() };
    assert!(matches!(port.start(&many, &pool), Err(PortError::Queues { .. })));
    let _queues = port.start(&PortOptions::default(), &pool).unwrap();
    assert!(matches!(port.start(&PortOptions::default(), &pool), Err(PortError::AlreadyStarted(_))));
}

#[test]
fn an_mtu_that_the_device_cannot_have_is_refused() {
    let eal = start();
    let pool = pool(&eal);
    let mut port = open(&eal, "net_null0");
    let outcome = port.start(&PortOptions { mtu: Some(10), ..PortOptions::default() }, &pool);
    assert!(matches!(outcome, Err(PortError::Refused { .. })), "{outcome:?}");
    assert!(port.start(&PortOptions::default(), &pool).is_ok(), "a refusal is not the end");
}

#[test]
fn queues_outlive_the_port_that_they_came_from() {
    let eal = start();
    let pool = pool(&eal);
    let (port, mut queues) = open_and_start(&eal, "net_null0", &pool);
    drop((port, eal));
    let mut burst = receive_all(&mut queues.receive[0], 32);
    queues.transmit[0].transmit(&mut burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn workers_poll_their_queues_and_return_what_they_did() {
    const FRAMES: usize = 10_000;
    let eal = start_with_workers(2);
    let pool = pool(&eal);
    let mut port = open(&eal, "net_null0,size=60");
    let options = PortOptions { receive_queues: 2, transmit_queues: 2, ..PortOptions::default() };
    let queues = port.start(&options, &pool).unwrap();
    let pairs = queues.receive.into_iter().zip(queues.transmit);
    let workers: Vec<_> = eal
        .workers()
        .iter()
        .zip(pairs)
        .map(|(lcore, (mut receive, mut transmit))| {
            launch(&eal, *lcore, move || {
                let mut forwarded = 0;
                let mut burst = Burst::new();
                while forwarded < FRAMES {
                    receive.receive(&mut burst, 32);
                    forwarded += burst.len();
                    transmit.transmit(&mut burst);
                }
                forwarded
            })
            .unwrap()
        })
        .collect();
    for worker in workers {
        assert!(worker.join() >= FRAMES);
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_busy_worker_takes_no_second_closure() {
    let eal = start_with_workers(1);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let lcore = eal.workers()[0];
    let first = launch(&eal, lcore, move || {
        while !seen.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        7
    })
    .unwrap();
    assert!(!first.is_finished());
    assert_eq!(launch(&eal, lcore, || 8).unwrap_err(), LaunchError::Busy(lcore.id()));
    stop.store(true, Ordering::Release);
    assert_eq!(first.join(), 7);
    assert_eq!(launch(&eal, lcore, || 9).unwrap().join(), 9);
}

static SEEN: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_received(
    _port: u16,
    _queue: u16,
    _frames: *mut *mut dpdk_sys::rte_mbuf,
    count: u16,
    _room: u16,
    _argument: *mut c_void,
) -> u16 {
    SEEN.fetch_add(u32::from(count), Ordering::Relaxed);
    count
}

extern "C" fn count_transmitted(
    _port: u16,
    _queue: u16,
    _frames: *mut *mut dpdk_sys::rte_mbuf,
    count: u16,
    _argument: *mut c_void,
) -> u16 {
    SEEN.fetch_add(u32::from(count) << 16, Ordering::Relaxed);
    count
}

#[test]
#[allow(unsafe_code, reason = "callbacks are what DPDK's own capture installs; nothing safe does it")]
fn callbacks_from_outside_see_the_frames() {
    let eal = start();
    let pool = pool(&eal);
    let (_port, mut queues) = open_and_start(&eal, "net_ring0", &pool);
    let argument = ptr::null_mut();
    // SAFETY: port 0 with its queue 0 is started, and the function has the callback's type.
    let receive = unsafe { dpdk_sys::rte_eth_add_rx_callback(0, 0, Some(count_received), argument) };
    // SAFETY: as above.
    let transmit = unsafe { dpdk_sys::rte_eth_add_tx_callback(0, 0, Some(count_transmitted), argument) };
    assert!(!receive.is_null() && !transmit.is_null());
    let mut burst = numbered(&mut pool.source(), 20);
    queues.transmit[0].transmit(&mut burst);
    drop(receive_all(&mut queues.receive[0], 20));
    assert_eq!(SEEN.load(Ordering::Relaxed), 20 << 16 | 20);
    assert_eq!(pool.in_use(), 0);
}

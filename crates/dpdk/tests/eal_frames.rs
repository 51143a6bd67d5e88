//! Frames: allocated, changed, sent, received, handed over; and the pool's in-use count returns to its baseline after
//! each scenario.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "functions of tests fail by panicking, as tests do"
)]

mod environment;

use dpdk::{CutsBy, Mbuf, MbufSource, Mempool, Offloads, PoolOptions, PortOptions};
use environment::{capture, numbered, open, open_and_start, places, pool, pool_of, receive_all, start};
use nic::{Burst, Frame, FrameSource, MAX_BURST, ReceivedChecksum, RxQueue, Segmentation, TxQueue};

fn frame(source: &mut MbufSource, length: usize) -> Mbuf {
    source.allocate(length).unwrap()
}

/// Bytes that tell their place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|place| u8::try_from(place % 251).unwrap()).collect()
}

fn all_bytes(frame: &Mbuf) -> Vec<u8> {
    (0..).map_while(|index| frame.segment(index)).flatten().copied().collect()
}

#[test]
fn a_new_frame_is_zeros_even_where_an_old_one_was() {
    let eal = start();
    let pool = pool_of(&eal, 63, 2176);
    let mut source = pool.source();
    for _ in 0..200 {
        let mut frame = frame(&mut source, 1500);
        assert_eq!(frame.length(), 1500);
        assert!(frame.head().iter().all(|byte| *byte == 0));
        assert_eq!(frame.checksum(), ReceivedChecksum::Unknown);
        frame.head_mut().fill(0xFF);
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_frame_that_does_not_fit_is_not_made() {
    let eal = start();
    let pool = pool(&eal);
    assert_eq!(pool.frame_room(), 2048);
    assert!(pool.source().allocate(2048).is_some());
    assert!(pool.source().allocate(2049).is_none());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_exhausted_pool_gives_nothing_until_something_comes_back() {
    let eal = start();
    let pool = pool_of(&eal, 63, 2176);
    let mut source = pool.source();
    let mut all: Vec<Mbuf> = std::iter::from_fn(|| source.allocate(60)).collect();
    assert_eq!((all.len(), pool.in_use()), (63, 63));
    assert!(source.allocate(60).is_none());
    all.pop();
    assert!(source.allocate(60).is_some());
    drop(all);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_jumbo_pool_carries_frames_of_almost_64_kib() {
    let eal = start();
    let pool = pool_of(&eal, 127, 65_535);
    assert_eq!(pool.frame_room(), 65_407);
    let mut frame = frame(&mut pool.source(), 65_407);
    frame.head_mut()[65_406] = 7;
    assert_eq!(frame.head()[65_406], 7);
    assert!(!frame.resize(65_408) && frame.length() == 65_407);
    drop(frame);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_resized_frame_loses_its_tail_or_gets_zeros() {
    let eal = start();
    let pool = pool(&eal);
    let mut frame = frame(&mut pool.source(), 100);
    frame.head_mut().fill(1);
    assert!(frame.resize(60));
    assert_eq!((frame.length(), frame.head().len()), (60, 60));
    assert!(frame.resize(100));
    assert_eq!(frame.head(), [[1; 60].as_slice(), [0; 40].as_slice()].concat());
    assert!(frame.resize(0) && frame.head().is_empty());
    assert!(!frame.resize(2049) && !frame.resize(1 << 40) && frame.length() == 0);
}

#[test]
fn a_frame_grows_by_the_segments_of_another_one() {
    let eal = start();
    let pool = pool(&eal);
    let mut source = pool.source();
    let bytes = pattern(300);
    let mut parts = bytes.chunks(100).map(|part| {
        let mut frame = frame(&mut source, part.len());
        frame.head_mut().copy_from_slice(part);
        frame
    });
    let (mut one, mut two, three) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    assert!(two.append(three).is_ok() && one.append(two).is_ok());
    assert_eq!((one.length(), all_bytes(&one), pool.in_use()), (300, bytes.clone(), 3));
    assert!(one.pull(150) && one.behead(10));
    assert_eq!((one.length(), all_bytes(&one)), (290, bytes[10..].to_vec()));
    drop(one);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_dropped_burst_and_a_freed_burst_go_back_to_the_pool() {
    let eal = start();
    let pool = pool(&eal);
    let mut source = pool.source();
    let burst = numbered(&mut source, 64);
    assert_eq!(pool.in_use(), 64);
    drop(burst);
    assert_eq!(pool.in_use(), 0);
    let mut burst = numbered(&mut source, 64);
    Mbuf::free(&mut burst);
    assert!(burst.is_empty());
    assert_eq!(pool.in_use(), 0);
    Mbuf::free(&mut burst);
}

#[test]
fn frames_come_back_from_a_loop_in_order() {
    let eal = start();
    let pool = pool(&eal);
    let (port, mut queues) = open_and_start(&eal, "net_ring0", &pool);
    let mut burst = numbered(&mut pool.source(), 40);
    queues.transmit[0].transmit(&mut burst);
    assert!(burst.is_empty());
    let mut burst = Burst::new();
    queues.receive[0].receive(&mut burst, 10);
    assert_eq!(places(&burst), (0..10).collect::<Vec<u8>>());
    queues.receive[0].receive(&mut burst, 64);
    assert_eq!(places(&burst), (0..40).collect::<Vec<u8>>());
    queues.receive[0].receive(&mut burst, 64);
    assert_eq!(burst.len(), 40);
    let statistics = port.statistics();
    assert_eq!((statistics.transmitted_frames, statistics.received_frames), (40, 40));
    drop(burst);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_burst_is_never_filled_beyond_its_room() {
    let eal = start();
    let pool = pool(&eal);
    let (_port, mut queues) = open_and_start(&eal, "net_null0,size=60", &pool);
    let mut burst = numbered(&mut pool.source(), 50);
    queues.receive[0].receive(&mut burst, 1000);
    assert_eq!(burst.len(), MAX_BURST);
    queues.receive[0].receive(&mut burst, 1000);
    assert_eq!(burst.len(), MAX_BURST);
    assert_eq!(&places(&burst)[..50], (0..50).collect::<Vec<u8>>());
    queues.transmit[0].transmit(&mut burst);
    assert!(burst.is_empty());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_full_ring_takes_what_it_has_room_for_and_leaves_the_rest_in_order() {
    let eal = start();
    let pool = pool_of(&eal, 4095, 2176);
    let mut source = pool.source();
    let (_port, mut queues) = open_and_start(&eal, "net_ring0", &pool);
    let mut sent = 0;
    let left = loop {
        let mut burst = numbered(&mut source, 64);
        queues.transmit[0].transmit(&mut burst);
        sent += 64 - burst.len();
        if !burst.is_empty() || sent > 3000 {
            break burst;
        }
    };
    let taken = 64 - u8::try_from(left.len()).unwrap();
    assert!(taken > 0 && taken < 64, "{taken} of the last burst were taken");
    assert_eq!(places(&left), (taken..64).collect::<Vec<u8>>());
    assert_eq!(pool.in_use() as usize, sent + left.len());
    drop(left);
    let mut received = 0;
    while received < sent {
        let mut burst = receive_all(&mut queues.receive[0], 1);
        received += burst.len();
        Mbuf::free(&mut burst);
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn frames_handed_to_another_thread_are_freed_there() {
    let eal = environment::start_with_workers(1);
    let pool = pool(&eal);
    let burst = numbered(&mut pool.source(), 64);
    let freed = std::thread::spawn(move || {
        let places = places(&burst);
        drop(burst);
        places.len()
    });
    assert_eq!(freed.join().unwrap(), 64);
    assert_eq!(pool.in_use(), 0);
    let burst = numbered(&mut pool.source(), 64);
    let worker = dpdk::lcore::launch(&eal, eal.workers()[0], move || drop(burst)).unwrap();
    worker.join();
    assert_eq!(pool.in_use(), 0);
}

/// A port that received one frame of `length` bytes into segments of 256 bytes, and the frame.
fn in_segments(eal: &dpdk::Eal, pool: &Mempool, length: usize) -> Mbuf {
    let directory = tempfile::tempdir().unwrap();
    let file = capture(&directory, &[pattern(length)]);
    let mut port = open(eal, &format!("net_pcap0,rx_pcap={}", file.display()));
    let mut queues = port.start(&PortOptions::default(), pool).unwrap();
    receive_all(&mut queues.receive[0], 1).pop().unwrap()
}

const SMALL_SEGMENT: u16 = 256 + 128;

#[test]
fn a_frame_in_several_segments_shows_them_all() {
    let eal = start();
    let pool = pool_of(&eal, 63, SMALL_SEGMENT);
    let frame = in_segments(&eal, &pool, 1000);
    // The driver leaves room before the first segment's bytes only.
    let lengths: Vec<usize> = (0..).map_while(|index| frame.segment(index)).map(<[u8]>::len).collect();
    assert_eq!((frame.length(), lengths), (1000, vec![256, 384, 360]));
    assert_eq!(frame.head(), &pattern(1000)[..256]);
    assert_eq!(all_bytes(&frame), pattern(1000));
    assert_eq!(pool.in_use(), 3);
    drop(frame);
    assert_eq!(pool.in_use(), 0);
}

/// The description of a segment, which drivers write.
#[allow(unsafe_code, reason = "plays the driver: no virtual device leaves room in a first segment")]
fn description_of(frame: &mut Mbuf, index: usize) -> &mut dpdk_sys::rte_mbuf {
    let first = std::ptr::from_mut(frame).cast::<*mut dpdk_sys::rte_mbuf>();
    // SAFETY: `Mbuf` is transparent over a pointer.
    let mut segment = unsafe { *first };
    for _ in 0..index {
        // SAFETY: the frame has so many segments.
        segment = unsafe { (*segment).next };
    }
    // SAFETY: the frame is borrowed for as long as its description.
    unsafe { &mut *segment }
}

fn description(frame: &mut Mbuf) -> &mut dpdk_sys::rte_mbuf {
    description_of(frame, 0)
}

/// Keeps the first `kept` bytes of the segment and all other segments.
fn cut_segment(frame: &mut Mbuf, index: usize, kept: u16) {
    let cut = frame.segment(index).unwrap().len() - usize::from(kept);
    description(frame).pkt_len -= u32::try_from(cut).unwrap();
    description_of(frame, index).data_len = kept;
}

#[test]
fn pulling_moves_bytes_into_the_first_segment_and_frees_what_is_empty() {
    let eal = start();
    let pool = pool_of(&eal, 63, SMALL_SEGMENT);
    let mut frame = in_segments(&eal, &pool, 900);
    assert!(frame.pull(256), "they are there already");
    assert!(!frame.pull(257), "the first segment is full");
    cut_segment(&mut frame, 0, 14);
    cut_segment(&mut frame, 1, 10);
    let bytes = pattern(900);
    let expected = [&bytes[..14], &bytes[256..266], &bytes[640..]].concat();
    assert_eq!(frame.length(), expected.len());
    assert!(!frame.pull(285), "the frame is shorter");
    assert!(frame.pull(20));
    assert_eq!((frame.head(), pool.in_use()), (&expected[..20], 3));
    assert!(frame.pull(54));
    assert_eq!((frame.head(), pool.in_use()), (&expected[..54], 2));
    assert_eq!(all_bytes(&frame), expected);
    assert!(!frame.pull(257), "there is room for 256 bytes");
    assert!(frame.resize(200) && frame.pull(200));
    assert_eq!((frame.head(), frame.segment(1), pool.in_use()), (&expected[..200], None, 1));
    assert_eq!((description(&mut frame).nb_segs, frame.length()), (1, 200));
    drop(frame);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn the_drivers_verdict_on_a_checksum_is_passed_on() {
    let eal = start();
    let pool = pool(&eal);
    let mut frame = frame(&mut pool.source(), 60);
    for (flags, verdict) in [
        (0, ReceivedChecksum::Unknown),
        (1 << 8, ReceivedChecksum::Good),
        (1 << 3, ReceivedChecksum::Bad),
        (1 << 8 | 1 << 3, ReceivedChecksum::Unknown),
    ] {
        description(&mut frame).ol_flags = flags | 1;
        assert_eq!(frame.checksum(), verdict);
    }
}

#[test]
fn resizing_frees_the_segments_behind_the_new_end() {
    let eal = start();
    let pool = pool_of(&eal, 63, SMALL_SEGMENT);
    let mut frame = in_segments(&eal, &pool, 1000);
    assert!(frame.resize(900));
    assert_eq!((frame.length(), pool.in_use()), (900, 3));
    assert!(frame.resize(512));
    assert_eq!((frame.length(), pool.in_use()), (512, 2));
    assert_eq!(all_bytes(&frame), pattern(512));
    assert!(frame.resize(640));
    assert!(!frame.resize(641), "the last segment is full");
    assert!(frame.resize(300) && frame.resize(310));
    assert_eq!(all_bytes(&frame), [pattern(300), vec![0; 10]].concat());
    assert!(frame.resize(10));
    assert_eq!((all_bytes(&frame), pool.in_use()), (pattern(10), 1));
    drop(frame);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_frame_in_several_segments_can_be_sent() {
    let eal = start();
    let pool = pool_of(&eal, 63, SMALL_SEGMENT);
    let frame = in_segments(&eal, &pool, 1000);
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.pcap");
    let (port, mut queues) = open_and_start(&eal, &format!("net_pcap1,tx_pcap={}", out.display()), &pool);
    let mut burst = Burst::new();
    burst.push(frame);
    queues.transmit[0].transmit(&mut burst);
    assert!(burst.is_empty());
    assert_eq!(pool.in_use(), 0);
    drop((queues, port));
    let written = std::fs::read(out).unwrap();
    assert_eq!(&written[24 + 16..], pattern(1000));
}

#[test]
fn a_device_that_sends_one_segment_gets_one_or_nothing() {
    let eal = start();
    let pool = pool_of(&eal, 63, SMALL_SEGMENT);
    let long = in_segments(&eal, &pool, 900);
    let mut short = in_segments(&eal, &pool, 900);
    cut_segment(&mut short, 0, 14);
    assert!(short.resize(100));
    let (port, mut queues) = open_and_start(&eal, "net_null0", &pool);
    assert_eq!(port.facts().unwrap().transmit_segments, 1);
    let mut burst = Burst::new();
    burst.push(long);
    burst.push(short);
    queues.transmit[0].transmit(&mut burst);
    let statistics = port.statistics();
    assert_eq!((statistics.transmitted_frames, statistics.transmit_errors, burst.len()), (1, 1, 0));
    assert_eq!([queues.transmit[0].take_unsendable(), queues.transmit[0].take_unsendable()], [1, 0]);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn closing_a_port_gives_back_what_its_queues_held() {
    let eal = start();
    let pool = pool(&eal);
    let directory = tempfile::tempdir().unwrap();
    let file = capture(&directory, &vec![pattern(60); 100]);
    let (port, mut queues) =
        open_and_start(&eal, &format!("net_pcap0,rx_pcap={},infinite_rx=1", file.display()), &pool);
    let held = pool.in_use();
    assert!(held >= 100);
    let burst = receive_all(&mut queues.receive[0], 64);
    assert_eq!(burst[63].head(), pattern(60));
    drop(burst);
    assert_eq!(pool.in_use(), held);
    drop((port, queues));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_pool_that_goes_before_its_frames_keeps_their_memory() {
    let eal = start();
    let pool = pool(&eal);
    let mut frame = frame(&mut pool.source(), 60);
    drop(pool);
    drop(eal);
    frame.head_mut().fill(9);
    assert_eq!(frame.head(), [9; 60]);
}

#[test]
fn a_pool_may_be_as_big_as_it_said_it_needs() {
    let options = PoolOptions { mbufs: 16_383, ..PoolOptions::default() };
    let mebibytes = dpdk::bytes_needed(&options).div_ceil(1 << 20);
    let memory_mib = u32::try_from(mebibytes).unwrap() + 8;
    let eal = dpdk::Eal::start(&dpdk::EalOptions { memory_mib, ..environment::options() }).unwrap();
    let pool = Mempool::try_new(&eal, &options).unwrap();
    assert_eq!(pool.in_use(), 0);
    let second = Mempool::try_new(&eal, &PoolOptions { name: "second".to_owned(), ..options });
    assert!(matches!(second, Err(dpdk::PoolError::Refused { .. })), "{second:?}");
}

#[test]
fn a_tap_cuts_what_it_is_asked_to() {
    let eal = start();
    let pool = pool_of(&eal, 255, 16_384);
    let options = PortOptions { cuts: true, receive_descriptors: Some(64), ..PortOptions::default() };
    for (options, expected) in [
        (options.clone(), [true, true]),
        (PortOptions { cuts: false, ..options.clone() }, [true, false]),
        (PortOptions { offloads: false, ..options }, [false, false]),
    ] {
        let mut port = open(&eal, "net_tap_card,iface=tg-card-cut");
        let queues = port.start(&options, &pool).unwrap();
        let Offloads { segments, cuts, .. } = queues.offloads;
        assert_eq!([segments, cuts == CutsBy::V4], expected);
        assert_eq!(queues.offloads.largest_cut, 1500);
    }
    let mut frame = pool.source().allocate(5000).unwrap();
    let how = Segmentation { is_v4: true, link: 14, network: 20, transport: 32, share: 1000 };
    assert!(!frame.cut_on_transmit(Segmentation { network: 512, ..how }), "there is no room for that number");
    assert!(frame.cut_on_transmit(how));
}

//! The environment: how it starts, how it refuses to, and what it leaves behind.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "functions of tests fail by panicking, as tests do"
)]

mod environment;

use std::sync::Mutex;

use dpdk::{Eal, EalError, EalOptions, Hugepages, LogLevel, TscClock};
use environment::{options, pool, start};
use nic::Clock;

/// The files of this process in DPDK's directories.
fn left_behind() -> Vec<String> {
    let mine = format!("tidegate-{}", std::process::id());
    let directories = ["/var/run/dpdk", "/dev/hugepages", "/tmp/dpdk", "/run/user/0/dpdk"];
    let entries = directories.iter().filter_map(|directory| std::fs::read_dir(directory).ok()).flatten();
    entries
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .filter(|path| path.contains(&mine))
        .collect()
}

#[test]
fn it_starts_without_huge_pages_and_leaves_nothing_behind() {
    let eal = start();
    assert!(!eal.hugepages());
    assert!(pool(&eal).source().allocate_some());
    drop(eal);
    assert_eq!(left_behind(), Vec::<String>::new());
}

trait AllocateSome {
    fn allocate_some(self) -> bool;
}

impl AllocateSome for dpdk::MbufSource {
    fn allocate_some(mut self) -> bool {
        nic::FrameSource::allocate(&mut self, 60).is_some()
    }
}

#[test]
fn with_huge_pages_it_either_starts_and_leaves_nothing_behind_or_counts_them() {
    let needed_mib = 64;
    let free_before = dpdk::free_hugepages_mib();
    let asked = EalOptions { hugepages: Hugepages::On, memory_mib: needed_mib, ..options() };
    match Eal::start(&asked) {
        Ok(eal) => {
            assert!(eal.hugepages());
            assert!(pool(&eal).source().allocate_some());
        }
        Err(EalError::Hugepages { needed_mib: needed, free_mib }) => {
            assert_eq!(needed, needed_mib);
            assert!(free_mib < needed_mib && free_before < needed_mib);
        }
        Err(other) => panic!("{other}"),
    }
    assert_eq!(left_behind(), Vec::<String>::new());
}

#[test]
fn telemetry_is_served_when_asked_for_and_its_socket_goes_with_it() {
    let eal = Eal::start(&EalOptions { telemetry: true, ..options() }).unwrap();
    let directory = eal.runtime_directory().unwrap().to_owned();
    assert!(directory.join("dpdk_telemetry.v2").exists(), "{}", directory.display());
    drop(eal);
    assert!(!directory.exists());
}

#[test]
fn telemetry_is_served_from_huge_pages_too() {
    let Ok(eal) = Eal::start(&EalOptions { telemetry: true, hugepages: Hugepages::Auto, ..options() }) else {
        panic!("with automatic huge pages it always starts");
    };
    let directory = eal.runtime_directory().unwrap().to_owned();
    assert!(directory.join("dpdk_telemetry.v2").exists(), "{}", directory.display());
    drop(eal);
    assert!(!directory.exists());
    assert_eq!(left_behind(), Vec::<String>::new());
}

#[test]
fn a_second_start_is_an_error_even_after_the_first_has_ended() {
    let eal = start();
    assert_eq!(Eal::start(&options()).unwrap_err(), EalError::AlreadyStarted);
    drop(eal);
    assert_eq!(Eal::start(&options()).unwrap_err(), EalError::AlreadyStarted);
}

#[test]
fn a_refusal_says_what_dpdk_said() {
    let arguments = vec!["--no-such-option".to_owned()];
    let Err(EalError::Refused(failure)) = Eal::start(&EalOptions { arguments, ..options() }) else {
        panic!("an unknown option was accepted");
    };
    let text = EalError::Refused(failure).to_string();
    assert!(text.contains("--no-such-option"), "{text}");
    assert!(!text.contains("Usage"), "{text}");
    assert_eq!(left_behind(), Vec::<String>::new());
}

static HEARD: Mutex<Vec<(LogLevel, String)>> = Mutex::new(Vec::new());

fn hear(level: LogLevel, line: &str) -> bool {
    HEARD.lock().unwrap().push((level, line.to_owned()));
    level == LogLevel::Error
}

#[test]
fn a_refusal_does_not_repeat_what_the_listener_has_shown() {
    let arguments = vec!["--no-such-option".to_owned()];
    let error = Eal::start(&EalOptions { arguments, log: Some(hear), ..options() }).unwrap_err().to_string();
    let heard = HEARD.lock().unwrap();
    assert!(heard.iter().any(|(_, line)| line == "EAL: Invalid 'command line' arguments."), "{heard:?}");
    assert!(!error.contains("'command line'"), "{error}");
    assert_eq!(error.matches("--no-such-option").count(), 1, "{error}");
}

#[test]
fn the_listener_hears_what_dpdk_logs() {
    let arguments = vec!["--log-level=lib.eal:debug".to_owned(), "--log-level=debug".to_owned()];
    let eal = Eal::start(&EalOptions { arguments, log: Some(hear), ..options() }).unwrap();
    drop(eal);
    let heard = HEARD.lock().unwrap();
    assert!(
        heard.iter().any(|(level, line)| *level > LogLevel::Warning && line.starts_with("EAL: ")),
        "{heard:?}"
    );
}

#[test]
fn the_starting_thread_floats_over_the_processors_it_had() {
    let allowed = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).unwrap().to_owned()
    };
    let before = allowed();
    let _eal = environment::start_with_workers(1);
    assert_eq!(allowed(), before);
}

#[test]
fn the_clock_counts_up_at_its_frequency() {
    let clock = TscClock::new(&start());
    let begin = clock.now();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let ticks = clock.now().since(begin).0;
    assert!(ticks >= clock.hertz() / 50 * 9 / 10, "{ticks} ticks of {} Hz in 20 ms or more", clock.hertz());
}

#[test]
fn the_version_is_that_of_the_library() {
    assert!(dpdk::version().starts_with("DPDK 22.11"), "{}", dpdk::version());
}

#[test]
fn without_telemetry_there_is_nothing_to_leave_behind() {
    let eal = start();
    assert_eq!(eal.runtime_directory(), None);
    assert_eq!(left_behind(), Vec::<String>::new());
}

//! DPDK's environment: it starts once in a process, and ends when the last thing that needs it is gone.

use std::collections::HashSet;
use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, process};

use crate::error::c_string;
use crate::memory::{Hugepages, free_hugepages_mib};
use crate::{Device, Failure, Lcore, LogLevel, arguments, log};

/// How to start the environment.
#[derive(Clone, Debug)]
pub struct EalOptions {
    /// The processors for worker threads, one thread each.
    pub workers: Vec<u32>,
    /// The processor to pin the starting thread to; `None` leaves it where it may run now.
    pub control: Option<u32>,
    /// Where packet memory comes from.
    pub hugepages: Hugepages,
    /// Packet memory in MiB: all there is without huge pages, what is reserved at start with them.
    pub memory_mib: u32,
    /// The devices that will be opened.
    pub devices: Vec<Device>,
    /// Whether DPDK's telemetry socket is served.
    pub telemetry: bool,
    /// Arguments for DPDK, appended to those made from the above.
    pub arguments: Vec<String>,
    /// Who gets the lines that DPDK logs (warnings and errors, unless `arguments` ask for more), and says whether it
    /// showed them to somebody: errors tell the others.
    pub log: Option<fn(LogLevel, &str) -> bool>,
}

impl Default for EalOptions {
    fn default() -> Self {
        Self {
            workers: Vec::new(),
            control: None,
            hugepages: Hugepages::Auto,
            memory_mib: 64,
            devices: Vec::new(),
            telemetry: false,
            arguments: Vec::new(),
            log: None,
        }
    }
}

/// Why the environment did not start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EalError {
    /// DPDK was already started in this process, and cannot be started twice.
    #[error("DPDK was already started in this process, and cannot be started twice")]
    AlreadyStarted,
    /// Fewer huge pages are free than are needed.
    #[error("{needed_mib} MiB of huge pages are needed, {free_mib} MiB are free")]
    Hugepages {
        /// What was asked for.
        needed_mib: u32,
        /// What the kernel has.
        free_mib: u32,
    },
    /// A thread is to run on a processor that this process may not use.
    #[error("processor {cpu} is not among those that this process may use: {allowed}")]
    Processor {
        /// The processor asked for.
        cpu: u32,
        /// The list of those allowed, as the kernel writes it.
        allowed: String,
    },
    /// More workers than DPDK can count.
    #[error("{0} workers are more than DPDK's {max}", max = dpdk_sys::SHIM_MAX_LCORES - 1)]
    TooManyWorkers(usize),
    /// An argument for DPDK holds a NUL byte.
    #[error("the DPDK argument {0:?} holds a NUL byte")]
    Argument(String),
    /// DPDK refused to start.
    #[error("DPDK did not start: {0}")]
    Refused(Failure),
}

/// DPDK's version, as the library that runs says it: `DPDK 22.11.11`.
#[must_use]
pub fn version() -> String {
    // SAFETY: rte_version has no obligation.
    let text = unsafe { dpdk_sys::rte_version() };
    // SAFETY: rte_version returns a NUL-terminated text in static memory that is written before it returns.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

/// The running environment, shared by all that needs it.
#[derive(Debug)]
pub(crate) struct Running {
    directory: Option<PathBuf>,
    census: Mutex<Census>,
}

/// What exists, as far as one thing decides over another.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Pools that exist.
    pub(crate) pools: usize,
    /// A port was started on the promise that there is one pool only.
    pub(crate) one_pool: bool,
    /// Ports that are open.
    pub(crate) ports: HashSet<u16>,
}

impl Running {
    /// The census; while it is held, nobody else changes what exists.
    pub(crate) fn census(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // SAFETY: EAL was started, and no port, pool, queue, frame or worker is left, as each keeps `Running` alive.
        let _ = unsafe { dpdk_sys::rte_eal_cleanup() };
        remove(self.directory.as_deref());
    }
}

/// DPDK's environment.
#[derive(Debug)]
pub struct Eal {
    running: Arc<Running>,
    hugepages: bool,
    workers: Vec<Lcore>,
}

/// EAL cannot be initialised again, not even after a failure or its end.
static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts the environment; the calling thread becomes its main thread.
    ///
    /// # Errors
    /// When it was started before in this process, when memory or processors are missing, when DPDK refuses. What can
    /// be checked is checked before DPDK is asked, and can be tried again.
    pub fn start(options: &EalOptions) -> Result<Self, EalError> {
        let cpus = check_processors(options)?;
        let hugepages = choose_memory(options)?;
        let prefix = format!("tidegate-{}", process::id());
        let arguments = to_c(arguments::build(options, &prefix, hugepages, &cpus))?;
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(EalError::AlreadyStarted);
        }
        log::capture(options.log);
        let outcome = initialise(arguments);
        let directory = runtime_directory(&prefix);
        if let Err(failure) = outcome {
            remove(directory.as_deref());
            return Err(EalError::Refused(failure));
        }
        let directory = directory.filter(|directory| !removed_empty(directory));
        let running = Running { directory, census: Mutex::default() };
        let workers = (1..).zip(&options.workers).map(|(id, cpu)| Lcore::new(id, *cpu)).collect();
        Ok(Self { running: Arc::new(running), hugepages, workers })
    }

    /// The worker threads, in the order of [`EalOptions::workers`].
    #[must_use]
    pub fn workers(&self) -> &[Lcore] {
        &self.workers
    }

    /// Whether packet memory lies in huge pages.
    #[must_use]
    pub const fn hugepages(&self) -> bool {
        self.hugepages
    }

    /// The directory with the telemetry socket; `None` when there is no telemetry.
    #[must_use]
    pub fn runtime_directory(&self) -> Option<&Path> {
        self.running.directory.as_deref()
    }

    pub(crate) const fn running(&self) -> &Arc<Running> {
        &self.running
    }
}

/// Sees to it that each processor asked for may be used; the list of those that may.
fn check_processors(options: &EalOptions) -> Result<String, EalError> {
    if options.workers.len() >= dpdk_sys::SHIM_MAX_LCORES as usize {
        return Err(EalError::TooManyWorkers(options.workers.len()));
    }
    let allowed = allowed_processors();
    for cpu in options.workers.iter().chain(&options.control) {
        if !contains(&allowed, *cpu) {
            return Err(EalError::Processor { cpu: *cpu, allowed });
        }
    }
    Ok(allowed)
}

/// The calling thread's affinity, as the kernel writes it: `0-3,6`.
fn allowed_processors() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.unwrap_or("0").trim().to_owned()
}

fn contains(list: &str, cpu: u32) -> bool {
    list.split(',').any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse::<u32>(), last.parse::<u32>()), (Ok(first), Ok(last)) if (first..=last).contains(&cpu))
    })
}

/// Whether to use huge pages.
fn choose_memory(options: &EalOptions) -> Result<bool, EalError> {
    let (needed_mib, free_mib) = (options.memory_mib, free_hugepages_mib());
    match options.hugepages {
        Hugepages::Off => Ok(false),
        Hugepages::Auto => Ok(free_mib >= needed_mib),
        Hugepages::On if free_mib >= needed_mib => Ok(true),
        Hugepages::On => Err(EalError::Hugepages { needed_mib, free_mib }),
    }
}

fn to_c(arguments: Vec<String>) -> Result<Vec<CString>, EalError> {
    arguments.into_iter().map(|text| c_string(&text).map_err(|_| EalError::Argument(text))).collect()
}

/// Runs `rte_eal_init`.
fn initialise(arguments: Vec<CString>) -> Result<(), Failure> {
    let mark = log::mark();
    // EAL reorders the array and keeps pointers to the texts: they live as long as the process.
    let mut pointers: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    let count = i32::try_from(pointers.len()).unwrap_or(i32::MAX);
    pointers.push(std::ptr::null_mut());
    let captured = log::capture_output();
    // SAFETY: `pointers` holds `count` NUL-terminated texts and a null pointer, and EAL was not initialised before.
    let result = unsafe { dpdk_sys::rte_eal_init(count, pointers.as_mut_ptr()) };
    drop(captured);
    if result < 0 { Err(Failure::from_errno(mark)) } else { Ok(()) }
}

/// Where EAL keeps its files; `None` unless it is surely ours alone.
fn runtime_directory(prefix: &str) -> Option<PathBuf> {
    // SAFETY: rte_eal_get_runtime_dir has no obligation.
    let text = unsafe { dpdk_sys::rte_eal_get_runtime_dir() };
    if text.is_null() {
        return None;
    }
    // SAFETY: it is a NUL-terminated text in static memory that only rte_eal_init writes.
    let text = unsafe { CStr::from_ptr(text) };
    let directory = PathBuf::from(text.to_str().ok()?);
    directory.ends_with(prefix).then_some(directory)
}

/// Removes EAL's directory if there is nothing in it: then nobody needs it, and not even a crash leaves it behind.
fn removed_empty(directory: &Path) -> bool {
    fs::remove_dir(directory).is_ok()
}

/// EAL leaves its directory behind.
fn remove(directory: Option<&Path>) {
    if let Some(directory) = directory {
        let _ = fs::remove_dir_all(directory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_found_in_a_list_of_ranges() {
        for (cpu, found) in [(0, true), (3, true), (4, false), (6, true), (7, false)] {
            assert_eq!(contains("0-3,6", cpu), found, "{cpu}");
        }
    }

    #[test]
    fn a_processor_that_may_not_be_used_is_refused_before_dpdk_is_asked() {
        let options = EalOptions { workers: vec![100_000], ..EalOptions::default() };
        assert!(matches!(Eal::start(&options), Err(EalError::Processor { cpu: 100_000, .. })));
    }

    #[test]
    fn more_huge_pages_than_there_are_is_an_error_with_both_numbers() {
        let options = EalOptions { hugepages: Hugepages::On, memory_mib: u32::MAX, ..EalOptions::default() };
        assert!(matches!(Eal::start(&options), Err(EalError::Hugepages { needed_mib: u32::MAX, .. })));
    }

    #[test]
    fn an_argument_with_a_nul_byte_is_refused() {
        let options = EalOptions { arguments: vec!["a\0b".to_owned()], ..EalOptions::default() };
        assert_eq!(Eal::start(&options).unwrap_err(), EalError::Argument("a\0b".to_owned()));
    }
}

//! What the machine says: which processor, how fast its counter ticks, how much of it and of its memory was used.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};
use serde::Serialize;

use crate::failure::Failure;

/// How long the counter is compared with the system's clock.
const CALIBRATION: Duration = Duration::from_millis(100);
/// As the system's calls name it.
const THIS_THREAD: Pid = Pid::from_raw(0);

/// Where was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Processor {
    /// Its number.
    pub(crate) number: Option<usize>,
    /// What it calls itself.
    pub(crate) model: String,
    /// All that could have been chosen, in their order.
    #[serde(skip)]
    pub(super) allowed: Vec<usize>,
}

/// Binds this thread to the last processor that it may use; the first ones have most of the system's work.
pub(super) fn pin() -> Processor {
    let allowed = allowed();
    let number = allowed.last().copied().filter(|number| pin_to(*number));
    Processor { number, model: model(), allowed }
}

/// Binds this thread to a processor; whether that could be done.
pub(super) fn pin_to(number: usize) -> bool {
    let mut only = CpuSet::new();
    only.set(number).and_then(|()| sched_setaffinity(THIS_THREAD, &only)).is_ok()
}

/// The processors that this thread may use.
fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(THIS_THREAD).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::count()).filter(|number| set.is_set(*number).unwrap_or(false)).collect()
}

fn model() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let named = information.lines().find_map(|line| line.strip_prefix("model name"));
    named.map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':'])).to_owned()
}

/// Ticks of the time stamp counter in a second.
pub(super) fn hertz() -> Result<u64, Failure> {
    let (first, from) = (cpu::tsc(), Instant::now());
    thread::sleep(CALIBRATION);
    let (last, time) = (cpu::tsc(), from.elapsed());
    let hertz = last.wrapping_sub(first) as f64 / time.as_secs_f64();
    // A kilohertz more or less is beyond what this can tell.
    let hertz = (hertz / 1e3).round() as u64 * 1000;
    if hertz == 0 {
        return Err(Failure::not_so("the processor's time stamp counter does not count"));
    }
    Ok(hertz)
}

/// Processor time that this thread has used.
pub(super) fn thread_time() -> Result<Duration, Failure> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .map_err(|error| Failure::not_so(format_args!("the thread's processor time cannot be read: {error}")))
}

/// Bytes of memory that this process has from the system.
pub(super) fn resident_bytes() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = resident.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.map(|number| number << 10).ok_or_else(|| {
        Failure::not_so("/proc/self/status does not tell the memory in use").remedy("mount /proc")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_answers() {
        assert!(hertz().unwrap() > 1_000_000);
        let before = thread_time().unwrap();
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(thread_time().unwrap() > before && !model().is_empty());
        assert!(allowed().iter().any(|number| pin_to(*number)));
    }
}

//! Which threads the kernel may interrupt with the arrival of a frame.
//!
//! `net_tap` (ports and host twins alike) has the kernel raise a real-time signal for each frame, and only looks for
//! frames after one. The kernel prefers threads that sleep: each frame would wake the main thread, control or EAL's
//! own, which costs several times what forwarding it does.
//!
//! What must stay true: workers alone take these signals, and one of them at least does; all others are left as they
//! are. Threads inherit what their parents take: [`keep_away`] comes before the first thread.

use nix::sys::signal::{SigSet, Signal};

/// Keeps arrivals away from this thread, and from those that it starts from now on.
///
/// # Errors
/// When the system refuses.
pub(crate) fn keep_away() -> nix::Result<()> {
    signals().thread_block()
}

/// Lets arrivals interrupt this thread.
///
/// # Errors
/// When the system refuses.
pub(crate) fn take() -> nix::Result<()> {
    signals().thread_unblock()
}

/// The real-time signals: the driver takes whichever of them is free.
fn signals() -> SigSet {
    let mut signals = SigSet::all();
    Signal::iterator().for_each(|named| signals.remove(named));
    signals
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    /// The signals that are kept away from this thread, a bit each; signal 1 is the lowest.
    fn blocked() -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap()
    }

    /// What programs may use of the real-time signals: libc keeps 32 and 33 to itself.
    const REAL_TIME: u64 = u64::MAX << 33;

    #[test]
    fn a_thread_inherits_that_arrivals_are_kept_away_until_it_takes_them() {
        let masks = thread::spawn(|| {
            keep_away().unwrap();
            let inherited = thread::spawn(|| {
                let before = blocked();
                take().unwrap();
                (before, blocked())
            });
            (blocked(), inherited.join().unwrap())
        });
        let (own, (before, after)) = masks.join().unwrap();
        assert_eq!(own & (REAL_TIME | u64::from(u32::MAX >> 1)), REAL_TIME, "real-time signals, no others");
        assert_eq!(before, own);
        assert_eq!(after & REAL_TIME, 0);
    }
}

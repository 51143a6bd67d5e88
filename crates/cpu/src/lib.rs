//! The few processor intrinsics that need unsafe, as safe functions.
//!
//! What must stay true: nothing here changes what a program computes, only how fast; and a caller needs to know nothing
//! to call it.
//!
//! What it leaves to others: what a tick is worth in seconds (`nic::Clock`).
#![allow(unsafe_code, reason = "the intrinsics are unsafe functions, and this is where they are fenced in")]

#[cfg(not(target_arch = "x86_64"))]
compile_error!("Tidegate runs on x86-64; another processor needs its own `cpu::prefetch` and `cpu::tsc`");

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, _rdtsc};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the cache lines of `value`, to be read soon. Waits for nothing.
///
/// A value larger than a line (64 bytes) should begin with one; of others the last line may be left out. Meant for
/// values of one or two lines: more requests than the processor can have under way (about ten) make it wait.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    let address = std::ptr::from_ref(value).cast::<i8>();
    for line in 0..size_of::<T>().div_ceil(LINE) {
        let line = address.wrapping_add(line * LINE);
        // SAFETY: the processor must have SSE, which holds because every x86-64 processor has; the address may be any.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) }
    }
}

/// The processor's time stamp counter, in ticks since it started.
///
/// Reads are not ordered against the instructions around them: fit to time a burst, not a single load.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: the instruction must not trap, which holds because Linux leaves user programs the time stamp counter
    // (only a process that asked for `PR_TSC_SIGSEGV` would lose it).
    unsafe { _rdtsc() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefetched_value_is_unchanged() {
        let value = [7_u64; 16];
        prefetch(&value);
        prefetch(&());
        assert_eq!(value, [7; 16]);
    }

    #[test]
    fn the_counter_advances() {
        let before = tsc();
        while tsc() == before {}
        assert!(tsc().wrapping_sub(before) < u64::MAX / 2);
    }
}

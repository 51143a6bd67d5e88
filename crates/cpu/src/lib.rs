//! The few processor intrinsics that need unsafe, as safe functions.
//!
//! What must stay true: nothing here changes what a program computes, only how fast; and a caller needs to know nothing
//! to call it.
//!
//! What it leaves to others: what a tick is worth in seconds (`nic::Clock`).
#![allow(unsafe_code, reason = "the intrinsics are unsafe functions, and this is where they are fenced in")]

#[cfg(target_feature = "avx2")]
mod baseline;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("Tidegate runs on x86-64; another processor needs its own `cpu::prefetch` and `cpu::tsc`");

#[cfg(target_feature = "avx2")]
use std::arch::x86_64::{
    __m256i, _mm256_castsi256_ps, _mm256_cmpeq_epi16, _mm256_cmpeq_epi32, _mm256_movemask_epi8,
    _mm256_movemask_ps, _mm256_set_epi32, _mm256_set1_epi16, _mm256_set1_epi32,
};
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

/// Which of eight numbers are equal to `value`: bit i stands for the i-th.
///
/// Compilers make a dozen comparisons of the loop that says the same.
#[cfg(target_feature = "avx2")]
#[inline(always)]
#[must_use]
pub fn equal_lanes(lanes: &[u32; 8], value: u32) -> u32 {
    // SAFETY: the processor must have AVX2, which holds because all of the program is compiled for one that has.
    unsafe { equal_lanes_avx2(lanes, value) }
}

#[cfg(target_feature = "avx2")]
#[target_feature(enable = "avx2")]
#[inline]
fn equal_lanes_avx2(lanes: &[u32; 8], value: u32) -> u32 {
    let [a, b, c, d, e, f, g, h] = lanes.map(u32::cast_signed);
    let lanes = _mm256_set_epi32(h, g, f, e, d, c, b, a);
    let equal = _mm256_cmpeq_epi32(lanes, _mm256_set1_epi32(value.cast_signed()));
    // All ones or all zeros in 32 bits each; the mask has their highest.
    _mm256_movemask_ps(_mm256_castsi256_ps(equal)).cast_unsigned()
}

/// The same for a processor that `baseline` would refuse: there are builds for those, though none runs.
#[cfg(not(target_feature = "avx2"))]
#[inline(always)]
#[must_use]
pub fn equal_lanes(lanes: &[u32; 8], value: u32) -> u32 {
    (0..8).zip(lanes).fold(0, |mask, (bit, &lane)| mask | u32::from(lane == value) << bit)
}

/// Which of sixteen numbers are equal to `value`: bits 2i and 2i + 1 stand for the i-th, as the instruction has it.
#[cfg(target_feature = "avx2")]
#[inline(always)]
#[must_use]
pub fn equal_words(words: &[u16; 16], value: u16) -> u32 {
    // SAFETY: the processor must have AVX2, which holds because all of the program is compiled for one that has.
    unsafe { equal_words_avx2(words, value) }
}

#[cfg(target_feature = "avx2")]
#[target_feature(enable = "avx2")]
#[inline]
fn equal_words_avx2(words: &[u16; 16], value: u16) -> u32 {
    // SAFETY: both are 32 bytes without any that have no value, and any such are valid.
    let words = unsafe { std::mem::transmute::<[u16; 16], __m256i>(*words) };
    let equal = _mm256_cmpeq_epi16(words, _mm256_set1_epi16(value.cast_signed()));
    // All ones or all zeros in 16 bits each; the mask has the highest bit of each byte.
    _mm256_movemask_epi8(equal).cast_unsigned()
}

/// The same for a processor that `baseline` would refuse: there are builds for those, though none runs.
#[cfg(not(target_feature = "avx2"))]
#[inline(always)]
#[must_use]
pub fn equal_words(words: &[u16; 16], value: u16) -> u32 {
    (0..16).zip(words).fold(0, |mask, (word, &ours)| mask | (u32::from(ours == value) * 3) << (2 * word))
}

/// Bytes of a page that any x86-64 kernel gives.
const PAGE: usize = 4096;

/// A vector with room for `capacity` values, whose memory the kernel is asked to take from huge pages, so that random
/// accesses to a large table seldom miss the TLB. The kernel may have none; then nothing is different.
#[must_use]
pub fn vector_on_huge_pages<T>(capacity: usize) -> Vec<T> {
    let mut vector: Vec<T> = Vec::with_capacity(capacity);
    let room = vector.spare_capacity_mut();
    ask_for_huge_pages(room.as_mut_ptr(), size_of_val(room));
    vector
}

/// Zeros, of which the kernel makes memory only where they are first used, from huge pages as
/// [`vector_on_huge_pages`].
#[must_use]
pub fn zeros_on_huge_pages(words: usize) -> Vec<u64> {
    let mut zeros = vec![0; words];
    ask_for_huge_pages(zeros.as_mut_ptr(), words * size_of::<u64>());
    zeros
}

/// Advises the kernel on the whole pages among `size` bytes of an allocation that the caller owns.
fn ask_for_huge_pages<T>(allocation: *mut T, size: usize) {
    let start = allocation.addr().next_multiple_of(PAGE);
    let end = (allocation.addr() + size) / PAGE * PAGE;
    if start < end {
        let first = allocation.with_addr(start).cast();
        // SAFETY: the range must be mapped memory of ours, which holds because it lies within the caller's allocation; the
        // advice changes neither contents nor who may access it. What the kernel answers does not matter.
        let _ = unsafe { libc::madvise(first, end - start, libc::MADV_HUGEPAGE) };
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
    fn equal_lanes_are_named_by_their_bits() {
        let lanes = [7, 0, u32::MAX, 7, 1 << 31, 1, 0, 7];
        let named = [7, 0, u32::MAX, 1 << 31, 1, 9].map(|value| equal_lanes(&lanes, value));
        assert_eq!(named, [0b1000_1001, 0b0100_0010, 0b100, 0b1_0000, 0b10_0000, 0]);
        assert_eq!(equal_lanes(&[5; 8], 5), 0xff);
    }

    #[test]
    fn equal_words_are_named_by_their_bits() {
        let mut words: [u16; 16] = std::array::from_fn(|position| position as u16 * 0x1001);
        words[3] = 0;
        words[15] = 0x8000;
        let named = [0, 0x1001, 0x8000, 0xe00e, 0xffff].map(|value| equal_words(&words, value));
        assert_eq!(named, [0b1100_0011, 0b1100, 3 << 30, 3 << 28, 0]);
        assert_eq!(equal_words(&[u16::MAX; 16], u16::MAX), u32::MAX);
    }

    #[test]
    fn the_counter_advances() {
        let before = tsc();
        while tsc() == before {}
        assert!(tsc().wrapping_sub(before) < u64::MAX / 2);
    }

    #[test]
    fn a_vector_on_huge_pages_has_room_and_nothing_else() {
        for capacity in [0, 1, 100_000] {
            let mut vector = vector_on_huge_pages::<u64>(capacity);
            assert!(vector.is_empty() && vector.capacity() >= capacity);
            vector.extend(0..capacity as u64);
            assert_eq!(vector.last().copied(), (capacity as u64).checked_sub(1));
            assert_eq!(zeros_on_huge_pages(capacity), vec![0; capacity]);
        }
    }
}

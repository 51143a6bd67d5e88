//! What the processor must have at least: x86-64-v3, for which the program is compiled (`.cargo/config.toml`).
//!
//! On an older processor any function may be the one that traps, so this is looked at before `main`, by code that has no
//! business with the instructions in question.

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::ffi::c_int;

/// Told on the terminal of whoever starts the program on an older processor.
const REFUSAL: &[u8] = b"tidegate: this processor lacks x86-64-v3 (AVX2, BMI2, FMA; Intel since Haswell, AMD since Excavator)\n  \
    help: use a newer machine, or in a virtual one another CPU model (QEMU: -cpu host); or build it yourself with\n        \
    RUSTFLAGS=\"-C target-cpu=x86-64-v2\" cargo build --release\n";
/// The exit code of what the machine is not fit for, as when a device fails.
const UNFIT: c_int = 5;

/// Leaf 1, ECX: SSE3, SSSE3, FMA, CMPXCHG16B, SSE4.1, SSE4.2, MOVBE, POPCNT, OSXSAVE, AVX, F16C.
const LEAF_1_ECX: u32 =
    1 << 0 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 19 | 1 << 20 | 1 << 22 | 1 << 23 | 1 << 27 | 1 << 28 | 1 << 29;
/// Leaf 7, EBX: BMI1, AVX2, BMI2.
const LEAF_7_EBX: u32 = 1 << 3 | 1 << 5 | 1 << 8;
/// Leaf 0x8000_0001, ECX: LAHF, LZCNT.
const EXTENDED_ECX: u32 = 1 << 0 | 1 << 5;

/// Whether the processor has all that x86-64-v3 asks for (System V ABI, AMD64 supplement, table 3.1).
fn is_fit() -> bool {
    const fn all(value: u32, mask: u32) -> bool {
        value & mask == mask
    }
    __cpuid(0).eax >= 7
        && __cpuid(0x8000_0000).eax >= 0x8000_0001
        && all(__cpuid(1).ecx, LEAF_1_ECX)
        && all(__cpuid_count(7, 0).ebx, LEAF_7_EBX)
        && all(__cpuid(0x8000_0001).ecx, EXTENDED_ECX)
}

extern "C" fn refuse_an_older_processor() {
    if is_fit() {
        return;
    }
    // SAFETY: the range must be readable, which holds because it is a constant's. Nothing can be done if nobody reads it.
    let _ = unsafe { libc::write(libc::STDERR_FILENO, REFUSAL.as_ptr().cast(), REFUSAL.len()) };
    // SAFETY: it must be allowed to end the process here, which holds because nothing has begun yet.
    unsafe { libc::_exit(UNFIT) }
}

/// The dynamic linker calls what this section names after the libraries are ready and before `main`.
#[used]
// SAFETY: the section must hold pointers to functions that may be called before Rust's runtime is ready, which holds because
// it needs nothing of it.
#[unsafe(link_section = ".init_array")]
static CHECK: extern "C" fn() = refuse_an_older_processor;

#[cfg(test)]
mod tests {
    #[test]
    fn the_processor_of_a_running_test_is_fit() {
        assert!(super::is_fit());
    }
}

//! Raw declarations of DPDK 22.11, and shims for its inline functions.
//!
//! The build script makes the declarations from the installed headers; `shim/` holds what cannot be made that way:
//! constants behind macros, `rte_errno` (a thread-local variable), the capture of log lines, and the allocation of one
//! mbuf. Everything here is as unsafe as in C.
//!
//! What must stay true: only the crate `dpdk` uses this one, and nothing here runs once per frame while forwarding.
//!
//! What it leaves to others: ownership, errors and the hot path (`dpdk`).
#![allow(
    unsafe_code,
    reason = "declarations of C functions are unsafe by nature; `dpdk` is where they are used"
)]

#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    unnameable_types,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::indexing_slicing,
    reason = "generated from DPDK's headers, in DPDK's style"
)]
mod declarations {
    include!(concat!(env!("OUT_DIR"), "/declarations.rs"));
}

pub use declarations::*;

//! The atomics in use: the standard library's, or loom's when the schedules are being explored.

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc,
    atomic::{AtomicPtr, AtomicU64, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicPtr, AtomicU64, Ordering},
};

// Never waited for (one thread locks it), so there is no schedule of it to explore.
pub(crate) use std::sync::{Mutex, PoisonError};

//! A running gateway: in which order it starts, how it waits, and in which order it stops.
//!
//! The order of the start: configuration, the control thread (before EAL, which would pin it), the kernel's interfaces,
//! EAL, packet memory, ports, host twins, the first snapshot, workers. Whatever fails on the way, what was made before is
//! undone by the values that stand for it, in the reverse order; so nothing is left behind.
//!
//! The order of the end: workers leave their loops, then give up the frames that they hold; the counts are compared;
//! control and its socket go, then twins, ports, packet memory, EAL, and last the kernel's interfaces are restored.

mod advice;
mod arrivals;
mod control_thread;
mod crew;
mod device;
mod flow_list;
mod host_twin;
mod interfaces;
mod offloads;
mod plan;
mod ports;
mod processors;
mod remedies;
mod running;
mod signals;
mod sizes;
mod sources;
mod start;

pub(crate) use self::{
    device::{Kind, LARGE_SLOTS, LARGEST_SLOT, PortDevice},
    processors::choose as choose_processors,
    running::Gateway,
    signals::Signals,
    sizes::needed_mib as memory_needed_mib,
};

//! What Tidegate asks of the kernel's interfaces, and changes about them: over netlink and `/proc/sys`.
//!
//! What must stay true: whatever is changed here is changed back by the value that stands for the change, when it is
//! dropped: [`Taken`] for an interface that the gateway takes, [`Policy`] for the rules of a host twin.
//!
//! What it leaves to others: which interfaces, and the remedies when something is wrong (`gateway`).

mod address;
mod link;
mod netlink;
mod offload;
mod policy;
mod setting;
mod taken;

pub(crate) use self::{
    address::{add as add_address, holders, list as addresses},
    link::{Change, Link},
    offload::joins_for_good,
    policy::{Hop, Policy, RoutePlan},
    setting::local_ports,
    taken::Taken,
};

//! The datapath over packets from a file or from the command line: without DPDK, root or network.
//!
//! [`Rehearsal`] is a gateway of one worker that is handed its packets one by one, each a burst of its own. What stands in
//! for a device: [`frame`] for its frames, [`capture`] for the files that they come from and go to.
//!
//! What must stay true: the same configuration and packets give the same bytes as the running gateway (`tests/golden`
//! compares them), every time. So nothing here depends on the machine, on the clock or on chance:
//!
//! - time is the capture's own; backends count as up unless an event says otherwise; `seed: auto` is all zeros;
//! - `mac: auto` is 02:70:63:61:70:NN with NN the port's position, which is what DPDK's `net_pcap` calls itself;
//! - without `--timers` there is no housekeeping: flows do not age, nobody is asked twice for a MAC address, nothing unsolicited comes out.
//!
//! What it leaves to others: what happens to a packet (`datapath`), how a result is shown (`command`).

mod capture;
mod compose;
mod event;
mod frame;
mod notation;
mod rehearsal;
mod remedy;
mod summary;
mod totals;

pub(crate) use self::{
    capture::{Capture, Recording},
    compose::compose,
    event::HealthEvent,
    notation::Notation,
    rehearsal::{Outcome, Rehearsal},
    remedy::remedy,
    summary::summary,
    totals::Totals,
};

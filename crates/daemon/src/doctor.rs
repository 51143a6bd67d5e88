//! What stands in the way of a gateway on this machine, or slows it down, and the command that helps.
//!
//! Everything is read below one directory, `/` unless somebody says another: a machine can be examined by a copy of its `/sys` and `/proc`.
//! Nothing is changed, no device is opened, and root is not needed.
//!
//! What it leaves to others: mistakes of the configuration (`check`), and what only a start shows (`run`).

mod cards;
mod finding;
mod interfaces;
mod machine;
mod memory;
mod processors;
mod twins;
mod wanted;

use std::path::Path;

use config::Configuration;

pub(crate) use self::finding::{Finding, Severity};
use self::{machine::Machine, wanted::Wanted};
use crate::failure::Failure;

/// Examines the machine below `root`: for the gateway of a configuration, or without one in general. The worst comes first.
///
/// # Errors
/// When a device of the configuration is none.
pub(crate) fn examine(root: &Path, configuration: Option<&Configuration>) -> Result<Vec<Finding>, Failure> {
    let machine = Machine::below(root);
    let wanted = Wanted::of(configuration, &machine)?;
    let checks = [memory::check, cards::check, processors::check, interfaces::check, twins::check];
    let mut findings: Vec<Finding> = checks.iter().flat_map(|check| check(&machine, &wanted)).collect();
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings)
}

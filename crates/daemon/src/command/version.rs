//! `tidegate version`

use super::print;
use crate::failure::Failure;

/// Prints the program's version, its commit, and the DPDK it was built against and runs with.
pub(crate) fn version() -> Result<(), Failure> {
    let commit = match env!("TIDEGATE_COMMIT") {
        "" => "not built from a git checkout",
        commit => commit,
    };
    print(&format!(
        "tidegate {}\ncommit   {commit}\nDPDK     {} (built against {})\n",
        env!("CARGO_PKG_VERSION"),
        dpdk::version().trim_start_matches("DPDK "),
        env!("TIDEGATE_DPDK"),
    ))
}

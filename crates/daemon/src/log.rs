//! What the program says while it runs: lines for people, on standard error. Workers never log.

use std::io::{self, IsTerminal};

use dpdk::LogLevel;
use tracing::Level;
use tracing_subscriber::EnvFilter;

/// Starts logging; `TIDEGATE_LOG` chooses what (`info` unless it is set: `debug`, `warn`, `control=debug`, …).
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // It fails only when it was started before.
    let _ = lines.with_env_filter(filter).with_target(false).try_init();
}

/// What DPDK calls an error or a warning, and is none here.
const HARMLESS: [&str; 6] = [
    // Only rte_flow on taps needs this queueing discipline, and nothing here uses that.
    "tap_nl_dump_ext_ack(): Specified qdisc kind is unknown",
    "Could not add multiq qdisc",
    "failed to create multiq qdisc",
    "Disabling rte flow support",
    // There are no secondary processes.
    "tap_mp_req_on_rxtx(): Failed to send start req to secondary",
    // Another size of huge pages is there, or packet memory lies in ordinary pages.
    "hugepages reported on node",
];

/// Passes a line of DPDK's on; whether it is shown.
pub(crate) fn from_dpdk(level: LogLevel, line: &str) -> bool {
    let harmless = HARMLESS.iter().any(|harmless| line.contains(harmless));
    match level {
        LogLevel::Error if !harmless => {
            tracing::error!("DPDK: {line}");
            tracing::enabled!(Level::ERROR)
        }
        LogLevel::Warning if !harmless => {
            tracing::warn!("DPDK: {line}");
            tracing::enabled!(Level::WARN)
        }
        _ => {
            tracing::debug!("DPDK: {line}");
            tracing::enabled!(Level::DEBUG)
        }
    }
}

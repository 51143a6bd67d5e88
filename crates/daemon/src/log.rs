//! What the program says while it runs: lines for people, on standard error. Workers never log.

use std::io::{self, IsTerminal};

use dpdk::LogLevel;
use tracing_subscriber::EnvFilter;

/// Starts logging; `TIDEGATE_LOG` chooses what (`info` unless it is set: `debug`, `warn`, `control=debug`, …).
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("TIDEGATE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // It fails only when it was started before.
    let _ = lines.with_env_filter(filter).with_target(false).try_init();
}

/// Passes a line of DPDK's on.
pub(crate) fn from_dpdk(level: LogLevel, line: &str) {
    match level {
        LogLevel::Error => tracing::error!("DPDK: {line}"),
        LogLevel::Warning => tracing::warn!("DPDK: {line}"),
        _ => tracing::debug!("DPDK: {line}"),
    }
}

//! `tidegate run`

use super::check;
use crate::{
    arguments::Run,
    failure::Failure,
    gateway::{Gateway, Signals},
    log,
};

/// Runs the gateway until a signal ends it.
pub(crate) fn run(arguments: &Run) -> Result<(), Failure> {
    log::start();
    let configuration = check::read(&arguments.config)?;
    tracing::info!("tidegate {}, {}", env!("CARGO_PKG_VERSION"), dpdk::version());
    let mut signals = Signals::listen().map_err(|error| {
        Failure::device(format_args!("signals cannot be listened to: {error}")).remedy("see `ulimit -n`")
    })?;
    Gateway::start(configuration, &arguments.config, &arguments.eal)?.run(&mut signals);
    Ok(())
}

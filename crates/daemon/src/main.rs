//! The program `tidegate`: its command line, and the order in which a gateway starts and stops.
//!
//! [`main`] is one `match` over all that the program can do; each subcommand is a file of [`command`]. `run` is the only
//! one that touches a device: [`gateway`] plans, starts and stops it, [`kernel`] changes the kernel's interfaces, and
//! takes back what it changed. [`replay`] stands in for it where there is no device; [`mod@bench`] measures a worker.
//!
//! What it leaves to others: what a packet undergoes (`datapath`), what the configuration means (`config`), health and
//! the API (`control`), DPDK (`dpdk`).
#![forbid(unsafe_code)]

mod arguments;
mod bench;
mod client;
mod command;
mod doctor;
mod failure;
mod gateway;
mod kernel;
mod log;
mod replay;
mod table;

use std::process::ExitCode;

use arguments::{Arguments, Command, FlowNoun};
use clap::Parser;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Run(arguments) => command::run::run(&arguments),
        Command::Check(arguments) => command::check::check(&arguments),
        Command::Doctor(arguments) => command::doctor::doctor(&arguments),
        Command::Schema => command::schema::schema(),
        Command::Replay(arguments) => command::replay::replay(&arguments),
        Command::Explain(arguments) => command::explain::explain(&arguments),
        Command::Bench(arguments) => command::bench::bench(&arguments),
        Command::VirtualServer(noun) => command::list::virtual_servers(&noun.list()),
        Command::Pool(noun) => command::list::pools(&noun.list()),
        Command::Backend(noun) => command::list::backends(&noun.list()),
        Command::Flow(FlowNoun::List(list)) => command::list::flows(&list),
        Command::Worker(noun) => command::list::workers(&noun.list()),
        Command::Port(noun) => command::list::ports(&noun.list()),
        Command::Drop(noun) => command::list::drops(&noun.list()),
        Command::Version => command::version::version(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

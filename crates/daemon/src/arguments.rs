//! The command line as it is typed. Help and usage errors (exit code 2) come from here.

use std::path::PathBuf;

use clap::{
    Args, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use model::Mode;

use crate::{
    bench::{Family, MOST_BACKENDS, MOST_SERVICES, Scenario, Size, parse_flows},
    replay::{HealthEvent, Notation},
};

/// The socket of a gateway whose configuration names none.
pub(crate) const DEFAULT_SOCKET: &str = "/run/tidegate/tidegate.sock";

const EXIT_CODES: &str =
    "Exit codes: 0 ok, 1 the thing asked about is not so, 2 usage, 3 configuration invalid,
            4 cannot reach the daemon, 5 the device or EAL failed";

/// A kernel-bypass L4 ingest gateway: spreads TCP and UDP traffic over backends.
#[derive(Debug, Parser)]
#[command(name = "tidegate", after_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
#[command(version = env!("CARGO_PKG_VERSION"), disable_help_subcommand = true, infer_subcommands = false)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// All that the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the gateway in the foreground; SIGHUP reloads, SIGTERM drains and ends it, SIGINT ends it at once
    Run(Run),
    /// Reads a configuration and tells every mistake in it
    Check(Check),
    /// Examines this machine: what stands in the way of a gateway or slows it down, and the command that helps
    Doctor(Doctor),
    /// Prints the JSON Schema of the configuration
    Schema,
    /// Sends a capture's packets through the same datapath, without devices, root or network
    Replay(Replay),
    /// Tells what becomes of a packet and why: virtual server, backend and rewrite, or the reason of its drop
    Explain(Explain),
    /// Measures what a worker costs on one core, without devices or root
    Bench(Bench),
    /// Virtual servers of the running gateway
    #[command(subcommand)]
    VirtualServer(Noun),
    /// Pools of the running gateway
    #[command(subcommand)]
    Pool(Noun),
    /// Backends of the running gateway
    #[command(subcommand)]
    Backend(Noun),
    /// Flows that the running gateway tracks
    #[command(subcommand)]
    Flow(FlowNoun),
    /// Workers of the running gateway
    #[command(subcommand)]
    Worker(Noun),
    /// Ports of the running gateway
    #[command(subcommand)]
    Port(Noun),
    /// Packets that the running gateway dropped, by reason
    #[command(subcommand)]
    Drop(Noun),
    /// Prints the version of the program, its commit and DPDK's version
    Version,
}

/// What `run` is told.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Arguments for DPDK's EAL, after those of `eal.args` and those that Tidegate makes itself
    #[arg(last = true, value_name = "EAL ARGS")]
    pub(crate) eal: Vec<String>,
}

/// What `check` is told.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The configuration
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// How to print the mistakes
    #[arg(short, long, value_enum, default_value_t = CheckFormat::Table)]
    pub(crate) output: CheckFormat,
}

/// How `check` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckFormat {
    /// For people: the lines with their mistakes
    Table,
    /// An array with a member for each mistake
    Json,
}

/// What `doctor` is told.
#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// The configuration of the gateway that is to run here; without it the machine in general
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Examine the machine whose `sys`, `proc` and `dev` are in this directory
    #[arg(long, value_name = "DIRECTORY", default_value = "/", hide = true)]
    pub(crate) root: PathBuf,
}

/// What `replay` is told.
#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// The configuration; `seed: auto` counts as zeros, `mac: auto` as 02:70:63:61:70:00 for the first port
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The capture to read, in pcap format
    #[arg(long = "in", value_name = "PCAP")]
    pub(crate) input: PathBuf,
    /// The capture to write: all frames that leave by any port, each with the time of the packet that caused it
    #[arg(long, value_name = "PCAP")]
    pub(crate) out: PathBuf,
    /// The port that the packets arrive at; without it the first
    #[arg(long, value_name = "NAME")]
    pub(crate) port: Option<String>,
    /// Let timers run between packets, as in a running gateway: flows age, and what the gateway says by itself is written too
    #[arg(long)]
    pub(crate) timers: bool,
    /// Let a backend go down or come up, so many seconds after the first packet: 'SECONDS POOL ADDRESS up|down', as in
    /// '2.5 objects 10.1.0.11:9000 down'; may be said more than once. Without it all backends are up
    #[arg(long, value_name = "WHAT")]
    pub(crate) health: Vec<HealthEvent>,
    /// How to print what became of the packets
    #[arg(short, long, value_enum, default_value_t = ReplayFormat::Table)]
    pub(crate) output: ReplayFormat,
}

/// What `explain` is told.
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// The configuration
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The packet, as in 'tcp 10.0.0.7:40001 > 198.51.100.10:443 syn', 'udp [2001:db8::7]:5000 > [2001:db8::10]:53',
    /// 'icmp 10.0.0.7 > 198.51.100.10'
    #[allow(rustdoc::broken_intra_doc_links, reason = "these brackets are an address's")]
    #[arg(long, value_name = "PACKET")]
    pub(crate) packet: Notation,
    /// The port that the packet arrives at; without it the first
    #[arg(long, value_name = "NAME")]
    pub(crate) port: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = ExplainFormat::Table)]
    pub(crate) output: ExplainFormat,
}

/// What `bench` is told.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// What to measure; without it everything, shortly
    #[arg(value_enum, value_name = "SCENARIO")]
    pub(crate) scenarios: Vec<Scenario>,
    /// Modes, separated by commas; without it all that the scenario has
    #[arg(long, value_delimiter = ',', value_name = "MODE", value_parser = mode_parser())]
    pub(crate) mode: Vec<Mode>,
    /// Numbers of flows, separated by commas, such as 4k,64k,1M,10M; without it what suits the scenario
    #[arg(long, value_delimiter = ',', value_name = "FLOWS", value_parser = parse_flows)]
    pub(crate) flows: Vec<u32>,
    /// Backends that the virtual servers share
    #[arg(long, value_name = "N", default_value_t = Size::default().backends,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_BACKENDS)))]
    pub(crate) backends: u16,
    /// Virtual servers that flows are spread over
    #[arg(long, value_name = "N", default_value_t = Size::default().services,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(MOST_SERVICES)))]
    pub(crate) services: u16,
    /// IP versions, separated by commas; without it both
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAMILY")]
    pub(crate) family: Vec<Family>,
    /// How often the worker takes turns with a loop that only receives and transmits (default 9)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// How long each runs in a round, where it is not until all flows are open (default 0.3, of everything 0.03)
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    pub(crate) seconds: Option<f64>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

fn mode_parser() -> impl TypedValueParser<Value = Mode> {
    PossibleValuesParser::new(["nat", "full_nat", "dsr", "ipip", "gue"]).map(|name| match name.as_str() {
        "full_nat" => Mode::FullNat,
        "dsr" => Mode::Dsr,
        "ipip" => Mode::Ipip,
        "gue" => Mode::Gue,
        _ => Mode::Nat,
    })
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.001..=60.0).contains(seconds));
    seconds.ok_or_else(|| "write seconds from 0.001 to 60".to_owned())
}

/// How `replay` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReplayFormat {
    /// For people: the totals
    Table,
    /// An object with the totals, and a verdict for each packet
    Json,
}

/// How `explain` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    /// For people: what becomes of the packet, line by line
    Table,
    /// The same as an object
    Json,
}

/// What can be done with a kind of things.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Lists them, with state and counters
    List(List),
}

impl Noun {
    /// The only verb there is.
    pub(crate) fn list(self) -> List {
        let Self::List(list) = self;
        list
    }
}

/// What can be done with flows.
#[derive(Debug, Subcommand)]
pub(crate) enum FlowNoun {
    /// Lists them, with state and counters
    List(FlowList),
}

/// What `flow list` is told.
#[derive(Args, Debug)]
pub(crate) struct FlowList {
    /// How, and whose.
    #[command(flatten)]
    pub(crate) list: List,
    /// List so many at most, up to 100000; there may be more, which is told
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=control::MAX_FLOWS as u64))]
    pub(crate) limit: u64,
}

/// What `list` is told.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// The socket of the gateway to ask (`control.socket` of its configuration)
    #[arg(long, env = "TIDEGATE_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people, 100 columns wide at most
    Table,
    /// All that the gateway tells, figures whole and without units
    Json,
    /// The same in YAML
    Yaml,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_follows_two_dashes_is_for_the_eal() {
        let arguments = Arguments::parse_from(["tidegate", "run", "-c", "x.yaml", "--", "--log-level", "8"]);
        let Command::Run(run) = arguments.command else { panic!("not run") };
        assert_eq!(run.eal, ["--log-level", "8"]);
    }
}

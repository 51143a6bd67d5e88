//! The command line as it is typed. Help and usage errors (exit code 2) come from here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Prints the JSON Schema of the configuration
    Schema,
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
    Flow(Noun),
    /// Workers of the running gateway
    #[command(subcommand)]
    Worker(Noun),
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

/// What can be done with a kind of things.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Lists them
    List(List),
}

impl Noun {
    /// The only verb there is.
    pub(crate) fn list(self) -> List {
        let Self::List(list) = self;
        list
    }
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
    /// An array of objects, all figures whole and without units
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

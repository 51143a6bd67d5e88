//! `tidegate check`

use std::{
    io::{self, IsTerminal},
    path::Path,
};

use config::Configuration;

use super::print;
use crate::{
    arguments::{Check, CheckFormat},
    failure::Failure,
};

/// Reads a configuration and tells every mistake in it.
pub(crate) fn check(arguments: &Check) -> Result<(), Failure> {
    match (config::read(&arguments.file), arguments.output) {
        (Ok(configuration), CheckFormat::Table) => print(&summary(&arguments.file, &configuration)),
        (Ok(_), CheckFormat::Json) => print("[]\n"),
        (Err(mistakes), CheckFormat::Table) => Err(invalid(&mistakes)),
        (Err(mistakes), CheckFormat::Json) => {
            let list: Vec<_> = mistakes.iter().collect();
            print(&format!("{}\n", serde_json::to_string_pretty(&list).map_err(Failure::unprintable)?))?;
            Err(Failure::mistakes(String::new()))
        }
    }
}

/// The configuration in a file; its mistakes, if it has any, are the failure.
pub(crate) fn read(file: &Path) -> Result<Configuration, Failure> {
    config::read(file).map_err(|mistakes| invalid(&mistakes))
}

fn invalid(mistakes: &config::Mistakes) -> Failure {
    Failure::mistakes(mistakes.render(io::stderr().is_terminal()))
}

fn summary(file: &Path, configuration: &Configuration) -> String {
    let gateway = &configuration.gateway;
    let backends: usize = gateway.pools.iter().map(|pool| pool.backends.len()).sum();
    format!(
        "{}: no mistakes: {}, {}, {}, {}\n",
        file.display(),
        counted(gateway.ports.len(), "port"),
        counted(gateway.virtual_servers.len(), "virtual server"),
        counted(gateway.pools.len(), "pool"),
        counted(backends, "backend"),
    )
}

fn counted(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

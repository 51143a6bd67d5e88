//! `tidegate doctor`

use serde::Serialize;

use super::{check, print};
use crate::{
    arguments::{Doctor, Format},
    doctor::{Finding, Severity, examine},
    failure::Failure,
};

/// All that was found.
#[derive(Serialize)]
struct Report {
    well: bool,
    findings: Vec<Finding>,
}

/// Tells what stands in the way of a gateway on this machine, and what helps.
pub(crate) fn doctor(arguments: &Doctor) -> Result<(), Failure> {
    let configuration = arguments.config.as_deref().map(check::read).transpose()?;
    let findings = examine(&arguments.root, configuration.as_ref())?;
    let report = Report { well: findings.is_empty(), findings };
    print(&match arguments.output {
        Format::Table => table(&report.findings),
        Format::Json => serde_json::to_string_pretty(&report).map_err(Failure::unprintable)? + "\n",
        Format::Yaml => serde_yaml::to_string(&report).map_err(Failure::unprintable)?,
    })?;
    if report.well { Ok(()) } else { Err(Failure::told()) }
}

fn table(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "all is well\n".to_owned();
    }
    let errors = findings.iter().filter(|finding| finding.severity == Severity::Error).count();
    let counted = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    let lines: String = findings.iter().map(Finding::lines).collect();
    let (errors, warnings) = (counted(errors, "error"), counted(findings.len() - errors, "warning"));
    format!("{lines}{errors}, {warnings}; the indented lines are remedies\n")
}

//! What a flow takes of memory.

use std::{
    env,
    process::{Command, Stdio},
    sync::Arc,
};

use datapath::WorkerMeters;
use serde_json::Value;

use super::{Case, Figure, Size, machine, measure, rig::Rig};
use crate::failure::Failure;

/// Measures the memory that the system gives to a worker until its flow table is full, by flow. Of counters, which do not
/// depend on flows, and of the link nothing is in it.
///
/// # Errors
/// When the system does not tell, or the worker does not open the flows.
pub(super) fn measure(case: &Case, hertz: u64) -> Result<Figure, Failure> {
    let meters = Arc::new(WorkerMeters::new());
    let before = machine::resident_bytes()?;
    let mut rig = Rig::try_new(case, hertz, meters)?;
    measure::fill(&mut rig, case)?;
    let grown = machine::resident_bytes()?.saturating_sub(before);
    Ok(Figure::memory(case, grown as f64 / f64::from(case.flows)))
}

/// The same in a process of its own: memory that this one has been given for something else, and keeps, would not be counted.
///
/// # Errors
/// When there is no such process, or it fails; it has then said why.
pub(super) fn measure_apart(case: &Case) -> Result<Figure, Failure> {
    let unfit = |error: &dyn std::fmt::Display| {
        Failure::not_so(format_args!("memory cannot be measured in a process of its own: {error}"))
    };
    let program = env::current_exe().map_err(|error| unfit(&error))?;
    let mut command = Command::new(program);
    command.args(["bench", "memory", "-o", "json", "--rounds", "1", "--mode", case.mode_name()]);
    command.args(["--family", case.family.option(), "--flows", &case.flows.to_string()]);
    let Size { backends, services } = case.size;
    command.args(["--backends", &backends.to_string(), "--services", &services.to_string()]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| unfit(&error))?;
    if !output.status.success() {
        return Err(unfit(&output.status));
    }
    let report: Value = serde_json::from_slice(&output.stdout).map_err(|error| unfit(&error))?;
    let bytes = report.pointer("/figures/0/bytes_per_flow").and_then(Value::as_f64);
    bytes.map(|bytes| Figure::memory(case, bytes)).ok_or_else(|| unfit(&"it gave no figure"))
}

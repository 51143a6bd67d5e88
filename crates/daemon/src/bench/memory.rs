//! What a flow takes of memory.

use std::sync::Arc;

use datapath::WorkerMeters;

use super::{Case, Figure, machine, measure, rig::Rig};
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

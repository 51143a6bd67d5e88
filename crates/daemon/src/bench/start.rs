//! From a configuration's text to the first packet that is forwarded.

use std::{
    env,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use control::{Health, Registry, compile};
use datapath::WorkerMeters;
use serde::{Deserialize, Serialize};

use super::{
    Case, machine,
    rig::{Loop, Rig},
    scale::{self, Scale},
    script::Script,
};
use crate::failure::Failure;

/// What is started.
const SCALES: [Scale; 2] = [
    Scale { virtual_servers: 1, pools: 1, backends_per_pool: 1000 },
    Scale { virtual_servers: 10_000, pools: 1000, backends_per_pool: 10 },
];

/// What a start took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) virtual_servers: usize,
    pub(crate) pools: usize,
    pub(crate) backends: usize,
    /// Milliseconds in which the text was read and checked.
    pub(crate) read_ms: f64,
    /// Milliseconds in which it was compiled.
    pub(crate) compile_ms: f64,
    /// Milliseconds from the text to the first packet that left.
    pub(crate) all_ms: f64,
    /// The same in time of the processor.
    pub(crate) processor_ms: f64,
    /// Bytes of the pools' tables.
    pub(crate) table_bytes: usize,
    /// Bytes of memory that the system has given meanwhile, reading included.
    pub(crate) resident_bytes: u64,
}

/// Measures the starts; in a process of its own if this one has been given memory for something else.
///
/// # Errors
/// When a worker does not forward, or the system does not tell.
pub(super) fn measure(apart: bool, case: &Case, hertz: u64) -> Result<Vec<Start>, Failure> {
    if apart {
        return measure_apart();
    }
    SCALES.iter().map(|scale| start(*scale, case, hertz)).collect()
}

fn start(scale: Scale, case: &Case, hertz: u64) -> Result<Start, Failure> {
    let text = scale.text();
    let script = Script::opening(case)?;
    let (resident, processor, begin) = (machine::resident_bytes()?, machine::thread_time()?, Instant::now());
    let milliseconds = || begin.elapsed().as_secs_f64() * 1e3;

    let read =
        config::parse(&text, "bench.yaml").map_err(|mistakes| Failure::mistakes(mistakes.render(false)))?;
    let read_ms = milliseconds();
    let mut registry = Registry::default();
    let snapshot = compile(&read.gateway, &mut registry, &Health::default(), &scale::facts(1));
    let compile_ms = milliseconds() - read_ms;
    let table_bytes = snapshot.pools.iter().map(|pool| size_of_val(&*pool.slots)).sum();
    let (_publisher, readers) = publish::channel(snapshot, 1);
    let reader = readers.into_iter().next().ok_or_else(|| Failure::not_so("there is no reader"))?;
    let mut rig = Rig::reading(case, hertz, Arc::new(WorkerMeters::new()), reader)?;
    rig.link().play(Some(script), None);
    rig.turn();
    let all_ms = milliseconds();
    let count = rig.count();
    if count.sent == 0 || count.dropped > 0 {
        return Err(Failure::not_so(format_args!("the first packets were not forwarded: {count:?}")));
    }
    Ok(Start {
        virtual_servers: scale.virtual_servers,
        pools: scale.pools,
        backends: scale.pools * scale.backends_per_pool,
        read_ms,
        compile_ms,
        all_ms,
        processor_ms: machine::thread_time()?.saturating_sub(processor).as_secs_f64() * 1e3,
        table_bytes,
        resident_bytes: machine::resident_bytes()?.saturating_sub(resident),
    })
}

fn measure_apart() -> Result<Vec<Start>, Failure> {
    #[derive(Deserialize)]
    struct Starts {
        starts: Vec<Start>,
    }
    let unfit = |error: &dyn std::fmt::Display| {
        Failure::not_so(format_args!("the start cannot be measured in a process of its own: {error}"))
    };
    let program = env::current_exe().map_err(|error| unfit(&error))?;
    let mut command = Command::new(program);
    command.args(["bench", "start", "-o", "json"]);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| unfit(&error))?;
    if !output.status.success() {
        return Err(unfit(&output.status));
    }
    let report: Starts = serde_json::from_slice(&output.stdout).map_err(|error| unfit(&error))?;
    Ok(report.starts)
}

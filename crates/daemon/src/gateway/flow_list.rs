//! Asks the workers for their flows, by the rings between control and each of them.

use std::{future::Future, pin::Pin, time::Duration};

use control::Workers;
use datapath::{Answer, FlowRow, Request};
use tokio::{sync::Mutex, time};
use worker::desk::ControlDesk;

/// How long one worker may take for all of its flows. It answers between turns, a bounded number of rows at a time.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for the next answer.
const PAUSE: Duration = Duration::from_millis(1);

/// Control's ends of the rings, by worker. One question at a time: the answers of two would mix.
pub(crate) struct FlowList(Mutex<Vec<ControlDesk>>);

impl FlowList {
    pub(crate) fn new(desks: Vec<ControlDesk>) -> Self {
        Self(Mutex::new(desks))
    }
}

impl Workers for FlowList {
    fn list_flows(&self, limit: usize) -> Pin<Box<dyn Future<Output = Vec<FlowRow>> + Send + '_>> {
        Box::pin(async move {
            let mut rows = Vec::new();
            for desk in self.0.lock().await.iter() {
                // What a worker does not tell in time is missing; the others' flows are still worth telling.
                let _ = time::timeout(PATIENCE, list(desk, limit, &mut rows)).await;
            }
            rows
        })
    }
}

/// Adds a worker's flows, as far as `limit` allows.
async fn list(desk: &ControlDesk, limit: usize, rows: &mut Vec<FlowRow>) {
    // Answers to a question that nobody waited for any more.
    while desk.next().is_some() {}
    let mut from = Some(0);
    while let Some(position) = from.filter(|_| rows.len() < limit) {
        while desk.ask(Request::ListFlows { from: position }).is_err() {
            time::sleep(PAUSE).await;
        }
        from = one_answer(desk, rows).await;
    }
}

/// Adds the rows of one answer; where to go on.
async fn one_answer(desk: &ControlDesk, rows: &mut Vec<FlowRow>) -> Option<u32> {
    loop {
        match desk.next() {
            Some(Answer::Flow(row)) => rows.push(row),
            Some(Answer::EndOfFlows { next }) => return next,
            None => time::sleep(PAUSE).await,
        }
    }
}

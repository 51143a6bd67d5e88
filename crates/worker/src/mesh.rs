//! Rings between workers: frames on their way to the owner of their flow, and what was learned of neighbours.
//!
//! One bounded ring for each ordered pair of workers, so that each has one producer and one consumer.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use datapath::Fact;
use model::PortId;

/// Frames on their way to one worker, from all others: what arrives in the milliseconds in which the system runs something
/// else on its core.
pub const FRAMES_TO_WORKER: usize = 4096;
/// Frames on their way from one worker to another, at least: some bursts.
const FEWEST_FRAMES: usize = 256;
/// Facts on their way from one worker to another; what finds no room is learned by asking.
const FACTS: usize = 256;

/// A ring of frames with the port that each came by.
pub(crate) type FrameRing<F> = Arc<ArrayQueue<(PortId, F)>>;
/// A ring of facts.
pub(crate) type FactRing = Arc<ArrayQueue<Fact>>;

/// One worker's ends of the rings.
pub struct Seat<F> {
    /// By worker; the own one stays empty.
    pub(crate) frames_out: Vec<FrameRing<F>>,
    pub(crate) frames_in: Vec<FrameRing<F>>,
    pub(crate) facts_out: Vec<FactRing>,
    pub(crate) facts_in: Vec<FactRing>,
}

impl<F> Seat<F> {
    /// How many workers sit at the table.
    #[must_use]
    pub fn workers(&self) -> u8 {
        self.frames_out.len() as u8
    }
}

/// The seats of `workers` workers, in their order.
#[must_use]
pub fn seats<F>(workers: u8) -> Vec<Seat<F>> {
    let workers = usize::from(workers);
    let others = workers.saturating_sub(1).max(1);
    let room = (FRAMES_TO_WORKER / others).max(FEWEST_FRAMES);
    let frames = square(workers, || Arc::new(ArrayQueue::new(room)));
    let facts = square(workers, || Arc::new(ArrayQueue::new(FACTS)));
    (0..workers)
        .map(|own| Seat {
            frames_out: row(&frames, own),
            frames_in: column(&frames, own),
            facts_out: row(&facts, own),
            facts_in: column(&facts, own),
        })
        .collect()
}

fn square<T>(side: usize, make: impl Fn() -> T) -> Vec<Vec<T>> {
    (0..side).map(|_| (0..side).map(|_| make()).collect()).collect()
}

fn row<T: Clone>(square: &[Vec<T>], number: usize) -> Vec<T> {
    square.get(number).cloned().unwrap_or_default()
}

fn column<T: Clone>(square: &[Vec<T>], number: usize) -> Vec<T> {
    square.iter().filter_map(|row| row.get(number).cloned()).collect()
}

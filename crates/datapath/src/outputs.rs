//! Where frames go when a burst is done: to ports, to host twins, to other workers, or back to the pool.

use model::{MAX_PORTS, PortId, WorkerId};
use nic::{Burst, Frame};

use crate::{WorkerMeters, emit};

/// Bursts in a lane: one turn can at most release all that was held, forward a burst and ask as many questions. And each packet of a burst
/// may have been cut into as many as 64 KiB are at 1,500 bytes.
const BURSTS: usize = 48;

/// Frames that leave one after the other by one queue.
pub struct Lane<F> {
    bursts: Box<[Burst<F>]>,
    last: usize,
}

impl<F> Lane<F> {
    fn new() -> Self {
        Self { bursts: std::iter::repeat_with(Burst::new_const).take(BURSTS).collect(), last: 0 }
    }

    /// Appends a frame; gives it back when the lane is full.
    #[inline]
    pub(crate) fn push(&mut self, frame: F) -> Result<(), F> {
        let Some(burst) = self.bursts.get_mut(self.last) else { return Err(frame) };
        match burst.try_push(frame) {
            Ok(()) => Ok(()),
            Err(full) => self.push_behind(full.element()),
        }
    }

    /// Takes a whole burst when nothing else waits; false, with the burst unchanged, when something does.
    #[inline]
    pub(crate) fn take_all(&mut self, burst: &mut Burst<F>) -> bool {
        let Some(first) = self.bursts.first_mut().filter(|first| first.is_empty()) else { return false };
        if self.last > 0 {
            return false;
        }
        std::mem::swap(first, burst);
        true
    }

    /// Begins the next burst of the lane.
    #[cold]
    fn push_behind(&mut self, frame: F) -> Result<(), F> {
        let Some(burst) = self.bursts.get_mut(self.last + 1) else { return Err(frame) };
        self.last += 1;
        burst.try_push(frame).map_err(|full| full.element())
    }

    /// Takes the first burst that waits; `None` when none does.
    pub(crate) fn take_first(&mut self) -> Option<Burst<F>> {
        let position = self.bursts.iter().take(self.last + 1).position(|burst| !burst.is_empty());
        let Some(burst) = position.and_then(|position| self.bursts.get_mut(position)) else {
            self.last = 0;
            return None;
        };
        Some(std::mem::take(burst))
    }

    /// The bursts that wait, in order. Whoever takes them leaves them empty.
    pub fn bursts(&mut self) -> impl Iterator<Item = &mut Burst<F>> {
        let used = self.last + 1;
        self.last = 0;
        self.bursts.iter_mut().take(used).filter(|burst| !burst.is_empty())
    }
}

/// All that leaves the datapath in one turn.
pub struct Outputs<F> {
    ports: Vec<Lane<F>>,
    hosts: Vec<Lane<F>>,
    workers: Vec<Burst<(PortId, F)>>,
    /// Frames without a future, freed together.
    pub dropped: Burst<F>,
}

impl<F: Frame> Outputs<F> {
    /// Room for all ports and `workers`. Everything is allocated here.
    #[must_use]
    pub fn new(workers: u8) -> Self {
        Self {
            ports: (0..MAX_PORTS).map(|_| Lane::new()).collect(),
            hosts: (0..MAX_PORTS).map(|_| Lane::new()).collect(),
            workers: (0..workers).map(|_| Burst::new_const()).collect(),
            dropped: Burst::new_const(),
        }
    }

    /// What leaves by a port.
    pub fn port(&mut self, id: PortId) -> Option<&mut Lane<F>> {
        self.ports.get_mut(id.index())
    }

    /// What the host twin of a port takes.
    pub fn host(&mut self, id: PortId) -> Option<&mut Lane<F>> {
        self.hosts.get_mut(id.index())
    }

    /// What another worker takes, with the port that it came by.
    pub fn worker(&mut self, id: WorkerId) -> Option<&mut Burst<(PortId, F)>> {
        self.workers.get_mut(id.index())
    }

    /// Puts a frame that needs nothing more among those that leave by a port.
    pub fn leave(&mut self, meters: &WorkerMeters, port: PortId, frame: F) {
        emit::transmit(meters, self, port, frame);
    }

    /// Puts a frame among those to be freed.
    pub fn free(&mut self, frame: F) {
        if let Err(full) = self.dropped.try_push(frame) {
            F::free(&mut self.dropped);
            self.dropped.push(full.element());
        }
    }
}

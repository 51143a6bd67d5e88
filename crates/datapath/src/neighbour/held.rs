//! Packets that wait for their next hop's MAC address.

use arrayvec::ArrayVec;
use model::{MacAddress, PortId};

use super::{NeighbourIndex, Neighbours, State};
use crate::DropReason;

/// Packets that wait on one worker.
pub(crate) const HELD: usize = 256;
/// Packets that wait for one hop (RFC 4861, 7.2.2 asks for at least one).
const HELD_FOR_ONE: u8 = 64;

/// A packet that waits. Everything is written but the destination MAC address.
pub(crate) struct Held<F> {
    frame: F,
    port: PortId,
    hop: NeighbourIndex,
}

impl<F> Neighbours<F> {
    /// Makes a frame, which is to leave by `port`, wait for its hop; gives it back with the reason when there is no room.
    pub(crate) fn hold(
        &mut self,
        hop: NeighbourIndex,
        frame: F,
        port: PortId,
    ) -> Result<(), (F, DropReason)> {
        let entry = self.entries.get_mut(hop.position()).filter(|entry| entry.waiting < HELD_FOR_ONE);
        let Some(entry) = entry.filter(|_| !self.held.is_full()) else {
            return Err((frame, DropReason::NeighbourQueueFull));
        };
        entry.waiting += 1;
        self.held.push(Held { frame, port, hop });
        Ok(())
    }

    /// Packets that wait.
    pub(crate) fn held(&self) -> usize {
        self.held.len()
    }

    /// Gives up the packets whose hop is known by now, in the order in which they came.
    pub(crate) fn release(&mut self, mut leave: impl FnMut(F, PortId, MacAddress)) {
        self.take_where(Self::known, |held, mac| leave(held.frame, held.port, mac));
    }

    /// Gives up the packets whose hop did not answer.
    pub(super) fn drop_held_for_failed(&mut self, mut drop: impl FnMut(F)) {
        self.take_where(Self::failed, |held, ()| drop(held.frame));
    }

    /// Gives up all packets.
    pub(crate) fn drop_held(&mut self, mut drop: impl FnMut(F)) {
        self.take_where(|_, _| Some(()), |held, ()| drop(held.frame));
    }

    fn known(&self, hop: NeighbourIndex) -> Option<MacAddress> {
        self.entries.get(hop.position()).filter(|entry| entry.is_usable()).map(|entry| entry.mac)
    }

    fn failed(&self, hop: NeighbourIndex) -> Option<()> {
        let entry = self.entries.get(hop.position())?;
        matches!(entry.state, State::Failed { .. }).then_some(())
    }

    /// Takes the packets that `select` has an answer for, in order; the others stay, in order.
    fn take_where<T>(
        &mut self,
        select: impl Fn(&Self, NeighbourIndex) -> Option<T>,
        mut take: impl FnMut(Held<F>, T),
    ) {
        for held in std::mem::replace(&mut self.held, ArrayVec::new()) {
            let Some(answer) = select(self, held.hop) else {
                self.held.push(held);
                continue;
            };
            if let Some(entry) = self.entries.get_mut(held.hop.position()) {
                entry.waiting = entry.waiting.saturating_sub(1);
            }
            take(held, answer);
        }
    }
}

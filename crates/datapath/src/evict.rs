//! Making room in a full flow table: never at the cost of an established flow.

use flow::{Fate, FlowState};

use crate::{
    DropReason,
    snapshot::VirtualServer,
    state::{Memory, close},
};

/// Sees to it that the table has room for a flow, unless its packets go without being tracked.
pub(crate) fn make_room<F>(memory: &mut Memory<F>, server: &VirtualServer) -> Result<(), DropReason> {
    let has_room = !memory.flows.is_full() || server.tcp.evicts_embryonic && evict_embryonic(memory);
    if has_room || server.mode.is_direct() { Ok(()) } else { Err(DropReason::FlowTableFull) }
}

/// Makes room for a flow: forgets one whose handshake is not complete, if there is one among those that come next.
fn evict_embryonic<F>(memory: &mut Memory<F>) -> bool {
    /// Flows looked at: where nearly all are established, looking on would not pay.
    const LOOKED_AT: usize = 64;
    let Memory { flows, meters, .. } = memory;
    let mut has_evicted = false;
    flows.scan(LOOKED_AT, |_, flow| {
        if has_evicted || !matches!(flow.hot.state(), FlowState::Handshake | FlowState::Answered) {
            return Fate::Keep;
        }
        has_evicted = true;
        close(meters, (flow.hot.backend, flow.hot.virtual_server()));
        Fate::Remove
    });
    if has_evicted {
        memory.meters.flows_evicted.add(1);
    }
    has_evicted
}

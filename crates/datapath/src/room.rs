//! Room for new flows in a full table.

use flow::Fate;

use crate::{
    DropReason,
    snapshot::VirtualServer,
    state::{Memory, close},
    track,
};

/// Sees to it that the table has room for a flow, unless its packets go without being tracked.
pub(crate) fn make<F>(memory: &mut Memory<F>, server: &VirtualServer) -> Result<(), DropReason> {
    let has_room = !memory.flows.is_full() || server.tcp.evicts_embryonic && evict_embryonic(memory);
    if has_room || server.mode.is_direct() { Ok(()) } else { Err(DropReason::FlowTableFull) }
}

/// Makes room for a flow: forgets one whose handshake is not complete, if there is one among those that come next.
fn evict_embryonic<F>(memory: &mut Memory<F>) -> bool {
    /// Flows looked at: where nearly all are established, looking on would not pay.
    const LOOKED_AT: usize = 64;
    let Memory { flows, meters, guard, .. } = memory;
    let mut has_evicted = false;
    flows.scan(LOOKED_AT, |_, flow| {
        if has_evicted || !track::is_embryonic(flow.hot.state(), flow.hot.checked) {
            return Fate::Keep;
        }
        has_evicted = true;
        guard.end();
        close(meters, (flow.hot.backend, flow.hot.virtual_server()));
        Fate::Remove
    });
    if has_evicted {
        memory.meters.flows_evicted.add(1);
    }
    has_evicted
}

//! Backends that QUIC packets name by their connection id (RFC 9000, 5.1; draft-ietf-quic-load-balancers, 4).
//!
//! A server chooses the connection ids that its clients use, and puts its own name in. So a connection is found again that comes from
//! another address than before (RFC 9000, 9). Only first packets of flows are looked at, and only those with a short header: before its
//! handshake is done a connection does not move, and a client that chooses an id by itself chooses no backend by that.

use std::sync::Arc;

use model::{BackendId, ServerId};
use nic::Frame;
use wire::udp;

use crate::{
    Snapshot,
    packet::Packet,
    snapshot::{Backend, VirtualServer},
};

/// How connection ids name the backends of a virtual server.
#[derive(Clone, Debug)]
pub struct ConnectionIds {
    /// What the first three bits of those say that name one.
    rotation: u8,
    /// Bytes of a name.
    length: usize,
    /// By name.
    backends: Arc<[(u64, BackendId)]>,
}

impl ConnectionIds {
    /// Those with this rotation. All names are of one length, and no two are alike.
    #[must_use]
    pub fn new(rotation: u8, backends: impl IntoIterator<Item = (ServerId, BackendId)>) -> Self {
        let named: Vec<_> = backends.into_iter().collect();
        let length = named.first().map_or(0, |(name, _)| usize::from(name.length));
        let mut backends: Vec<_> = named.into_iter().map(|(name, id)| (name.value, id)).collect();
        backends.sort_unstable();
        Self { rotation, length, backends: backends.into() }
    }

    /// The backend that a datagram's payload names; `None` when it has a long header, or names none.
    fn backend(&self, payload: &[u8]) -> Option<BackendId> {
        let (header, id) = payload.split_first()?;
        let (first, rest) = id.split_first()?;
        if header & LONG_HEADER != 0 || first >> ROTATION != self.rotation {
            return None;
        }
        let name = rest.get(..self.length)?.iter().fold(0, |name, byte| name << 8 | u64::from(*byte));
        let position = self.backends.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        self.backends.get(position).map(|(_, id)| *id)
    }
}

/// In the first byte of a packet (RFC 8999, 5.1).
const LONG_HEADER: u8 = 0x80;
/// Bits of a connection id's first byte behind its rotation.
const ROTATION: u32 = 5;

/// The backend that the first packet of a flow names, if it is up. One that takes no new flows still has those connections that it had.
pub(crate) fn named<'a, F: Frame>(
    snapshot: &'a Snapshot,
    server: &VirtualServer,
    frame: &F,
    packet: &Packet,
) -> Option<(BackendId, &'a Backend)> {
    let ids = server.connection_ids.as_ref()?;
    let id = ids.backend(frame.head().get(usize::from(packet.transport) + udp::HEADER..)?)?;
    Some((id, snapshot.backend(id).filter(|_| snapshot.up.is_up(id))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> ConnectionIds {
        let named = [(0xbeef, 7), (0x0a1b, 3)];
        ConnectionIds::new(2, named.map(|(value, id)| (ServerId { length: 2, value }, BackendId(id))))
    }

    #[test]
    fn a_short_header_names_a_backend() {
        assert_eq!(ids().backend(&[0x41, 0x40, 0x0a, 0x1b, 9, 9]), Some(BackendId(3)));
        assert_eq!(ids().backend(&[0x41, 0x5f, 0xbe, 0xef]), Some(BackendId(7)));
    }

    #[test]
    fn others_name_none() {
        for payload in [
            &[][..],
            &[0x41],
            &[0x41, 0x40, 0x0a],
            &[0x41, 0x40, 0x0a, 0x1c, 9, 9],
            &[0x41, 0x60, 0x0a, 0x1b, 9, 9],
            &[0xc1, 0x40, 0x0a, 0x1b, 9, 9],
            &[0xc1, 0, 0, 0, 1, 3, 0x40, 0x0a, 0x1b],
        ] {
            assert_eq!(ids().backend(payload), None, "{payload:x?}");
        }
    }
}

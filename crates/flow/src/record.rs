//! What is remembered of a flow.

use model::{BackendId, MacAddress, Mode, PortId, VirtualServerId};

use crate::FlowKey;

/// What is remembered of a flow: 128 bytes in two cache lines that lie side by side. A packet of an established flow needs
/// the first one, and where addresses are rewritten, the beginning of the second.
///
/// `client`, `reply` and `mode` say where the table finds it, and stay as they were inserted.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(128))]
pub struct Flow {
    /// The key of packets to the virtual server, as the client sends them.
    pub client: FlowKey,
    /// When the last packet passed, in milliseconds; wraps after 49 days.
    pub last_seen: u32,
    /// The generation, its low 32 bits, under which its backend was last found to be as it should be.
    pub checked: u32,
    /// Where its packets go.
    pub backend: BackendId,
    /// What the client sends to.
    pub virtual_server: VirtualServerId,
    /// The next hop towards the backend, in the numbering of whoever resolves it.
    pub neighbour: u32,
    /// How far it has come.
    pub state: FlowState,
    /// How its packets reach the backend.
    pub mode: Mode,
    /// Which sides have sent a FIN; the bits are the datapath's.
    pub fins: u8,
    /// The port that the client's packets come from.
    pub client_port: PortId,

    /// The key of packets from the backend, as it sends them: backend to client (`nat`) or to the SNAT address
    /// (`full_nat`). Not used in `dsr`.
    pub reply: FlowKey,
    /// What the rewriting of packets to the backend does to checksums.
    pub to_backend: Repair,
    /// What the rewriting of packets to the client does to checksums.
    pub to_client: Repair,
    /// Milliseconds of silence after which the flow ends.
    pub lifetime: u32,
    /// When it was opened, in milliseconds as `last_seen`.
    pub created: u32,
    /// The Ethernet address that the client's packets come from.
    pub client_mac: MacAddress,
    /// Which use of `backend` it was opened with; another number at the same id is another backend.
    pub incarnation: u16,
}

const _: () = assert!(size_of::<Flow>() == 128 && std::mem::offset_of!(Flow, reply) == 64);

impl Flow {
    /// Milliseconds since the last packet, at `now`. Meaningful for up to 49 days.
    #[inline]
    #[must_use]
    pub const fn silence(&self, now: u32) -> u32 {
        now.wrapping_sub(self.last_seen)
    }

    /// Whether it has been silent for longer than it may.
    #[inline]
    #[must_use]
    pub const fn is_expired(&self, now: u32) -> bool {
        self.silence(now) > self.lifetime
    }

    /// The keys that the table finds it by: the client's, and the reply's where replies pass through the gateway.
    pub(crate) fn keys(&self) -> (FlowKey, Option<FlowKey>) {
        (self.client, (self.mode != Mode::Dsr).then_some(self.reply))
    }
}

/// What is to be added to checksums for rewritten addresses and ports: one's complement differences (RFC 1624, eqn. 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// For the IPv4 header's checksum.
    pub network: u16,
    /// For the TCP or UDP checksum.
    pub transport: u16,
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowState {
    /// Opened by a client, not yet answered.
    Handshake,
    /// Both sides talk.
    Established,
    /// Ended by one side or both.
    Closing,
}

#[cfg(test)]
pub(crate) mod tests {
    use model::Address;

    use super::*;

    /// A flow of client `number`.
    pub(crate) fn flow(number: u32, mode: Mode) -> Flow {
        let client = FlowKey {
            source: Address::from_v4(number.to_be_bytes()),
            destination: Address::from_v4([198, 51, 100, 1]),
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            ..FlowKey::default()
        };
        let reply =
            FlowKey { source: Address::from_v4([10, 1, 0, 11]), source_port: 9000, ..client.reversed() };
        Flow {
            client,
            reply,
            last_seen: 0,
            checked: 0,
            lifetime: 1000,
            backend: BackendId(number),
            neighbour: 0,
            to_backend: Repair::default(),
            to_client: Repair::default(),
            state: FlowState::Handshake,
            mode,
            fins: 0,
            client_port: PortId(0),
            virtual_server: VirtualServerId(0),
            created: 0,
            client_mac: MacAddress::default(),
            incarnation: 0,
        }
    }

    #[test]
    fn a_vacant_record_takes_no_more_room_than_a_used_one() {
        assert_eq!(size_of::<Option<Flow>>(), 128);
    }

    #[test]
    fn a_flow_expires_after_its_lifetime_also_across_the_end_of_the_clock() {
        let flow = Flow { last_seen: u32::MAX - 500, ..flow(1, Mode::Nat) };
        assert_eq!(flow.silence(499), 1000);
        assert!(!flow.is_expired(499));
        assert!(flow.is_expired(500));
    }
}

//! All that is remembered of a flow, in one piece: as it comes into the table and as it is shown.

use model::{BackendId, MacAddress, Mode, PortId, VirtualServerId};

use crate::{FlowKey, Repair};

/// All that is remembered of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// The key of packets to the virtual server, as the client sends them.
    pub client: FlowKey,
    /// The key of packets from the backend, as it sends them: backend to client (`nat`) or to the SNAT address
    /// (`full_nat`). Not used in `dsr`; in `ipip` and `gue` what the datapath needs for outer headers.
    pub reply: FlowKey,
    /// When the last packet passed, in milliseconds; wraps after 49 days.
    pub last_seen: u32,
    /// The generation, its low 32 bits, under which it was last found to be established, and its backend as it should be.
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
    /// What was seen of its end: five bits, whose meaning is the datapath's.
    pub marks: u8,
    /// The port that the client's packets come from.
    pub client_port: PortId,
    /// The Ethernet address that the client's packets come from.
    pub client_mac: MacAddress,
    /// What the rewriting of packets to the backend does to checksums.
    pub to_backend: Repair,
    /// When it was opened, in milliseconds as `last_seen`.
    pub created: u32,
    /// Which use of `backend` it was opened with, the last eight bits of its number: another one at the same id is another backend.
    pub incarnation: u8,
}

impl Flow {
    /// Whether the backend is of another family than the client.
    #[must_use]
    pub fn crosses(&self) -> bool {
        // In the tunnel modes the reply is no packet's key.
        self.mode == Mode::FullNat && self.client.is_v4() != self.reply.is_v4()
    }

    /// Whether addresses of its are IPv6.
    pub(crate) fn is_wide(&self) -> bool {
        !self.client.is_v4() || self.crosses()
    }

    /// The keys that the table finds it by: the client's, and the reply's where replies pass through the gateway.
    pub(crate) fn keys(&self) -> (FlowKey, Option<FlowKey>) {
        (self.client, (!self.mode.is_direct()).then_some(self.reply))
    }
}

/// How far a flow has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowState {
    /// Opened by a client, not yet answered.
    Handshake,
    /// The backend has agreed, the client has yet to confirm.
    Answered,
    /// Both sides talk.
    Established,
    /// One side broke off before both had agreed.
    Refused,
    /// One side broke off; whether the other has believed it, its silence will tell.
    Broken,
    /// One side broke off, the other was silent and has been asked whether it is still there.
    Doubted,
    /// Ended by both sides.
    Closing,
    /// Given up by the gateway: whoever says anything is told so.
    GivenUp,
}

impl FlowState {
    /// The state with a number, of which the last three bits count.
    #[inline(always)]
    pub(crate) const fn numbered(number: u8) -> Self {
        match number & 7 {
            0 => Self::Handshake,
            1 => Self::Answered,
            2 => Self::Established,
            3 => Self::Refused,
            4 => Self::Broken,
            5 => Self::Doubted,
            6 => Self::Closing,
            _ => Self::GivenUp,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use model::Address;

    use super::*;

    /// An IPv4 flow of client `number`, or an IPv6 one; in `full_nat` the backend may be of the other family.
    pub(crate) fn flow(number: u32, mode: Mode) -> Flow {
        let v6 = number % 5 == 4;
        let crosses = number % 7 == 6 && mode == Mode::FullNat;
        let wide = |low: u32| {
            let [a, b, c, d] = low.to_be_bytes();
            Address::from_v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
        };
        let of_family = |v6: bool, low: u32| if v6 { wide(low) } else { Address::from_v4(low.to_be_bytes()) };
        let address = |low: u32| of_family(v6, low);
        let client = FlowKey {
            source: address(number),
            destination: address(0xc633_6401),
            source_port: 40_000,
            destination_port: 80,
            protocol: 6,
            ..FlowKey::default()
        };
        let behind = |low: u32| of_family(v6 != crosses, low);
        let reply = FlowKey {
            source: behind(0x0a01_000b),
            destination: behind(number),
            source_port: 9000,
            ..client.reversed()
        };
        Flow {
            client,
            reply,
            last_seen: 0,
            checked: 7,
            backend: BackendId(number),
            neighbour: 11,
            to_backend: Repair { network: 1, transport: 2 },
            state: FlowState::Handshake,
            mode,
            marks: 2,
            client_port: PortId(1),
            virtual_server: VirtualServerId(12),
            created: 13,
            client_mac: MacAddress([2, 0, 0, 0, 0, 14]),
            incarnation: 15,
        }
    }
}

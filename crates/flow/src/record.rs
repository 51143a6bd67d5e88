//! How what is remembered of a flow lies in memory.
//!
//! In the table a [`Flow`] is in two pieces at the same position of two arrays: [`Hot`], the one cache line that is all there is of
//! an IPv4 flow; and [`Wide`], the addresses of an IPv6 flow, which touches no memory for an IPv4 one.

use model::{Address, BackendId, MAX_VIRTUAL_SERVERS, MacAddress, Mode, PortId, VirtualServerId};
use wire::{U16, ipv4::Ends};

use crate::{Flow, FlowKey, FlowState, Numbers, Repair, Side, wide::Wide};

/// What every packet of a flow needs: one cache line.
///
/// The keys and the mode say where the table finds it, and stay as they were inserted.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Hot {
    /// By [`Side`]: addresses, if IPv4, and ports of its packets.
    ends: [Ends; 2],
    identity: Identity,
    mode: Mode,
    /// A [`FlowState`], and in the bits above [`STATE`] what [`Flow::marks`] has.
    stage: u8,
    client_port: PortId,
    /// As [`Flow::incarnation`].
    pub incarnation: u8,
    /// As [`Flow::last_seen`].
    pub last_seen: u32,
    /// As [`Flow::checked`].
    pub checked: u32,
    /// As [`Flow::backend`].
    pub backend: BackendId,
    /// As [`Flow::neighbour`].
    pub neighbour: u32,
    /// As [`Flow::created`].
    pub created: u32,
    /// What the rewriting of packets to the backend does to checksums.
    to_backend: Repair,
    client_mac: MacAddress,
    /// As [`Flow::virtual_server`], of which there are not more.
    virtual_server: u16,
}

const _: () = assert!(size_of::<Hot>() == 64 && MAX_VIRTUAL_SERVERS <= 1 << 16);

/// In an [`Identity`]: the backend is of the other family. As no packet's key has this, those who compare identities to pass
/// packets on at once leave packets of these flows to those who look at the whole.
const CROSSES: u32 = 1 << 24;

/// What tells keys apart besides addresses and ports. As one number, since all of it is compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Identity(u32);

impl Identity {
    /// No key's.
    const NONE: Self = Self(0);

    /// Of the keys of a family, an L4 protocol (its IANA number) and a route domain.
    #[inline(always)]
    #[must_use]
    pub const fn new(is_v4: bool, protocol: u8, domain: u8) -> Self {
        Self(u32::from_le_bytes([protocol, domain, if is_v4 { 4 } else { 6 }, 0]))
    }

    #[inline(always)]
    pub(crate) fn of(key: &FlowKey) -> Self {
        Self::new(key.is_v4(), key.protocol, key.domain)
    }

    const fn protocol(self) -> u8 {
        let [protocol, ..] = self.0.to_le_bytes();
        protocol
    }

    const fn domain(self) -> u8 {
        let [_, domain, ..] = self.0.to_le_bytes();
        domain
    }

    /// Whether addresses of either side are IPv6.
    const fn is_wide(self) -> bool {
        let [.., family, _] = self.0.to_le_bytes();
        family == 6 || self.crosses()
    }

    /// That of a flow whose sides are of different families; no packet's.
    const fn crossing(self) -> Self {
        Self(self.0 | CROSSES)
    }

    const fn crosses(self) -> bool {
        self.0 & CROSSES != 0
    }
}

/// Bits of [`Hot::stage`] that are the state.
const STATE_BITS: u32 = 3;
/// The state's bits.
const STATE: u8 = (1 << STATE_BITS) - 1;

/// No packet's: none has one port only.
const NO_ENDS: Ends = Ends {
    source: [0; 4],
    destination: [0; 4],
    source_port: U16::from_bytes([0, 1]),
    destination_port: U16::ZERO,
};

/// The addresses, if IPv4, and the ports of a key.
fn ends_of(key: &FlowKey) -> Ends {
    Ends {
        source: key.source.v4(),
        destination: key.destination.v4(),
        source_port: U16::new(key.source_port),
        destination_port: U16::new(key.destination_port),
    }
}

const fn ports(ends: &Ends) -> [U16; 2] {
    [ends.source_port, ends.destination_port]
}

impl Hot {
    /// No flow: no key is its.
    pub(crate) const VACANT: Self = Self {
        ends: [NO_ENDS; 2],
        identity: Identity::NONE,
        mode: Mode::Dsr,
        stage: FlowState::Closing as u8,
        client_port: PortId(0),
        incarnation: 0,
        last_seen: 0,
        checked: 0,
        backend: BackendId(0),
        virtual_server: 0,
        neighbour: 0,
        created: 0,
        to_backend: Repair { network: 0, transport: 0 },
        client_mac: MacAddress([0; 6]),
    };

    /// Of an IPv4 flow whose client's packets came by a port from an Ethernet address. The public fields are yet
    /// to be set. In `dsr` the second ends are not looked at; in `ipip` and `gue` they are what its outer headers are made of.
    #[inline(always)]
    #[must_use]
    pub const fn new_v4(
        (ends, to_backend): ([Ends; 2], Repair),
        identity: Identity,
        mode: Mode,
        virtual_server: VirtualServerId,
        (client_port, client_mac): (PortId, MacAddress),
    ) -> Self {
        let virtual_server = virtual_server.0 as u16;
        let [client, reply] = ends;
        let ends = if matches!(mode, Mode::Dsr) { [client, NO_ENDS] } else { [client, reply] };
        Self { ends, to_backend, identity, mode, virtual_server, client_port, client_mac, ..Self::VACANT }
    }

    /// Of a flow; its addresses, if IPv6, are in [`Wide::of`] it.
    #[must_use]
    pub fn of(flow: &Flow) -> Self {
        Self {
            // In `dsr` there are no replies: nobody has their key.
            ends: [
                ends_of(&flow.client),
                if flow.mode == Mode::Dsr { NO_ENDS } else { ends_of(&flow.reply) },
            ],
            identity: if flow.crosses() {
                Identity::of(&flow.client).crossing()
            } else {
                Identity::of(&flow.client)
            },
            mode: flow.mode,
            stage: flow.state as u8 | flow.marks << STATE_BITS,
            client_port: flow.client_port,
            incarnation: flow.incarnation,
            last_seen: flow.last_seen,
            checked: flow.checked,
            backend: flow.backend,
            virtual_server: flow.virtual_server.0 as u16,
            neighbour: flow.neighbour,
            created: flow.created,
            to_backend: flow.to_backend,
            client_mac: flow.client_mac,
        }
    }

    /// All of a flow, from its pieces.
    pub(crate) fn whole(&self, wide: Option<&Wide>) -> Flow {
        Flow {
            client: self.key(Side::Client, wide),
            reply: self.key(Side::Backend, wide),
            last_seen: self.last_seen,
            checked: self.checked,
            backend: self.backend,
            virtual_server: self.virtual_server(),
            neighbour: self.neighbour,
            state: self.state(),
            mode: self.mode,
            marks: self.marks(),
            client_port: self.client_port,
            client_mac: self.client_mac,
            to_backend: self.to_backend,
            created: self.created,
            incarnation: self.incarnation,
        }
    }

    /// Whether it is no flow.
    #[inline(always)]
    pub(crate) fn is_vacant(&self) -> bool {
        self.identity == Identity::NONE
    }

    /// The key of packets from one side; in `dsr`, where replies do not pass, as the client gets them.
    #[must_use]
    pub fn key(&self, side: Side, wide: Option<&Wide>) -> FlowKey {
        if self.mode == Mode::Dsr && side == Side::Backend {
            return self.key(Side::Client, wide).reversed();
        }
        let (ends, [source, destination]) = (self.ends(side), self.addresses(side, wide));
        FlowKey {
            source,
            destination,
            source_port: ends.source_port.get(),
            destination_port: ends.destination_port.get(),
            protocol: self.identity.protocol(),
            domain: self.identity.domain(),
            ..FlowKey::default()
        }
    }

    /// Source and destination of packets from one side.
    #[inline]
    #[must_use]
    pub fn addresses(&self, side: Side, wide: Option<&Wide>) -> [Address; 2] {
        match wide {
            Some(wide) if self.is_wide() => *wide.addresses(side),
            _ => {
                let Ends { source, destination, .. } = *self.ends(side);
                [Address::from_v4(source), Address::from_v4(destination)]
            }
        }
    }

    /// Whether this is the key of packets from one side.
    #[inline]
    pub(crate) fn has_key(&self, side: Side, wide: Option<&Wide>, key: &FlowKey) -> bool {
        if self.crosses() {
            return self.has_key_across(side, wide, key);
        }
        let (ends, identity) = (ends_of(key), Identity::of(key));
        if key.is_v4() {
            return self.has_ends(side, &ends, identity);
        }
        self.has_addresses(side, wide, &[key.source, key.destination], ports(&ends), identity)
    }

    /// The same when its sides are of different families.
    #[cold]
    fn has_key_across(&self, side: Side, wide: Option<&Wide>, key: &FlowKey) -> bool {
        ports(self.ends(side)) == [key.source_port, key.destination_port].map(U16::new)
            && (self.protocol(), self.identity.domain()) == (key.protocol, key.domain)
            && wide.is_some_and(|wide| *wide.addresses(side) == [key.source, key.destination])
    }

    /// Whether the key of packets from one side, if IPv4, is made of these.
    #[inline(always)]
    pub(crate) fn has_ends(&self, side: Side, ends: &Ends, identity: Identity) -> bool {
        self.ends(side).is(ends) && self.identity == identity
    }

    /// Whether the key of packets from one side, if IPv6, is made of these.
    #[inline(always)]
    pub(crate) fn has_addresses(
        &self,
        side: Side,
        wide: Option<&Wide>,
        addresses: &[Address; 2],
        ports: [U16; 2],
        identity: Identity,
    ) -> bool {
        self::ports(self.ends(side)) == ports
            && self.identity == identity
            && wide.is_some_and(|wide| wide.addresses(side) == addresses)
    }

    /// Addresses, if IPv4, and ports of packets from one side.
    #[inline(always)]
    #[must_use]
    pub const fn ends(&self, side: Side) -> &Ends {
        let [client, backend] = &self.ends;
        match side {
            Side::Client => client,
            Side::Backend => backend,
        }
    }

    /// What the rewriting of packets from one side does to checksums.
    #[inline(always)]
    #[must_use]
    pub const fn repair(&self, side: Side) -> Repair {
        match side {
            Side::Client => self.to_backend,
            Side::Backend => self.to_backend.back(),
        }
    }

    /// Whether its addresses are in [`Wide`].
    #[inline(always)]
    #[must_use]
    pub const fn is_wide(&self) -> bool {
        self.identity.is_wide()
    }

    /// Whether the backend is of another family than the client.
    #[inline(always)]
    #[must_use]
    pub const fn crosses(&self) -> bool {
        self.identity.crosses()
    }

    /// What tells its keys apart besides addresses and ports.
    #[inline(always)]
    pub(crate) const fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether packets from one side are IPv6.
    #[must_use]
    pub const fn is_v6(&self, side: Side) -> bool {
        let [.., family, _] = self.identity.0.to_le_bytes();
        (family == 6) != (self.crosses() && matches!(side, Side::Backend))
    }

    /// How its packets reach the backend.
    #[inline(always)]
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// What the client sends to.
    #[inline(always)]
    #[must_use]
    pub const fn virtual_server(&self) -> VirtualServerId {
        VirtualServerId(self.virtual_server as u32)
    }

    /// IANA protocol number.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.identity.protocol()
    }

    /// The port and the Ethernet address that the client's packets come from.
    #[inline(always)]
    #[must_use]
    pub const fn client_link(&self) -> (PortId, &MacAddress) {
        (self.client_port, &self.client_mac)
    }

    /// How far it has come.
    #[must_use]
    pub const fn state(&self) -> FlowState {
        FlowState::numbered(self.stage)
    }

    /// Moves it on.
    pub const fn set_state(&mut self, state: FlowState) {
        self.stage = self.stage & !STATE | state as u8;
    }

    /// As [`Flow::marks`].
    #[must_use]
    pub const fn marks(&self) -> u8 {
        self.stage >> STATE_BITS
    }

    /// Remembers what was seen.
    pub const fn set_marks(&mut self, marks: u8) {
        self.stage = self.stage & STATE | marks << STATE_BITS;
    }

    /// Milliseconds since the last packet, at `now`. Meaningful for up to 49 days.
    #[inline]
    #[must_use]
    pub const fn silence(&self, now: u32) -> u32 {
        now.wrapping_sub(self.last_seen)
    }
}

/// A flow of the table, in its pieces.
pub struct Tracked<'a> {
    /// What every packet needs.
    pub hot: &'a mut Hot,
    /// Its addresses, if IPv6.
    pub wide: Option<&'a Wide>,
    /// What is remembered of its sequence numbers; another flow's until it is written.
    pub numbers: &'a mut Numbers,
}

impl Tracked<'_> {
    /// The key of packets from one side; where replies do not pass, as the client gets them.
    #[must_use]
    pub fn key(&self, side: Side) -> FlowKey {
        self.hot.key(side, self.wide)
    }

    /// Whether it has been silent for longer than so many milliseconds.
    #[inline]
    #[must_use]
    pub fn is_expired(&self, now: u32, lifetime: u32) -> bool {
        self.hot.silence(now) > lifetime
    }
}

/// A flow that a packet was found to belong to.
pub struct Hit<'a> {
    /// What every packet needs.
    pub hot: &'a mut Hot,
    /// Its addresses, if IPv6.
    pub wide: Option<&'a Wide>,
    /// Which side the packet is from.
    pub side: Side,
}

impl Hit<'_> {
    /// The key of packets from the client.
    #[must_use]
    pub fn client(&self) -> FlowKey {
        self.hot.key(Side::Client, self.wide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::tests::flow;

    #[test]
    fn a_flow_in_pieces_is_the_same_flow() {
        for number in 0..10 {
            let flow = flow(number, Mode::FullNat);
            let (hot, wide) = (Hot::of(&flow), Wide::of(&flow));
            let wide = hot.is_wide().then_some(&wide);
            assert_eq!(format!("{:?}", hot.whole(wide)), format!("{flow:?}"));
            for (side, key) in [(Side::Client, flow.client), (Side::Backend, flow.reply)] {
                assert!(hot.has_key(side, wide, &key));
                assert!(!hot.has_key(side.opposite(), wide, &key));
            }
        }
    }

    #[test]
    fn a_flow_across_families_in_pieces_is_the_same_flow() {
        for (one, other) in [(0, 4), (4, 0)] {
            let reply = flow(other, Mode::FullNat).reply;
            let flow = Flow { reply, ..flow(one, Mode::FullNat) };
            let (hot, wide) = (Hot::of(&flow), Wide::of(&flow));
            assert!(hot.crosses() && hot.is_wide());
            assert_eq!([Side::Client, Side::Backend].map(|side| hot.is_v6(side)), [one == 4, other == 4]);
            assert_eq!(format!("{:?}", hot.whole(Some(&wide))), format!("{flow:?}"));
            for (side, key) in [(Side::Client, flow.client), (Side::Backend, flow.reply)] {
                assert!(hot.has_key(side, Some(&wide), &key));
                assert!(!hot.has_key(side.opposite(), Some(&wide), &key));
                for other in [
                    FlowKey { protocol: 17, ..key },
                    FlowKey { domain: 1, ..key },
                    FlowKey { source_port: 1, ..key },
                    key.reversed(),
                ] {
                    assert!(!hot.has_key(side, Some(&wide), &other));
                }
                // Who compares no more than ends, or takes its addresses for IPv4's, finds nothing.
                assert!(!hot.has_ends(side, &ends_of(&key), Identity::of(&key)));
            }
        }
    }

    #[test]
    fn a_flow_in_dsr_has_no_replies() {
        for number in 0..10 {
            let flow = flow(number, Mode::Dsr);
            let (hot, wide) = (Hot::of(&flow), Wide::of(&flow));
            assert_eq!(hot.key(Side::Backend, Some(&wide)), flow.client.reversed());
            assert!(!hot.has_key(Side::Backend, Some(&wide), &flow.client.reversed()));
        }
    }

    #[test]
    fn a_key_of_the_other_family_with_the_same_last_bytes_is_another_key() {
        let (narrow, wide) = (flow(0, Mode::Nat), flow(4, Mode::Nat));
        let as_wide = |key: FlowKey| FlowKey {
            source: wide.client.source,
            destination: wide.client.destination,
            ..key
        };
        let hot = Hot::of(&Flow {
            client: FlowKey { source: Address::from_v4([0, 0, 0, 4]), ..narrow.client },
            ..narrow
        });
        assert!(!hot.has_key(Side::Client, Some(&Wide::of(&wide)), &as_wide(narrow.client)));
        assert!(!Hot::of(&wide).has_key(Side::Client, Some(&Wide::of(&wide)), &narrow.client));
    }

    #[test]
    fn a_flow_expires_after_its_lifetime_also_across_the_end_of_the_clock() {
        let flow = Flow { last_seen: u32::MAX - 500, ..flow(1, Mode::Nat) };
        let mut hot = Hot::of(&flow);
        let mut numbers = Numbers::default();
        let tracked = Tracked { hot: &mut hot, wide: None, numbers: &mut numbers };
        assert_eq!(tracked.hot.silence(499), 1000);
        assert!(!tracked.is_expired(499, 1000));
        assert!(tracked.is_expired(500, 1000));
    }

    #[test]
    fn states_and_marks_do_not_disturb_each_other() {
        let mut hot = Hot::of(&flow(1, Mode::Nat));
        for number in 0..8 {
            let state = FlowState::numbered(number);
            hot.set_state(state);
            assert_eq!((hot.state(), hot.marks(), state as u8), (state, 2, number));
        }
        hot.set_marks(31);
        assert_eq!((hot.state(), hot.marks()), (FlowState::GivenUp, 31));
        hot.set_marks(0);
        assert_eq!((hot.state(), hot.marks()), (FlowState::GivenUp, 0));
    }
}

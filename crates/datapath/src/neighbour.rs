//! Next hops and their MAC addresses: a sans-I/O state machine for ARP (RFC 826) and neighbour discovery (RFC 4861, 7.3).
//!
//! Each worker has its own table and keeps it without control. Packets whose next hop is not known yet wait here, a
//! bounded number of them; they leave in the order in which they came, before later ones.
//!
//! What must stay true:
//!
//! - An entry stays at its position until it is reused, and then its version changes, so that a position remembered in a
//!   flow is either right or known to be stale.
//! - What packets look at, an entry's sign, says what the entry says: both are changed by one function.
//! - Only what was asked for is learned (an answer to a solicitation creates nothing), and a given entry is never changed.
//!
//! What it leaves to others: making frames of [`Solicitation`]s (`solicit`), reading answers (`answer`).

mod entry;
mod held;

use arrayvec::ArrayVec;
use foldhash::fast::FixedState;
use model::{Address, BackendId, MAX_BACKENDS, MAX_PORTS, MacAddress, Millis, PortId};
use wire::ethernet::Ethernet;

use self::entry::{Entry, State};
pub(crate) use self::held::{HELD, Held};
use crate::{DropReason, Snapshot, snapshot::Lookup};

/// Next hops that a worker remembers.
const CAPACITY: usize = 8192;
/// Entries looked at to make room for a new one.
const EVICTION_SCAN: usize = 64;
/// Solicitations that wait to be sent; more are asked for again by the next timer.
const SOLICITATIONS: usize = 32;
/// RFC 4861, 10: RETRANS_TIMER
const RETRANSMIT: u64 = 1_000;
/// RFC 4861, 10: MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT
const ATTEMPTS: u8 = 3;
/// RFC 4861, 10: REACHABLE_TIME
const REACHABLE: u64 = 30_000;
/// Milliseconds in which nobody takes the place of a hop that was confirmed.
const SETTLED: u64 = 1_000;
/// How long nobody is asked after nobody answered; packets that need the hop are dropped meanwhile.
const FAILED: u64 = 1_000;

/// A next hop: a neighbour of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The port by which it is reached.
    pub port: PortId,
    /// Its IP address.
    pub address: Address,
}

/// The last version of an entry, behind which it begins with 1 again. There is none beyond it: [`NeighbourIndex::NONE`].
const LAST_VERSION: u16 = u16::MAX - 1;

/// Where in the table a next hop is: position and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeighbourIndex(pub(crate) u32);

impl NeighbourIndex {
    /// No hop's.
    pub(crate) const NONE: Self = Self(u32::MAX);

    const fn new(position: usize, version: u16) -> Self {
        Self((version as u32) << 16 | position as u32)
    }

    const fn position(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    const fn version(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// A question to send: who has `hop.address`?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Solicitation {
    pub(crate) hop: Hop,
    /// Whom to ask; `None`: everybody on the link.
    pub(crate) to: Option<MacAddress>,
}

/// The way to a next hop: what a packet that takes it needs. Addresses by reference: copies of six bytes each are slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link<'a> {
    /// The port that it leaves by.
    pub(crate) port: PortId,
    /// Bytes of the largest IP packet.
    pub(crate) mtu: u16,
    /// Whom the frame is for.
    pub(crate) to: &'a MacAddress,
    /// Who sends it.
    pub(crate) from: &'a MacAddress,
}

impl Link<'_> {
    /// Writes both Ethernet addresses.
    #[inline(always)]
    pub(crate) const fn address(&self, header: &mut Ethernet) {
        // One after the other: both at once would be copied on the way.
        header.destination = self.to.0;
        header.source = self.from.0;
    }
}

/// What packets look at of an entry: whether it is usable, and the way there. Made anew whenever the entry changes.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Sign {
    /// The entry's; 0, which is nobody's, when it is not usable.
    version: u16,
    /// Whether it was used since its timer looked last.
    used: bool,
    port: PortId,
    mtu: u16,
    to: MacAddress,
    from: MacAddress,
}

/// What an answer or a colleague says of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The hop.
    pub hop: Hop,
    /// Its Ethernet address.
    pub mac: MacAddress,
    /// Whether nobody has asked for it: it is followed where it can be, and asked.
    pub is_announced: bool,
}

/// Questions that wait to be sent.
pub(crate) type Solicitations = ArrayVec<Solicitation, SOLICITATIONS>;

/// A worker's next hops.
pub(crate) struct Neighbours<F> {
    entries: Vec<Entry>,
    /// By position, as `entries`.
    signs: Vec<Sign>,
    /// By [`BackendId`]: the complement of the index of its hop, so that nothing known is 0.
    of_backends: Vec<u32>,
    /// By [`PortId`], as the snapshot says.
    ports: ArrayVec<(MacAddress, u16), MAX_PORTS>,
    positions: Lookup<Hop, u16>,
    held: ArrayVec<Held<F>, HELD>,
    solicitations: ArrayVec<Solicitation, SOLICITATIONS>,
    timer_cursor: usize,
    eviction_cursor: usize,
}

impl<F> Neighbours<F> {
    /// An empty table. All memory it will ever need is allocated here: twice the room, so that the map never grows.
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::with_capacity(CAPACITY),
            signs: Vec::with_capacity(CAPACITY),
            of_backends: vec![!NeighbourIndex::NONE.0; MAX_BACKENDS],
            ports: ArrayVec::new(),
            positions: Lookup::with_capacity_and_hasher(2 * CAPACITY, FixedState::default()),
            held: ArrayVec::new(),
            solicitations: ArrayVec::new(),
            timer_cursor: 0,
            eviction_cursor: 0,
        }
    }

    /// Takes over the entries that the configuration gives; those that it no longer gives are resolved from now on.
    pub(crate) fn adopt(&mut self, snapshot: &Snapshot) {
        self.adopt_ports(snapshot);
        for entry in self.entries.iter_mut().filter(|entry| entry.state == State::Given) {
            entry.state = State::Stale;
        }
        for (id, port) in snapshot.port_ids().zip(&snapshot.ports) {
            for &(address, mac) in &port.neighbours {
                let hop = Hop { port: id, address };
                if let Some(position) = self.position(hop) {
                    self.change(position, |entry| (entry.mac, entry.state) = (mac, State::Given));
                } else {
                    // A full table of given entries is a configuration that `config` refuses.
                    let _ = self.insert(hop, mac, State::Given);
                }
            }
        }
    }

    /// Takes over the ports' own addresses and MTUs, which seldom change.
    fn adopt_ports(&mut self, snapshot: &Snapshot) {
        let ports = snapshot.ports.iter().take(MAX_PORTS).map(|port| (port.mac, port.mtu));
        let ports: ArrayVec<(MacAddress, u16), MAX_PORTS> = ports.collect();
        if ports != self.ports {
            self.ports = ports;
            (0..self.entries.len()).for_each(|position| self.change(position, |_| ()));
        }
    }

    /// Changes an entry, and its sign with it.
    fn change(&mut self, position: usize, change: impl FnOnce(&mut Entry)) {
        let (Some(entry), Some(sign)) = (self.entries.get_mut(position), self.signs.get_mut(position)) else {
            return;
        };
        change(entry);
        let port = self.ports.get(entry.hop.port.index());
        let (from, mtu) = port.copied().unwrap_or_default();
        sign.version = if entry.is_usable() && port.is_some() { entry.version } else { 0 };
        (sign.port, sign.mtu, sign.to, sign.from) = (entry.hop.port, mtu, entry.mac, from);
    }

    /// The way to the hop at a position, when it is known. Marks the entry used, so that it is kept confirmed.
    #[inline(always)]
    pub(crate) fn link(&mut self, index: NeighbourIndex) -> Option<Link<'_>> {
        let sign = self.signs.get_mut(index.position())?;
        if sign.version != index.version() {
            return None;
        }
        sign.used = true;
        Some(Link { port: sign.port, mtu: sign.mtu, to: &sign.to, from: &sign.from })
    }

    /// The hop to a backend that was remembered, if it is this one and its MAC address is known.
    #[inline]
    pub(crate) fn remembered(&mut self, backend: BackendId, hop: Hop) -> Option<NeighbourIndex> {
        let index = NeighbourIndex(!*self.of_backends.get(backend.index())?);
        let is_right = self.entries.get(index.position()).is_some_and(|entry| entry.hop == hop);
        (is_right && self.link(index).is_some()).then_some(index)
    }

    /// Remembers the hop to a backend.
    pub(crate) fn remember(&mut self, backend: BackendId, index: NeighbourIndex) {
        if let Some(place) = self.of_backends.get_mut(backend.index()) {
            *place = !index.0;
        }
    }

    fn use_at(&mut self, position: usize) {
        if let Some(sign) = self.signs.get_mut(position) {
            sign.used = true;
        }
    }

    /// Whether the entry was used since this was asked last.
    fn take_used(&mut self, position: usize) -> bool {
        self.signs.get_mut(position).is_some_and(|sign| std::mem::take(&mut sign.used))
    }

    /// The hop at a position, whether its MAC address is known or not.
    pub(crate) fn hop(&self, index: NeighbourIndex) -> Option<Hop> {
        let entry = self.entries.get(index.position()).filter(|entry| entry.version == index.version())?;
        Some(entry.hop)
    }

    /// The MAC address of a hop that is there and did answer.
    pub(crate) fn known_mac(&self, hop: Hop) -> Option<MacAddress> {
        let entry = self.entries.get(self.position(hop)?)?;
        entry.is_usable().then_some(entry.mac)
    }

    /// Where a hop is in the table. A hop that is not there yet is entered, and asked for.
    pub(crate) fn resolve(&mut self, hop: Hop, now: Millis) -> Result<NeighbourIndex, DropReason> {
        let Some(position) = self.position(hop) else {
            let index = self.insert(
                hop,
                MacAddress::default(),
                State::Incomplete { sent: 1, next: now.after(RETRANSMIT) },
            )?;
            self.ask(Solicitation { hop, to: None });
            return Ok(index);
        };
        let entry = *self.entries.get(position).ok_or(DropReason::NeighbourTableFull)?;
        let next = now.after(RETRANSMIT);
        match entry.state {
            State::Failed { until } if now < until => return Err(DropReason::NeighbourUnreachable),
            State::Failed { .. } => {
                self.change(position, |entry| entry.state = State::Incomplete { sent: 1, next });
                self.ask(Solicitation { hop, to: None });
            }
            State::Stale => {
                self.use_at(position);
                self.change(position, |entry| entry.state = State::Probe { sent: 1, next });
                self.ask(Solicitation { hop, to: Some(entry.mac) });
            }
            _ => self.use_at(position),
        }
        Ok(NeighbourIndex::new(position, entry.version))
    }

    /// Takes an answer, or what a neighbour says of itself in a question to us. Changes what is already there, never what
    /// is given; with `create` it enters what is not there (facts that another worker had asked for).
    /// Whether something was learned that others may want to know.
    pub(crate) fn learn(&mut self, fact: Fact, create: bool, now: Millis) -> bool {
        let reachable = State::Reachable { until: now.after(REACHABLE) };
        let Some(position) = self.position(fact.hop) else {
            return create && self.insert(fact.hop, fact.mac, reachable).is_ok();
        };
        if self.entries.get(position).is_none_or(|entry| entry.state == State::Given) {
            return false;
        }
        self.change(position, |entry| (entry.mac, entry.state) = (fact.mac, reachable));
        true
    }

    /// Takes what a neighbour says of itself without being asked (a gratuitous ARP, RFC 5227, 3; an unsolicited advertisement,
    /// RFC 4861, 7.2.6): its address has moved. Only what is there follows, never what is given, nor what has just been confirmed: of
    /// two who claim one address the first stays for a while. Whoever is followed is asked at once whether it is there.
    /// Whether it is followed.
    pub(crate) fn announce(&mut self, Fact { hop, mac, .. }: Fact, now: Millis) -> bool {
        let Some(position) = self.position(hop) else { return false };
        let Some(entry) = self.entries.get(position) else { return false };
        let is_settled = match entry.state {
            State::Given | State::Failed { .. } => true,
            State::Reachable { until } => now.after(REACHABLE) < until.after(SETTLED),
            State::Incomplete { .. } | State::Stale | State::Probe { .. } => false,
        };
        if is_settled || entry.mac == mac {
            return false;
        }
        let state = State::Probe { sent: 1, next: now.after(RETRANSMIT) };
        self.change(position, |entry| (entry.mac, entry.state) = (mac, state));
        self.ask(Solicitation { hop, to: Some(mac) });
        true
    }

    /// Runs the timers of at most `budget` entries. Hops that do not answer give up what waits for them to `drop`.
    pub(crate) fn run_timers(&mut self, now: Millis, budget: usize, drop: impl FnMut(F)) {
        let mut failed = false;
        for _ in 0..budget.min(self.entries.len()) {
            self.timer_cursor =
                if self.timer_cursor + 1 < self.entries.len() { self.timer_cursor + 1 } else { 0 };
            failed |= self.run_timer(self.timer_cursor, now);
        }
        if failed {
            self.drop_held_for_failed(drop);
        }
    }

    /// Runs one entry's timer; true when the hop has just failed.
    fn run_timer(&mut self, position: usize, now: Millis) -> bool {
        if self.solicitations.is_full() {
            return false;
        }
        let Some(&Entry { hop, mac, state, .. }) = self.entries.get(position) else { return false };
        let again = now.after(RETRANSMIT);
        match state {
            State::Incomplete { sent, next } | State::Probe { sent, next }
                if now >= next && sent >= ATTEMPTS =>
            {
                self.change(position, |entry| entry.state = State::Failed { until: now.after(FAILED) });
                self.take_used(position);
                return true;
            }
            State::Incomplete { sent, next } if now >= next => {
                self.change(position, |entry| {
                    entry.state = State::Incomplete { sent: sent + 1, next: again }
                });
                self.ask(Solicitation { hop, to: None });
            }
            State::Probe { sent, next } if now >= next => {
                self.change(position, |entry| entry.state = State::Probe { sent: sent + 1, next: again });
                self.ask(Solicitation { hop, to: Some(mac) });
            }
            State::Reachable { until } if now < until => {}
            State::Reachable { .. } | State::Stale if self.take_used(position) => {
                self.change(position, |entry| entry.state = State::Probe { sent: 1, next: again });
                self.ask(Solicitation { hop, to: Some(mac) });
            }
            State::Reachable { .. } => self.change(position, |entry| entry.state = State::Stale),
            _ => {}
        }
        false
    }

    /// Whether questions wait to be sent.
    #[inline]
    pub(crate) fn has_solicitations(&self) -> bool {
        !self.solicitations.is_empty()
    }

    /// The questions that wait to be sent.
    pub(crate) fn take_solicitations(&mut self) -> Solicitations {
        std::mem::take(&mut self.solicitations)
    }

    fn ask(&mut self, question: Solicitation) {
        // Without room the question is not lost: the entry's timer asks again.
        let _ = self.solicitations.try_push(question);
    }

    fn position(&self, hop: Hop) -> Option<usize> {
        self.positions.get(&hop).map(|&position| usize::from(position))
    }

    fn insert(&mut self, hop: Hop, mac: MacAddress, state: State) -> Result<NeighbourIndex, DropReason> {
        let entry = Entry { hop, mac, state, version: 1, waiting: 0 };
        let position = if self.entries.len() < CAPACITY {
            self.entries.push(entry);
            self.signs.push(Sign::UNUSABLE);
            self.entries.len() - 1
        } else {
            let position = self.evictable().ok_or(DropReason::NeighbourTableFull)?;
            let old = self.entries.get_mut(position).ok_or(DropReason::NeighbourTableFull)?;
            let version = if old.version < LAST_VERSION { old.version + 1 } else { 1 };
            self.positions.remove(&old.hop);
            *old = Entry { version, ..entry };
            position
        };
        self.positions.insert(hop, position as u16);
        self.use_at(position);
        self.change(position, |_| ());
        let version = self.entries.get(position).map_or(0, |entry| entry.version);
        Ok(NeighbourIndex::new(position, version))
    }

    fn evictable(&mut self) -> Option<usize> {
        for _ in 0..EVICTION_SCAN {
            self.eviction_cursor = (self.eviction_cursor + 1) % CAPACITY;
            let is_used = self.signs.get(self.eviction_cursor).is_some_and(|sign| sign.used);
            if !is_used && self.entries.get(self.eviction_cursor).is_some_and(Entry::is_evictable) {
                return Some(self.eviction_cursor);
            }
        }
        None
    }
}

impl Sign {
    const UNUSABLE: Self = Self {
        version: 0,
        used: false,
        port: PortId(0),
        mtu: 0,
        to: MacAddress([0; 6]),
        from: MacAddress([0; 6]),
    };
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
    const OWN_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    fn hop(last: u8) -> Hop {
        Hop { port: PortId(0), address: IpAddr::from([10, 0, 0, last]).into() }
    }

    fn table() -> Neighbours<u8> {
        let mut table = Neighbours::new();
        table.ports.extend([(OWN_MAC, 1500); 2]);
        table
    }

    /// Where a packet for a hop goes.
    fn to(table: &mut Neighbours<u8>, index: NeighbourIndex) -> Option<MacAddress> {
        let link = table.link(index)?;
        assert_eq!((link.port, link.mtu, *link.from), (PortId(0), 1500, OWN_MAC));
        Some(*link.to)
    }

    #[test]
    fn a_hop_is_asked_for_and_then_known() {
        let mut table = table();
        let index = table.resolve(hop(1), Millis(0)).unwrap();
        assert_eq!(table.take_solicitations().as_slice(), [Solicitation { hop: hop(1), to: None }]);
        assert_eq!(to(&mut table, index), None);
        assert!(table.learn(Fact { hop: hop(1), mac: MAC, is_announced: false }, false, Millis(5)));
        assert_eq!(to(&mut table, index), Some(MAC));
    }

    #[test]
    fn the_hop_to_a_backend_is_remembered_while_it_is_usable() {
        let mut table = table();
        let backend = BackendId(7);
        assert_eq!(table.remembered(backend, hop(1)), None);
        let index = table.resolve(hop(1), Millis(0)).unwrap();
        table.remember(backend, index);
        assert_eq!(table.remembered(backend, hop(1)), None, "it has not answered yet");
        table.learn(Fact { hop: hop(1), mac: MAC, is_announced: false }, false, Millis(5));
        assert_eq!(table.remembered(backend, hop(1)), Some(index));
        assert_eq!(table.remembered(backend, hop(2)), None, "the route has changed");
        assert_eq!(table.remembered(BackendId(8), hop(1)), None);
    }

    #[test]
    fn what_nobody_asked_for_is_not_learned() {
        let mut table = table();
        assert!(!table.learn(Fact { hop: hop(1), mac: MAC, is_announced: false }, false, Millis(0)));
        assert!(table.positions.is_empty());
    }

    #[test]
    fn who_has_moved_is_followed_and_asked_but_not_right_after_another_was_confirmed() {
        let moved = Fact { hop: hop(1), mac: MacAddress([2, 0, 0, 0, 0, 2]), is_announced: true };
        let mut table = table();
        let index = table.resolve(hop(1), Millis(0)).unwrap();
        assert!(!table.announce(Fact { hop: hop(2), ..moved }, Millis(0)), "nobody is interested");
        table.learn(Fact { hop: hop(1), mac: MAC, is_announced: false }, false, Millis(0));
        table.take_solicitations();
        assert!(!table.announce(moved, Millis(SETTLED - 1)));
        assert!(
            !table.announce(Fact { hop: hop(1), mac: MAC, is_announced: false }, Millis(SETTLED)),
            "this is known"
        );
        assert!(table.announce(moved, Millis(SETTLED)));
        assert_eq!(to(&mut table, index), Some(moved.mac));
        let question = Solicitation { hop: hop(1), to: Some(moved.mac) };
        assert_eq!(table.take_solicitations().as_slice(), [question]);
        (1..=3).for_each(|second| table.run_timers(Millis(SETTLED + second * RETRANSMIT), 8, drop));
        assert_eq!(to(&mut table, index), None, "it was not there");
        assert!(
            !table.announce(moved, Millis(SETTLED + 3 * RETRANSMIT)),
            "it is asked for when it is needed"
        );
    }

    #[test]
    fn a_silent_hop_fails_and_what_waits_is_dropped() {
        let mut table = table();
        let index = table.resolve(hop(1), Millis(0)).unwrap();
        assert!(table.hold(index, 7, hop(1).port).is_ok());
        let mut dropped = Vec::new();
        for second in 1..=3 {
            table.run_timers(Millis(second * RETRANSMIT), 8, |frame| dropped.push(frame));
        }
        assert_eq!(dropped, [7]);
        assert_eq!(table.resolve(hop(1), Millis(3 * RETRANSMIT + 1)), Err(DropReason::NeighbourUnreachable));
        assert!(table.resolve(hop(1), Millis(5 * RETRANSMIT)).is_ok(), "it is asked again later");
    }

    #[test]
    fn what_waits_leaves_in_order() {
        let mut table = table();
        let (one, two) =
            (table.resolve(hop(1), Millis(0)).unwrap(), table.resolve(hop(2), Millis(0)).unwrap());
        for (index, frame) in [(one, 1), (two, 2), (one, 3)] {
            assert!(table.hold(index, frame, PortId(0)).is_ok());
        }
        table.learn(Fact { hop: hop(1), mac: MAC, is_announced: false }, false, Millis(1));
        let mut released = Vec::new();
        table.release(|frame, _, mac| released.push((frame, mac)));
        assert_eq!(released, [(1, MAC), (3, MAC)]);
        assert_eq!(table.held(), 1);
    }

    #[test]
    fn a_hop_that_is_used_is_confirmed_again() {
        let mut table = table();
        let index = table.resolve(hop(1), Millis(0)).unwrap();
        table.learn(Fact { hop: hop(1), mac: MAC, is_announced: false }, false, Millis(0));
        table.take_solicitations();
        assert_eq!(to(&mut table, index), Some(MAC));
        table.run_timers(Millis(REACHABLE), 8, drop);
        assert_eq!(table.take_solicitations().as_slice(), [Solicitation { hop: hop(1), to: Some(MAC) }]);
        assert_eq!(to(&mut table, index), Some(MAC), "it is used while it is asked");
    }

    #[test]
    fn a_hop_that_nobody_used_for_long_is_asked_once_it_is_used() {
        let mut table = table();
        let index = table.resolve(hop(1), Millis(0)).unwrap();
        table.learn(Fact { hop: hop(1), mac: MAC, is_announced: false }, false, Millis(0));
        table.run_timers(Millis(REACHABLE), 8, drop);
        table.learn(Fact { hop: hop(1), mac: MAC, is_announced: false }, false, Millis(REACHABLE));
        table.take_solicitations();
        table.run_timers(Millis(2 * REACHABLE), 8, drop);
        table.run_timers(Millis(2 * REACHABLE), 8, drop);
        assert!(table.take_solicitations().is_empty());
        assert_eq!(to(&mut table, index), Some(MAC));
        table.run_timers(Millis(2 * REACHABLE), 8, drop);
        assert_eq!(table.take_solicitations().as_slice(), [Solicitation { hop: hop(1), to: Some(MAC) }]);
    }

    #[test]
    fn a_full_table_makes_room_only_where_nobody_is_hurt() {
        let mut table = table();
        for number in 0..CAPACITY as u32 {
            let address = IpAddr::from(number.to_be_bytes()).into();
            table.resolve(Hop { port: PortId(0), address }, Millis(0)).unwrap();
        }
        let one_more = Hop { port: PortId(1), address: hop(1).address };
        assert_eq!(table.resolve(one_more, Millis(0)), Err(DropReason::NeighbourTableFull));
        for second in 1..=3 {
            for _ in 0..CAPACITY {
                table.run_timers(Millis(second * RETRANSMIT), 16, drop);
                table.take_solicitations();
            }
        }
        let index = table.resolve(one_more, Millis(10_000)).unwrap();
        assert_eq!(index.version(), 2);
    }
}

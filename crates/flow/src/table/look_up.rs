//! How a packet's flow is found.
//!
//! First by the hash of an end alone ([`FlowTable::look_up`]), for a whole burst, so that its record is on its way while others are looked
//! up; then by comparing it ([`FlowTable::confirm`]); and by looking everywhere where that did not find it ([`FlowTable::settle`]).

use model::Address;
use wire::ipv4::Ends;

use super::{Absent, FlowTable};
use crate::{
    FlowKey,
    bucket::Entry,
    place::{Candidate, FlowIndex, Found, NONE, POSITION, Place, REPLY, Side, WIDE, Way},
    record::{Hit, Hot, Identity},
    sets::{Lying, Vacancy, tagged},
    wide::Wide,
};

impl FlowTable {
    /// Where to look for the flow of an IPv4 packet.
    #[inline(always)]
    #[must_use]
    pub fn place_v4(&self, way: Way, ends: &Ends, protocol: u8, domain: u8) -> Place {
        let (address, port, bits) = match way {
            Way::Source => (ends.source, ends.source_port, 0),
            Way::Destination => (ends.destination, ends.destination_port, REPLY),
            Way::Key => return self.place(way, &key_of(ends, protocol, domain)),
        };
        self.place_by_end(self.hash_key.hash_end_v4(address, port, protocol, domain), bits)
    }

    /// Where to look for the flow of a packet with this key.
    #[inline]
    #[must_use]
    pub fn place(&self, way: Way, key: &FlowKey) -> Place {
        let wide = if key.is_v4() { 0 } else { WIDE };
        match way {
            Way::Source => self.place_by_end(self.end(Side::Client, key), wide),
            Way::Destination => self.place_by_end(self.end(Side::Backend, key), wide | REPLY),
            Way::Key => Place::by_key(self.hash_key.hash(key)),
        }
    }

    #[inline(always)]
    fn place_by_end(&self, hash: u64, bits: Entry) -> Place {
        Place::by_end(tagged(hash), self.sets.first(hash), bits)
    }

    /// The hash of the client's end of a key, if it is the key of packets from a side.
    #[inline]
    pub(super) fn end(&self, side: Side, key: &FlowKey) -> u64 {
        let (address, port) = match side {
            Side::Client => (key.source, key.source_port),
            Side::Backend => (key.destination, key.destination_port),
        };
        self.hash_key.hash_end(address, port.into(), key.protocol, key.domain)
    }

    /// Asks for the memory that [`FlowTable::look_up`] reads first.
    #[inline(always)]
    pub fn prefetch(&self, place: Place) {
        if !self.sets.prefetch(place.set()) {
            self.index.prefetch(place.hash);
        }
    }

    /// What is likely to be a place's flow, and asks for the memory that [`FlowTable::confirm`] reads.
    #[inline(always)]
    #[must_use]
    pub fn look_up(&self, place: Place) -> Candidate {
        let entry = self.entry_at(place);
        self.prefetch_flow(entry);
        Candidate(entry)
    }

    /// What is likely to be a place's.
    #[inline(always)]
    fn entry_at(&self, place: Place) -> Entry {
        match self.sets.find_first(place.hash, place.set()) {
            Lying::At(position) => position as Entry | place.bits(),
            Lying::Nowhere => NONE,
            Lying::Elsewhere => self.entry_in_index(place.hash),
        }
    }

    #[inline(never)]
    fn entry_in_index(&self, hash: u64) -> Entry {
        self.index.find(hash, |_| true).unwrap_or(NONE)
    }

    #[inline(always)]
    pub(super) fn prefetch_flow(&self, entry: Entry) {
        let position = (entry & POSITION) as usize;
        if let Some(hot) = self.hot.get(position) {
            cpu::prefetch(hot);
        }
        if entry & WIDE != 0
            && let Some(wide) = self.wide.get(position)
        {
            cpu::prefetch(wide);
        }
    }

    /// What the candidate is, be it the packet's flow or not.
    #[inline(always)]
    #[must_use]
    pub fn peek(&self, candidate: Candidate) -> Option<&Hot> {
        self.hot.get((candidate.0 & POSITION) as usize)
    }

    /// The candidate's flow if this is its key. `None` also when another flow has the key, which happens now and then:
    /// [`FlowTable::find`] knows.
    #[inline]
    pub fn confirm(&mut self, candidate: Candidate, key: &FlowKey) -> Option<Hit<'_>> {
        let Found { index, side } = Found::of(candidate.0);
        let hot = self.hot.get_mut(index.0 as usize)?;
        // One that was found by its IPv4 client may have an IPv6 backend.
        let is_wide = candidate.0 & WIDE != 0 || hot.crosses();
        let wide = if is_wide { self.wide.get(index.0 as usize) } else { None };
        hot.has_key(side, wide, key).then_some(Hit { hot, wide, side })
    }

    /// The same for an IPv4 packet, from the side that the candidate says.
    #[inline(always)]
    pub fn confirm_v4(
        &mut self,
        (candidate, side): (Candidate, Side),
        ends: &Ends,
        identity: Identity,
    ) -> Option<&mut Hot> {
        let hot = self.hot.get_mut((candidate.0 & POSITION) as usize)?;
        hot.has_ends(side, ends, identity).then_some(hot)
    }

    /// The same for an IPv6 packet.
    #[inline(always)]
    pub fn confirm_v6(
        &mut self,
        (candidate, side): (Candidate, Side),
        addresses: &[Address; 2],
        ports: [wire::U16; 2],
        identity: Identity,
    ) -> Option<(&mut Hot, &Wide)> {
        let position = (candidate.0 & POSITION) as usize;
        let (hot, wide) = (self.hot.get_mut(position)?, self.wide.get(position)?);
        hot.has_addresses(side, Some(wide), addresses, ports, identity).then_some((hot, wide))
    }

    /// Looks up one key, whose candidate is known.
    ///
    /// # Errors
    ///
    /// When there is no flow with this key: then one can be [inserted](Self::insert_absent).
    pub fn settle(&mut self, candidate: Candidate, key: &FlowKey) -> Result<Found, Absent> {
        if self.confirm(candidate, key).is_some() {
            return Ok(Found::of(candidate.0));
        }
        self.find(key).ok_or_else(|| Absent(self.end(Side::Client, key)))
    }

    /// Looks up one key among those of packets from clients.
    ///
    /// # Errors
    ///
    /// When no client's packets have this key: then a flow can be [inserted](Self::insert_absent).
    pub fn find_client(&self, key: &FlowKey) -> Result<Found, Absent> {
        let hash = self.end(Side::Client, key);
        if let Some(position) = self.sets.find(hash, |position| self.has_key(position, Side::Client, key)) {
            return Ok(Found { index: FlowIndex(position as u32), side: Side::Client });
        }
        let guest = if self.may_have_guests(hash) { self.find_in_index(key) } else { None };
        guest.filter(|found| found.side == Side::Client).ok_or(Absent(hash))
    }

    /// Whether flows of a client's end, by its hash, may be guests: of those that came when there were too many alike, some may
    /// be left when the others are gone.
    #[inline(always)]
    pub(super) fn may_have_guests(&self, hash: u64) -> bool {
        self.guests > 0 && self.sets.is_passed(hash)
    }

    /// Looks up one key.
    #[must_use]
    pub fn find(&self, key: &FlowKey) -> Option<Found> {
        let found = self.find_as(Side::Client, key).or_else(|| self.find_as(Side::Backend, key));
        if found.is_some() || self.indexed == 0 { found } else { self.find_in_index(key) }
    }

    fn find_as(&self, side: Side, key: &FlowKey) -> Option<Found> {
        let is_right = |position| self.has_key(position, side, key);
        let position = self.sets.find(self.end(side, key), is_right)?;
        Some(Found { index: FlowIndex(position as u32), side })
    }

    pub(super) fn find_in_index(&self, key: &FlowKey) -> Option<Found> {
        let matches = |entry| {
            let Found { index, side } = Found::of(entry);
            self.has_key(index.0 as usize, side, key)
        };
        self.index.find(self.hash_key.hash(key), matches).map(Found::of)
    }

    /// Whether the flow at a position has exactly this key.
    pub(super) fn has_key(&self, position: usize, side: Side, key: &FlowKey) -> bool {
        self.hot.get(position).is_some_and(|hot| hot.has_key(side, self.wide.get(position), key))
    }

    /// Asks for the memory that taking in a flow needs whose client's packet was looked for at a place.
    #[inline]
    pub fn prepare(&self, place: Place) {
        let Some(Vacancy { position, .. }) = self.sets.vacancy(place.hash) else { return };
        self.prefetch_flow(position as Entry | place.bits() & WIDE);
    }
}

/// The key of an IPv4 packet.
fn key_of(ends: &Ends, protocol: u8, domain: u8) -> FlowKey {
    FlowKey {
        source: Address::from_v4(ends.source),
        destination: Address::from_v4(ends.destination),
        source_port: ends.source_port.get(),
        destination_port: ends.destination_port.get(),
        protocol,
        domain,
        ..FlowKey::default()
    }
}

//! How flows come into the table and leave it.

use model::Mode;

use super::{Absent, CROWD, FlowTable, Refused, entry};
use crate::{
    Flow, Hot, Place, Side,
    place::{FlowIndex, REPLY},
    sets::{Survey, Vacancy},
    wide::Wide,
};

impl FlowTable {
    /// Takes a flow in, to be found by its client key, and by its reply key too unless replies do not pass in its mode.
    ///
    /// # Errors
    ///
    /// When the table is full or knows one of the keys. The table is unchanged then.
    pub fn insert(&mut self, flow: &Flow) -> Result<FlowIndex, Refused> {
        let (client, reply) = flow.keys();
        if self.find(&client).is_some() || reply.is_some_and(|reply| self.find(&reply).is_some()) {
            return Err(Refused::Duplicate);
        }
        self.insert_absent(flow, Absent(self.end(Side::Client, &client)))
    }

    /// The same, when it is known that no flow has its client key: `absent` must be of that key. Clients must have addresses
    /// that no client sends to: then a client's key is never a reply's.
    ///
    /// # Errors
    ///
    /// When the table is full or knows the reply key. The table is unchanged then.
    pub fn insert_absent(&mut self, flow: &Flow, absent: Absent) -> Result<FlowIndex, Refused> {
        debug_assert!(self.find_client(&flow.client) == Err(absent), "absence of another key");
        if self.is_full() {
            return Err(Refused::Full);
        }
        if self.knows_reply(flow, absent) {
            return Err(Refused::Duplicate);
        }
        let vacancy = self.sets.vacancy(absent.0).filter(|vacancy| vacancy.alike < CROWD);
        let vacant = vacancy.or_else(|| self.sets.vacancy(self.hash_key.hash(&flow.client)));
        let position = match vacant {
            Some(Vacancy { position, .. }) if self.enter(flow, position, vacancy.is_none()) => position,
            _ => return Err(Refused::Full),
        };
        match vacancy {
            Some(_) => self.sets.settle(position, absent.0),
            None => {
                self.sets.settle_guest(position, absent.0);
                self.guests += 1;
            }
        }
        self.place_at(position, flow);
        Ok(FlowIndex(position as u32))
    }

    /// Takes an IPv4 flow in whose client's packet was looked for at a place, by its source; not `full_nat`. Of what
    /// [`FlowTable::insert_absent`] demands, the client's address must be as said there; that its keys are not known is seen here.
    ///
    /// `None`, with nothing changed, when there is anything that keeps it from being taken in at once.
    #[inline(always)]
    pub fn open_v4(&mut self, place: Place, hot: Hot) -> Option<&mut Hot> {
        let [client, reply] = [Side::Client, Side::Backend].map(|side| *hot.ends(side));
        let identity = hot.identity();
        let table = &self.hot;
        let survey = self.sets.survey(place.hash, |position| {
            table.get(position).is_some_and(|other| {
                other.has_ends(Side::Client, &client, identity)
                    || other.has_ends(Side::Backend, &reply, identity)
            })
        });
        // Guests may be the same, and a survey does not see them.
        let is_obvious = place.is_of_client_v4() && !client.is(&reply) && !self.may_have_guests(place.hash);
        let position = match survey {
            Survey::Vacant(Vacancy { position, alike: 0..CROWD }) if is_obvious => position,
            _ => return None,
        };
        if self.is_full() {
            return None;
        }
        self.sets.settle(position, place.hash);
        self.flows += 1;
        let place = self.hot.get_mut(position)?;
        *place = hot;
        Some(place)
    }

    /// Whether a flow has the same reply key, or this one's keys are the same.
    fn knows_reply(&self, flow: &Flow, absent: Absent) -> bool {
        match flow.mode {
            Mode::Dsr | Mode::Ipip | Mode::Gue => false,
            // The client's end is in both keys.
            Mode::Nat => {
                let has_reply = |position| self.has_key(position, Side::Backend, &flow.reply);
                flow.reply == flow.client
                    || self.sets.find(absent.0, has_reply).is_some()
                    || self.may_have_guests(absent.0) && self.find_in_index(&flow.reply).is_some()
            }
            Mode::FullNat => flow.reply == flow.client || self.find(&flow.reply).is_some(),
        }
    }

    /// Enters in the index those keys of a flow that are looked for there; none, when it has no room.
    fn enter(&mut self, flow: &Flow, position: usize, is_guest: bool) -> bool {
        let entry = entry(position, flow);
        let [client, reply] = self.indexed_keys(flow, is_guest);
        if client.is_some_and(|hash| !self.index.enter(hash, entry)) {
            return false;
        }
        if reply.is_some_and(|hash| !self.index.enter(hash, entry | REPLY)) {
            client.iter().for_each(|&hash| self.index.leave(hash, entry));
            return false;
        }
        self.indexed += client.iter().chain(&reply).count();
        true
    }

    /// The hashes of the client's and the reply's key, if they are looked for in the index.
    pub(super) fn indexed_keys(&self, flow: &Flow, is_guest: bool) -> [Option<u64>; 2] {
        let (client, reply) = flow.keys();
        let reply = reply.filter(|_| is_guest || flow.mode == Mode::FullNat);
        [Some(client).filter(|_| is_guest), reply].map(|key| key.map(|key| self.hash_key.hash(&key)))
    }

    fn place_at(&mut self, position: usize, flow: &Flow) {
        if let Some(hot) = self.hot.get_mut(position) {
            *hot = Hot::of(flow);
        }
        if flow.is_wide() {
            self.wide.set(position, Wide::of(flow));
        }
        self.flows += 1;
    }

    /// Removes a flow and returns it; `None` when there is none at that position.
    pub fn remove(&mut self, index: FlowIndex) -> Option<Flow> {
        let (position, flow) = (index.0 as usize, self.flow(index)?);
        let (entry, is_guest) = (entry(position, &flow), self.sets.is_guest(position));
        let [client, reply] = self.indexed_keys(&flow, is_guest);
        client.iter().for_each(|&hash| self.index.leave(hash, entry));
        reply.iter().for_each(|&hash| self.index.leave(hash, entry | REPLY));
        self.indexed -= client.iter().chain(&reply).count();
        self.guests -= usize::from(is_guest);
        self.sets.leave(position, self.end(Side::Client, &flow.client));
        *self.hot.get_mut(position)? = Hot::VACANT;
        self.flows -= 1;
        Some(flow)
    }
}

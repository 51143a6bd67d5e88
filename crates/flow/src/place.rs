//! Where flows are looked for and found: positions, and what is known of a packet before its flow is.

use crate::bucket::Entry;

/// The bit of an [`Entry`] that says that it is the reply's.
pub(crate) const REPLY: Entry = 1 << 31;
/// The bit of an [`Entry`] that says that the flow is IPv6, so that its addresses are asked for in time.
pub(crate) const WIDE: Entry = 1 << 30;
/// The bits of an [`Entry`] that are the flow's position.
pub(crate) const POSITION: Entry = WIDE - 1;
/// No entry: a position that no table reaches.
pub(crate) const NONE: Entry = POSITION;

/// A flow's position in its table. Valid until the flow is removed; afterwards it may be another one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowIndex(pub u32);

/// Which of a flow's two keys a packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// [`Flow::client`](crate::Flow::client): it comes from the client.
    Client,
    /// [`Flow::reply`](crate::Flow::reply): it comes from the backend.
    Backend,
}

/// What a look-up found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The flow.
    pub index: FlowIndex,
    /// Which of its keys it was.
    pub side: Side,
}

impl Found {
    #[inline(always)]
    pub(crate) fn of(entry: Entry) -> Self {
        let side = if entry & REPLY == 0 { Side::Client } else { Side::Backend };
        Self { index: FlowIndex(entry & POSITION), side }
    }
}

impl Side {
    /// The side that a packet from this one is for.
    #[inline(always)]
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// Where a packet is likely to be found, so that its flow is asked for in time. A wrong guess costs time only:
/// [`FlowTable::settle`](crate::FlowTable::settle) looks everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By its source: a client's packet.
    Source,
    /// By its destination: a backend's packet to a client.
    Destination,
    /// By all of its key: a backend's packet to an address of the gateway.
    Key,
}

/// Where to look for a packet's flow. Two words, since those are handed on in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of the source or the destination, and [`tagged`](crate::sets::tagged); or of all of the key.
    pub(crate) hash: u64,
    /// The set with which its walk begins, above what is in the entries that are found so.
    rest: u64,
}

/// Instead of a set: the hash is of all of the key, which is to be looked for in the index. There are not so many sets.
const BY_KEY: u32 = u32::MAX;

impl Place {
    /// Where nothing is found.
    pub const NOWHERE: Self = Self::by_key(0);

    /// Of a [`tagged`](crate::sets::tagged) hash whose walk begins with a set, and whose entries have [`REPLY`] or [`WIDE`].
    #[inline(always)]
    pub(crate) const fn by_end(hash: u64, set: u32, bits: Entry) -> Self {
        Self { hash, rest: (set as u64) << 32 | bits as u64 }
    }

    /// Of a hash of all of a key.
    pub(crate) const fn by_key(hash: u64) -> Self {
        Self::by_end(hash, BY_KEY, 0)
    }

    /// The set with which its walk begins; that of no set when it is to be looked for in the index.
    #[inline(always)]
    pub(crate) const fn set(self) -> u32 {
        (self.rest >> 32) as u32
    }

    /// What is in the entries that are found so: [`REPLY`], [`WIDE`].
    #[inline(always)]
    pub(crate) const fn bits(self) -> Entry {
        self.rest as Entry
    }

    /// Whether it is the place of a client's packets over IPv4.
    #[inline(always)]
    pub(crate) const fn is_of_client_v4(self) -> bool {
        self.bits() == 0 && self.set() != BY_KEY
    }
}

/// Where a key's flow is, if it has one: what [`FlowTable::look_up`](crate::FlowTable::look_up) concludes from the key's hash alone, for
/// [`FlowTable::confirm`](crate::FlowTable::confirm) to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate(pub(crate) Entry);

impl Candidate {
    /// No flow comes into question.
    pub const NONE: Self = Self(NONE);

    /// Whether one comes into question.
    #[inline(always)]
    #[must_use]
    pub const fn is_some(self) -> bool {
        self.0 != NONE
    }

    /// The side that a packet is from if the flow is its.
    #[inline(always)]
    #[must_use]
    pub fn side(self) -> Side {
        Found::of(self.0).side
    }
}

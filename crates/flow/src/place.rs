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

/// Where to look for a packet's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of the source, the destination, or all of the key.
    pub(crate) hash: u64,
    /// What is in the entries that are found so: [`REPLY`], [`WIDE`]. [`BY_KEY`]: to be looked for in the index.
    pub(crate) bits: Entry,
}

/// In [`Place::bits`]: the hash is of all of the key.
pub(crate) const BY_KEY: Entry = POSITION;

impl Place {
    /// Where nothing is found.
    pub const NOWHERE: Self = Self { hash: 0, bits: BY_KEY };
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

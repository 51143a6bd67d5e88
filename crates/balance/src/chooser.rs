//! The methods, compiled for a pool.

use std::sync::Arc;

use model::Method;

use crate::{
    Level, Member, Sight, Table, UNASSIGNED, choose,
    least::{fastest, fewest_flows, most_capable},
    rotation::Rotation,
};

/// How a backend of a pool is chosen for a new flow, with all that is known of the pool.
///
/// A choice is a position in the pool's list of backends.
#[derive(Clone, Debug)]
pub enum Chooser {
    /// By the slot that the flow's hash names (`maglev`, `rendezvous`).
    Flow(Arc<[u32]>),
    /// By the slot that the hash of the client's address names (`source_hash`).
    Source(Arc<[u32]>),
    /// One after the other (`round_robin`, `weighted_round_robin`).
    Turn(Rotation),
    /// Who has the fewest flows for its weight (`least_connections`, `weighted_least_connections`).
    Flows(Box<[Member]>),
    /// Who has the fewest flows for what it was found able to take (`adaptive`).
    Capacity(Box<[Member]>),
    /// Who answers SYNs the fastest (`fastest`).
    Handshake(Box<[Member]>),
}

/// What a packet tells a chooser.
#[derive(Clone, Copy, Debug)]
pub struct Hashes {
    /// Of the whole flow.
    pub flow: u64,
    /// Of the client's address.
    pub source: u64,
}

impl Chooser {
    /// For a pool with a table and backends of these weights, which are at these levels.
    #[must_use]
    pub fn of(method: Method, table: &Table, weights: &[u16], levels: &[Level]) -> Self {
        let weighed = |weight: fn(u16) -> u16| {
            let numbered = (0..).zip(weights).zip(levels);
            numbered.map(move |((position, &own), level)| (position, level.times(weight(own))))
        };
        let members = |weight: fn(u16) -> u16| {
            let taken = weighed(weight).filter(|(_, weight)| *weight > 0);
            taken.map(|(position, weight)| Member { position, weight }).collect()
        };
        let by_weight: fn(u16) -> u16 = |weight| weight;
        let alike: fn(u16) -> u16 = |weight| weight.min(1);
        match method {
            Method::Maglev | Method::Rendezvous => Self::Flow(table.assign(levels)),
            Method::SourceHash => Self::Source(table.assign(levels)),
            Method::RoundRobin => Self::Turn(Rotation::of(weighed(alike))),
            Method::WeightedRoundRobin => Self::Turn(Rotation::of(weighed(by_weight))),
            Method::LeastConnections => Self::Flows(members(alike)),
            Method::WeightedLeastConnections => Self::Flows(members(by_weight)),
            Method::Adaptive => Self::Capacity(members(by_weight)),
            Method::Fastest => Self::Handshake(members(by_weight)),
        }
    }

    /// The backend for a new flow; `None` when no backend is usable. `turn` is the caller's, one for each pool.
    #[must_use]
    pub fn choose(&self, hashes: Hashes, turn: &mut u32, sight: &impl Sight) -> Option<u32> {
        match self {
            Self::Flow(slots) => choose(slots, hashes.flow),
            Self::Source(slots) => choose(slots, hashes.source),
            Self::Turn(rotation) => rotation.next(turn),
            Self::Flows(members) => fewest_flows(members, hashes.flow, sight),
            Self::Capacity(members) => most_capable(members, hashes.flow, sight),
            Self::Handshake(members) => fastest(members, hashes.flow, sight),
        }
    }

    /// The slots, when nothing but the flow's hash decides; otherwise none.
    #[must_use]
    pub fn by_flow(&self) -> Arc<[u32]> {
        match self {
            Self::Flow(slots) => Arc::clone(slots),
            _ => Arc::default(),
        }
    }

    /// Whether a choice depends on how many flows backends have.
    #[must_use]
    pub const fn looks_at_flows(&self) -> bool {
        matches!(self, Self::Flows(_) | Self::Capacity(_) | Self::Handshake(_))
    }

    /// Whether there is anybody to choose.
    #[must_use]
    pub fn is_available(&self) -> bool {
        match self {
            Self::Flow(slots) | Self::Source(slots) => slots.first().is_some_and(|&slot| slot != UNASSIGNED),
            Self::Turn(rotation) => !rotation.is_empty(),
            Self::Flows(members) | Self::Capacity(members) | Self::Handshake(members) => !members.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::Address;

    use super::*;
    use crate::Candidate;

    struct Idle;

    impl Sight for Idle {
        fn open_flows(&self, _: u32) -> u64 {
            0
        }

        fn capacity(&self, _: u32) -> u64 {
            crate::CAPACITY_AS_WEIGHED
        }

        fn handshake(&self, _: u32) -> u64 {
            0
        }
    }

    const METHODS: [Method; 9] = [
        Method::Maglev,
        Method::Rendezvous,
        Method::RoundRobin,
        Method::WeightedRoundRobin,
        Method::LeastConnections,
        Method::WeightedLeastConnections,
        Method::Fastest,
        Method::SourceHash,
        Method::Adaptive,
    ];

    fn chooser(method: Method, weights: &[u16], levels: &[Level]) -> Chooser {
        let numbered = (1..).zip(weights);
        let candidate =
            |(number, &weight)| Candidate { address: Address::from_v4([10, 0, 0, number]), port: 80, weight };
        let candidates: Vec<_> = numbered.map(candidate).collect();
        Chooser::of(method, &Table::maglev([7; 16], &candidates, 1024), weights, levels)
    }

    /// How often each is chosen.
    fn counts<const N: usize>(chooser: &Chooser) -> [usize; N] {
        let (mut counts, mut turn) = ([0; N], 0);
        for hash in (0..2048_u64).map(|number| number << 54 | number | 1 << 27) {
            counts
                [chooser.choose(Hashes { flow: hash, source: hash }, &mut turn, &Idle).unwrap() as usize] +=
                1;
        }
        counts
    }

    #[test]
    fn no_method_chooses_a_backend_that_is_not_usable_or_has_no_weight() {
        for method in METHODS {
            let levels = [Level::FULL, Level::NONE, Level::FULL, Level::FULL];
            let [one, down, without, other] = counts(&chooser(method, &[1, 9, 0, 1], &levels));
            assert!(one > 900 && other > 900 && down + without == 0, "{method:?}: {one}, {other}");
        }
    }

    #[test]
    fn where_nobody_is_usable_nobody_is_chosen() {
        for method in METHODS {
            let nobody = chooser(method, &[1, 1], &[Level::NONE; 2]);
            assert!(!nobody.is_available(), "{method:?}");
            assert_eq!(nobody.choose(Hashes { flow: 1, source: 1 }, &mut 0, &Idle), None, "{method:?}");
            assert!(chooser(method, &[1, 1], &[Level::FULL; 2]).is_available(), "{method:?}");
        }
    }

    #[test]
    fn a_level_is_a_part_of_the_weight_in_every_method_that_weighs() {
        let levels = [Level::FULL, Level::sixteenths(4)];
        for method in [Method::Maglev, Method::RoundRobin, Method::WeightedRoundRobin] {
            let [full, quarter] = counts(&chooser(method, &[8, 8], &levels));
            let expected = if method == Method::Maglev { 256 } else { 409 };
            assert!(quarter.abs_diff(expected) < 60, "{method:?}: {full}, {quarter}");
        }
        for method in [Method::LeastConnections, Method::WeightedLeastConnections, Method::Adaptive] {
            let [full, _] = counts(&chooser(method, &[8, 8], &levels));
            assert_eq!(full, 2048, "{method:?}: the first flow of four goes to the full one");
        }
    }
}

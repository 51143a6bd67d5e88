//! Whom the fewest flows, or the fastest handshakes, speak for.

/// A usable backend and what it is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its position in the pool's list.
    pub position: u32,
    /// Its weight relative to the others', not 0; 2²⁰ at most.
    pub weight: u32,
}

/// What a chooser may ask of the present.
pub trait Sight {
    /// Flows that a backend has, over all workers.
    fn open_flows(&self, position: u32) -> u64;
    /// What a backend has been found able to take relative to its weight, in parts of [`CAPACITY_AS_WEIGHED`].
    fn capacity(&self, position: u32) -> u64;
    /// How long a backend takes to answer a SYN; 0: not known.
    fn handshake(&self, position: u32) -> u64;
}

/// The capacity of a backend that takes as much as its weight promises.
pub const CAPACITY_AS_WEIGHED: u64 = 1 << 10;
/// The greatest capacity that is told apart.
pub(crate) const MOST_CAPACITY: u64 = CAPACITY_AS_WEIGHED << 6;

/// Flows beyond which nothing is compared, so that products fit.
const MOST: u64 = 1 << 24;

/// The member that has the fewest flows for its worth when it has one more; of several the first one.
fn least<'a>(members: impl Iterator<Item = &'a Member>, load: impl Fn(&Member) -> (u64, u64)) -> Option<u32> {
    let mut best: Option<(u32, u64, u64)> = None;
    for member in members {
        let (flows, worth) = load(member);
        let flows = flows.min(MOST) + 1;
        // flows / worth < fewest / its worth, without a division
        if best.is_none_or(|(_, fewest, its_worth)| flows * its_worth < fewest * worth) {
            best = Some((member.position, flows, worth));
        }
    }
    best.map(|(position, ..)| position)
}

/// The member that has the fewest flows for its weight when it has one more; of several one by chance, which `hash` is.
pub(crate) fn fewest_flows(members: &[Member], hash: u64, sight: &impl Sight) -> Option<u32> {
    least(from_any(members, hash), |member| (sight.open_flows(member.position), member.weight.into()))
}

/// The member that has the fewest flows for its capacity.
pub(crate) fn most_capable(members: &[Member], hash: u64, sight: &impl Sight) -> Option<u32> {
    least(from_any(members, hash), |member| {
        let worth = u64::from(member.weight) * sight.capacity(member.position).min(MOST_CAPACITY);
        (sight.open_flows(member.position), worth.max(1))
    })
}

/// The member with the fastest handshakes, of those that are about as fast the one with the fewest flows for its weight.
///
/// One that nobody has measured counts as fast, and so is measured. One new flow in 32 goes to whoever has the fewest, so that
/// one that was slow is looked at again.
pub(crate) fn fastest(members: &[Member], hash: u64, sight: &impl Sight) -> Option<u32> {
    let is_trial = (hash >> 27) & 31 == 0;
    let time = |member: &Member| if is_trial { 0 } else { step(sight.handshake(member.position)) };
    let shortest = members.iter().map(time).min()?;
    let fast = from_any(members, hash).filter(|member| time(member) == shortest);
    least(fast, |member| (sight.open_flows(member.position), member.weight.into()))
}

/// Times that compare as equal have the same step: four to a doubling.
fn step(time: u64) -> u32 {
    if time < 4 {
        return time as u32;
    }
    let exponent = time.ilog2();
    exponent * 4 + ((time >> (exponent - 2)) & 3) as u32 - 4
}

/// All members, beginning with any one.
fn from_any(members: &[Member], hash: u64) -> impl Iterator<Item = &Member> {
    // The upper half of hash × number is evenly from 0 to number.
    let begin = ((u128::from(hash) * members.len() as u128) >> 64) as usize;
    let (before, after) = members.split_at_checked(begin).unwrap_or((&[], members));
    after.iter().chain(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows, capacity and handshake of each backend.
    struct Seen(Vec<(u64, u64, u64)>);

    impl Sight for Seen {
        fn open_flows(&self, position: u32) -> u64 {
            self.0[position as usize].0
        }

        fn capacity(&self, position: u32) -> u64 {
            self.0[position as usize].1
        }

        fn handshake(&self, position: u32) -> u64 {
            self.0[position as usize].2
        }
    }

    /// A hash with which no flow is a trial.
    const HASH: u64 = 1 << 27;

    fn members(weights: &[u32]) -> Vec<Member> {
        (0..).zip(weights).map(|(position, &weight)| Member { position, weight }).collect()
    }

    #[test]
    fn the_one_with_the_fewest_flows_for_its_weight_is_next() {
        let seen = Seen([3, 8, 0].map(|flows| (flows, 0, 0)).to_vec());
        assert_eq!(fewest_flows(&members(&[1, 1]), HASH, &seen), Some(0));
        assert_eq!(fewest_flows(&members(&[1, 3]), HASH, &seen), Some(1), "(8 + 1) / 3 is less than 3 + 1");
        assert_eq!(
            fewest_flows(&members(&[10, 30, 1]), HASH, &seen),
            Some(1),
            "an idle one of little weight waits"
        );
        assert_eq!(fewest_flows(&[], HASH, &seen), None);
    }

    #[test]
    fn of_equals_chance_decides() {
        let (seen, members) = (Seen(vec![(5, 0, 0); 4]), members(&[2; 4]));
        let chosen = [0, 1 << 62, 2 << 62, 3 << 62].map(|hash| fewest_flows(&members, hash, &seen));
        assert_eq!(chosen, [Some(0), Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn flows_come_in_proportion_to_weights() {
        let (mut seen, members) = (Seen(vec![(0, 1, 1); 3]), members(&[16, 32, 80]));
        for hash in 0..80 {
            let chosen = fewest_flows(&members, hash, &seen).unwrap();
            seen.0[chosen as usize].0 += 1;
        }
        assert_eq!(seen.0.iter().map(|seen| seen.0).collect::<Vec<_>>(), [10, 20, 50]);
    }

    #[test]
    fn a_tenth_of_the_capacity_is_worth_a_tenth_of_the_flows() {
        let seen = |flows| Seen(vec![(flows, CAPACITY_AS_WEIGHED, 0), (0, CAPACITY_AS_WEIGHED / 10, 0)]);
        assert_eq!(most_capable(&members(&[1, 1]), HASH, &seen(9)), Some(0));
        assert_eq!(most_capable(&members(&[1, 1]), HASH, &seen(10)), Some(1));
    }

    #[test]
    fn the_fastest_is_next_unless_it_is_a_trial() {
        let seen = Seen(vec![(0, 0, 900), (7, 0, 100), (9, 0, 104)]);
        assert_eq!(fastest(&members(&[1; 3]), HASH, &seen), Some(1), "100 and 104 are alike");
        assert_eq!(fastest(&members(&[1; 3]), 0, &seen), Some(0));
        let unknown = Seen(vec![(0, 0, 900), (7, 0, 100), (9, 0, 0)]);
        assert_eq!(fastest(&members(&[1; 3]), HASH, &unknown), Some(2));
    }

    #[test]
    fn numbers_beyond_all_measure_do_not_overflow() {
        let seen = Seen(vec![(u64::MAX, u64::MAX, u64::MAX), (u64::MAX, u64::MAX, u64::MAX - 1)]);
        let members = members(&[1 << 20, 1 << 20]);
        for chosen in [
            fewest_flows(&members, HASH, &seen),
            most_capable(&members, HASH, &seen),
            fastest(&members, HASH, &seen),
        ] {
            assert_eq!(chosen, Some(0));
        }
    }

    #[test]
    fn steps_rise_with_times() {
        let steps: Vec<u32> = (0..200).map(step).collect();
        assert!(steps.is_sorted() && steps[..8] == [0, 1, 2, 3, 4, 5, 6, 7], "{steps:?}");
        assert_eq!(step(200) - step(100), 4);
    }
}

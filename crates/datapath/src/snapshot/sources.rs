//! Whom a virtual server takes packets from.
//!
//! Prefixes, of which the longest wins, lie inside each other or apart. Control therefore makes ranges of them that follow each
//! other, those permitted and those denied by turns: whether an address is permitted is then whether the number of ranges
//! that end before it is even. A million prefixes are at most two million ends, which are found by the few cache lines of a
//! [`Ladder`].

use std::cmp::Reverse;

use model::Address;

use super::{Network, ladder::Ladder};

/// Which sources are permitted.
#[derive(Clone, Debug)]
pub struct Sources {
    v4: Turns<Ladder<u32, 16>>,
    v6: Turns<Wide>,
}

/// Ranges by turns: the first is permitted or not, and so are those that follow at even distances.
#[derive(Clone, Debug)]
struct Turns<T> {
    is_first_permitted: bool,
    /// The last address of each range but the last one.
    ends: T,
}

impl<T> Turns<T> {
    /// Whether the range is permitted before which so many end.
    #[inline]
    const fn is_permitted(&self, ends_before: usize) -> bool {
        self.is_first_permitted != (ends_before & 1 == 1)
    }
}

/// The ends of ranges of IPv6 addresses. Few networks are smaller than 64 bits, so the upper half of an address nearly always
/// decides.
#[derive(Clone, Debug)]
struct Wide {
    upper: Ladder<u64, 8>,
    lower: Vec<u64>,
}

impl Wide {
    fn new(ends: &[u128]) -> Self {
        let upper: Vec<u64> = ends.iter().map(|end| (end >> 64) as u64).collect();
        Self { upper: Ladder::new(&upper), lower: ends.iter().map(|end| *end as u64).collect() }
    }

    /// How many are less than an address.
    fn less_than(&self, address: u128) -> usize {
        let (upper, lower) = ((address >> 64) as u64, address as u64);
        let first = self.upper.less_than(upper);
        if self.upper.get(first) != Some(upper) {
            return first;
        }
        let end = upper.checked_add(1).map_or(self.lower.len(), |next| self.upper.less_than(next));
        let alike = self.lower.get(first..end).unwrap_or_default();
        first + alike.partition_point(|end| *end < lower)
    }
}

impl Sources {
    /// The sources that these prefixes permit. Of prefixes that contain an address the longest decides; of two equal ones the denied. Without any
    /// an address is permitted if nothing is `allowed` by name.
    #[must_use]
    pub fn new(allowed: &[Network], denied: &[Network]) -> Self {
        let prefixes = |v4: bool| {
            let verdicts = allowed.iter().map(|net| (net, true)).chain(denied.iter().map(|net| (net, false)));
            let of_family = verdicts.filter(move |(network, _)| network.is_v4() == v4);
            of_family.map(|(network, is_permitted)| Prefix::new(network, is_permitted)).collect()
        };
        let otherwise = allowed.is_empty();
        let (first_v4, ends_v4) = ends(otherwise, prefixes(true));
        let (first_v6, ends_v6) = ends(otherwise, prefixes(false));
        let ends_v4: Vec<u32> = ends_v4.iter().map(|end| *end as u32).collect();
        Self {
            v4: Turns { is_first_permitted: first_v4, ends: Ladder::new(&ends_v4) },
            v6: Turns { is_first_permitted: first_v6, ends: Wide::new(&ends_v6) },
        }
    }

    /// Whether packets from this address may open flows.
    #[inline]
    #[must_use]
    pub fn permit(&self, source: Address) -> bool {
        if source.is_v4() {
            return self.permit_v4(source.v4());
        }
        self.v6.is_permitted(self.v6.ends.less_than(u128::from_be_bytes(source.octets())))
    }

    /// The same for an IPv4 address.
    #[inline]
    #[must_use]
    pub fn permit_v4(&self, source: [u8; 4]) -> bool {
        self.v4.is_permitted(self.v4.ends.less_than(u32::from_be_bytes(source)))
    }
}

/// A prefix as a range.
#[derive(Clone, Copy)]
struct Prefix {
    first: u128,
    last: u128,
    is_permitted: bool,
}

impl Prefix {
    fn new(network: &Network, is_permitted: bool) -> Self {
        // Of a mapped address the last 32 bits are the IPv4 address.
        let bits = if network.is_v4() { u128::from(u32::MAX) } else { u128::MAX };
        Self { first: network.first() & bits, last: network.last() & bits, is_permitted }
    }
}

/// Whether the first of the ranges is permitted, and the ends of all but the last one.
fn ends(otherwise: bool, mut prefixes: Vec<Prefix>) -> (bool, Vec<u128>) {
    // What contains others comes before them.
    prefixes.sort_unstable_by_key(|prefix| (prefix.first, Reverse((prefix.last, prefix.is_permitted))));
    let mut ranges = Ranges(vec![(0, otherwise)]);
    let mut around: Vec<Prefix> = Vec::new();
    for prefix in prefixes {
        while around.last().is_some_and(|inner| inner.last < prefix.first) {
            ranges.leave(&mut around, otherwise);
        }
        ranges.begin(prefix.first, prefix.is_permitted);
        around.push(prefix);
    }
    while !around.is_empty() {
        ranges.leave(&mut around, otherwise);
    }
    let is_first_permitted = ranges.0.first().is_some_and(|&(_, is_permitted)| is_permitted);
    (is_first_permitted, ranges.0.iter().skip(1).map(|(first, _)| first - 1).collect())
}

/// Ranges by their first addresses, no two neighbours alike.
struct Ranges(Vec<(u128, bool)>);

impl Ranges {
    /// From this address on it is so.
    fn begin(&mut self, first: u128, is_permitted: bool) {
        if self.0.last().is_some_and(|&(before, _)| before == first) {
            self.0.pop();
        }
        if self.0.last().is_none_or(|&(_, before)| before != is_permitted) {
            self.0.push((first, is_permitted));
        }
    }

    /// Behind the innermost prefix it is as around it.
    fn leave(&mut self, around: &mut Vec<Prefix>, otherwise: bool) {
        let Some(next) = around.pop().and_then(|inner| inner.last.checked_add(1)) else { return };
        self.begin(next, around.last().map_or(otherwise, |outer| outer.is_permitted));
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn network(text: &str) -> Network {
        let (address, length) = text.split_once('/').unwrap();
        Network::new(self::address(address), length.parse().unwrap())
    }

    fn sources(allowed: &[&str], denied: &[&str]) -> Sources {
        let networks = |texts: &[&str]| texts.iter().map(|text| network(text)).collect::<Vec<_>>();
        Sources::new(&networks(allowed), &networks(denied))
    }

    #[track_caller]
    fn assert_permitted(sources: &Sources, permitted: &[&str], denied: &[&str]) {
        for text in permitted {
            assert!(sources.permit(address(text)), "{text} is permitted");
        }
        for text in denied {
            assert!(!sources.permit(address(text)), "{text} is denied");
        }
    }

    #[test]
    fn without_prefixes_everybody_is_permitted() {
        assert_permitted(&sources(&[], &[]), &["0.0.0.0", "255.255.255.255", "::", "2001:db8::1"], &[]);
    }

    #[test]
    fn the_longest_prefix_wins_whichever_list_it_is_in() {
        let sources = sources(&["10.0.0.0/8", "10.1.2.0/24", "10.1.2.3/32"], &["10.1.0.0/16", "10.1.2.0/25"]);
        assert_permitted(
            &sources,
            &["10.0.0.0", "10.255.255.255", "10.1.2.128", "10.1.2.3", "10.2.0.0"],
            &["10.1.0.0", "10.1.255.255", "10.1.2.2", "10.1.2.4", "9.255.255.255", "11.0.0.0", "192.0.2.1"],
        );
    }

    #[test]
    fn an_allow_list_of_one_family_denies_all_of_the_other() {
        let sources = sources(&["2001:db8::/32"], &["2001:db8:0:1::5/128", "2001:db8:0:1::8/125"]);
        assert_permitted(
            &sources,
            &["2001:db8::1", "2001:db8:0:1::4", "2001:db8:0:1::6", "2001:db8:0:1::10"],
            &["2001:db8:0:1::5", "2001:db8:0:1::8", "2001:db8:0:1::f", "2001:db9::", "10.0.0.1"],
        );
    }

    #[test]
    fn the_whole_of_a_family_and_its_ends_are_ranges_too() {
        let sources = sources(
            &["255.255.255.255/32", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"],
            &["0.0.0.0/0", "::/0", "0.0.0.0/32"],
        );
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_permitted(
            &sources,
            &["255.255.255.255", last],
            &["0.0.0.0", "255.255.255.254", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"],
        );
    }

    /// Prefixes near each other, so that they contain one another.
    fn prefix() -> impl Strategy<Value = Network> {
        let v4 = (any::<u32>(), 0..=32_u8, select(vec![0_u32, 0x0fff_ffff, 0xf0f0_0003])).prop_map(
            |(bits, length, mask)| Network::new(Address::from_v4((bits & mask).to_be_bytes()), length),
        );
        let masks = vec![0_u128, 0xff << 64 | 0xff, u128::MAX, 0x3 << 126 | 0xff << 60];
        let v6 = (any::<u128>(), 0..=128_u8, select(masks)).prop_map(|(bits, length, mask)| {
            // Never a mapped address, which is IPv4's.
            let bits = bits & mask | 1 << 125;
            Network::new(Address::from_v6(bits.to_be_bytes()), length)
        });
        prop_oneof![v4, v6]
    }

    /// The longest prefix decides, looked for one by one.
    fn naive(allowed: &[Network], denied: &[Network], source: Address) -> bool {
        let verdicts = allowed.iter().map(|net| (net, true)).chain(denied.iter().map(|net| (net, false)));
        let around = verdicts.filter(|(network, _)| network.contains(source));
        let longest = around.max_by_key(|(network, is_permitted)| (network.length(), !is_permitted));
        longest.map_or(allowed.is_empty(), |(_, is_permitted)| is_permitted)
    }

    proptest! {
        #[test]
        fn what_is_permitted_is_what_the_longest_prefix_says(
            allowed in vec(prefix(), 0..60),
            denied in vec(prefix(), 0..60),
            others in vec((any::<u32>(), any::<u128>()), 20),
        ) {
            let sources = Sources::new(&allowed, &denied);
            let edges = allowed.iter().chain(&denied).flat_map(|network| {
                [network.first().wrapping_sub(1), network.first(), network.last(), network.last().wrapping_add(1)]
            });
            let edges = edges.map(|bits| Address::from_v6(bits.to_be_bytes()));
            let others = others.iter().flat_map(|(v4, v6)| {
                [Address::from_v4(v4.to_be_bytes()), Address::from_v6(v6.to_be_bytes())]
            });
            for address in edges.chain(others) {
                prop_assert_eq!(sources.permit(address), naive(&allowed, &denied, address), "{}", address);
            }
        }
    }
}

//! Clients that keep their backend (`persistence`): which backend the clients of a network got last.
//!
//! Each worker notes what it has chosen in a table of its own, a word an entry, which the others read. A word says all, so nobody ever
//! sees half an entry. The table is bounded: in a full set the entry that ends first gives way, and its clients choose again.

use flow::HashKey;
use meter::Gauge;
use model::{Address, BackendId, VirtualServerId};
use wire::U16;

use crate::WorkerMeters;

/// Entries of a worker, a power of two.
const ENTRIES: usize = 1 << 16;
/// Entries that one network may be noted at.
const WAYS: usize = 8;
/// Bits of a word that name the backend, and that say when the entry ends, in seconds. What is left tells networks apart.
const BACKEND_BITS: u32 = 17;
const SECOND_BITS: u32 = 22;
const TAG_SHIFT: u32 = BACKEND_BITS + SECOND_BITS;

const _: () = assert!(model::MAX_BACKENDS <= 1 << BACKEND_BITS);

/// How clients keep their backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Bits of a client's address by which it is known.
    pub source: u8,
    /// Seconds since its last new flow for which it is.
    pub timeout: u32,
}

/// What one worker has noted.
pub struct Noted(Box<[Gauge]>);

/// By what clients are known to a virtual server.
#[derive(Clone, Copy)]
pub(crate) struct Network(u64);

impl Network {
    pub(crate) fn of(key: &HashKey, server: VirtualServerId, client: Address, bits: u8) -> Self {
        Self(key.hash_end(first_bits(client, bits), U16::new(server.0 as u16), (server.0 >> 16) as u8, bits))
    }

    fn set(self) -> usize {
        self.0 as usize % (ENTRIES / WAYS) * WAYS
    }

    fn tag(self) -> u64 {
        self.0 >> TAG_SHIFT
    }
}

/// An entry, taken apart.
#[derive(Clone, Copy)]
struct Entry {
    tag: u64,
    ends: u64,
    backend: BackendId,
}

impl Entry {
    fn of(word: u64) -> Self {
        Self {
            tag: word >> TAG_SHIFT,
            ends: (word >> BACKEND_BITS) & ((1 << SECOND_BITS) - 1),
            backend: BackendId((word & ((1 << BACKEND_BITS) - 1)) as u32),
        }
    }

    const fn word(self) -> u64 {
        self.tag << TAG_SHIFT | self.ends << BACKEND_BITS | self.backend.0 as u64
    }

    /// Seconds that it has left; 0 when it has ended. The clock of an entry comes round after 48 days.
    const fn left(self, now: u64) -> u64 {
        let left = self.ends.wrapping_sub(now) & ((1 << SECOND_BITS) - 1);
        if left < 1 << (SECOND_BITS - 1) { left } else { 0 }
    }
}

impl Default for Noted {
    fn default() -> Self {
        Self(std::iter::repeat_with(Gauge::default).take(ENTRIES).collect())
    }
}

impl Noted {
    fn entries(&self, network: Network) -> &[Gauge] {
        let begin = network.set();
        self.0.get(begin..begin + WAYS).unwrap_or_default()
    }

    /// Notes that a network's clients have a backend for `timeout` seconds. For the one worker.
    pub(crate) fn note(&self, network: Network, backend: BackendId, (now, timeout): (u64, u32)) {
        let own = |entry: &Entry| entry.tag == network.tag();
        // Its own entry, or else the one that ends first.
        let rank = |gauge: &&Gauge| {
            let entry = Entry::of(gauge.read());
            if own(&entry) { 0 } else { 1 + entry.left(now) }
        };
        let ends = (now + u64::from(timeout).max(1)) & ((1 << SECOND_BITS) - 1);
        if let Some(gauge) = self.entries(network).iter().min_by_key(rank) {
            gauge.set(Entry { tag: network.tag(), ends, backend }.word());
        }
    }
}

/// The backend that a network's clients have, as the worker says that noted it last, of those that may be kept.
pub(crate) fn find<'a>(
    workers: impl Iterator<Item = &'a WorkerMeters>,
    network: Network,
    now: u64,
    may_be_kept: impl Fn(BackendId) -> bool,
) -> Option<BackendId> {
    let entries =
        workers.flat_map(|meters| meters.persistence.entries(network)).map(|gauge| Entry::of(gauge.read()));
    let alive = entries.filter(|entry| entry.tag == network.tag() && entry.left(now) > 0);
    let usable = alive.filter(|entry| may_be_kept(entry.backend));
    usable.max_by_key(|entry| entry.left(now)).map(|entry| entry.backend)
}

/// An address of which only the first bits are left; IPv4's come after the prefix of mapped addresses.
fn first_bits(address: Address, bits: u8) -> Address {
    let bits = if address.is_v4() { 96 + u32::from(bits) } else { u32::from(bits) };
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
    Address::from_v6((u128::from_be_bytes(address.octets()) & mask).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(client: [u8; 4], bits: u8) -> Network {
        Network::of(&HashKey::from_seed([3; 16], 1), VirtualServerId(7), Address::from_v4(client), bits)
    }

    #[test]
    fn the_clients_of_a_network_are_known_together_until_their_time_is_over() {
        let meters = WorkerMeters::new();
        let found = |client, now| find([&meters].into_iter(), network(client, 24), now, |_| true);
        meters.persistence.note(network([10, 1, 1, 1], 24), BackendId(70_000), (100, 60));
        assert_eq!(found([10, 1, 1, 200], 159), Some(BackendId(70_000)));
        assert_eq!(found([10, 1, 2, 1], 101), None);
        assert_eq!(found([10, 1, 1, 1], 160), None);
    }

    #[test]
    fn what_was_noted_last_by_any_worker_counts() {
        let workers = [WorkerMeters::new(), WorkerMeters::new()];
        let client = network([10, 1, 1, 1], 32);
        workers[1].persistence.note(client, BackendId(5), (100, 60));
        assert_eq!(find(workers.iter(), client, 110, |_| true), Some(BackendId(5)));
        workers[0].persistence.note(client, BackendId(6), (110, 60));
        assert_eq!(find(workers.iter(), client, 111, |_| true), Some(BackendId(6)));
    }

    #[test]
    fn a_full_set_forgets_who_would_be_forgotten_first() {
        let meters = WorkerMeters::new();
        let in_set = |number: u64| Network(number << TAG_SHIFT);
        for number in 1..=WAYS as u64 + 1 {
            meters.persistence.note(in_set(number), BackendId(number as u32), (100 + number, 60));
        }
        let found = |number| find([&meters].into_iter(), in_set(number), 110, |_| true);
        assert_eq!((found(1), found(2)), (None, Some(BackendId(2))));
        assert_eq!(found(WAYS as u64 + 1), Some(BackendId(WAYS as u32 + 1)));
    }

    #[test]
    fn an_entry_survives_the_clock_coming_round() {
        let entry = |ends| Entry { tag: 1, ends, backend: BackendId(1) };
        let round = 1 << SECOND_BITS;
        assert_eq!(entry(10).left(round - 20), 30);
        assert_eq!(entry(round - 20).left(10), 0);
        let whole = Entry { tag: (1 << 25) - 1, ends: round - 1, backend: BackendId((1 << 17) - 1) };
        let again = Entry::of(whole.word());
        assert_eq!((again.tag, again.ends, again.backend), (whole.tag, whole.ends, whole.backend));
    }
}

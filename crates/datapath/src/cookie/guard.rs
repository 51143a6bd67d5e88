//! Whether SYNs are answered with cookies at present, and whose are not.

use flow::FlowState;
use model::{Millis, UseOfCookies};

use super::mint::{LIFETIME, Mint};
use crate::{WorkerMeters, snapshot::Cookies};

/// Flows whose handshake is not complete, from which on `auto` answers with cookies; with half as many it ends.
const MOST_EMBRYONIC: usize = 16_384;
/// So many times as many flows that begin in one second are too many, however soon their handshakes end: a flood whose SYN-ACKs are
/// answered with resets, by those whose addresses it takes, leaves no handshake open. With half as many that ends.
const MOST_BEGUN: usize = 4;
/// Milliseconds.
const SECOND: u64 = 1000;
/// Sets of the allowlist; a power of two.
const SETS: usize = 4096;
/// Entries of a set: half a cache line.
const WAYS: usize = 4;
/// Bits of an entry that say when; the rest is of the source's hash.
const TIME_BITS: u32 = 40;

/// What one worker knows of the need for cookies.
pub(crate) struct Guard {
    pub(super) mint: Mint,
    /// Flows whose handshake is not complete.
    embryonic: usize,
    /// From so many on there are too many.
    most: usize,
    /// The same of those that begin in one second.
    most_begun: usize,
    is_engaged: bool,
    /// Which use of cookies concerns packets now: [`UseOfCookies::Always`], or while there may be cookies of it that come back
    /// [`UseOfCookies::Auto`] too.
    least: UseOfCookies,
    /// When `auto` has given the last one.
    last: Millis,
    /// This second and the one before.
    seconds: [Second; 2],
    /// When this second is over.
    ends: Millis,
    allowlist: Allowlist,
}

/// What has come in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Flows that began with a handshake.
    begun: usize,
    /// Cookies that `auto` has given, less those that came back.
    given: usize,
}

impl Guard {
    /// Of a worker whose table has room for so many flows.
    pub(crate) fn new(flows: usize) -> Self {
        // A smaller table is to keep room for others.
        let most = MOST_EMBRYONIC.min(flows.div_ceil(2)).max(1);
        Self {
            mint: Mint::new(),
            embryonic: 0,
            most,
            most_begun: most * MOST_BEGUN,
            is_engaged: false,
            least: UseOfCookies::Always,
            last: Millis(0),
            seconds: [Second::default(); 2],
            ends: Millis(0),
            allowlist: Allowlist(std::iter::repeat_n([0; WAYS], SETS).collect()),
        }
    }

    /// Whether any packet that continues no flow is to be looked at.
    #[inline(always)]
    pub(crate) fn concerns(&self, cookies: &Cookies) -> bool {
        cookies.use_of as u8 >= self.least as u8
    }

    /// Whether a SYN of a source, of which this is a hash, is answered with a cookie.
    pub(super) fn wants(&self, cookies: &Cookies, source: u64, now: Millis) -> bool {
        let is_wanted = match cookies.use_of {
            UseOfCookies::Off => false,
            UseOfCookies::Auto => self.is_engaged,
            UseOfCookies::Always => true,
        };
        // Who was known may have changed, or somebody speaks in his name: that is not to fill the table.
        is_wanted
            && (self.embryonic >= self.most || !self.allowlist.has(source, now, u64::from(cookies.allowlist)))
    }

    /// Notes that a cookie was given.
    pub(super) fn note_given(&mut self, cookies: &Cookies, now: Millis) {
        if cookies.use_of == UseOfCookies::Auto {
            self.last = now;
            let [second, _] = self.see_second(now);
            second.given += 1;
        }
    }

    /// Notes that a source, of which this is a hash, has brought a cookie back. Other handshakes do not count: that their last segment
    /// comes from who has got the one before is the backend's to know.
    pub(super) fn note_proof(&mut self, source: u64, now: Millis) {
        let [second, _] = self.see_second(now);
        second.given = second.given.saturating_sub(1);
        self.allowlist.note(source, now);
    }

    /// Notes that a flow was opened, and how far it is.
    #[inline(always)]
    pub(crate) fn opened(&mut self, state: FlowState, now: Millis) {
        if state == FlowState::Handshake {
            self.begin(now);
        }
    }

    /// Notes that there is one more flow whose handshake is not complete.
    #[inline]
    pub(crate) fn begin(&mut self, now: Millis) {
        let [second, _] = self.see_second(now);
        second.begun += 1;
        let begun = second.begun;
        self.embryonic += 1;
        if begun >= self.most_begun || self.embryonic >= self.most {
            self.is_engaged = true;
            self.least = UseOfCookies::Auto;
        }
    }

    /// Notes that a flow is over, if it was such a one.
    pub(crate) fn over(&mut self, was_embryonic: bool) {
        if was_embryonic {
            self.end();
        }
    }

    /// Notes that such a flow is complete, or over.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.embryonic = self.embryonic.saturating_sub(1);
    }

    /// Ends the use of cookies when it is time, and tells what there is of it. The flood that was answered with cookies opens no flows: as long as it
    /// would soon open too many again, it goes on.
    pub(crate) fn settle(&mut self, meters: &WorkerMeters, now: Millis) {
        let (embryonic, half) = (self.embryonic, self.most / 2);
        let seconds = *self.see_second(now);
        let is_calm = |second: &Second| {
            second.given <= half && second.begun + second.given <= half.saturating_mul(MOST_BEGUN)
        };
        if self.is_engaged && embryonic <= half && seconds.iter().all(is_calm) {
            self.is_engaged = false;
        }
        if !self.is_engaged && now.since(self.last) >= LIFETIME {
            self.least = UseOfCookies::Always;
        }
        meters.embryonic_flows.set(self.embryonic as u64);
        meters.cookies_engaged.set(u64::from(self.is_engaged));
    }

    /// This second and the one before.
    #[inline(always)]
    fn see_second(&mut self, now: Millis) -> &mut [Second; 2] {
        if now >= self.ends {
            self.turn(now);
        }
        &mut self.seconds
    }

    #[cold]
    fn turn(&mut self, now: Millis) {
        let [last, _] = self.seconds;
        let is_next = now.since(self.ends) < SECOND;
        self.seconds = [Second::default(), if is_next { last } else { Second::default() }];
        self.ends = Millis(now.0 - now.0 % SECOND + SECOND);
    }
}

/// Sources that have completed a handshake of late, with room for 16,384.
struct Allowlist(Box<[[u64; WAYS]]>);

impl Allowlist {
    const fn entry(source: u64, now: Millis) -> u64 {
        // One more: 0 is nobody's.
        source >> TIME_BITS << TIME_BITS | (now.0 + 1) & ((1 << TIME_BITS) - 1)
    }

    const fn time(entry: u64) -> u64 {
        entry & ((1 << TIME_BITS) - 1)
    }

    const fn is_of(entry: u64, source: u64) -> bool {
        entry != 0 && entry >> TIME_BITS == source >> TIME_BITS
    }

    fn has(&self, source: u64, now: Millis, within: u64) -> bool {
        let set = self.0.get(source as usize & (SETS - 1));
        let mut entries = set.into_iter().flatten().filter(|&&entry| Self::is_of(entry, source));
        entries.any(|&entry| (now.0 + 1).saturating_sub(Self::time(entry)) < within)
    }

    fn note(&mut self, source: u64, now: Millis) {
        let Some(set) = self.0.get_mut(source as usize & (SETS - 1)) else { return };
        // Its own, or else the oldest.
        let age = |entry: &&mut u64| if Self::is_of(**entry, source) { 0 } else { 1 + Self::time(**entry) };
        if let Some(entry) = set.iter_mut().min_by_key(age) {
            *entry = Self::entry(source, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTO: Cookies = Cookies { use_of: UseOfCookies::Auto, mss: 0, allowlist: 30_000 };
    const ALWAYS: Cookies = Cookies { use_of: UseOfCookies::Always, ..AUTO };
    const OFF: Cookies = Cookies { use_of: UseOfCookies::Off, ..AUTO };

    fn settle(guard: &mut Guard, now: u64) -> bool {
        guard.settle(&WorkerMeters::new(), Millis(now));
        guard.is_engaged
    }

    #[test]
    fn auto_begins_with_too_many_and_ends_with_half_of_them() {
        let mut guard = Guard::new(1 << 20);
        (0..16_383).for_each(|_| guard.begin(Millis(5)));
        assert!(!guard.concerns(&AUTO) && !guard.wants(&AUTO, 7, Millis(5)));
        guard.begin(Millis(5));
        assert!(guard.concerns(&AUTO) && guard.wants(&AUTO, 7, Millis(5)));
        (0..8191).for_each(|_| guard.end());
        assert!(settle(&mut guard, 2000));
        guard.end();
        assert!(!settle(&mut guard, 2000) && !guard.wants(&AUTO, 7, Millis(2000)));
    }

    #[test]
    fn who_is_known_goes_around_cookies_while_there_is_room() {
        let mut guard = Guard::new(16);
        guard.note_proof(7, Millis(1000));
        assert!(guard.wants(&ALWAYS, 8, Millis(2000)) && !guard.wants(&ALWAYS, 7, Millis(2000)));
        (0..8).for_each(|_| guard.begin(Millis(5)));
        assert!(guard.wants(&ALWAYS, 7, Millis(2000)) && guard.wants(&AUTO, 7, Millis(2000)));
    }

    #[test]
    fn auto_goes_on_while_a_flood_goes_on() {
        let mut guard = Guard::new(1 << 20);
        (0..16_384).for_each(|_| guard.begin(Millis(5)));
        (0..16_384).for_each(|_| guard.end());
        (0..8193).for_each(|_| guard.note_given(&AUTO, Millis(10_500)));
        assert!(settle(&mut guard, 10_999) && settle(&mut guard, 11_999));
        assert!(!settle(&mut guard, 12_000));
    }

    #[test]
    fn auto_begins_with_too_many_in_one_second_and_ends_with_half_of_them() {
        let mut guard = Guard::new(1 << 20);
        let flows = |guard: &mut Guard, count: usize, now: u64| {
            for _ in 0..count {
                guard.begin(Millis(now));
                guard.end();
            }
        };
        flows(&mut guard, 65_535, 1000);
        flows(&mut guard, 65_535, 2000);
        assert!(!guard.wants(&AUTO, 7, Millis(2000)) && !settle(&mut guard, 2999));
        flows(&mut guard, 1, 2999);
        assert!(guard.wants(&AUTO, 7, Millis(2999)));
        flows(&mut guard, 32_769, 3000);
        assert!(
            settle(&mut guard, 3999) && settle(&mut guard, 4000),
            "there are still more than half as many"
        );
        flows(&mut guard, 32_768, 4000);
        assert!(settle(&mut guard, 4999) && !settle(&mut guard, 5000));
    }

    #[test]
    fn cookies_that_come_back_keep_nothing_going() {
        let mut guard = Guard::new(1 << 20);
        (0..16_384).for_each(|_| guard.begin(Millis(10_000)));
        (0..16_384).for_each(|_| guard.end());
        for source in 0..10_000 {
            guard.note_given(&AUTO, Millis(11_000));
            guard.note_proof(source << TIME_BITS, Millis(11_000));
        }
        assert!(!settle(&mut guard, 11_000));
    }

    #[test]
    fn cookies_that_may_come_back_are_looked_for() {
        let mut guard = Guard::new(8);
        (0..4).for_each(|_| guard.begin(Millis(5)));
        guard.note_given(&AUTO, Millis(1000));
        (0..4).for_each(|_| guard.end());
        assert!(!settle(&mut guard, 3000) && guard.concerns(&AUTO));
        settle(&mut guard, 1000 + LIFETIME);
        assert!(!guard.concerns(&AUTO) && guard.concerns(&ALWAYS) && !guard.concerns(&OFF));
    }

    #[test]
    fn a_small_table_begins_when_half_of_it_is_taken() {
        for (flows, most) in [(16, 8), (1, 1), (0, 1), (1 << 14, 1 << 13)] {
            let mut guard = Guard::new(flows);
            (0..most - 1).for_each(|_| guard.begin(Millis(5)));
            assert!(!guard.is_engaged, "{flows}");
            guard.begin(Millis(5));
            assert!(guard.is_engaged, "{flows}");
        }
    }

    #[test]
    fn a_source_goes_around_cookies_as_long_as_it_is_told() {
        let mut guard = Guard::new(100);
        let source = 0xabcd_ef01_0000_0123;
        assert!(guard.wants(&ALWAYS, source, Millis(0)) && guard.wants(&ALWAYS, 0, Millis(0)));
        guard.note_proof(source, Millis(1000));
        assert!(!guard.wants(&ALWAYS, source, Millis(1000)) && !guard.wants(&ALWAYS, source, Millis(30_999)));
        assert!(guard.wants(&ALWAYS, source, Millis(31_000)));
        assert!(
            guard.wants(&ALWAYS, source ^ 1 << 50, Millis(1000))
                && guard.wants(&ALWAYS, source ^ 1, Millis(1000))
        );
        let never = Cookies { allowlist: 0, ..ALWAYS };
        assert!(guard.wants(&never, source, Millis(1000)));
    }

    #[test]
    fn the_allowlist_forgets_who_was_there_first() {
        let mut list = Allowlist(vec![[0; WAYS]; SETS].into());
        let source = |number: u64| number << TIME_BITS;
        (1..=5).for_each(|number| list.note(source(number), Millis(number * 10)));
        let known = [1, 2, 3, 4, 5].map(|number| list.has(source(number), Millis(50), 1000));
        assert_eq!(known, [false, true, true, true, true]);
    }
}

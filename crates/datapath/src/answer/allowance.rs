//! How many ICMP errors a worker may send (RFC 1812, 4.3.2.8; RFC 4443, 2.4 (f)): a token bucket, so that nobody makes the
//! gateway talk without end to a source that may be forged.

use model::Millis;

/// Errors that may follow one another at once.
const MOST: u32 = 50;

/// A bucket that gains a token every millisecond.
pub(crate) struct Allowance {
    left: u32,
    /// When it was looked at last.
    seen: Millis,
}

impl Allowance {
    /// A full one.
    pub(crate) const fn new() -> Self {
        Self { left: MOST, seen: Millis(0) }
    }

    /// Takes a token; false when there is none.
    pub(crate) fn take(&mut self, now: Millis) -> bool {
        let gained = now.since(self.seen).min(u64::from(MOST)) as u32;
        self.seen = now;
        self.left = (self.left + gained).min(MOST);
        let has_any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        has_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_has_and_then_one_a_millisecond() {
        let mut allowance = Allowance::new();
        let take_all =
            |allowance: &mut Allowance, now| (0..1000).filter(|_| allowance.take(Millis(now))).count();
        assert_eq!(take_all(&mut allowance, 1000), 50);
        assert_eq!(take_all(&mut allowance, 1003), 3);
        assert_eq!(take_all(&mut allowance, 100_000), 50, "it does not save up more");
        assert_eq!(take_all(&mut allowance, 99_000), 0, "a clock that goes back gives nothing");
    }
}

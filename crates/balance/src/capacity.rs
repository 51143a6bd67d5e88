//! What backends are able to take, told from what they have taken: what `adaptive` weighs flows with.
//!
//! A byte rate alone says little. A backend may take few bytes because it is slow, or because nobody sends it more; and a backend
//! with more flows takes more bytes than others for that reason only. So two questions are asked of each backend that
//! has flows, of the last seconds:
//!
//! - do its flows go slower (or faster) than the pool's do on average?
//! - does it take less (or more) than the share of the pool's bytes that its capacity so far promises?
//!
//! Only when both answers agree its capacity changes, by the lesser of the two. Where clients send less than backends can
//! take, all flows go alike and nothing is learned; a backend that has as many flows as it deserves has flows as fast as the
//! others', and one that has too many takes its share: both are left alone.
//!
//! What was learned is forgotten slowly: so a backend that got nothing because it was slow is tried again. A trial lasts as long as the
//! flow that it is made with, so where flows live long it is forgotten the more slowly.

/// Seconds in which what was seen loses most of its say (to 1/e).
const MEMORY: f64 = 1.0;
/// The part of a difference that one second makes up for.
const HASTE: f64 = 4.0;
/// Seconds in which what was learned is forgotten (to 1/e): at least and at most, and how many lives of the pool's flows in between.
const FORGETTING: (f64, f64) = (120.0, 1200.0);
const LIVES: f64 = 10.0;
/// Seconds in which how long flows live is told.
const OBSERVATION: f64 = 600.0;
/// The natural logarithm of 64, the greatest capacity and one divided by the smallest.
const MOST: f64 = 4.158_883_083_359_672;

/// A backend that took less than this part of what another took has nothing to do.
const IDLE: u64 = 256;
/// Flows that a backend must have had lately to be judged by what it took.
const LEAST: f64 = 0.05;

/// What is known of a backend's capacity.
#[derive(Clone, Copy, Debug, Default)]
pub struct Capacity {
    /// The logarithm of its capacity, relative to its weight.
    learned: f64,
    /// Bytes in a second, lately.
    rate: f64,
    /// Flows that it had meanwhile.
    flows: f64,
    /// Flows that it had for longer.
    open: f64,
    /// Flows that were opened in a second, meanwhile.
    opened: f64,
}

/// What a backend has done in a stretch of time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Bytes that it has taken and given.
    pub bytes: u64,
    /// Flows that it has at the end.
    pub flows: u64,
    /// Flows that were opened.
    pub opened: u64,
    /// Its weight relative to the others'.
    pub weight: u32,
}

impl Capacity {
    /// What the backend is able to take relative to its weight: 1 as the others, 0.1 a tenth.
    #[must_use]
    pub fn relative(&self) -> f64 {
        self.learned.exp()
    }

    fn see(&mut self, work: &Work, seconds: f64, least: u64) {
        if work.bytes > least || work.flows == 0 {
            let fresh = 1.0 - (-seconds / MEMORY).exp();
            self.rate += (work.bytes as f64 / seconds - self.rate) * fresh;
            self.flows += (work.flows as f64 - self.flows) * fresh;
        }
        let fresh = 1.0 - (-seconds / OBSERVATION).exp();
        self.open += (work.flows as f64 - self.open) * fresh;
        self.opened += (work.opened as f64 / seconds - self.opened) * fresh;
    }
}

/// Learns from what the backends of a pool have done in the last `seconds`.
pub fn measure(pool: &mut [(Capacity, Work)], seconds: f64) {
    let (mut rate, mut flows, mut promised) = (0.0, 0.0, 0.0);
    let kept = (-seconds / forgetting(pool)).exp();
    let least = pool.iter().map(|(_, work)| work.bytes).max().unwrap_or_default() / IDLE;
    for (capacity, work) in pool.iter_mut() {
        capacity.learned *= kept;
        capacity.see(work, seconds, least);
        if is_busy(capacity, work, least) {
            rate += capacity.rate;
            flows += capacity.flows;
            promised += capacity.relative() * f64::from(work.weight);
        }
    }
    if rate <= 0.0 || promised <= 0.0 {
        return;
    }
    for (capacity, work) in pool.iter_mut().filter(|(capacity, work)| is_busy(capacity, work, least)) {
        let by_flow = capacity.rate / capacity.flows / (rate / flows);
        let by_share = capacity.rate / rate / (capacity.relative() * f64::from(work.weight) / promised);
        let step = lesser(by_flow.max(f64::MIN_POSITIVE).ln(), by_share.max(f64::MIN_POSITIVE).ln());
        capacity.learned = (capacity.learned + step * (HASTE * seconds).min(1.0)).clamp(-MOST, MOST);
    }
    centre(pool);
}

/// Moves all so that their mean by weight is 0: capacities are relative to each other.
fn centre(pool: &mut [(Capacity, Work)]) {
    let (mut sum, mut weights) = (0.0, 0.0);
    for (capacity, work) in pool.iter() {
        sum += capacity.learned * f64::from(work.weight);
        weights += f64::from(work.weight);
    }
    let mean = if weights > 0.0 { sum / weights } else { 0.0 };
    for (capacity, _) in pool {
        capacity.learned = (capacity.learned - mean).clamp(-MOST, MOST);
    }
}

/// Seconds in which what was learned of a pool is forgotten. How long flows live is told by how many there are and how many
/// come (Little's law).
fn forgetting(pool: &[(Capacity, Work)]) -> f64 {
    let open: f64 = pool.iter().map(|(capacity, _)| capacity.open).sum();
    let opened: f64 = pool.iter().map(|(capacity, _)| capacity.opened).sum();
    let life = open / opened.max(f64::MIN_POSITIVE);
    (LIVES * life).clamp(FORGETTING.0, FORGETTING.1)
}

/// Whether a backend can be judged by what it took: one that took nearly nothing has flows that wait for their clients, as kept
/// connections do.
fn is_busy(capacity: &Capacity, work: &Work, least: u64) -> bool {
    work.flows > 0 && work.bytes > least && capacity.flows >= LEAST
}

/// The one closer to 0 if both are on one side of it; otherwise 0.
fn lesser(one: f64, other: f64) -> f64 {
    if one * other <= 0.0 {
        0.0
    } else if one.abs() < other.abs() {
        one
    } else {
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known after 40 looks at backends with these bytes and flows.
    fn learned(work: &[(u64, u64)]) -> Vec<f64> {
        let mut pool: Vec<_> = work
            .iter()
            .map(|&(bytes, flows)| (Capacity::default(), Work { bytes, flows, opened: 1, weight: 10 }))
            .collect();
        (0..40).for_each(|_| measure(&mut pool, 0.25));
        pool.iter().map(|(capacity, _)| capacity.relative()).collect()
    }

    /// The first one's capacity, of the second one's.
    fn to_another(pool: &[(Capacity, Work)]) -> f64 {
        pool[0].0.relative() / pool[1].0.relative()
    }

    #[test]
    fn a_backend_whose_flows_wait_for_their_clients_is_not_judged() {
        let mut pool = vec![(Capacity::default(), Work { bytes: 1000, flows: 4, opened: 4, weight: 1 }); 4];
        (0..20).for_each(|_| measure(&mut pool, 0.25));
        pool[0].1.bytes = 0;
        (0..20).for_each(|_| measure(&mut pool, 0.25));
        assert!((to_another(&pool) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_slow_backend_has_the_capacity_that_it_shows() {
        let known = learned(&[(1000, 4), (1000, 4), (100, 4), (1000, 4)]);
        assert!((known[2] / known[0] - 0.1).abs() < 0.02, "{known:?}");
    }

    #[test]
    fn fewer_bytes_of_fewer_flows_say_nothing() {
        for capacity in learned(&[(500, 5), (400, 4), (100, 1), (900, 9)]) {
            assert!((capacity - 1.0).abs() < 1e-6, "{capacity}");
        }
    }

    #[test]
    fn a_slow_backend_with_as_few_flows_as_it_deserves_is_left_alone() {
        let mut pool = vec![(Capacity::default(), Work { bytes: 100, flows: 4, opened: 4, weight: 1 }); 4];
        pool.iter_mut().skip(1).for_each(|(_, work)| work.bytes = 1000);
        (0..20).for_each(|_| measure(&mut pool, 0.25));
        let before = to_another(&pool);
        pool.iter_mut().skip(1).for_each(|(_, work)| work.flows = 40);
        (0..8).for_each(|_| measure(&mut pool, 0.25));
        assert!((to_another(&pool) / before - 1.0).abs() < 0.1);
    }

    #[test]
    fn what_was_learned_of_a_backend_without_flows_is_forgotten() {
        let mut pool = vec![(Capacity::default(), Work { bytes: 1000, flows: 4, opened: 4, weight: 1 }); 4];
        pool[0].1.bytes = 100;
        (0..20).for_each(|_| measure(&mut pool, 0.25));
        let slow = to_another(&pool);
        pool[0].1 = Work { bytes: 0, flows: 0, opened: 0, weight: 1 };
        (0..480).for_each(|_| measure(&mut pool, 0.25));
        let later = to_another(&pool);
        assert!(slow < 0.15 && (0.3..0.7).contains(&later), "{slow}, {later}");
    }

    #[test]
    fn what_was_learned_from_flows_that_live_long_is_forgotten_slowly() {
        // Of three backends with flows that stay, one is slow, and has none at last.
        let work = |bytes, flows| Work { bytes, flows, opened: 0, weight: 1 };
        let mut pool = vec![(Capacity::default(), work(1000, 4)); 3];
        pool[0].1.bytes = 100;
        (0..20).for_each(|_| measure(&mut pool, 0.25));
        let slow = to_another(&pool);
        pool[0].1 = work(0, 0);
        (0..480).for_each(|_| measure(&mut pool, 0.25));
        let later = to_another(&pool);
        assert!(slow < 0.15 && later < 1.3 * slow, "{slow}, {later}");
    }

    #[test]
    fn nothing_is_learned_of_nothing() {
        measure(&mut [], 0.25);
        for capacity in learned(&[(0, 0), (0, 3), (0, 4)]) {
            assert!((capacity - 1.0).abs() < 1e-6, "{capacity}");
        }
    }

    #[test]
    fn capacities_have_bounds() {
        for capacity in learned(&[(u64::MAX, 1), (1, 1 << 40), (0, 1)]) {
            assert!((1.0 / 64.01..64.01).contains(&capacity), "{capacity}");
        }
    }
}

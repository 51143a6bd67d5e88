//! Visiting flows that no packet asks for: all in turn, and in lists.

use arrayvec::ArrayVec;

use super::FlowTable;
use crate::{Flow, place::FlowIndex, record::Tracked, sets::WAYS};

/// Flows that a scan removes together, at most, so that their cache misses overlap.
const DOOMED: usize = 2 * WAYS;

/// What becomes of a flow that was visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It is removed.
    Remove,
}

impl FlowTable {
    /// Visits the next `budget` flows, and at most those of its set more, beginning where it left off last time and going round,
    /// and removes those that `decide` wants removed. Returns how many those were. Where there are few flows it looks at
    /// no more than half as many sets. No flow is visited twice in one call.
    pub fn scan(&mut self, budget: usize, mut decide: impl FnMut(FlowIndex, Tracked<'_>) -> Fate) -> usize {
        let (before, mut visited) = (self.len(), 0);
        let mut doomed = ArrayVec::<FlowIndex, DOOMED>::new();
        for _ in 0..self.sets.count().min(budget.div_ceil(2)) {
            if visited >= budget {
                break;
            }
            self.hand = if self.hand < self.sets.count() { self.hand } else { 0 };
            for position in self.sets.taken(self.hand) {
                visited += 1;
                let index = FlowIndex(position as u32);
                if self.tracked(index).is_some_and(|flow| decide(index, flow) == Fate::Remove) {
                    self.prefetch_removal(index);
                    doomed.push(index);
                }
            }
            self.hand += 1;
            if doomed.remaining_capacity() < WAYS {
                self.remove_all(&mut doomed);
            }
        }
        self.remove_all(&mut doomed);
        before - self.len()
    }

    /// Calls of [`FlowTable::scan`] with this budget after which all flows have been visited.
    #[must_use]
    pub fn scans_for_all(&self, budget: usize) -> usize {
        (self.sets.count() / budget.div_ceil(2).max(1)) + self.len() / budget.max(1) + 1
    }

    fn remove_all(&mut self, doomed: &mut ArrayVec<FlowIndex, DOOMED>) {
        for index in doomed.drain(..) {
            self.remove(index);
        }
    }

    /// Asks for the memory that removing a flow needs besides its own.
    fn prefetch_removal(&self, index: FlowIndex) {
        if let Some(flow) = self.flow(index) {
            let hashes = self.indexed_keys(&flow, self.sets.is_guest(index.0 as usize));
            hashes.iter().flatten().for_each(|&hash| self.index.prefetch(hash));
        }
    }

    /// At most `rows` flows, from a position on, within `budget` positions; and the position to go on with, if any is left.
    pub fn list(
        &self,
        from: u32,
        (rows, budget): (usize, usize),
        mut see: impl FnMut(FlowIndex, Flow),
    ) -> Option<u32> {
        let end = self.hot.len().min((from as usize).saturating_add(budget));
        let mut seen = 0;
        for position in from as usize..end {
            if seen == rows {
                return Some(position as u32);
            }
            let index = FlowIndex(position as u32);
            if self.sets.is_taken(position)
                && let Some(flow) = self.flow(index)
            {
                see(index, flow);
                seen += 1;
            }
        }
        (end < self.hot.len()).then_some(end as u32)
    }
}

#[cfg(test)]
mod tests {
    use model::Mode;

    use super::*;
    use crate::{
        flow::tests::flow,
        table::tests::{find, list, table},
    };

    /// A table with flows 0 to 99, and how many positions it has.
    fn hundred() -> (FlowTable, usize) {
        let mut table = table(100);
        (0..100).for_each(|number| assert!(table.insert(&flow(number, Mode::Nat)).is_ok()));
        let positions = table.hot.len();
        (table, positions)
    }

    #[test]
    fn a_scan_goes_round_within_its_budget_and_visits_each_flow_once_a_round() {
        let (mut table, positions) = hundred();
        let gone = find(&table, &flow(40, Mode::Nat).client).unwrap().index;
        table.remove(gone).unwrap();
        let mut visits = vec![0; positions];
        for _ in 0..2 * table.sets.count() {
            let mut visited = 0;
            table.scan(1, |index, flow| {
                visited += 1;
                visits[index.0 as usize] += 1;
                flow.hot.set_marks(1);
                Fate::Keep
            });
            assert!(visited <= WAYS);
        }
        assert_eq!(visits.iter().filter(|&&visits| visits == 2).count(), 99);
        assert_eq!(visits[gone.0 as usize], 0);
        table.scan(usize::MAX, |index, _| {
            visits[index.0 as usize] += 1;
            Fate::Keep
        });
        assert_eq!(visits.iter().sum::<i32>(), 99 * 3);
    }

    #[test]
    fn a_scan_removes_what_is_to_be_removed() {
        let (mut table, positions) = hundred();
        let odd = |_, flow: Tracked<'_>| if flow.hot.backend.0 % 2 == 1 { Fate::Remove } else { Fate::Keep };
        let removed: usize = (0..positions / 10).map(|_| table.scan(10, odd)).sum();
        assert_eq!((removed, table.scan(usize::MAX, odd)), (50, 0));
        assert_eq!(table.len(), 50);
        assert!(list(&table).iter().all(|flow| flow.backend.0 % 2 == 0));
        assert_eq!(find(&table, &flow(1, Mode::Nat).reply), None);
    }

    #[test]
    fn a_scan_of_a_table_with_few_flows_is_bounded_too() {
        let mut table = table(100_000);
        (0..10).for_each(|number| assert!(table.insert(&flow(number, Mode::Nat)).is_ok()));
        table.scan(64, |_, _| Fate::Keep);
        assert_eq!(table.hand, 32);
        let mut visited = 0;
        for _ in 0..table.scans_for_all(64) {
            table.scan(64, |_, _| (visited += 1, Fate::Keep).1);
        }
        assert!(visited >= 10);
    }

    #[test]
    fn scanning_and_listing_an_empty_table_finds_nothing() {
        let mut table = table(100);
        assert_eq!(table.scan(10, |_, _| Fate::Remove), 0);
        assert!(list(&table).is_empty());
    }

    #[test]
    fn a_list_is_taken_in_parts() {
        let (table, positions) = hundred();
        for (rows, budget) in [(7, usize::MAX), (usize::MAX, 11), (7, 11)] {
            let (mut next, mut seen, mut parts) = (Some(0), Vec::new(), 0);
            while let Some(from) = next {
                let before = seen.len();
                next = table.list(from, (rows, budget), |_, flow| seen.push(flow.backend.0));
                assert!(seen.len() - before <= rows.min(budget));
                parts += 1;
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
            assert!(parts >= positions / budget.min(positions));
        }
    }
}

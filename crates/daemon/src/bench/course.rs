//! Which flow's packet comes next.
//!
//! Flows are taken in groups; a group makes each step of the script before the next group begins. Within a group they come
//! in an order that neither caches nor their prefetchers can make use of: each is a fixed stride, about 0.618 of all,
//! behind the one before it.

/// The golden section: what follows each other lies far apart, whatever came before.
const SECTION: f64 = 0.618_033_988_749_895;

/// Where in the course of all packets one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Course {
    flows: u64,
    stride: u64,
    /// Positions that are come to; all, unless a part is enough.
    end: u64,
    group: u64,
    steps: usize,
    /// Whether it begins again at its end.
    endless: bool,
    /// The position at which the group begins.
    start: u64,
    step: usize,
    /// Flows of the group that have made the step.
    done: u64,
    /// The number of the first flow.
    lowest: u32,
}

/// Packets of consecutive positions and the same step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Which step of the script.
    pub(super) step: usize,
    /// The first packet's position in the order of flows.
    pub(super) position: usize,
    /// How many packets.
    pub(super) count: usize,
    flow: u64,
    flows: u64,
    stride: u64,
    lowest: u32,
}

impl Course {
    /// One step, again and again.
    pub(super) fn endless(flows: u32) -> Self {
        Self { endless: true, ..Self::once(flows, 1, flows) }
    }

    /// All steps once, `group` flows at a time.
    pub(super) fn once(flows: u32, steps: usize, group: u32) -> Self {
        let (flows, group) = (u64::from(flows), u64::from(group.max(1)));
        let stride = stride(flows);
        Self {
            flows,
            stride,
            end: flows,
            group,
            steps,
            endless: false,
            start: 0,
            step: 0,
            done: 0,
            lowest: 0,
        }
    }

    /// One step once, in the order of the flows' numbers.
    pub(super) fn in_order(flows: u32) -> Self {
        Self { stride: 1, ..Self::once(flows, 1, flows) }
    }

    /// The same by flows whose numbers begin with `lowest`.
    pub(super) const fn beyond(self, lowest: u32) -> Self {
        Self { lowest, ..self }
    }

    /// Packets of the step that the group has yet to make.
    #[inline]
    pub(super) fn left(&self) -> usize {
        (self.group.min(self.end - self.start) - self.done) as usize
    }

    /// Packets that are not endless.
    pub(super) const fn packets(&self) -> u64 {
        self.end * self.steps as u64
    }

    /// All steps once, from the beginning, by the flows at the first `positions`.
    pub(super) fn first(self, positions: u32) -> Self {
        let end = self.flows.min(u64::from(positions));
        Self { end, endless: false, start: 0, step: 0, done: 0, ..self }
    }

    /// The next packets, `limit` at most; `None` at the end.
    #[inline]
    pub(super) fn take(&mut self, limit: usize) -> Option<Run> {
        let size = self.group.min(self.end - self.start);
        if size == 0 || limit == 0 {
            return None;
        }
        let count = (size - self.done).min(limit as u64);
        let position = self.start + self.done;
        let run = Run {
            step: self.step,
            position: position as usize,
            count: count as usize,
            flow: position * self.stride % self.flows,
            flows: self.flows,
            stride: self.stride,
            lowest: self.lowest,
        };
        self.done += count;
        if self.done == size {
            self.end_step(size);
        }
        Some(run)
    }

    fn end_step(&mut self, size: u64) {
        self.done = 0;
        self.step += 1;
        if self.step == self.steps {
            self.step = 0;
            self.start += size;
            if self.endless && self.start == self.end {
                self.start = 0;
            }
        }
    }
}

impl Run {
    /// The numbers of the flows.
    #[inline(always)]
    pub(super) fn flows(&self) -> impl Iterator<Item = u32> + use<> {
        let (mut next, stride, flows, lowest) = (self.flow, self.stride, self.flows, self.lowest);
        (0..self.count).map(move |_| {
            let flow = lowest + next as u32;
            next += stride;
            if next >= flows {
                next -= flows;
            }
            flow
        })
    }
}

/// About [`SECTION`] of `flows`, without a common divisor: multiples of it come to each number once before they repeat.
fn stride(flows: u64) -> u64 {
    let near = (flows as f64 * SECTION) as u64;
    (near..flows).find(|&stride| divisor(stride, flows) == 1).unwrap_or(1)
}

/// The greatest common divisor (Euclid).
const fn divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut course: Course, limit: usize) -> Vec<(usize, u32)> {
        let runs = std::iter::from_fn(|| course.take(limit));
        runs.take(1000)
            .flat_map(|run| run.flows().map(move |flow| (run.step, flow)).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn each_flow_comes_once_and_not_in_order() {
        for flows in [64, 100, 4096] {
            let mut course: Vec<u32> =
                all(Course::once(flows, 1, flows), 32).iter().map(|&(_, flow)| flow).collect();
            assert!(!course.is_sorted());
            course.sort_unstable();
            assert_eq!(course, (0..flows).collect::<Vec<_>>());
        }
        assert!(all(Course::in_order(100), 32).is_sorted());
    }

    #[test]
    fn a_group_makes_all_steps_before_the_next_one_begins() {
        let course = Course::once(96, 3, 64);
        let steps: Vec<usize> = all(course, 32).iter().map(|&(step, _)| step).collect();
        let expected =
            [vec![0; 64], vec![1; 64], vec![2; 64], vec![0; 32], vec![1; 32], vec![2; 32]].concat();
        assert_eq!((steps, course.packets()), (expected, 288));
        let packets = all(course, 7);
        assert_eq!(
            packets[..64].iter().map(|packet| packet.1).collect::<Vec<_>>(),
            packets[64..128].iter().map(|packet| packet.1).collect::<Vec<_>>()
        );
    }

    #[test]
    fn flows_can_begin_with_any_number() {
        let mut course = Course::in_order(64).beyond(1000);
        assert_eq!(course.left(), 64);
        course.take(40);
        assert_eq!(course.left(), 24);
        assert_eq!(
            all(course, 32).iter().map(|&(_, flow)| flow).collect::<Vec<_>>(),
            (1040..1064).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_endless_course_begins_again_and_its_first_part_does_not() {
        let mut course = Course::endless(64);
        let rounds: Vec<Run> = (0..4).filter_map(|_| course.take(32)).collect();
        assert_eq!(rounds[0], rounds[2]);
        assert_ne!(rounds[0], rounds[1]);
        let whole = all(Course::once(4096, 1, 4096), 32);
        assert_eq!(all(Course::endless(4096).first(100), 32), whole[..100]);
    }
}

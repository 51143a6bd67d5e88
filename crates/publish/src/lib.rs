//! One writer, many readers, whole snapshots: the way by which control tells workers what is balanced to where.
//!
//! # What it costs
//!
//! - **Readers never wait.** [`Reader::current`] is one atomic load of a line that nobody writes while nothing changes;
//!   when something did, one more store, to a line that this reader alone writes.
//! - **The writer pays.** Every change is a whole new value, and the old one stays in memory until each reader has asked
//!   for the current value again. A reader that stalls delays the freeing of memory, nothing else: publishing goes on,
//!   and so do the other readers.
//! - **One writer, a fixed number of readers.** Both are known at start, so that there is no list of readers to maintain.
//! - **A reader sees the latest value, not each value.** What was replaced before it looked is never seen by it.
//! - **The freeing is done where it is harmless.** A reader runs no destructor, unless it is the last one alive after
//!   the publisher is gone.
//!
//! # Use
//!
//! ```
//! let (mut publisher, mut readers) = publish::channel("first", 1);
//! let mut reader = readers.remove(0);
//! assert_eq!(*reader.current(), "first");
//!
//! assert_eq!(publisher.publish("second"), 1);
//! assert_eq!(publisher.reclaim(), 1); // the reader may still look at the first one
//! assert_eq!(*reader.current(), "second");
//! assert_eq!(publisher.acknowledged(), 1);
//! assert_eq!(publisher.reclaim(), 0);
//! ```
//!
//! # Why it is right
//!
//! Values are numbered in the order of their publication: the first is 0. Each lives in a *node* with its number. Each
//! reader has a *slot*: the number that it acknowledged last.
//!
//! 1. `current` points to the node with the highest number; only the publisher writes it (by `&mut self`).
//! 2. A node is written before it is published and never after. Publishing is a release, a reader's load an acquire: who
//!    has the pointer sees the whole node.
//! 3. A reader holds one node, whose number stands in its slot or is about to be stored there. Numbers in a slot only
//!    rise.
//! 4. A reference that [`Reader::current`] returned ends before the next call of it (the borrow checker sees to that),
//!    thus before a higher number is stored in the slot.
//! 5. A node is freed only after `current` has ceased to point to it, and only when each slot has a number higher than
//!    its own. The store to the slot is a release, the publisher's load of it an acquire: what the reader did with the
//!    node happened before the freeing.
//!
//! The races, one by one:
//!
//! - *A reader has loaded the pointer to node k and not yet stored k when the publisher replaces and reclaims k.* Its slot
//!   still has a lower number j < k, so k is not freed (5).
//! - *It stores k when k has been replaced long ago.* All the same: slot = k keeps k and everything above (5); it holds
//!   nothing below (4).
//! - *A node is freed and a new one is made at the same address, so that the reader takes new for old.* The reader
//!   compares with the node that it holds, which is not freed while it holds it (5), so no new node is at that address.
//! - *A reader is dropped while the publisher reads the slots.* Its last store says that it has moved past everything, a
//!   release as any other; it is the last thing that the reader does.
//! - *The publisher is dropped before the readers.* Nobody frees any more; all nodes live until the last of them is
//!   dropped, and that one frees them, alone.
//!
//! The schedules of these are explored with loom: `RUSTFLAGS="--cfg loom" cargo test -p publish --release --lib`.
//!
//! What it leaves to others: what is published, and when to call [`Publisher::reclaim`].
#![allow(
    unsafe_code,
    reason = "a node is reached by a raw pointer; numbered invariants above say why that is right"
)]

mod sync;

use std::{fmt, ptr};

use crossbeam::utils::CachePadded;

use crate::sync::{Arc, AtomicPtr, AtomicU64, Mutex, Ordering, PoisonError};

/// What the slot of a dropped reader says: higher than every number.
const GONE: u64 = u64::MAX;

struct Node<T> {
    number: u64,
    value: T,
}

/// A node that was replaced: reachable by the readers that hold it, and freed by [`Shared`].
struct Retired<T> {
    number: u64,
    node: *mut Node<T>,
}

struct Shared<T> {
    current: CachePadded<AtomicPtr<Node<T>>>,
    acknowledged: Box<[CachePadded<AtomicU64>]>,
    /// Locked by the publisher only. It lies here and not in the publisher so that it outlives it.
    retired: Mutex<Vec<Retired<T>>>,
}

// SAFETY: sending it sends the values in its nodes, and drops them in another thread, which holds because `T: Send`.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: sharing it shares the values in its nodes (`T: Sync`) and lets another thread drop them (`T: Send`); its own
// fields are atomics and a mutex.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let retired = self.retired.get_mut().unwrap_or_else(PoisonError::into_inner);
        let nodes = retired.drain(..).map(|retired| retired.node);
        for node in nodes.chain([self.current.load(Ordering::Acquire)]) {
            // SAFETY: the node must be unreachable and come from `Box::into_raw`, which holds because publisher and
            // readers are gone (we are dropped) and each node is either current or retired, never both.
            drop(unsafe { Box::from_raw(node) });
        }
    }
}

/// The one that publishes.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    number: u64,
}

/// One that reads. Each thread that reads has its own.
///
/// It can be sent to another thread, and not be shared: what one thread acknowledged another might still look at.
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>(_: T) {}
/// let (_, mut readers) = publish::channel(1, 1);
/// shared(readers.remove(0));
/// ```
///
/// A value is looked at until the next one is asked for:
///
/// ```compile_fail,E0499
/// let (_, mut readers) = publish::channel(String::new(), 1);
/// let reader = &mut readers[0];
/// let first = reader.current();
/// let second = reader.current();
/// println!("{first}{second}");
/// ```
///
/// Nor does it outlive the reader:
///
/// ```compile_fail,E0505
/// let (_, mut readers) = publish::channel(String::new(), 1);
/// let mut reader = readers.remove(0);
/// let value = reader.current();
/// drop(reader);
/// println!("{value}");
/// ```
///
/// What cannot cross threads cannot be read from another one:
///
/// ```compile_fail,E0277
/// let _ = publish::channel(std::rc::Rc::new(1), 1);
/// ```
pub struct Reader<T> {
    shared: Arc<Shared<T>>,
    slot: usize,
    held: *const Node<T>,
}

// SAFETY: the held node is reached from another thread, which holds because `T: Sync`; and the last reader may drop
// values there, which holds because `T: Send`. Nothing in a reader belongs to a thread.
unsafe impl<T: Send + Sync> Send for Reader<T> {}

/// A publisher whose current value is `first` (number 0), and `readers` readers of it.
pub fn channel<T: Send + Sync>(first: T, readers: usize) -> (Publisher<T>, Vec<Reader<T>>) {
    let node = Box::into_raw(Box::new(Node { number: 0, value: first }));
    let shared = Arc::new(Shared {
        current: CachePadded::new(AtomicPtr::new(node)),
        acknowledged: (0..readers).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
        retired: Mutex::new(Vec::new()),
    });
    let readers = (0..readers).map(|slot| Reader { shared: Arc::clone(&shared), slot, held: node }).collect();
    (Publisher { shared, number: 0 }, readers)
}

impl<T: Send + Sync> Publisher<T> {
    /// Makes `value` the current one and returns its number: 1 for the first call, one more for each after it.
    ///
    /// The value that it replaces is kept until [`Publisher::reclaim`] finds that nobody looks at it.
    pub fn publish(&mut self, value: T) -> u64 {
        let replaced = self.number;
        self.number += 1;
        let node = Box::into_raw(Box::new(Node { number: self.number, value }));
        let old = self.shared.current.swap(node, Ordering::AcqRel);
        let mut retired = self.shared.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.push(Retired { number: replaced, node: old });
        self.number
    }

    /// The value that was published last.
    #[must_use]
    pub fn current(&self) -> &T {
        let node = self.shared.current.load(Ordering::Acquire);
        // SAFETY: the node must live as long as `&self`, which holds because only `publish` retires it and only after
        // that `reclaim` frees it, and both need `&mut self`; the shared part outlives us.
        let node = unsafe { &*node };
        &node.value
    }

    /// The number that every reader has reached; readers that were dropped do not count.
    ///
    /// Without any reader, the number published last.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let slots = self.shared.acknowledged.iter().map(|slot| slot.load(Ordering::Acquire));
        slots.fold(self.number, u64::min)
    }

    /// Drops, here and now, each replaced value that all readers have moved past; returns how many are still waiting.
    pub fn reclaim(&mut self) -> usize {
        let reached = self.acknowledged();
        let mut retired = self.shared.retired.lock().unwrap_or_else(PoisonError::into_inner);
        // Ascending by number: they were appended as they were replaced.
        let free = retired.partition_point(|retired| retired.number < reached);
        for freed in retired.drain(..free) {
            // SAFETY: no reader may hold the node and it must come from `Box::into_raw`, which holds because each slot
            // has a number above its own (5), it is not current (it was replaced), and it leaves the list here.
            drop(unsafe { Box::from_raw(freed.node) });
        }
        retired.len()
    }
}

impl<T: Send + Sync> Reader<T> {
    /// The current value. It stays as it is, and alive, until this is called again.
    #[inline]
    pub fn current(&mut self) -> &T {
        let current: *const Node<T> = self.shared.current.load(Ordering::Acquire);
        if !ptr::eq(current, self.held) {
            self.take(current);
        }
        // SAFETY: the node must be alive until the next call, which holds because its number is in our slot (3), so that
        // it is not freed (5).
        let node = unsafe { &*self.held };
        &node.value
    }

    /// Lets go of the held node and takes `node`, which was just loaded from `current`.
    #[cold]
    fn take(&mut self, node: *const Node<T>) {
        self.held = node;
        // SAFETY: the node must be alive, which holds because our slot has a number below its own until the store below.
        let number = unsafe { (*node).number };
        self.acknowledge(number);
    }

    /// The number of the value that [`Reader::current`] returned last.
    #[must_use]
    pub fn number(&self) -> u64 {
        // SAFETY: the node must be alive, which holds because its number is in our slot (3), so that it is not freed (5).
        unsafe { (*self.held).number }
    }
}

impl<T> Reader<T> {
    fn acknowledge(&self, number: u64) {
        if let Some(slot) = self.shared.acknowledged.get(self.slot) {
            slot.store(number, Ordering::Release);
        }
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        self.acknowledge(GONE);
    }
}

impl<T> fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("number", &self.number).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Reader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("slot", &self.slot).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    /// Counts itself while it lives.
    struct Living<'a>(&'a AtomicUsize);

    impl<'a> Living<'a> {
        fn new(count: &'a AtomicUsize) -> Self {
            count.fetch_add(1, Ordering::Relaxed);
            Self(count)
        }
    }

    impl Drop for Living<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_reader_sees_the_value_that_was_published_last() {
        let (mut publisher, mut readers) = channel(10, 2);
        assert_eq!(*readers[0].current(), 10);
        assert_eq!((publisher.publish(11), publisher.publish(12)), (1, 2));
        assert_eq!((*readers[0].current(), readers[0].number()), (12, 2));
        assert_eq!(*publisher.current(), 12);
    }

    #[test]
    fn what_a_reader_may_look_at_is_kept_and_freed_once_it_has_moved_on() {
        let living = AtomicUsize::new(0);
        let (mut publisher, mut readers) = channel(Living::new(&living), 2);
        publisher.publish(Living::new(&living));
        publisher.publish(Living::new(&living));
        readers[0].current();
        assert_eq!((publisher.acknowledged(), publisher.reclaim()), (0, 2));
        readers[1].current();
        assert_eq!((publisher.acknowledged(), publisher.reclaim()), (2, 0));
        assert_eq!(living.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn values_behind_the_slowest_reader_are_freed_and_those_ahead_of_it_wait() {
        let (mut publisher, mut readers) = channel(0, 1);
        publisher.publish(1);
        readers[0].current();
        publisher.publish(2);
        publisher.publish(3);
        assert_eq!(publisher.reclaim(), 2);
    }

    #[test]
    fn a_dropped_reader_holds_nothing_back() {
        let (mut publisher, mut readers) = channel(0, 2);
        publisher.publish(1);
        readers[0].current();
        readers.pop();
        assert_eq!((publisher.acknowledged(), publisher.reclaim()), (1, 0));
        readers.pop();
        publisher.publish(2);
        assert_eq!((publisher.acknowledged(), publisher.reclaim()), (2, 0));
    }

    #[test]
    fn everything_is_freed_whoever_is_dropped_last() {
        let living = AtomicUsize::new(0);
        for publisher_first in [true, false] {
            let (mut publisher, mut readers) = channel(Living::new(&living), 1);
            publisher.publish(Living::new(&living));
            if publisher_first {
                drop(publisher);
                readers[0].current();
                assert_eq!(living.load(Ordering::Relaxed), 2);
            }
            drop(readers);
        }
        assert_eq!(living.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn no_reader_sees_half_a_value_or_an_older_one_than_before() {
        let (mut publisher, readers) = channel([0_u64; 8], 3);
        thread::scope(|scope| {
            for mut reader in readers {
                scope.spawn(move || {
                    let mut seen = 0;
                    while seen < 20_000 {
                        let value = *reader.current();
                        assert!(value.iter().all(|&word| word == value[0]) && value[0] >= seen);
                        seen = value[0];
                    }
                });
            }
            for number in 1..=20_000 {
                assert_eq!(publisher.publish([number; 8]), number);
                publisher.reclaim();
            }
        });
        assert_eq!((publisher.acknowledged(), publisher.reclaim()), (20_000, 0));
    }
}

#[cfg(all(test, loom))]
mod models {
    use loom::{cell::UnsafeCell, model, thread};

    use super::*;

    /// A value whose every look and whose end loom checks against each other.
    struct Checked(UnsafeCell<[u64; 2]>);

    // SAFETY: the cell must be looked at by several threads and written by one alone, which is what loom checks here.
    unsafe impl Sync for Checked {}

    impl Checked {
        fn new(value: u64) -> Self {
            Self(UnsafeCell::new([value; 2]))
        }

        fn look(&self) -> u64 {
            // SAFETY: the pointer is valid while loom holds it out to us.
            let [left, right] = self.0.with(|value| unsafe { *value });
            assert_eq!(left, right, "half a value");
            left
        }
    }

    impl Drop for Checked {
        fn drop(&mut self) {
            // SAFETY: the pointer is valid while loom holds it out to us.
            self.0.with_mut(|value| unsafe { *value = [u64::MAX, 0] });
        }
    }

    #[test]
    fn a_reader_never_sees_what_is_freed_or_half_written() {
        model(|| {
            let (mut publisher, mut readers) = channel(Checked::new(0), 1);
            let mut reader = readers.remove(0);
            let reading = thread::spawn(move || {
                let first = reader.current().look();
                assert!(first <= reader.current().look());
            });
            publisher.publish(Checked::new(1));
            publisher.reclaim();
            publisher.publish(Checked::new(2));
            publisher.reclaim();
            reading.join().unwrap();
        });
    }

    #[test]
    fn what_one_of_two_readers_holds_is_not_reclaimed() {
        model(|| {
            let (mut publisher, readers) = channel(Checked::new(0), 2);
            let reading = readers.into_iter().map(|mut reader| {
                thread::spawn(move || {
                    let number = reader.current().look();
                    assert_eq!(number, reader.number());
                })
            });
            let reading: Vec<_> = reading.collect();
            publisher.publish(Checked::new(1));
            assert!(publisher.reclaim() <= 1);
            reading.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(publisher.reclaim(), 0);
        });
    }

    #[test]
    fn a_reader_may_be_dropped_while_the_publisher_reclaims() {
        model(|| {
            let (mut publisher, mut readers) = channel(Checked::new(0), 1);
            let mut reader = readers.remove(0);
            let reading = thread::spawn(move || {
                reader.current().look();
                drop(reader);
            });
            publisher.publish(Checked::new(1));
            publisher.reclaim();
            assert_eq!(publisher.current().look(), 1);
            reading.join().unwrap();
        });
    }

    #[test]
    fn the_publisher_may_be_dropped_while_a_reader_reads() {
        model(|| {
            let (mut publisher, mut readers) = channel(Checked::new(0), 1);
            let mut reader = readers.remove(0);
            let reading = thread::spawn(move || reader.current().look());
            publisher.publish(Checked::new(1));
            drop(publisher);
            assert!(reading.join().unwrap() <= 1);
        });
    }
}

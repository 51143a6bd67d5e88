//! Which backends are up.

use model::BackendId;

/// A bit for each backend, beside what the configuration says of it: of all that snapshots have of backends it is the only
/// thing that health changes, and as small as this it is copied in no time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Up(Vec<u64>);

impl Up {
    /// Whether a backend is enabled and its monitors say that it is up. New flows go by [`Pool::slots`], not by this; it
    /// tells a flow that has barely begun to choose again.
    ///
    /// [`Pool::slots`]: super::Pool::slots
    #[must_use]
    pub fn is_up(&self, BackendId(id): BackendId) -> bool {
        self.0.get(id as usize / 64).is_some_and(|word| word >> (id % 64) & 1 != 0)
    }

    /// Notes that a backend is up, or that it is not. Nobody is before that is said.
    pub fn set(&mut self, BackendId(id): BackendId, is_up: bool) {
        let (word, bit) = (id as usize / 64, 1 << (id % 64));
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(word) = self.0.get_mut(word) {
            *word = if is_up { *word | bit } else { *word & !bit };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_up_is_so_until_another_thing_is_said() {
        let mut up = Up::default();
        let all = |up: &Up| [0, 63, 64, 131_071].map(|id| up.is_up(BackendId(id)));
        assert_eq!(all(&up), [false; 4]);
        [0, 63, 64, 131_071].into_iter().for_each(|id| up.set(BackendId(id), true));
        assert_eq!(all(&up), [true; 4]);
        up.set(BackendId(63), false);
        assert_eq!(all(&up), [true, false, true, true]);
    }
}

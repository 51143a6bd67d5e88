//! How much of its weight a backend takes at present.

/// Sixteenths of its weight that a backend takes: none when it is not usable, all when it is, and something between while it
/// comes back slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(pub(crate) u8);

impl Level {
    /// Not usable.
    pub const NONE: Self = Self(0);
    /// All of its weight.
    pub const FULL: Self = Self(16);

    /// So many sixteenths, of which there are 16.
    #[must_use]
    pub const fn sixteenths(number: u8) -> Self {
        if number < Self::FULL.0 { Self(number) } else { Self::FULL }
    }

    /// All or nothing.
    #[must_use]
    pub const fn of(usable: bool) -> Self {
        if usable { Self::FULL } else { Self::NONE }
    }

    /// A weight at this level, in sixteenths.
    #[must_use]
    pub fn times(self, weight: u16) -> u32 {
        u32::from(weight) * u32::from(self.0)
    }
}

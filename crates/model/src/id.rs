//! Small numbers that name things. Each is a type of its own, so that one cannot be taken for another.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
        pub struct $name(pub $inner);

        impl $name {
            /// The id as a position in the array that it indexes.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A port, by its position in the configuration's list.
    PortId, u8);
id!(
    /// A worker, 0 and up; also the number of the queue it polls on each port.
    WorkerId, u8);
id!(
    /// A virtual server. Keeps its meaning over reloads; a name that was removed gives its id up.
    VirtualServerId, u32);
id!(
    /// A pool.
    PoolId, u32);
id!(
    /// A backend. Keeps its meaning over reloads while the same pool has the same address.
    BackendId, u32);
id!(
    /// The number of a published snapshot; each publication has a greater one.
    Generation, u64);

/// Milliseconds since the process started, the datapath's only notion of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Millis(pub u64);

impl Millis {
    /// The milliseconds from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// `duration` later.
    #[must_use]
    pub const fn after(self, duration: u64) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

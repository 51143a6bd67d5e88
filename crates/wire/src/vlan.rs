//! VLAN tags, IEEE 802.1Q.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Refusal, U16};

/// Bytes of a tag behind the EtherType that announces it.
pub const TAG: usize = 4;

/// A tag behind the EtherType that announces it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Tag {
    /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    pub control: U16,
    /// What follows.
    pub ether_type: U16,
}

impl Tag {
    /// The VLAN id; 0 when the tag carries a priority only.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.control.get() & 0x0fff
    }

    /// The priority code point.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        (self.control.get() >> 13) as u8
    }
}

/// The tag at the beginning of `bytes`.
///
/// # Errors
/// [`Refusal::VlanTruncated`]
#[inline]
pub fn check(bytes: &[u8]) -> Result<&Tag, Refusal> {
    crate::header(bytes, 0).ok_or(Refusal::VlanTruncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read() {
        let tag = check(&[0xa0, 0x64, 0x86, 0xdd]).unwrap();
        assert_eq!((tag.id(), tag.priority(), tag.ether_type.get()), (100, 5, 0x86dd));
    }

    #[test]
    fn a_truncated_tag_is_refused() {
        assert_eq!(check(&[0xa0, 0x64, 0x86]).unwrap_err(), Refusal::VlanTruncated);
    }
}

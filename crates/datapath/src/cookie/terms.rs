//! What both sides of a handshake agree on: its options (RFC 9293, 3.2; RFC 7323, 2 and 3; RFC 2018, 2).
//!
//! What a client offers in its SYN is not remembered. Of the MSS the cookie says enough; window scaling and SACK are in the last bits of
//! the timestamp that it will echo (as Linux does it), so a client without timestamps has none of them.

use crate::{packet::Packet, scale, treat::option};
use model::WindowScale;
use wire::tcp::{self, Tcp};

/// The shift of the windows that clients are told, before it is known what the backend has, if no profile says another. The one that
/// Linux has by default.
pub(crate) const SCALE: u8 = 7;
/// Bits of the first timestamp that say what the client has offered.
const OFFER: u32 = 0x3f;
/// In four bits: no window scaling.
const NO_SCALE: u8 = 15;
/// In a timestamp: the client can take selective acknowledgements.
const SACK: u32 = 1 << 4;

/// The options of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack: bool,
    /// Value and echo.
    pub(crate) timestamps: Option<[u32; 2]>,
}

impl Terms {
    /// None.
    pub(crate) const NONE: Self = Self { mss: None, window_scale: None, sack: false, timestamps: None };

    /// Those of a segment. What is behind something that is no option is not read.
    pub(crate) fn read(head: &[u8], packet: &Packet) -> Self {
        Self::of(head, packet).unwrap_or_default()
    }

    fn of(head: &[u8], packet: &Packet) -> Option<Self> {
        let transport = usize::from(packet.transport);
        let length = usize::from(wire::header::<Tcp>(head, transport)?.offset >> 4) * 4;
        let mut rest = head.get(transport + tcp::HEADER..transport + length)?;
        let mut terms = Self::default();
        while let &[kind, ref others @ ..] = rest {
            rest = match (kind, others) {
                (option::END, _) => break,
                (option::NOTHING, _) => others,
                (_, &[length, ..]) => {
                    let Some((one, others)) = rest.split_at_checked(usize::from(length).max(2)) else {
                        break;
                    };
                    terms.take(one);
                    others
                }
                (_, []) => break,
            };
        }
        Some(terms)
    }

    fn take(&mut self, option: &[u8]) {
        match *option {
            [option::MSS, 4, high, low] => self.mss = Some(u16::from_be_bytes([high, low])),
            [option::WINDOW_SCALE, 3, shift] => self.window_scale = Some(shift.min(WindowScale::LARGEST)),
            [option::SACK_PERMITTED, 2] => self.sack = true,
            [option::TIMESTAMPS, 10, a, b, c, d, e, f, g, h] => {
                self.timestamps = Some([[a, b, c, d], [e, f, g, h]].map(u32::from_be_bytes));
            }
            _ => {}
        }
    }

    /// How many bytes they take.
    pub(crate) const fn length(&self) -> usize {
        let words = self.mss.is_some() as usize + self.window_scale.is_some() as usize;
        let times = if self.timestamps.is_some() { 3 } else { self.sack as usize };
        (words + times) * 4
    }

    /// Writes them, in so many bytes. Behind a SACK-permitted option timestamps have their place without padding.
    pub(crate) fn write(&self, to: &mut [u8]) -> Option<()> {
        let mut words = to.as_chunks_mut::<4>().0.iter_mut();
        let mut put = |word: [u8; 4]| words.next().map(|place| *place = word);
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            put([option::MSS, 4, high, low])?;
        }
        let [first, second] =
            if self.sack { [option::SACK_PERMITTED, 2] } else { [option::NOTHING, option::NOTHING] };
        match self.timestamps {
            Some([value, echo]) => {
                put([first, second, option::TIMESTAMPS, 10])?;
                put(value.to_be_bytes())?;
                put(echo.to_be_bytes())?;
            }
            None if self.sack => put([option::NOTHING, option::NOTHING, first, second])?,
            None => {}
        }
        if let Some(shift) = self.window_scale {
            put([option::NOTHING, option::WINDOW_SCALE, 3, shift])?;
        }
        Some(())
    }

    /// A timestamp of about a moment that says what the client has offered.
    pub(super) fn stamp(&self, moment: u32) -> u32 {
        let scale = u32::from(self.window_scale.unwrap_or(NO_SCALE));
        moment & !OFFER | scale | if self.sack { SACK } else { 0 }
    }

    /// What a timestamp says that the client has offered.
    pub(super) fn of_stamp(stamp: u32) -> Self {
        Self { window_scale: scale_of(stamp as u8), sack: stamp & SACK != 0, ..Self::NONE }
    }
}

fn scale_of(bits: u8) -> Option<u8> {
    Some(bits & NO_SCALE).filter(|&shift| shift != NO_SCALE)
}

/// What is remembered of what a client has offered for as long as the flow lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accord {
    /// The client's window when it came, as it said it.
    pub(super) window: u16,
    /// The number of its MSS.
    pub(super) mss: u8,
    pub(super) sack: bool,
    pub(super) timestamps: bool,
    /// The shift of the client's windows.
    pub(super) client_scale: Option<u8>,
}

impl Accord {
    /// As it lies in [`flow::Numbers::accord`].
    pub(super) fn word(self) -> u32 {
        let scale = u32::from(self.client_scale.unwrap_or(NO_SCALE));
        u32::from(self.window)
            | u32::from(self.mss) << 16
            | u32::from(self.sack) << 19
            | u32::from(self.timestamps) << 20
            | scale << 21
    }

    pub(super) fn of_word(word: u32) -> Self {
        Self {
            window: word as u16,
            mss: (word >> 16) as u8 & 7,
            sack: word >> 19 & 1 == 1,
            timestamps: word >> 20 & 1 == 1,
            client_scale: scale_of((word >> 21) as u8),
        }
    }

    /// The window of a SYN: it is never scaled (RFC 7323, 2.2).
    pub(super) fn window_of_syn(self) -> u16 {
        scale::shortened(u32::from(self.window) << self.client_scale.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{option::of, prelude::*};

    use super::*;
    use crate::packet::Kind;

    prop_compose! {
        fn terms()(
            mss in of(any::<u16>()), window_scale in of(0..=14_u8), sack: bool, timestamps in of(any::<[u32; 2]>()),
        ) -> Terms {
            Terms { mss, window_scale, sack, timestamps }
        }
    }

    fn packet() -> Packet {
        Packet { kind: Kind::PlainV4, ..Packet::NONE }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(terms in terms()) {
            let length = terms.length();
            prop_assert!(length <= 20 && length.is_multiple_of(4));
            let mut segment = vec![0; tcp::HEADER + length];
            segment[12] = ((tcp::HEADER + length) as u8 / 4) << 4;
            prop_assert!(terms.write(&mut segment[tcp::HEADER..]).is_some());
            prop_assert_eq!(Terms::read(&segment, &packet()), terms);
        }

        #[test]
        fn what_a_client_offers_comes_back_with_the_timestamp(offered in terms(), moment: u32) {
            let stamp = offered.stamp(moment);
            prop_assert!(moment.wrapping_sub(stamp) < 64 || stamp.wrapping_sub(moment) < 64);
            let Terms { window_scale, sack, .. } = offered;
            prop_assert_eq!(Terms::of_stamp(stamp), Terms { window_scale, sack, ..Terms::NONE });
        }

        #[test]
        fn an_accord_is_remembered(
            window: u16, mss in 0..8_u8, sack: bool, timestamps: bool, client_scale in of(0..=14_u8),
        ) {
            let accord = Accord { window, mss, sack, timestamps, client_scale };
            prop_assert_eq!(Accord::of_word(accord.word()), accord);
        }

        #[test]
        fn options_that_are_none_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..41)) {
            let length = bytes.len() / 4 * 4;
            let mut segment = vec![0; tcp::HEADER];
            segment.extend(&bytes[..length]);
            segment[12] = ((tcp::HEADER + length) as u8 / 4) << 4;
            Terms::read(&segment, &packet());
        }
    }
}

//! The scales of windows, where the gateway says its own in handshakes (RFC 7323, 2).
//!
//! A side's window is what it says, shifted by its own scale; the other side shifts it by the scale that it was told. Where that is
//! another one, the window is said anew in every segment behind the handshake. What was said is remembered by the flow, so a change of
//! the profile concerns later handshakes only.

use flow::{FlowState, Numbers, Side, Tracked};
use model::WindowScale;
use wire::tcp::flags;

use crate::{
    cookie::{SCALE, Terms, Translation},
    packet::Packet,
    snapshot::VirtualServer,
    track,
};

/// In four bits: a side does not scale.
const NONE: u32 = 15;
/// In [`Numbers::scales`]: there is an offer.
const IS_OFFERED: u32 = 1 << 28;
/// Bits of [`Numbers::scales`] that are [`Scales`].
const AGREED: u32 = 0xffff;

/// How far windows are shifted, in fours of bits: by the client, by the backend who reads the client's, by the backend, and by the client
/// who reads the backend's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scales {
    client: u8,
    client_told: u8,
    backend: u8,
    backend_told: u8,
}

/// What a client's SYN has offered, and what becomes of the backend's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Offer {
    /// The client's own scale, and what the backend was told.
    client: Option<[u8; 2]>,
    /// What the client was told before the backend has answered, if it was.
    backend_told: Option<u8>,
}

impl Scales {
    /// Those of a flow whose packets are translated.
    pub(crate) const fn of(numbers: &Numbers) -> Self {
        Self::of_word(numbers.scales)
    }

    const fn of_word(word: u32) -> Self {
        Self {
            client: word as u8 & 15,
            client_told: (word >> 4) as u8 & 15,
            backend: (word >> 8) as u8 & 15,
            backend_told: (word >> 12) as u8 & 15,
        }
    }

    fn word(self) -> u32 {
        let Self { client, client_told, backend, backend_told } = self;
        [backend_told, backend, client_told, client].iter().fold(0, |word, &four| word << 4 | u32::from(four))
    }

    /// The backend's own.
    pub(crate) const fn of_backend(self) -> u8 {
        self.backend
    }

    /// A window that one side says, as it is said to the other.
    pub(crate) fn window(self, side: Side, said: u16) -> u16 {
        let (own, told) = match side {
            Side::Client => (self.client, self.client_told),
            Side::Backend => (self.backend, self.backend_told),
        };
        shortened((u32::from(said) << own) >> told)
    }

    /// Whether any window has to be said anew.
    fn differ(self) -> bool {
        (self.client, self.backend) != (self.client_told, self.backend_told)
    }
}

/// The largest window that can be said.
pub(crate) fn shortened(window: u32) -> u16 {
    u16::try_from(window).unwrap_or(u16::MAX)
}

impl Offer {
    fn of_word(word: u32) -> Option<Self> {
        let four = |at: u32| Some(word >> at & 15).filter(|&four| four != NONE).map(|four| four as u8);
        let client = four(16).zip(four(20)).map(|(own, told)| [own, told]);
        (word & IS_OFFERED != 0).then_some(Self { client, backend_told: four(24) })
    }

    fn word(self) -> u32 {
        let [own, told] = self.client.map_or([NONE; 2], |scales| scales.map(u32::from));
        own << 16 | told << 20 | self.backend_told.map_or(NONE, u32::from) << 24 | IS_OFFERED
    }

    /// What is agreed on when the backend answers with a scale of its own, which the client is told as this one. Only who has heard that
    /// the other scales does it too (RFC 7323, 2.2).
    fn agree(self, answer: Option<(u8, u8)>) -> Scales {
        match (self.client, answer) {
            (Some([client, client_told]), Some((backend, told))) => {
                Scales { client, client_told, backend, backend_told: self.backend_told.unwrap_or(told) }
            }
            // A client that has had its answer before scales, and reads windows as scaled, of whoever does not.
            (Some([client, _]), None) => self.backend_told.map_or_else(Scales::default, |backend_told| {
                Scales { client, backend_told, ..Scales::default() }
            }),
            (None, _) => Scales::default(),
        }
    }
}

/// What is between both sides' segments of a flow of a virtual server, when this packet of one of them, still unchanged, is taken note of.
pub(crate) fn translation(
    (flow, side): (&mut Tracked<'_>, Side),
    (head, packet): (&[u8], &Packet),
    (server, generation): (Option<&VirtualServer>, u32),
) -> Option<Translation> {
    if packet.flags & flags::SYN != 0 {
        note((flow, side), (head, packet), (server, generation));
    }
    Translation::of(flow)
}

/// Takes note of a SYN or SYN-ACK.
fn note(
    (flow, side): (&mut Tracked<'_>, Side),
    (head, packet): (&[u8], &Packet),
    (server, generation): (Option<&VirtualServer>, u32),
) {
    let way = server.map_or(WindowScale::Preserve, |server| server.treatment.window_scale);
    let (is_translated, is_by_cookie) = (track::is_translated(flow.hot), track::is_by_cookie(flow.hot));
    if matches!(way, WindowScale::Rewrite(_)) || is_translated {
        let own = Terms::read(head, packet).window_scale;
        match (side, packet.flags & flags::ACK != 0) {
            // What the gateway says itself is noted: `begin`.
            (Side::Client, false) if is_by_cookie && flow.hot.state() == FlowState::Handshake => {}
            (Side::Client, false) => offer(flow, is_translated, own.map(|own| (own, way))),
            (Side::Backend, true) if is_translated => {
                answer(flow, own.and_then(|own| Some((own, way.told(own)?))), generation);
            }
            _ => {}
        }
    }
}

/// A client's SYN. Until the backend has agreed, whatever was agreed on before holds.
fn offer(flow: &mut Tracked<'_>, is_translated: bool, own: Option<(u8, WindowScale)>) {
    let client = own.and_then(|(own, way)| Some([own, way.told(own)?]));
    let agreed = if is_translated { flow.numbers.scales & AGREED } else { 0 };
    flow.numbers.scales = agreed | Offer { client, backend_told: None }.word();
    if !is_translated {
        flow.hot.checked = track::SCALED;
    }
}

/// A backend's SYN-ACK. One that has come before, and answers no SYN of which it is not known, changes nothing.
fn answer(flow: &mut Tracked<'_>, said: Option<(u8, u8)>, generation: u32) {
    let Some(offer) = Offer::of_word(flow.numbers.scales) else { return };
    let scales = offer.agree(said);
    flow.numbers.scales = scales.word();
    if flow.hot.checked == track::SCALED && !scales.differ() {
        // It is a flow like any other, and looked at as such with its next packet.
        flow.hot.checked = !generation;
    }
}

/// A flow was opened with a cookie by a client of this scale.
pub(crate) fn begin(numbers: &mut Numbers, client: Option<u8>, server: Option<&VirtualServer>) {
    let way = server.map_or(WindowScale::Preserve, |server| server.treatment.window_scale);
    let client = client.and_then(|own| Some([own, way.told(own)?]));
    numbers.scales = Offer { client, backend_told: way.told(SCALE) }.word();
}

/// The backend of such a flow is told anew, and this scale for the client's, if any.
pub(crate) fn tell_again(numbers: &mut Numbers, told: Option<u8>) {
    if let Some(offer) = Offer::of_word(numbers.scales) {
        let client = offer.client.map(|[own, _]| [own, told.unwrap_or_default()]);
        numbers.scales = Offer { client, ..offer }.word();
    }
}

/// The backend of such a flow has answered with this scale.
pub(crate) fn agree_by_cookie(numbers: &mut Numbers, backend: Option<u8>) {
    if let Some(offer) = Offer::of_word(numbers.scales) {
        numbers.scales = offer.agree(backend.map(|own| (own, own))).word();
    }
}

/// What a flow remembers instead of a generation when a new conversation has taken the place of one that was opened with a cookie.
pub(crate) const fn without_cookie(numbers: &mut Numbers, generation: u32) -> u32 {
    if numbers.scales & IS_OFFERED == 0 {
        return !generation;
    }
    // Nothing was agreed on in it.
    numbers.scales &= !AGREED;
    track::SCALED
}

#[cfg(test)]
mod tests {
    use proptest::{option::of, prelude::*};

    use super::*;

    prop_compose! {
        fn scales()(fours in any::<[u8; 4]>()) -> Scales {
            let [client, client_told, backend, backend_told] = fours.map(|four| four % 15);
            Scales { client, client_told, backend, backend_told }
        }
    }

    prop_compose! {
        fn offer()(client in of([0..=14_u8, 0..=14_u8]), backend_told in of(0..=14_u8)) -> Offer {
            Offer { client, backend_told }
        }
    }

    proptest! {
        #[test]
        fn scales_and_offers_are_remembered(scales in scales(), offer in offer()) {
            let word = scales.word() | offer.word();
            prop_assert_eq!((Scales::of_word(word), Offer::of_word(word)), (scales, Some(offer)));
            prop_assert_eq!(Offer::of_word(scales.word()), None);
        }

        /// Nobody reads more than was meant, and no less than the coarser of both scales (or 16 bits) can say.
        #[test]
        fn windows_mean_the_same_on_both_sides(window: u16, scales in scales()) {
            let sides = [(Side::Client, scales.client, scales.client_told), (Side::Backend, scales.backend, scales.backend_told)];
            for (side, own, told) in sides {
                let meant = u64::from(window) << own;
                let read = u64::from(scales.window(side, window)) << told;
                prop_assert!(read <= meant && (meant - read < 1 << told || read == 65_535 << told));
            }
        }

        #[test]
        fn who_has_not_heard_that_the_other_scales_does_not(client in of([0..=14_u8, 0..=14_u8]), answer in of((0..=14_u8, 0..=14_u8))) {
            let agreed = Offer { client, backend_told: None }.agree(answer);
            match (client, answer) {
                (Some([client, client_told]), Some((backend, backend_told))) => {
                    prop_assert_eq!(agreed, Scales { client, client_told, backend, backend_told });
                }
                _ => prop_assert!(!agreed.differ()),
            }
        }
    }

    #[test]
    fn a_client_that_was_answered_before_its_backend_scales_without_it() {
        let offer = Offer { client: Some([3, 5]), backend_told: Some(7) };
        let agreed = offer.agree(None);
        assert_eq!([agreed.window(Side::Client, 100), agreed.window(Side::Backend, 1280)], [800, 10]);
        let agreed = offer.agree(Some((9, 9)));
        assert_eq!([agreed.window(Side::Client, 100), agreed.window(Side::Backend, 100)], [25, 400]);
        assert_eq!(Offer { client: None, ..offer }.agree(Some((9, 9))), Scales::default());
    }
}

//! Scales of windows that the gateway says itself, as both ends see them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on panics"
)]

mod cookie_site;
mod fixture;

use std::{net::SocketAddr, sync::Arc};

use cookie_site::*;
use datapath::snapshot::{Cookies, VirtualServer};
use fixture::{BACKENDS, CLIENTS, Rig};
use model::{Mode, Treatment, WindowScale};
use proptest::{option::of, prelude::*};
use testkit::packets::{ACK, Flags, SYN, SYN_ACK};

fn rewriting(told: u8, generate_isn: bool) -> Treatment {
    Treatment { window_scale: WindowScale::Rewrite(told), generate_isn, ..Treatment::default() }
}

fn site(mode: Mode, v6: bool, treatment: Treatment) -> Site {
    Site::with(Rig::new(), mode, v6, (Cookies::OFF, treatment))
}

fn scale_option(scale: Option<u8>) -> Vec<u8> {
    scale.map_or(vec![], |scale| vec![1, 3, 3, scale])
}

/// A window as its receiver is to read it.
fn said_anew(own: u8, told: u8) -> u16 {
    u16::try_from((u32::from(WINDOW) << own) >> told).unwrap_or(u16::MAX)
}

impl Site {
    fn client_says(&mut self, flags: Flags, numbers: [u32; 2], scale: Option<u8>) -> Read {
        let segment = self.of_client(flags, numbers, &scale_option(scale), b"");
        read(&self.rig.forwarded(CLIENTS, &segment, BACKENDS))
    }

    fn backend_says(&mut self, to: SocketAddr, flags: Flags, numbers: [u32; 2], scale: Option<u8>) -> Read {
        let segment = self.of_backend(to, flags, numbers, &scale_option(scale));
        read(&self.rig.forwarded(BACKENDS, &segment, CLIENTS))
    }

    /// A handshake with these scales; where the backend sends to, and both numbers that client and backend expect.
    fn shake(&mut self, client: Option<u8>, backend: Option<u8>) -> (SocketAddr, [u32; 2]) {
        let syn = self.client_says(SYN, [1000, 0], client);
        let (source, next) = (syn.from.unwrap(), syn.numbers[0].wrapping_add(1));
        let agreement = self.backend_says(source, SYN_ACK, [7000, next], backend);
        let here = agreement.numbers[0].wrapping_add(1);
        self.client_says(ACK, [1001, here], None);
        (source, [here, next])
    }

    /// The windows that client and backend read of each other.
    fn windows(&mut self, (source, [here, next]): (SocketAddr, [u32; 2])) -> [u16; 2] {
        let of_client = self.client_says(ACK, [1001, here], None).window;
        [of_client, self.backend_says(source, ACK, [7001, next], None).window]
    }

    fn publish(&mut self, treatment: Treatment) {
        self.rig.publish(|snapshot| {
            for server in Arc::make_mut(&mut snapshot.virtual_servers).iter_mut().flatten() {
                server.treatment = treatment;
                server.extent = VirtualServer::extent_of(&treatment, &server.tcp);
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whoever scales is told the gateway's scale, and everybody reads the window that the other means.
    #[test]
    fn both_ends_read_the_windows_that_are_meant(
        (full, v6, generate) in any::<(bool, bool, bool)>(),
        (client, backend, told) in (of(0..=14_u8), of(0..=14_u8), 0..=14_u8),
        steps in proptest::collection::vec(any::<bool>(), 1..12),
    ) {
        let mut site = site(if full { Mode::FullNat } else { Mode::Nat }, v6, rewriting(told, generate));
        let syn = site.client_says(SYN, [1000, 0], client);
        prop_assert_eq!((syn.scale, syn.window), (client.map(|_| told), WINDOW), "in a SYN it is not scaled");
        let (source, next) = (syn.from.unwrap(), syn.numbers[0].wrapping_add(1));
        prop_assert_eq!(next != 1001, generate);
        let agreement = site.backend_says(source, SYN_ACK, [7000, next], backend);
        prop_assert_eq!((agreement.scale, agreement.window), (backend.map(|_| told), WINDOW));
        let here = agreement.numbers[0].wrapping_add(1);
        let [of_client, of_backend] = match client.zip(backend) {
            Some((client, backend)) => [client, backend].map(|own| said_anew(own, told)),
            None => [WINDOW; 2],
        };
        for is_client in steps {
            if is_client {
                let heard = site.client_says(ACK, [1001, here], None);
                prop_assert_eq!((heard.window, heard.numbers), (of_client, [next, 7001]));
            } else {
                let heard = site.backend_says(source, ACK, [7001, next], None);
                prop_assert_eq!((heard.window, heard.numbers), (of_backend, [here, 1001]));
            }
        }
        site.rig.assert_conserved();
    }

    /// The same where the gateway has answered the client before it has asked a backend.
    #[test]
    fn both_ends_read_the_windows_that_are_meant_behind_a_cookie(
        (client, backend, told) in (0..=14_u8, of(0..=14_u8), 0..=14_u8),
    ) {
        let mut site = Site::with(Rig::new(), Mode::Nat, false, (ALWAYS, rewriting(told, false)));
        let answer = site.ask(1000, &syn_options(1460, Some([50, 0]), client));
        prop_assert_eq!(answer.scale, Some(told));
        let stamp = answer.times.unwrap()[0];
        let syn = site.bring(1000, &answer, &times(Some([51, stamp])));
        prop_assert_eq!(syn.scale, Some(told));
        let options = scale_option(backend);
        let (update, ack) = site.agree(syn.from.unwrap(), [7000, 1001], &options);
        let read_by_backend = if backend.is_some() { told } else { 0 };
        prop_assert_eq!(ack.window, said_anew(client, read_by_backend));
        // What comes without scale is scaled only for those who read it so.
        let own = backend.unwrap_or(0);
        prop_assert_eq!(update.window, u16::try_from((u32::from(WINDOW) >> own << own) >> told).unwrap());
        let here = answer.numbers[0].wrapping_add(1);
        let heard = site.client_says(ACK, [1001, here], None);
        prop_assert_eq!(heard.window, said_anew(client, read_by_backend));
        let heard = site.backend_says(syn.from.unwrap(), ACK, [7001, 1001], None);
        prop_assert_eq!(heard.window, said_anew(own, told));
    }
}

#[test]
fn a_flow_keeps_its_scales_over_every_change() {
    let mut site = site(Mode::Nat, false, rewriting(4, false));
    let flow = site.shake(Some(7), Some(3));
    let expected = [said_anew(7, 4), said_anew(3, 4)];
    assert_eq!(site.windows(flow), expected);
    for treatment in [rewriting(9, false), Treatment::default()] {
        site.publish(treatment);
        assert_eq!(site.windows(flow), expected);
    }
    site.rig.publish(|snapshot| snapshot.virtual_servers = Arc::new([]));
    assert_eq!(site.windows(flow), expected);
}

#[test]
fn scales_that_are_changed_within_a_handshake_hold_for_what_was_said() {
    let mut site = site(Mode::Nat, false, rewriting(4, false));
    let source = site.client_says(SYN, [1000, 0], Some(7)).from.unwrap();
    site.publish(Treatment::default());
    assert_eq!(site.backend_says(source, SYN_ACK, [7000, 1001], Some(3)).scale, Some(3));
    site.client_says(ACK, [1001, 7001], None);
    assert_eq!(site.windows((source, [7001, 1001])), [said_anew(7, 4), WINDOW]);
}

#[test]
fn a_handshake_in_which_each_segment_is_sent_twice_agrees_on_the_same() {
    let mut site = site(Mode::FullNat, false, rewriting(4, false));
    let mut source = None;
    for _ in 0..2 {
        source = site.client_says(SYN, [1000, 0], Some(7)).from;
    }
    for _ in 0..2 {
        assert_eq!(site.backend_says(source.unwrap(), SYN_ACK, [7000, 1001], Some(3)).scale, Some(4));
    }
    for _ in 0..2 {
        assert_eq!(site.windows((source.unwrap(), [7001, 1001])), [said_anew(7, 4), said_anew(3, 4)]);
    }
    // One that was on the way for long.
    assert_eq!(site.backend_says(source.unwrap(), SYN_ACK, [7000, 1001], Some(3)).scale, Some(4));
    assert_eq!(site.windows((source.unwrap(), [7001, 1001])), [said_anew(7, 4), said_anew(3, 4)]);
}

#[test]
fn a_syn_over_a_flow_changes_nothing_until_its_backend_agrees() {
    for client in [4, 7] {
        let mut site = site(Mode::Nat, false, rewriting(4, false));
        let flow = site.shake(Some(client), Some(4));
        site.client_says(SYN, [9000, 0], Some(1));
        assert_eq!(site.windows(flow), [said_anew(client, 4), WINDOW]);
        site.backend_says(flow.0, SYN_ACK, [20_000, 9001], Some(2));
        let heard = site.client_says(ACK, [9001, 20_001], None).window;
        assert_eq!(heard, said_anew(1, 4));
        assert_eq!(site.backend_says(flow.0, ACK, [20_001, 9001], None).window, said_anew(2, 4));
    }
}

#[test]
fn a_client_that_gives_scaling_up_is_not_scaled() {
    let mut site = site(Mode::Nat, false, rewriting(4, false));
    site.client_says(SYN, [1000, 0], Some(7));
    let source = site.client_says(SYN, [1000, 0], None).from.unwrap();
    site.backend_says(source, SYN_ACK, [7000, 1001], None);
    site.client_says(ACK, [1001, 7001], None);
    assert_eq!(site.windows((source, [7001, 1001])), [WINDOW; 2]);
}

#[test]
fn a_flow_whose_sides_say_what_they_are_told_is_steady() {
    for (client, backend, is_steady) in
        [(Some(4), Some(4), true), (None, Some(9), true), (Some(9), None, true), (Some(4), Some(5), false)]
    {
        let mut site = site(Mode::Nat, false, rewriting(4, false));
        site.shake(client, backend);
        let key = flow::FlowKey {
            source: site.end(fixture::CLIENT, fixture::CLIENT_6, 7).ip().into(),
            destination: site.service().ip().into(),
            source_port: 7,
            destination_port: 80,
            protocol: 6,
            ..flow::FlowKey::default()
        };
        let (flow, _) = site.rig.state.flow(&key).unwrap();
        let generation = site.rig.snapshot.generation.0 as u32;
        assert_eq!(flow.checked == generation, is_steady, "{client:?} {backend:?}");
    }
}

#[test]
fn a_connection_that_takes_the_place_of_one_with_a_cookie_has_scales_of_its_own() {
    let mut site = Site::with(Rig::new(), Mode::Nat, false, (ALWAYS, rewriting(4, false)));
    let (cookie, source) = site.connect(1000, 7000);
    let reset = site.of_client(testkit::packets::RST, [1001, cookie.wrapping_add(1)], &[], b"");
    site.rig.forwarded(CLIENTS, &reset, BACKENDS);
    site.client_says(SYN, [9000, 0], Some(1));
    assert_eq!(site.backend_says(source, SYN_ACK, [20_000, 9001], Some(2)).scale, Some(4));
    site.client_says(ACK, [9001, 20_001], None);
    let heard = site.client_says(ACK, [9001, 20_001], None);
    assert_eq!((heard.window, heard.numbers), (said_anew(1, 4), [9001, 20_001]));
    let heard = site.backend_says(source, ACK, [20_001, 9001], None);
    assert_eq!((heard.window, heard.numbers), (said_anew(2, 4), [20_001, 9001]));
}

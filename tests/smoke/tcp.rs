//! What profiles say of TCP, with the kernel's TCP on both ends.

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
    time::Duration,
};

use model::Mode;
use testkit::netns::{Device, Plan, wait_until};

use crate::site::{LIMIT, Site};

const PLAN: Plan = Plan { device: Device::AfPacket, mode: Mode::Nat, backends: 1, crosses_families: false };
/// Less than nginx waits for a request by itself.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn both_ends_of_a_silent_connection_believe_that_it_is_reset() {
    for mode in [Mode::Nat, Mode::FullNat, Mode::Dsr] {
        let silent = "profiles: [{ name: default, idle_timeout: 2s }]\n";
        let site = Site::start(Plan { mode, ..PLAN }, silent);
        site.gateway.wait_until_settled(LIMIT).unwrap();
        for v6 in [false, true] {
            let connection = site.dial(v6);
            wait_until(LIMIT, "the backend has the connection", || has_connections(&site, mode, v6)).unwrap();
            assert_eq!(end_of(connection), ErrorKind::ConnectionReset, "{mode:?}, IPv6: {v6}");
            wait_until(SOON, "the backend has no connection", || !has_connections(&site, mode, v6)).unwrap();
        }
        site.stop();
    }
}

/// How a connection ends on which nobody says anything.
fn end_of(mut connection: TcpStream) -> ErrorKind {
    connection.set_read_timeout(Some(SOON)).unwrap();
    connection.read(&mut [0]).map(|_| ErrorKind::UnexpectedEof).unwrap_or_else(|error| error.kind())
}

/// Whether the backend has connections from the client, or from the gateway in its name; monitors' are over at once.
fn has_connections(site: &Site, mode: Mode, v6: bool) -> bool {
    let family = if v6 { "-6" } else { "-4" };
    let port = if mode == Mode::Dsr { 80 } else { 8080 };
    let listed = site.topology.backends[0]
        .namespace
        .run(&format!("ss -Htn {family} state established sport = :{port}"))
        .unwrap();
    !listed.trim().is_empty()
}

#[test]
fn objects_arrive_whole_whatever_is_changed_in_headers() {
    for mode in [Mode::Nat, Mode::FullNat] {
        for profile in [
            "generate_isn: true, timestamps: rewrite, ttl: proxy, tos_to_client: 32",
            "mss_override: 900, strip_sack: true, window_scale: strip, timestamps: strip, df: clear, ttl: preserve",
        ] {
            let settings = format!("profiles: [{{ name: default, {profile} }}]\n");
            let site = Site::start(Plan { mode, ..PLAN }, &settings);
            site.gateway.wait_until_settled(LIMIT).unwrap();
            for v6 in [false, true] {
                site.exchange_objects(v6);
            }
            assert_eq!(site.topology.client.resets().unwrap(), 0, "{mode:?}, {profile}");
            site.stop();
        }
    }
}

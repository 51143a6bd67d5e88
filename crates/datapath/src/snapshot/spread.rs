//! How a card spreads packets over the workers: a Toeplitz hash of their ends, whose low bits index a table of queues.
//!
//! A card computes it of what it receives. Computed here as well, it says where a packet will arrive, so that
//! `full_nat` can choose source ports whose replies come home.

use flow::FlowKey;
use model::WorkerId;
use wire::protocol;

/// Bytes of what is hashed of a packet over IPv6: two addresses and two ports.
const LONGEST: usize = 2 * 16 + 2 * 2;
/// Bytes of key that so many are hashed with.
const KEY: usize = LONGEST + 4;

/// The packets of which a card hashes ports as well as addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashed {
    /// TCP over IPv4.
    pub tcp_v4: bool,
    /// UDP over IPv4.
    pub udp_v4: bool,
    /// TCP over IPv6.
    pub tcp_v6: bool,
    /// UDP over IPv6.
    pub udp_v6: bool,
}

/// How a card spreads packets over the workers.
#[derive(Clone, PartialEq, Eq)]
pub struct Spread {
    hashed: Hashed,
    /// What each value of each byte adds to the hash: it is linear.
    parts: Box<[[u32; 256]]>,
    /// The worker for each value of the hash's low bits.
    workers: Box<[WorkerId]>,
}

impl Spread {
    /// For a card with this key and table of queues, each of which the worker of its number polls. `None` when the key is too short,
    /// or the table is not one for these workers.
    #[must_use]
    pub fn try_new(key: &[u8], table: &[u16], workers: u8, hashed: Hashed) -> Option<Self> {
        let workers: Option<Box<[_]>> = table
            .iter()
            .map(|queue| u8::try_from(*queue).ok().filter(|queue| *queue < workers).map(WorkerId))
            .collect();
        let workers = workers.filter(|workers| workers.len().is_power_of_two())?;
        let parts = (0..LONGEST).map(|byte| parts(key.get(byte..)?.first_chunk()?.to_owned()).into());
        let parts = parts.collect::<Option<_>>().filter(|_| key.len() >= KEY)?;
        Some(Self { hashed, parts, workers })
    }

    /// The worker by whose queue a packet with this key comes; `None` when its ports are not hashed.
    #[must_use]
    pub fn worker(&self, key: &FlowKey) -> Option<WorkerId> {
        self.home(key).map(|home| home.worker(key.destination_port))
    }

    /// The workers by whose queues packets come that differ from this key's at most in their destination port.
    pub(crate) fn home(&self, key: &FlowKey) -> Option<Home<'_>> {
        let Hashed { tcp_v4, udp_v4, tcp_v6, udp_v6 } = self.hashed;
        let is_hashed = match (key.protocol, key.is_v4()) {
            (protocol::TCP, true) => tcp_v4,
            (protocol::TCP, false) => tcp_v6,
            (protocol::UDP, true) => udp_v4,
            (protocol::UDP, false) => udp_v6,
            _ => false,
        };
        is_hashed.then(|| Home { spread: self, rest: self.hash_but_destination_port(key), at: port_at(key) })
    }

    /// What a card hashes a packet with this key to.
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> u32 {
        self.hash_but_destination_port(key) ^ self.add(port_at(key), &key.destination_port.to_be_bytes())
    }

    fn hash_but_destination_port(&self, key: &FlowKey) -> u32 {
        let addresses = if key.is_v4() {
            self.add(0, &key.source.v4()) ^ self.add(4, &key.destination.v4())
        } else {
            self.add(0, &key.source.octets()) ^ self.add(16, &key.destination.octets())
        };
        addresses ^ self.add(port_at(key) - 2, &key.source_port.to_be_bytes())
    }

    /// What bytes add that lie at an offset of what is hashed.
    fn add(&self, at: usize, bytes: &[u8]) -> u32 {
        let parts = self.parts.get(at..).unwrap_or_default().iter().zip(bytes);
        parts.filter_map(|(of, byte)| of.get(usize::from(*byte))).fold(0, |sum, part| sum ^ part)
    }
}

/// Where the destination port lies in what is hashed.
fn port_at(key: &FlowKey) -> usize {
    2 * if key.is_v4() { 4 } else { 16 } + 2
}

/// What each value of a byte adds, by the five bytes of the key from its position on.
fn parts(key: [u8; 5]) -> [u32; 256] {
    let window = key.iter().fold(0_u64, |window, byte| window << 8 | u64::from(*byte));
    std::array::from_fn(|value| {
        let bits = (0..8).filter(|bit| value >> (7 - bit) & 1 == 1);
        bits.fold(0, |sum, bit| sum ^ (window >> (8 - bit)) as u32)
    })
}

/// The workers by whose queues packets with any destination port come.
#[derive(Clone, Copy)]
pub(crate) struct Home<'a> {
    spread: &'a Spread,
    rest: u32,
    at: usize,
}

impl Home<'_> {
    /// The worker that gets those with this port.
    pub(crate) fn worker(&self, port: u16) -> WorkerId {
        let hash = self.rest ^ self.spread.add(self.at, &port.to_be_bytes());
        let workers = &self.spread.workers;
        workers.get(hash as usize & (workers.len() - 1)).copied().unwrap_or(WorkerId(0))
    }
}

impl std::fmt::Debug for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spread").field("hashed", &self.hashed).field("table", &self.workers.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::*;

    /// The key of Microsoft's "Verifying the RSS Hash Calculation".
    const MICROSOFT: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
        0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
        0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];
    const ALL: Hashed = Hashed { tcp_v4: true, udp_v4: true, tcp_v6: true, udp_v6: true };

    fn spread(key: &[u8], workers: u8) -> Spread {
        let table: Vec<u16> = (0..128).map(|entry| entry % u16::from(workers)).collect();
        Spread::try_new(key, &table, workers, ALL).unwrap()
    }

    fn key(source: &str, destination: &str) -> FlowKey {
        let [source, destination] = [source, destination].map(|end| end.parse::<SocketAddr>().unwrap());
        FlowKey {
            source: source.ip().into(),
            destination: destination.ip().into(),
            source_port: source.port(),
            destination_port: destination.port(),
            protocol: protocol::TCP,
            ..FlowKey::default()
        }
    }

    #[test]
    fn hashes_are_those_that_microsoft_verifies_cards_with() {
        let spread = spread(&MICROSOFT, 4);
        for (source, destination, hash) in [
            ("66.9.149.187:2794", "161.142.100.80:1766", 0x51cc_c178),
            ("199.92.111.2:14230", "65.69.140.83:4739", 0xc626_b0ea),
            ("24.19.198.95:12898", "12.22.207.184:38024", 0x5c2b_394a),
            ("38.27.205.30:48228", "209.142.163.6:2217", 0xafc7_327f),
            ("153.39.163.191:44251", "202.188.127.2:1303", 0x10e8_28a2),
            ("[3ffe:2501:200:1fff::7]:2794", "[3ffe:2501:200:3::1]:1766", 0x4020_7d3d),
            ("[3ffe:501:8::260:97ff:fe40:efab]:14230", "[ff02::1]:4739", 0xdde5_1bbf),
            ("[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", "[fe80::200:f8ff:fe21:67cf]:38024", 0x02d1_feef),
        ] {
            assert_eq!(spread.hash(&key(source, destination)), hash, "{source} > {destination}");
        }
    }

    /// Bit by bit, as the specification has it.
    fn by_the_book(key: &[u8], bytes: &[u8]) -> u32 {
        let bit = |of: &[u8], at: usize| of[at / 8] >> (7 - at % 8) & 1;
        let window = |at: usize| (at..at + 32).fold(0_u32, |sum, at| sum << 1 | u32::from(bit(key, at)));
        (0..bytes.len() * 8).filter(|at| bit(bytes, *at) == 1).fold(0, |sum, at| sum ^ window(at))
    }

    fn bytes(key: &FlowKey) -> Vec<u8> {
        let of = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let ports = [key.source_port.to_be_bytes(), key.destination_port.to_be_bytes()].concat();
        [of(key.source.into()), of(key.destination.into()), ports].concat()
    }

    proptest! {
        #[test]
        fn any_key_hashes_any_packet_as_by_the_book(
            secret in proptest::collection::vec(any::<u8>(), KEY..=52),
            ends in any::<[(IpAddr, u16); 2]>(),
        ) {
            let [(source, source_port), (destination, destination_port)] = ends;
            prop_assume!(source.is_ipv4() == destination.is_ipv4());
            let text = |address, port| SocketAddr::new(address, port).to_string();
            let key = key(&text(source, source_port), &text(destination, destination_port));
            // An address of IPv6 that stands for one of IPv4 is none on a link.
            prop_assume!(key.is_v4() == source.is_ipv4() && key.destination.is_v4() == destination.is_ipv4());
            let spread = spread(&secret, 8);
            prop_assert_eq!(spread.hash(&key), by_the_book(&secret, &bytes(&key)));
            let low = spread.hash(&key) % 128;
            prop_assert_eq!(spread.worker(&key), Some(WorkerId((low % 8) as u8)));
        }
    }

    #[test]
    fn what_is_not_known_for_certain_is_no_spread() {
        let table = [0, 1, 0, 1];
        assert!(Spread::try_new(&MICROSOFT, &table, 2, ALL).is_some());
        assert!(Spread::try_new(&MICROSOFT[..39], &table, 2, ALL).is_none(), "the key is short");
        assert!(Spread::try_new(&MICROSOFT, &table, 1, ALL).is_none(), "a queue that no worker polls");
        assert!(Spread::try_new(&MICROSOFT, &[], 2, ALL).is_none(), "no table");
        assert!(Spread::try_new(&MICROSOFT, &[0, 1, 0], 2, ALL).is_none(), "what bits would index it?");
    }

    #[test]
    fn packets_whose_ports_are_not_hashed_may_come_by_any_queue() {
        let table = [0, 1];
        let tcp_only = Hashed { tcp_v4: true, ..Hashed::default() };
        let spread = Spread::try_new(&MICROSOFT, &table, 2, tcp_only).unwrap();
        let tcp = key("192.0.2.1:1", "192.0.2.2:2");
        assert!(spread.worker(&tcp).is_some());
        assert!(spread.worker(&FlowKey { protocol: protocol::UDP, ..tcp }).is_none());
        assert!(spread.worker(&key("[2001:db8::1]:1", "[2001:db8::2]:2")).is_none());
    }
}

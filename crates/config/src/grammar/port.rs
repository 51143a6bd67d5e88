//! Ports, their routes and neighbours.

use super::{Key, Kind, Object, optional, required, words};

pub(super) const PORT: Object = Object {
    path: "ports[]",
    noun: "a port",
    meaning: "A device that packets come and go by.",
    keys: &PORT_KEYS,
    later: &["vlans", "route_domain"],
};

const PORT_KEYS: [Key; 12] = [
    required("name", Kind::Name, "Its name in commands, counters and messages."),
    required(
        "device",
        Kind::Text,
        "A PCI address, as in `\"0000:3b:02.0\"`, or a DPDK software device with its arguments, as in \
         `\"net_af_packet0,iface=veth0\"`.",
    ),
    optional(
        "addresses",
        Kind::List(&Kind::Network { host: true }),
        "[]",
        "Its own addresses, each with the length of its network, as in `192.0.2.2/24`. ARP, neighbour discovery and ping are \
         answered for them.",
    ),
    optional(
        "gateway",
        Kind::List(&Kind::Address),
        "[]",
        "Routers for everything that is on no network of any port. Several of a family share the load by flow.",
    ),
    optional("routes", Kind::List(&Kind::Object(&ROUTE)), "[]", "Networks behind particular routers."),
    optional(
        "last_hop",
        words(&[
            ("auto", "replies to a client leave by the MAC address that its packets came from"),
            ("off", "replies are routed like everything else"),
        ]),
        "auto",
        "How replies find the way back to a client.",
    ),
    optional("mac", Kind::AutoOr(&Kind::Mac), "auto", "The Ethernet address to set. `auto` keeps the device's own."),
    optional(
        "queues",
        Kind::AutoOr(&Kind::Integer { least: 1, most: 64 }),
        "auto",
        "Pairs of queues; must be the number of workers, which `auto` is.",
    ),
    optional(
        "facing",
        words(&[
            ("clients", "only clients: the device spreads packets over queues by source"),
            ("backends", "only backends: by destination"),
            ("both", "clients and backends: by source and destination"),
        ]),
        "both",
        "Who is on the other side.",
    ),
    optional(
        "host",
        Kind::Flag,
        "false",
        "Whether the kernel gets a twin interface with the port's addresses, for SSH, BGP and the monitors' connections.",
    ),
    optional(
        "neighbours",
        Kind::List(&Kind::Object(&NEIGHBOUR)),
        "[]",
        "Neighbours that are given; all others are resolved by ARP and neighbour discovery.",
    ),
    optional(
        "mtu",
        Kind::Integer { least: 576, most: 9216 },
        "1500",
        "Bytes of the largest IP packet that leaves; at least 1280 with an IPv6 address.",
    ),
];

const ROUTE: Object = Object {
    path: "ports[].routes[]",
    noun: "a route",
    meaning: "A network behind particular routers.",
    keys: &ROUTE_KEYS,
    later: &[],
};

const ROUTE_KEYS: [Key; 2] = [
    required("to", Kind::Network { host: false }, "The network, as in `10.1.0.0/16`."),
    required(
        "via",
        Kind::List(&Kind::Address),
        "Its routers, all on a network of this port. Several share the load by flow.",
    ),
];

const NEIGHBOUR: Object = Object {
    path: "ports[].neighbours[]",
    noun: "a neighbour",
    meaning: "An address on the port's network whose Ethernet address is given.",
    keys: &NEIGHBOUR_KEYS,
    later: &[],
};

const NEIGHBOUR_KEYS: [Key; 2] = [
    required("address", Kind::Address, "Its IP address."),
    required("mac", Kind::Mac, "Its Ethernet address, as in `\"02:00:00:00:00:01\"`."),
];

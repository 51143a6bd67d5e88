//! Virtual servers and their profiles.

use super::{Choice, Key, Kind, Object, PORT_NUMBER, optional, otherwise, required, words};

pub(super) const PROFILE: Object = Object {
    path: "profiles[]",
    noun: "a profile",
    meaning: "A named bundle of settings that virtual servers share.",
    keys: &PROFILE_KEYS,
    later: &[
        "handshake_timeout",
        "close_timeout",
        "time_wait",
        "reset_on_timeout",
        "keep_alive",
        "loose_close",
        "syn_cookies",
        "syn_cookie_mss",
        "syn_allowlist",
        "mss_override",
        "mss_clamp",
        "timestamps",
        "window_scale",
        "strip_sack",
        "generate_isn",
        "tos_to_client",
        "tos_to_server",
        "qos_to_client",
        "qos_to_server",
        "df",
        "ttl",
        "reassemble_fragments",
        "rtt_from_client",
        "rtt_from_server",
        "idle_action_on_full",
    ],
};

const PROFILE_KEYS: [Key; 3] = [
    required("name", Kind::Name, "Its name in virtual servers and messages."),
    otherwise(
        "idle_timeout",
        Kind::Duration { zero: false },
        "`300s` for TCP, `60s` for UDP",
        "How long a flow may be silent before it is forgotten.",
    ),
    optional(
        "loose_initiation",
        Kind::Flag,
        "false",
        "Whether a TCP packet in mid-stream opens a flow, as after a move to another gateway.",
    ),
];

pub(super) const VIRTUAL_SERVER: Object = Object {
    path: "virtual_servers[]",
    noun: "a virtual server",
    meaning: "Address, port and protocol that clients send to.",
    keys: &VIRTUAL_SERVER_KEYS,
    later: &["persistence", "limits", "sources", "route_domain", "proxy_protocol", "toa"],
};

const VIRTUAL_SERVER_KEYS: [Key; 9] = [
    required("name", Kind::Name, "Its name in commands, counters and messages."),
    required(
        "address",
        Kind::Address,
        "The address clients send to. The gateway answers ARP, neighbour discovery and ping for it.",
    ),
    required("port", PORT_NUMBER, "The port clients send to."),
    optional(
        "protocol",
        Kind::Choice(Choice { words: &[("tcp", "TCP"), ("udp", "UDP")], later: &["any", "sctp"] }),
        "tcp",
        "The protocol clients speak.",
    ),
    optional("type", words(&[("fastl4", "packets are forwarded, connections not ended")]), "fastl4", "The kind."),
    optional("mode", MODE, "nat", "How packets reach a backend."),
    optional(
        "snat",
        Kind::AutoOr(&Kind::List(&Kind::Address)),
        "auto",
        "The source addresses of `full_nat`. `auto` uses the addresses of the port that faces the backend; a list must hold \
         addresses that are routed to the gateway, which answers for them.",
    ),
    otherwise("profile", Kind::Name, "the defaults of a profile", "The name of a profile."),
    required("pool", Kind::Name, "The name of the pool that takes the traffic."),
];

const MODE: Kind = Kind::Choice(Choice {
    words: &[
        ("nat", "the destination becomes the backend's; its replies must come back through the gateway"),
        ("full_nat", "the source becomes an address of the gateway as well; replies come back by themselves"),
        (
            "dsr",
            "only the destination MAC changes; the backend holds the address on a loopback and answers the client directly",
        ),
    ],
    later: &["ipip", "gue"],
});

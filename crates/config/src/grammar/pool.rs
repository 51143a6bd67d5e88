//! Pools, their backends and monitors.

use super::{Choice, Key, Kind, Object, PORT_NUMBER, optional, otherwise, required, words};

pub(super) const POOL: Object = Object {
    path: "pools[]",
    noun: "a pool",
    meaning: "A named set of backends.",
    keys: &POOL_KEYS,
    later: &["min_active", "slow_ramp", "on_backend_down", "fallback", "persistence"],
};

const POOL_KEYS: [Key; 4] = [
    required("name", Kind::Name, "Its name in virtual servers, commands and messages."),
    optional("method", METHOD, "maglev", "How a backend is chosen for a new flow."),
    required("backends", Kind::List(&Kind::Object(&BACKEND)), "Its backends; at least one."),
    optional(
        "monitors",
        Kind::List(&Kind::Object(&MONITOR)),
        "[]",
        "Its active checks. A backend is up while all of them say so; without any it always is.",
    ),
];

const METHOD: Kind = Kind::Choice(Choice {
    words: &[(
        "maglev",
        "consistent hashing by weight: the same file and seed choose the same backends on every gateway",
    )],
    later: &[
        "rendezvous",
        "round_robin",
        "weighted_round_robin",
        "least_connections",
        "weighted_least_connections",
        "fastest",
        "source_hash",
        "adaptive",
    ],
});

const BACKEND: Object = Object {
    path: "pools[].backends[]",
    noun: "a backend",
    meaning: "One address and port that takes in traffic.",
    keys: &BACKEND_KEYS,
    later: &["priority", "max_connections", "new_per_second", "bandwidth"],
};

const BACKEND_KEYS: [Key; 3] = [
    required("address", Kind::Endpoint, "Where it is: `\"10.1.0.11:9000\"` or `\"[2001:db8::11]:9000\"`."),
    optional(
        "weight",
        Kind::Integer { least: 0, most: 65_535 },
        "1",
        "Its share of new flows relative to the others; 0: none.",
    ),
    optional(
        "state",
        words(&[
            ("enabled", "it takes new flows while it is up"),
            ("drain", "it takes no new flows and keeps those it has"),
            ("disabled", "it takes no flows, and those it had are dropped"),
        ]),
        "enabled",
        "What the operator wants of it.",
    ),
];

const MONITOR: Object = Object {
    path: "pools[].monitors[]",
    noun: "a monitor",
    meaning: "An active check of every backend of the pool.",
    keys: &MONITOR_KEYS,
    later: &["path", "host", "status", "body", "verify", "server_name", "bucket", "command", "source"],
};

const MONITOR_KEYS: [Key; 6] = [
    required("type", MONITOR_TYPE, "What is checked."),
    optional(
        "interval",
        Kind::Duration { zero: false },
        "1s",
        "From the start of one check to the start of the next.",
    ),
    optional(
        "timeout",
        Kind::Duration { zero: false },
        "300ms",
        "How long one check may take; not longer than the interval.",
    ),
    optional(
        "fall",
        Kind::Integer { least: 1, most: 65_535 },
        "3",
        "Checks that fail in a row before a backend is down.",
    ),
    optional(
        "rise",
        Kind::Integer { least: 1, most: 65_535 },
        "2",
        "Checks that succeed in a row before it is up again.",
    ),
    otherwise("port", PORT_NUMBER, "the backend's own port", "The port to connect to."),
];

const MONITOR_TYPE: Kind = Kind::Choice(Choice {
    words: &[("tcp", "a TCP connection opens")],
    later: &[
        "tcp_half_open",
        "udp",
        "icmp",
        "http",
        "https",
        "s3",
        "grpc",
        "external",
        "inband",
        "min_of",
    ],
});

//! What the configuration format has and this version has not: known by name, so that the message can say so.

/// Keys.
const KEYS: &[&str] = &[
    "bandwidth",
    "limits",
    "max_connections",
    "min_active",
    "new_per_second",
    "on_backend_down",
    "path",
    "persistence",
    "priority",
    "reassemble_fragments",
    "route_domain",
    "route_domains",
    "rtt_from_client",
    "rtt_from_server",
    "slow_ramp",
    "sources",
    "syn_allowlist",
    "syn_cookie_mss",
    "syn_cookies",
    "vlans",
];

/// Values, each with its key.
const VALUES: &[(&str, &[&str])] = &[
    (
        "method",
        &[
            "rendezvous",
            "round_robin",
            "weighted_round_robin",
            "least_connections",
            "weighted_least_connections",
            "fastest",
            "source_hash",
            "adaptive",
        ],
    ),
    ("df", &["pmtu"]),
    ("mode", &["ipip", "gue"]),
    ("protocol", &["any"]),
    ("window_scale", &["rewrite"]),
    (
        "type",
        &["tcp_half_open", "udp", "icmp", "http", "https", "s3", "grpc", "external", "inband", "min_of"],
    ),
];

/// Whether a later version has this key.
pub(crate) fn key(key: &str) -> bool {
    KEYS.contains(&key)
}

/// Whether a later version takes this value for this key.
pub(crate) fn value(key: &str, value: &str) -> bool {
    VALUES.iter().any(|(known, values)| *known == key && values.contains(&value))
}

//! What the configuration format has and this version has not: known by name, so that the message can say so.

/// Keys.
const KEYS: &[&str] = &[
    "close_timeout",
    "df",
    "generate_isn",
    "handshake_timeout",
    "idle_action_on_full",
    "keep_alive",
    "loose_close",
    "mss_clamp",
    "mss_override",
    "path",
    "reassemble_fragments",
    "reset_on_timeout",
    "rtt_from_client",
    "rtt_from_server",
    "strip_sack",
    "syn_allowlist",
    "syn_cookie_mss",
    "syn_cookies",
    "time_wait",
    "timestamps",
    "tos_to_client",
    "tos_to_server",
    "ttl",
    "window_scale",
];

/// Values, each with its key.
const VALUES: &[(&str, &[&str])] = &[
    ("on_backend_down", &["reset"]),
    ("protocol", &["any"]),
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

//! What the configuration format has and this version has not: known by name, so that the message can say so.

/// Keys.
const KEYS: &[&str] = &["path"];

/// Values, each with its key.
const VALUES: &[(&str, &[&str])] = &[
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

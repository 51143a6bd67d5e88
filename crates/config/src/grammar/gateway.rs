//! The file as a whole.

use super::{
    Key, Kind, Object, optional,
    pool::POOL,
    port::PORT,
    process::{CONTROL, EAL, SHUTDOWN, WORKERS},
    required,
    virtual_server::{PROFILE, VIRTUAL_SERVER},
};

/// The file.
pub(crate) const FILE: Object = Object {
    path: "",
    noun: "the file",
    meaning: "The whole file.",
    keys: &KEYS,
    later: &["route_domains"],
};

const KEYS: [Key; 9] = [
    required(
        "version",
        Kind::Integer { least: 1, most: 1 },
        "The version of this format, so that a later Tidegate can tell.",
    ),
    optional("eal", Kind::Object(&EAL), "{}", "How DPDK is started."),
    optional("workers", Kind::Object(&WORKERS), "{}", "The cores that forward packets."),
    optional("control", Kind::Object(&CONTROL), "{}", "The part that does not forward packets."),
    optional("shutdown", Kind::Object(&SHUTDOWN), "{}", "What happens at the end."),
    required("ports", Kind::List(&Kind::Object(&PORT)), "The devices that packets come and go by; 1 to 16."),
    optional(
        "profiles",
        Kind::List(&Kind::Object(&PROFILE)),
        "[]",
        "Named bundles of settings that virtual servers share.",
    ),
    optional("pools", Kind::List(&Kind::Object(&POOL)), "[]", "Named sets of backends."),
    optional(
        "virtual_servers",
        Kind::List(&Kind::Object(&VIRTUAL_SERVER)),
        "[]",
        "What clients send to; 16384 at most.",
    ),
];

//! What concerns the process: EAL, workers, control, shutdown.

use super::{Key, Kind, Object, optional, words};

const CPU: Kind = Kind::Integer { least: 0, most: 1023 };

pub(super) const EAL: Object =
    Object { path: "eal", noun: "`eal`", meaning: "How DPDK is started.", keys: &EAL_KEYS, later: &[] };

const EAL_KEYS: [Key; 3] = [
    optional(
        "hugepages",
        words(&[
            ("auto", "huge pages when enough of them are free, ordinary pages otherwise"),
            ("on", "huge pages, or the gateway does not start"),
            ("off", "ordinary pages; for software devices only"),
        ]),
        "auto",
        "Where packet memory comes from.",
    ),
    optional("telemetry", Kind::Flag, "false", "Whether DPDK serves its telemetry socket."),
    optional(
        "args",
        Kind::List(&Kind::Text),
        "[]",
        "Further arguments for DPDK's EAL, one word each. Those that Tidegate sets itself are refused.",
    ),
];

pub(super) const WORKERS: Object = Object {
    path: "workers",
    noun: "`workers`",
    meaning: "The cores that forward packets. Each polls one queue of every port.",
    keys: &WORKERS_KEYS,
    later: &[],
};

const WORKERS_KEYS: [Key; 5] = [
    optional(
        "lcores",
        Kind::AutoOr(&Kind::List(&CPU)),
        "auto",
        "The processors, one worker each, 64 at most. `auto` takes what the process may use, less one for control.",
    ),
    optional("burst", Kind::Integer { least: 1, most: 64 }, "32", "Packets that are handled in one turn at most."),
    optional(
        "idle",
        words(&[
            ("auto", "`busy` with network cards, `adaptive` with software devices only"),
            ("busy", "poll without pause: the lowest latency, a whole core each"),
            ("adaptive", "sleep longer and longer, up to a fraction of a millisecond, while nothing comes"),
        ]),
        "auto",
        "What a worker does when there is nothing to do.",
    ),
    optional(
        "flows",
        Kind::Integer { least: 1, most: 268_435_456 },
        "1048576",
        "Flows that each worker can track. Memory for all of them is taken at the start.",
    ),
    optional(
        "mbufs",
        Kind::AutoOr(&Kind::Integer { least: 1024, most: 16_777_216 }),
        "auto",
        "Packet buffers of the whole gateway. `auto` counts what queues and workers can hold.",
    ),
];

pub(super) const CONTROL: Object = Object {
    path: "control",
    noun: "`control`",
    meaning: "The part that does not forward packets: health, the API, reloading.",
    keys: &CONTROL_KEYS,
    later: &[],
};

const CONTROL_KEYS: [Key; 3] = [
    optional(
        "lcore",
        Kind::AutoOr(&CPU),
        "auto",
        "The processor that control is pinned to. `auto` leaves it to the kernel, off the workers' processors.",
    ),
    optional(
        "socket",
        Kind::Socket,
        "/run/tidegate/tidegate.sock",
        "The unix socket of the API. An absolute path of at most 107 bytes.",
    ),
    optional(
        "seed",
        Kind::AutoOr(&Kind::Seed),
        "auto",
        "32 hexadecimal digits, in quotes, the same on all gateways that must choose the same backends. `auto` draws one at \
         each start.",
    ),
];

pub(super) const SHUTDOWN: Object = Object {
    path: "shutdown",
    noun: "`shutdown`",
    meaning: "What happens at the end.",
    keys: &SHUTDOWN_KEYS,
    later: &[],
};

const SHUTDOWN_KEYS: [Key; 1] = [optional(
    "drain",
    Kind::Duration { zero: true },
    "0s",
    "How long SIGTERM lets open flows finish while no new ones are taken.",
)];


//! `pools`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Duration, Endpoint, Name, Rate, ServerId};

use super::{Auto, Given, List, default, number::Slots};

/// A named set of backends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pool {
    /// Its name; no other pool has it.
    #[schemars(extend("examples" = ["objects"]))]
    pub(crate) name: Given<Name>,
    /// How a backend is chosen for a new flow.
    #[serde(default)]
    #[schemars(extend("default" = "maglev"))]
    pub(crate) method: Given<Method>,
    /// Its backends, at least one.
    #[schemars(length(min = 1), extend("examples" = [[{ "address": "10.1.0.11:9000" }]]))]
    pub(crate) backends: List<Backend>,
    /// Its active checks; a backend is up while all of them say so. Without any it is always up.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) monitors: List<Monitor>,
    /// Slots of the table by which backends are chosen, a power of two. With `auto` the backend with the least weight has
    /// 128 or more, so that weights come within 1 %, but there are no more than 65536. More slots make shares finer and
    /// take 4 bytes each. When the number changes, flows keep their backends, except those that no flow table knows:
    /// those choose again.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) slots: Given<Auto<Slots>>,
    /// Backends of a lower `priority` take new flows while fewer than this many of higher ones do; 0: all take new flows,
    /// whatever their priority.
    #[serde(default)]
    #[schemars(extend("default" = 0))]
    pub(crate) min_active: Given<u16>,
    /// How long a backend that has come up again, was added, or was enabled again takes from a sixteenth of its weight to all of it. When the
    /// gateway starts, all backends have their weights at once.
    #[serde(default)]
    #[schemars(extend("default" = "0s"))]
    pub(crate) slow_ramp: Given<Duration>,
    /// How long after a backend was set to `state: drain` the flows that it still has are ended: TCP's are reset, others go to another
    /// backend. Without it they may go on as long as they like. After a start of the gateway the time begins anew.
    #[serde(default)]
    #[schemars(extend("examples" = ["30m"]))]
    pub(crate) drain_deadline: Given<Duration>,
    /// What becomes of the TCP flows of a backend that is down. UDP flows always go to another one with the client's next
    /// packet.
    #[serde(default)]
    #[schemars(extend("default" = "none"))]
    pub(crate) on_backend_down: Given<OnBackendDown>,
    /// The pool that takes new flows when no backend of this one does; without it, or when that has none either, they are dropped.
    #[serde(default)]
    pub(crate) fallback: Given<Name>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum OnBackendDown {
    /// they stay with it, and go on if it comes back in time
    None,
    /// they end, and both sides get a reset: clients that know what to do then do it at once
    Reset,
    /// they end: their packets are dropped
    Drop,
    /// the client's next packet goes to another backend, which is right where backends share what they know of connections
    Reselect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Method {
    /// weighted consistent hashing: the same file and seed give the same choice on every gateway
    Maglev,
    /// the same, but a backend more or less moves nobody else's flows, and shares are less even
    Rendezvous,
    /// one after the other, each worker by itself; weights do not count
    RoundRobin,
    /// one after the other, as often as weights say
    WeightedRoundRobin,
    /// the one with the fewest flows, over all workers; weights do not count
    LeastConnections,
    /// the one with the fewest flows for its weight
    WeightedLeastConnections,
    /// the one that answers SYNs the fastest; not with `dsr`, where answers do not come by
    Fastest,
    /// weighted consistent hashing of the client's address: all that a client sends goes to one backend
    SourceHash,
    /// the one with the fewest flows for its weight and for what it was found able to take: a backend that has become slow gets less
    Adaptive,
}

/// One address and port that takes in traffic.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backend {
    /// Where it is. With `dsr`, `ipip` and `gue` the port serves its monitors only.
    #[schemars(extend("examples" = ["10.1.0.11:9000"]))]
    pub(crate) address: Given<Endpoint>,
    /// Its share of new flows relative to the others of its pool; 0: none.
    #[serde(default)]
    #[schemars(extend("default" = default::WEIGHT))]
    pub(crate) weight: Given<u16>,
    /// Its group, for `min_active`: those of the greatest priority come first.
    #[serde(default)]
    #[schemars(extend("default" = default::PRIORITY))]
    pub(crate) priority: Given<u16>,
    /// What you want of it.
    #[serde(default)]
    #[schemars(extend("default" = "enabled"))]
    pub(crate) state: Given<State>,
    /// How it is named in the connection ids that it gives to QUIC clients, for virtual servers with `quic`; all backends of a pool
    /// have names of the same length.
    #[serde(default)]
    #[schemars(extend("examples" = ["0a1b"]))]
    pub(crate) server_id: Given<ServerId>,
    /// Open flows, over all workers; 0: as many as come. New flows beyond it go to other backends of the pool.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u64), extend("default" = 0))]
    pub(crate) max_connections: Given<u32>,
    /// New flows a second, over all workers; 0: as many as come. New flows beyond it go to other backends of the pool.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u64), extend("default" = 0))]
    pub(crate) new_per_second: Given<u32>,
    /// Bits of IP packets a second, in each direction, over all workers; 0: as many as come. Packets beyond it are dropped.
    #[serde(default)]
    #[schemars(extend("default" = 0))]
    pub(crate) bandwidth: Given<Rate>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum State {
    /// it takes new flows while it is up
    Enabled,
    /// it takes no new flows and keeps those it has
    Drain,
    /// it takes no flows; those it had are dropped
    Disabled,
}

/// An active check of each backend of a pool.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Monitor {
    /// What is checked.
    #[serde(rename = "type")]
    #[schemars(extend("examples" = ["tcp"]))]
    #[expect(dead_code, reason = "there is one value so far, and the schema checks it")]
    pub(crate) kind: Given<MonitorKind>,
    /// From the start of one check to the start of the next.
    #[serde(default)]
    #[schemars(extend("default" = default::INTERVAL))]
    pub(crate) interval: Given<Duration>,
    /// How long one check may take; less than `interval`.
    #[serde(default)]
    #[schemars(extend("default" = default::TIMEOUT))]
    pub(crate) timeout: Given<Duration>,
    /// Checks that fail in a row before a backend is down.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000), extend("default" = default::FALL))]
    pub(crate) fall: Given<u16>,
    /// Checks that succeed in a row before it is up again.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000), extend("default" = default::RISE))]
    pub(crate) rise: Given<u16>,
    /// The port to connect to instead of the backend's own.
    #[serde(default)]
    #[schemars(range(min = 1, max = 65535))]
    pub(crate) port: Given<u16>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum MonitorKind {
    /// a TCP connection that must open
    Tcp,
}

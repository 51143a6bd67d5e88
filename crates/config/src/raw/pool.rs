//! `pools`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Duration, Endpoint, Name, Rate};

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
    #[expect(dead_code, reason = "there is one value so far, and the schema checks it")]
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
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Method {
    /// weighted consistent hashing: the same file and seed give the same choice on every gateway
    Maglev,
}

/// One address and port that takes in traffic.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Backend {
    /// Where it is. With `dsr` the port serves its monitors only.
    #[schemars(extend("examples" = ["10.1.0.11:9000"]))]
    pub(crate) address: Given<Endpoint>,
    /// Its share of new flows relative to the others of its pool; 0: none.
    #[serde(default)]
    #[schemars(extend("default" = default::WEIGHT))]
    pub(crate) weight: Given<u16>,
    /// What you want of it.
    #[serde(default)]
    #[schemars(extend("default" = "enabled"))]
    pub(crate) state: Given<State>,
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

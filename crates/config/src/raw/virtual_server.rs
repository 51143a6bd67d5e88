//! `profiles` and `virtual_servers`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Address, Duration, Name};

use super::{Auto, Given};

/// A bundle of settings that virtual servers share.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// Its name; no other profile has it.
    #[schemars(extend("examples" = ["ingest"]))]
    pub(crate) name: Given<Name>,
    /// How long a flow may be silent before it is forgotten. Without it 300s for TCP and 60s for UDP.
    #[serde(default)]
    pub(crate) idle_timeout: Given<Duration>,
    /// Whether a TCP packet in mid-stream opens a flow, as after a restart.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) loose_initiation: Given<bool>,
    /// How long a TCP flow may be silent until its handshake is complete.
    #[serde(default)]
    #[schemars(extend("default" = "5s"))]
    pub(crate) handshake_timeout: Given<Duration>,
    /// How long a TCP flow may be silent when both sides have ended it, or one has broken it off.
    #[serde(default)]
    #[schemars(extend("default" = "5s"))]
    pub(crate) close_timeout: Given<Duration>,
    /// How long an ended TCP flow is remembered after each side has acknowledged the other's end. `0s`: it is forgotten at once.
    #[serde(default)]
    #[schemars(extend("default" = "0s"))]
    pub(crate) time_wait: Given<Duration>,
    /// Whether a TCP flow is forgotten with the first FIN or RST, without waiting for the other side's.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) loose_close: Given<bool>,
    /// Whether both sides of a TCP flow get a RST when it is forgotten because it was silent.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub(crate) reset_on_timeout: Given<bool>,
}

/// Address, port and protocol that clients send to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VirtualServer {
    /// Its name; no other virtual server has it.
    #[schemars(extend("examples" = ["s3"]))]
    pub(crate) name: Given<Name>,
    /// The address that clients send to; not one of a port.
    #[schemars(extend("examples" = ["198.51.100.10"]))]
    pub(crate) address: Given<Address>,
    /// The port that clients send to.
    #[schemars(range(min = 1, max = 65535), extend("examples" = [443]))]
    pub(crate) port: Given<u16>,
    /// The protocol that clients speak.
    #[schemars(extend("examples" = ["tcp"]))]
    pub(crate) protocol: Given<Protocol>,
    /// What is done with its traffic.
    #[serde(default, rename = "type")]
    #[schemars(extend("default" = "fastl4"))]
    #[expect(dead_code, reason = "there is one value so far, and the schema checks it")]
    pub(crate) kind: Given<Kind>,
    /// How packets reach a backend.
    #[schemars(extend("examples" = ["nat"]))]
    pub(crate) mode: Given<Mode>,
    /// The source addresses of `full_nat`, a list; `auto`: those of the port that faces the backend.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) snat: Given<Auto<Vec<Given<Address>>>>,
    /// The profile with its settings; without it the one with the name `default`, or each setting's own default.
    #[serde(default)]
    pub(crate) profile: Given<Name>,
    /// The pool with its backends, of the same address family.
    #[schemars(extend("examples" = ["objects"]))]
    pub(crate) pool: Given<Name>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Protocol {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Kind {
    /// packets are forwarded as they come, flow by flow
    Fastl4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Mode {
    /// the destination becomes the backend's; the backend's replies must come back through the gateway
    Nat,
    /// the source becomes one of `snat` as well, so that replies come back by address
    FullNat,
    /// only the destination MAC address changes; the backend holds the virtual server's address and answers directly
    Dsr,
}

//! `profiles` and `virtual_servers`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::text::{Address, Addresses, Duration, FilePath, Name, Network, Prefix, Rate};

use super::{Auto, Given, List, default};

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
}

/// Address, port and protocol that clients send to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VirtualServer {
    /// Its name; no other virtual server has it.
    #[schemars(extend("examples" = ["s3"]))]
    pub(crate) name: Given<Name>,
    /// The address that clients send to, or in `dsr`, `ipip` and `gue` a network of them; not one of a port. Of several virtual
    /// servers a packet goes to the one with its address and port, then with its address and any port, then with the longest prefix.
    #[schemars(extend("examples" = ["198.51.100.10"]))]
    pub(crate) address: Given<Addresses>,
    /// The port that clients send to; in `dsr`, `ipip` and `gue` 0 is any.
    #[schemars(range(min = 0, max = 65535), extend("examples" = [443]))]
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
    /// The source of outer headers in `ipip` and `gue`, a list with at most one network of each family: its length says how
    /// many bits are as written, and the hash of the flow fills the others (of IPv6 the last 32 at most), by which the
    /// backend's queues share flows; with 32 or 128 all flows have this one. `auto`, and for a family that is not there:
    /// the address of the port that faces the backend.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) outer_source: Given<Auto<Vec<Given<Network>>>>,
    /// The profile with its settings; without it the one with the name `default`, or each setting's own default.
    #[serde(default)]
    pub(crate) profile: Given<Name>,
    /// How a client keeps its backend from one flow to the next, as long as that takes new flows. Without it each flow is on its own.
    #[serde(default)]
    pub(crate) persistence: Given<Persistence>,
    /// The pool with its backends, of the same address family unless the mode is `ipip` or `gue`.
    #[schemars(extend("examples" = ["objects"]))]
    pub(crate) pool: Given<Name>,
    /// The route domain that its address, its clients and the backends of its pool are of; without it the one without a name.
    #[serde(default)]
    pub(crate) route_domain: Given<Name>,
    /// Whom it takes new flows from; flows that are open go on. Without it from everybody.
    #[serde(default)]
    pub(crate) sources: Given<Sources>,
    /// What it may take, over all workers. First packets beyond a limit are dropped.
    #[serde(default)]
    pub(crate) limits: Given<Limits>,
}

/// What a virtual server may take, over all workers; 0: as much as comes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    /// Open flows.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u64), extend("default" = 0))]
    pub(crate) connections: Given<u32>,
    /// New flows a second. After a pause a second's worth may come at once.
    #[serde(default)]
    #[schemars(range(max = 4_294_967_295_u64), extend("default" = 0))]
    pub(crate) new_per_second: Given<u32>,
    /// New flows from one source address within a second.
    #[serde(default)]
    #[schemars(range(max = 1_000_000), extend("default" = 0))]
    pub(crate) new_per_second_per_source: Given<u32>,
    /// Bits of IP packets a second, in each direction. Packets beyond it are dropped; 50 ms' worth may come at once. Flows with a bandwidth cost more
    /// cycles a packet.
    #[serde(default)]
    #[schemars(extend("default" = 0))]
    pub(crate) bandwidth: Given<Rate>,
}

/// Whom a virtual server takes new flows from. Of prefixes that contain a source the longest decides; a source that is in none is
/// denied if anything is allowed by name, and allowed otherwise.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sources {
    /// Allowed prefixes.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) allow: List<Prefix>,
    /// Denied prefixes. None is in both lists.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) deny: List<Prefix>,
    /// A file with more allowed prefixes: one a line, behind `#` comments. It is read with the configuration, and its
    /// path counts from there.
    #[serde(default)]
    pub(crate) allow_file: Given<FilePath>,
    /// The same with denied ones.
    #[serde(default)]
    pub(crate) deny_file: Given<FilePath>,
}

/// How clients keep their backend.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Persistence {
    /// Bits of a client's address by which it is known: 32 (128 for IPv6) for each address by itself, 24 for networks of 256.
    #[schemars(range(min = 1, max = 128), extend("examples" = [32]))]
    pub(crate) source: Given<u8>,
    /// How long after its last new flow a client is known; 1s to 12h.
    #[serde(default)]
    #[schemars(extend("default" = default::PERSISTENCE))]
    pub(crate) timeout: Given<Duration>,
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

impl Mode {
    /// Whether backends answer clients past the gateway.
    pub(crate) const fn is_direct(self) -> bool {
        matches!(self, Self::Dsr | Self::Ipip | Self::Gue)
    }

    /// Whether packets travel to the backend within others.
    pub(crate) const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }
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
    /// the packet travels to the backend within another IP packet, of the family of the backend's address; the backend
    /// takes it out, holds the virtual server's address and answers directly
    Ipip,
    /// the same within a UDP datagram to port 6080 (GUE, variant 1), by whose source port the backend's queues share flows
    Gue,
}

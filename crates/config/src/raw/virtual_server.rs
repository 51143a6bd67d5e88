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
    /// How long a flow may be silent before it is forgotten. Without it 60s for `protocol: udp` and 300s for others.
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
    /// After how much silence the client of a TCP flow is asked whether it is still there, and again and again: its answer counts as a packet.
    /// Without it nobody is asked. Each packet of such flows costs more.
    #[serde(default)]
    #[schemars(extend("examples" = ["60s"]))]
    pub(crate) keep_alive: Given<Duration>,
    /// What makes room for a new flow in a full table; never an established flow.
    #[serde(default)]
    #[schemars(extend("default" = "evict_embryonic"))]
    pub(crate) idle_action_on_full: Given<ActionOnFull>,
    /// Which SYNs the gateway answers with a cookie, remembering nothing until the client has confirmed; then it opens the
    /// connection to a backend. `nat` and `full_nat` only.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) syn_cookies: Given<SynCookies>,
    /// The MSS of answers with a cookie: no backend should take less. 0: that of `mss_override`, or 1460 for IPv4 and 1440 for IPv6.
    #[serde(default)]
    #[schemars(range(min = 0, max = 65495), extend("default" = 0))]
    pub(crate) syn_cookie_mss: Given<u16>,
    /// How long after a source has brought a cookie back its SYNs are forwarded at once, while those of others are answered with cookies; `0s`:
    /// they are not.
    #[serde(default)]
    #[schemars(extend("default" = "30s"))]
    pub(crate) syn_allowlist: Given<Duration>,
    /// The MSS that each side's SYN says instead of its own; 0: its own.
    #[serde(default)]
    #[schemars(range(min = 0, max = 65495), extend("default" = 0))]
    pub(crate) mss_override: Given<u16>,
    /// Whether a SYN says no larger MSS than fits the ports that the flow goes by; not in `dsr`.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) mss_clamp: Given<MssClamp>,
    /// Whether selective acknowledgement is taken out of handshakes.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) strip_sack: Given<bool>,
    /// What becomes of window scaling.
    #[serde(default)]
    #[schemars(extend("default" = "preserve"))]
    pub(crate) window_scale: Given<WindowScale>,
    /// The scale that both sides are told with `window_scale: rewrite`: windows are said in units of 2 to the power of this, and none is
    /// larger than 65,535 of them.
    #[serde(default)]
    #[schemars(range(min = 0, max = 14), extend("default" = 7))]
    pub(crate) window_scale_shift: Given<u8>,
    /// What becomes of TCP timestamps.
    #[serde(default)]
    #[schemars(extend("default" = "preserve"))]
    pub(crate) timestamps: Given<Timestamps>,
    /// Whether it is measured how long clients take to answer the SYN-ACK; TCP in `nat` and `full_nat` only.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub(crate) rtt_from_client: Given<bool>,
    /// Whether it is measured how long backends take to answer the SYN; TCP in `nat` and `full_nat` only.
    #[serde(default)]
    #[schemars(extend("default" = true))]
    pub(crate) rtt_from_server: Given<bool>,
    /// Whether both sides see other sequence numbers than the other one sends, which nobody can guess; `nat` and `full_nat` only.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) generate_isn: Given<bool>,
    /// The TTL (IPv6: hop limit) with which packets leave.
    #[serde(default)]
    #[schemars(extend("default" = "decrement"))]
    pub(crate) ttl: Given<Ttl>,
    /// The TTL of IPv4 packets with `ttl: set`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 255), extend("default" = 255))]
    pub(crate) ttl_v4: Given<u8>,
    /// The hop limit of IPv6 packets with `ttl: set`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 255), extend("default" = 64))]
    pub(crate) ttl_v6: Given<u8>,
    /// Whether routers may fragment IPv4 packets.
    #[serde(default)]
    #[schemars(extend("default" = "preserve"))]
    pub(crate) df: Given<Df>,
    /// Whether TCP and UDP packets that come in fragments are put together, for which they wait, and go on as if they had come whole. Otherwise
    /// each fragment follows the first one.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) reassemble_fragments: Given<bool>,
    /// The type of service of packets to the client, whose last two bits are not changed; without it that of the packet.
    #[serde(default)]
    #[schemars(range(min = 0, max = 252), extend("examples" = [184]))]
    pub(crate) tos_to_client: Given<u8>,
    /// The type of service of packets to the backend, whose last two bits are not changed; without it that of the packet.
    #[serde(default)]
    #[schemars(range(min = 0, max = 252), extend("examples" = [184]))]
    pub(crate) tos_to_server: Given<u8>,
    /// The priority (PCP) of packets to the client that leave by a VLAN; without it 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 7), extend("examples" = [5]))]
    pub(crate) qos_to_client: Given<u8>,
    /// The priority (PCP) of packets to the backend that leave by a VLAN; without it 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 7), extend("examples" = [5]))]
    pub(crate) qos_to_server: Given<u8>,
}

/// Address, port and protocol that clients send to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VirtualServer {
    /// Its name; no other virtual server has it.
    #[schemars(extend("examples" = ["s3"]))]
    pub(crate) name: Given<Name>,
    /// The address that clients send to, or a network of them, with no address of a port or a backend. Of several virtual servers a packet goes to
    /// the one with its address and port, then with its address and any port, then with the longest prefix; of two with the same address
    /// and port to the one that names its protocol.
    #[schemars(extend("examples" = ["198.51.100.10"]))]
    pub(crate) address: Given<Addresses>,
    /// The port that clients send to. 0 is any: backends get what was sent to a port at that one, in `nat` and `full_nat` too, and their own
    /// port is for monitors.
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
    /// The source addresses of `full_nat`, a list, with at least one of each family that backends have; `auto`: those of the port that
    /// faces the backend.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) snat: Given<Auto<Vec<Given<Address>>>>,
    /// How the backends of `full_nat`, which see a source of `snat`, are shown the client's own address; TCP only.
    #[serde(default)]
    #[schemars(extend("default" = "none"))]
    pub(crate) show_client: Given<ShowClient>,
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
    /// With `protocol: udp`: first packets of QUIC whose connection id names a backend by its `server_id` go to that backend, so that
    /// connections survive when their client's address changes. All others are balanced as usual.
    #[serde(default)]
    pub(crate) quic: Given<Quic>,
    /// The pool with its backends. In `nat` and `dsr` all are of the virtual server's address family; in `full_nat` packets to and from
    /// those of the other one are translated (RFC 7915).
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ActionOnFull {
    /// a flow whose handshake is not complete
    EvictEmbryonic,
    /// nothing: the packet is dropped
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum MssClamp {
    /// what fits the smaller of the client's and the backend's port
    Auto,
    /// what each side says
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum WindowScale {
    /// it stays
    Preserve,
    /// both sides are told `window_scale_shift`, if both have window scaling, and windows are said anew where that is not the other side's
    /// own; `nat` and `full_nat` only
    Rewrite,
    /// it is taken out of handshakes
    Strip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum SynCookies {
    /// none
    Off,
    /// from 16,384 flows of a worker on whose handshake is not complete (in a smaller flow table from half of it on), or four times as many
    /// that begin in one second, until there are half as many
    Auto,
    /// all
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Timestamps {
    /// they stay
    Preserve,
    /// they are moved, so that nobody sees how long a machine has been up; `nat` and `full_nat` only
    Rewrite,
    /// they are taken out of handshakes
    Strip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Ttl {
    /// one less than they came with
    Decrement,
    /// what they came with
    Preserve,
    /// 255 for IPv4, 64 for IPv6
    Proxy,
    /// `ttl_v4` and `ttl_v6`
    Set,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Df {
    /// as they came
    Preserve,
    /// they may not
    Set,
    /// they may
    Clear,
    /// segments of TCP, which finds out what the path takes, may not; datagrams as they came
    Pmtu,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ShowClient {
    /// not at all
    None,
    /// by a header of the PROXY protocol, version 2, before the first byte that the client sends; packets of these flows cost more cycles
    ProxyV2,
    /// by the TCP option 254 in the first segments behind the SYN, as the `toa` modules of LVS and DPVS read it; a segment without room
    /// for it goes without
    Toa,
}

/// How QUIC's connection ids name backends: as in draft-ietf-quic-load-balancers, not encrypted. The first byte begins with three bits
/// of `rotation`, then come the bytes of a backend's `server_id`, then what makes the connection id unique.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quic {
    /// The rotation of connection ids that name a backend; 7 is for those that name none.
    #[serde(default)]
    #[schemars(range(min = 0, max = 6), extend("default" = 0))]
    pub(crate) rotation: Given<u8>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Protocol {
    /// RFC 9293
    Tcp,
    /// RFC 768
    Udp,
    /// all IP protocols but ICMP, with `port: 0` and not in `full_nat`: TCP and UDP flow by flow, all others by the addresses alone. `nat` takes
    /// those of them that nothing is wrong with when their addresses have changed: ESP, GRE, SCTP, EtherIP, L2TPv3, MPLS and IP within IP
    Any,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Kind {
    /// packets are forwarded as they come, flow by flow
    Fastl4,
}

impl Mode {
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

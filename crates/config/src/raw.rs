//! The file as it is written: the single source of what is accepted, of its JSON Schema and of its reference.
//!
//! Doc comments here are what an operator reads in `docs/configuration.md`. Every value is [`Given`]: it knows where it
//! stands, and may be absent or mistaken. Keys without `#[serde(default)]` are required. Defaults stand in [`default`].

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::{
    mistake::Place,
    text::{Address, Device, Duration, Endpoint, Mac, Name, Network, Seed, SocketPath},
};

/// What a key means when the file does not say.
pub(crate) mod default {
    pub(crate) const BURST: usize = 32;
    pub(crate) const FLOWS: usize = 1_048_576;
    pub(crate) const MTU: u16 = 1500;
    pub(crate) const SOCKET: &str = "/run/tidegate/tidegate.sock";
    pub(crate) const WEIGHT: u16 = 1;
    pub(crate) const INTERVAL: &str = "1s";
    pub(crate) const INTERVAL_MILLIS: u64 = 1_000;
    pub(crate) const TIMEOUT: &str = "300ms";
    pub(crate) const TIMEOUT_MILLIS: u64 = 300;
    pub(crate) const FALL: u16 = 3;
    pub(crate) const RISE: u16 = 2;
}

/// A value of the file and its place.
#[derive(Clone, Debug, Default)]
pub(crate) enum Given<T> {
    /// The file does not say.
    #[default]
    Absent,
    /// What it says is wrong and was reported.
    Mistaken,
    /// What it says, where.
    At(Place, T),
}

/// A list, its place, and the places of its items.
pub(crate) type List<T> = Given<Vec<Given<T>>>;

impl<T> Given<T> {
    /// The value, when the file gives a sound one.
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Self::At(_, value) => Some(value),
            _ => None,
        }
    }

    /// The value and its place, when the file gives a sound one.
    pub(crate) fn at(&self) -> Option<(Place, &T)> {
        match self {
            Self::At(place, value) => Some((*place, value)),
            _ => None,
        }
    }

    /// The value, or `default` when the file is silent; `None` when it is mistaken, so that nothing follows from it.
    pub(crate) fn or(&self, default: T) -> Option<T>
    where
        T: Clone,
    {
        match self {
            Self::Absent => Some(default),
            Self::Mistaken => None,
            Self::At(_, value) => Some(value.clone()),
        }
    }

    pub(crate) fn is_mistaken(&self) -> bool {
        matches!(self, Self::Mistaken)
    }
}

impl<T> List<T> {
    /// The sound items and their places.
    pub(crate) fn items(&self) -> impl Iterator<Item = (Place, &T)> {
        self.value().into_iter().flatten().filter_map(Given::at)
    }

    /// Whether the list or one of its items is mistaken.
    pub(crate) fn is_partly_mistaken(&self) -> bool {
        self.is_mistaken() || self.value().into_iter().flatten().any(Given::is_mistaken)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An Option, since a missing field is deserialised as one.
        deserializer.deserialize_option(Written(PhantomData))
    }
}

/// A value as `structure` writes it: `[place, value]`, or `false` for what is mistaken.
struct Written<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Written<T> {
    type Value = Given<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a place and a value")
    }

    fn visit_none<E>(self) -> Result<Given<T>, E> {
        Ok(Given::Absent)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given<T>, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Given<T>, E> {
        Ok(Given::Mistaken)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Given<T>, A::Error> {
        let place = pair.next_element()?.ok_or_else(|| Error::invalid_length(0, &self))?;
        let value = pair.next_element()?.ok_or_else(|| Error::invalid_length(1, &self))?;
        Ok(Given::At(Place(place), value))
    }
}

impl<T: JsonSchema> JsonSchema for Given<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// `auto`, or a value.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Auto<T> {
    Word(AutoWord),
    Value(T),
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) enum AutoWord {
    #[serde(rename = "auto")]
    Auto,
}

impl<T> Auto<T> {
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Self::Word(_) => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Auto<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Auto_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, generator.subschema_for::<T>()] })
    }
}

/// The whole file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tidegate configuration")]
pub(crate) struct File {
    /// The version of this format.
    #[schemars(extend("const" = 1, "examples" = [1]))]
    #[expect(dead_code, reason = "there is one value so far, and the schema checks it")]
    pub(crate) version: Given<u32>,
    /// How DPDK's environment is set up.
    #[serde(default)]
    pub(crate) eal: Given<Eal>,
    /// The cores that poll.
    #[serde(default)]
    pub(crate) workers: Given<Workers>,
    /// The core that does not poll, and its socket.
    #[serde(default)]
    pub(crate) control: Given<Control>,
    /// How the process ends.
    #[serde(default)]
    pub(crate) shutdown: Given<Shutdown>,
    /// The devices that packets come and go by, 1 to 16.
    #[schemars(length(min = 1), extend("examples" = ["[{ name: uplink, device: \"0000:3b:02.0\", addresses: [192.0.2.2/24] }]"]))]
    pub(crate) ports: List<Port>,
    /// Bundles of settings that virtual servers share. One with the name `default` holds for virtual servers that name none.
    #[serde(default)]
    pub(crate) profiles: List<Profile>,
    /// Named sets of backends.
    #[serde(default)]
    pub(crate) pools: List<Pool>,
    /// What clients send to.
    #[serde(default)]
    pub(crate) virtual_servers: List<VirtualServer>,
}

/// How DPDK's environment is set up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Eal {
    /// Whether packet memory lies in hugepages.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) hugepages: Given<Hugepages>,
    /// Whether DPDK's own telemetry socket is open.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) telemetry: Given<bool>,
    /// Further EAL arguments, one word an entry.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) args: List<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Hugepages {
    /// when enough are free
    Auto,
    /// always; without them the gateway does not start
    On,
    /// never
    Off,
}

/// The cores that poll.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Workers {
    /// A worker on each of these lcores; `auto`: chosen at start.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) lcores: Given<Auto<Vec<Given<Lcore>>>>,
    /// Frames handled in one turn.
    #[serde(default)]
    #[schemars(range(min = 1, max = 64), extend("default" = default::BURST))]
    pub(crate) burst: Given<usize>,
    /// What a worker does without work.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) idle: Given<Idle>,
    /// Flows that each worker can track.
    #[serde(default)]
    #[schemars(range(min = 16, max = 134_217_728), extend("default" = default::FLOWS))]
    pub(crate) flows: Given<usize>,
    /// Packet buffers of the process; `auto`: by ports, queues and workers.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) mbufs: Given<Auto<Mbufs>>,
}

macro_rules! numbers {
    ($($name:ident($inner:ty) = $min:literal to $max:literal;)*) => {$(
        #[derive(Clone, Copy, Debug, Deserialize)]
        pub(crate) struct $name(pub(crate) $inner);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "minimum": $min, "maximum": $max })
            }
        }
    )*};
}

numbers! {
    Lcore(u16) = 0 to 1023;
    Mbufs(usize) = 256 to 134_217_728;
    Queues(u16) = 1 to 64;
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Idle {
    /// `busy` on hardware, `adaptive` in software mode
    Auto,
    /// polls on
    Busy,
    /// yields the core after a run of empty polls
    Adaptive,
}

/// The core that does not poll, and its socket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Control {
    /// Its lcore; `auto`: chosen at start.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) lcore: Given<Auto<Lcore>>,
    /// The API's unix socket; at most 107 bytes.
    #[serde(default)]
    #[schemars(extend("default" = default::SOCKET))]
    pub(crate) socket: Given<SocketPath>,
    /// What tables and hashes are keyed with: 32 hexadecimal digits in quotes, the same on gateways that must agree;
    /// `auto`: random at start.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) seed: Given<Auto<Seed>>,
}

/// How the process ends.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shutdown {
    /// How long SIGTERM lets flows finish. SIGINT or a second signal ends at once.
    #[serde(default)]
    #[schemars(extend("default" = "0s"))]
    pub(crate) drain: Given<Duration>,
}

/// A device that packets come and go by.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Port {
    /// Its name in counters, commands and messages; no other port has it.
    #[schemars(extend("examples" = ["uplink"]))]
    pub(crate) name: Given<Name>,
    /// A PCI address (`0000:3b:02.0`, also a virtual function) or a DPDK vdev (`net_af_packet0,iface=veth0`).
    #[schemars(extend("examples" = ["\"0000:3b:02.0\""]))]
    pub(crate) device: Given<Device>,
    /// Its own addresses with the length of their network. ARP, ND and echo are answered for them.
    #[schemars(length(min = 1), extend("examples" = ["[192.0.2.2/24]"]))]
    pub(crate) addresses: List<Network>,
    /// Routers for what is on no port's network; several of a family share the load by flow.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) gateway: List<Address>,
    /// Networks behind particular routers.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) routes: List<Route>,
    /// Whether replies to a client leave by the MAC address that its packets came from.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) last_hop: Given<LastHop>,
    /// The Ethernet address to set; `auto`: the device's own.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) mac: Given<Auto<Mac>>,
    /// Pairs of receive and transmit queues; `auto`: one a worker.
    #[serde(default)]
    #[schemars(extend("default" = "auto"))]
    pub(crate) queues: Given<Auto<Queues>>,
    /// Who is on the other side: what RSS is asked to hash.
    #[serde(default)]
    #[schemars(extend("default" = "both"))]
    pub(crate) facing: Given<Facing>,
    /// Whether the kernel gets a twin interface with the port's addresses, for SSH, BGP and monitors.
    #[serde(default)]
    #[schemars(extend("default" = false))]
    pub(crate) host: Given<bool>,
    /// Neighbours that are given; all others are resolved by ARP and ND.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) neighbours: List<Neighbour>,
    /// Bytes of the largest IP packet that leaves; with an IPv6 address at least 1280.
    #[serde(default)]
    #[schemars(range(min = 68, max = 65535), extend("default" = default::MTU))]
    pub(crate) mtu: Given<u16>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum LastHop {
    /// they do
    Auto,
    /// they follow the routes
    Off,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum Facing {
    /// RSS hashes the source
    Clients,
    /// RSS hashes the destination
    Backends,
    /// RSS hashes source and destination
    Both,
}

/// A network behind one or several routers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// The network.
    #[schemars(extend("examples" = ["10.1.0.0/16"]))]
    pub(crate) to: Given<Network>,
    /// Its routers, on a network of the port; several share the load by flow.
    #[schemars(length(min = 1), extend("examples" = ["[192.0.2.9]"]))]
    pub(crate) via: List<Address>,
}

/// An address on a port's network and its Ethernet address.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Neighbour {
    /// The neighbour's IP address, on a network of the port.
    #[schemars(extend("examples" = ["192.0.2.1"]))]
    pub(crate) address: Given<Address>,
    /// The neighbour's Ethernet address.
    #[schemars(extend("examples" = ["\"02:00:00:00:00:01\""]))]
    pub(crate) mac: Given<Mac>,
}

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
    #[schemars(length(min = 1), extend("examples" = ["[{ address: \"10.1.0.11:9000\" }]"]))]
    pub(crate) backends: List<Backend>,
    /// Its active checks; a backend is up while all of them say so. Without any it is always up.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(crate) monitors: List<Monitor>,
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
    #[schemars(extend("examples" = ["\"10.1.0.11:9000\""]))]
    pub(crate) address: Given<Endpoint>,
    /// Its share of new flows relative to the others of its pool; 0: none.
    #[serde(default)]
    #[schemars(extend("default" = default::WEIGHT))]
    pub(crate) weight: Given<u16>,
    /// What you want of it.
    #[serde(default)]
    #[schemars(extend("default" = "enabled"))]
    pub(crate) state: Given<State>,
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

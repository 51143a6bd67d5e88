//! From checked raw values to a [`Configuration`]. What a mistake left out is left out here too: with a mistake there is no
//! configuration, so nobody sees what is made here then.

use std::{collections::HashMap, path::PathBuf, time};

use model::{
    Backend, Gateway, Limits, Monitor, Pool, PoolId, Port, Profile, Route, Sources, StaticNeighbour,
    SynCookies, TcpSettings, Treatment, UseOfCookies, VirtualServer, Vlan,
};

use crate::{
    Configuration, Control, Eal, Hugepages, Idle, Shutdown, Workers,
    raw::{self, Auto, Given, default},
};

/// What `file` means.
///
/// `sources` are those of the virtual servers, in their order.
pub(crate) fn of(file: &raw::File, sources: Vec<Sources>) -> Configuration {
    Configuration {
        eal: file.eal.value().map(eal).unwrap_or_default(),
        workers: workers(file.workers.value()),
        control: control(file.control.value()),
        shutdown: shutdown(file.shutdown.value()),
        gateway: gateway(file, sources),
    }
}

fn eal(raw: &raw::Eal) -> Eal {
    Eal {
        hugepages: match raw.hugepages.value() {
            None | Some(raw::Hugepages::Auto) => Hugepages::Auto,
            Some(raw::Hugepages::On) => Hugepages::On,
            Some(raw::Hugepages::Off) => Hugepages::Off,
        },
        telemetry: flag(&raw.telemetry),
        args: raw.args.items().map(|(_, arg)| arg.clone()).collect(),
    }
}

fn workers(raw: Option<&raw::Workers>) -> Workers {
    let lcores = raw.and_then(|raw| chosen(&raw.lcores));
    Workers {
        lcores: lcores.map(|list| list.iter().filter_map(Given::value).map(|lcore| lcore.0).collect()),
        burst: raw.and_then(|raw| raw.burst.value()).copied().unwrap_or(default::BURST),
        idle: match raw.and_then(|raw| raw.idle.value()) {
            None | Some(raw::Idle::Auto) => Idle::Auto,
            Some(raw::Idle::Busy) => Idle::Busy,
            Some(raw::Idle::Adaptive) => Idle::Adaptive,
        },
        flows: raw.and_then(|raw| raw.flows.value()).copied().unwrap_or(default::FLOWS),
        mbufs: raw.and_then(|raw| chosen(&raw.mbufs)).map(|mbufs| mbufs.0),
    }
}

fn control(raw: Option<&raw::Control>) -> Control {
    let socket = raw.and_then(|raw| raw.socket.value());
    Control {
        lcore: raw.and_then(|raw| chosen(&raw.lcore)).map(|lcore| lcore.0),
        socket: PathBuf::from(socket.map_or(default::SOCKET, |path| path.0.as_str())),
        seed: raw.and_then(|raw| chosen(&raw.seed)).map(|seed| seed.0),
    }
}

fn shutdown(raw: Option<&raw::Shutdown>) -> Shutdown {
    let drain = raw.and_then(|raw| raw.drain.value());
    Shutdown { drain: drain.map_or(time::Duration::ZERO, |drain| drain.0) }
}

fn gateway(file: &raw::File, sources: Vec<Sources>) -> Gateway {
    let mut pools: Vec<Pool> = file.pools.items().filter_map(|(_, raw)| pool(raw)).collect();
    let names: Vec<String> = pools.iter().map(|pool| pool.name.clone()).collect();
    let ids: HashMap<&str, PoolId> =
        names.iter().zip(0..).map(|(name, id)| (name.as_str(), PoolId(id))).collect();
    for (pool, (_, raw)) in pools.iter_mut().zip(file.pools.items()) {
        pool.fallback = raw.fallback.value().and_then(|name| ids.get(name.0.as_str()).copied());
    }
    let profiles: HashMap<String, Profile> =
        file.profiles.items().filter_map(|(_, raw)| profile(raw)).map(|p| (p.name.clone(), p)).collect();
    let domains = Domains::of(file);
    let servers = file.virtual_servers.items().zip(sources);
    let virtual_servers = servers
        .filter_map(|((_, raw), sources)| {
            let domain = domains.number(&raw.route_domain);
            Some(VirtualServer { sources, domain, ..virtual_server(raw, &ids, &profiles)? })
        })
        .collect();
    let ports = file.ports.items().filter_map(|(_, raw)| port(raw, &domains)).collect();
    let route_domains = domains.names.iter().map(|&name| name.to_owned()).collect();
    Gateway { ports, virtual_servers, pools, route_domains }
}

/// The numbers of route domains.
struct Domains<'a> {
    names: Vec<&'a str>,
}

impl<'a> Domains<'a> {
    fn of(file: &'a raw::File) -> Self {
        let names = file.route_domains.items().filter_map(|(_, raw)| raw.name.value());
        Self { names: names.map(|name| name.0.as_str()).collect() }
    }

    /// Of one without a name, 0.
    fn number(&self, given: &Given<crate::text::Name>) -> u8 {
        let position = given.value().and_then(|name| self.names.iter().position(|known| *known == name.0));
        position.map_or(0, |position| position as u8 + 1)
    }
}

fn vlan(raw: &raw::Vlan, on: &raw::Port, domains: &Domains<'_>) -> Option<Vlan> {
    Some(Vlan { id: *raw.id.value()?, port: port(&raw.as_port(on), domains)? })
}

fn port(raw: &raw::Port, domains: &Domains<'_>) -> Option<Port> {
    Some(Port {
        name: raw.name.value()?.0.clone(),
        device: raw.device.value()?.0.clone(),
        addresses: raw.addresses.items().map(|(_, network)| network.0).collect(),
        gateways: raw.gateway.items().map(|(_, address)| address.0).collect(),
        routes: raw.routes.items().filter_map(|(_, raw)| route(raw)).collect(),
        last_hop: !matches!(raw.last_hop.value(), Some(raw::LastHop::Off)),
        mac: chosen(&raw.mac).map(|mac| mac.0),
        queues: chosen(&raw.queues).map(|queues| queues.0),
        facing: match raw.facing.value() {
            Some(raw::Facing::Clients) => model::Facing::Clients,
            Some(raw::Facing::Backends) => model::Facing::Backends,
            None | Some(raw::Facing::Both) => model::Facing::Both,
        },
        host: flag(&raw.host),
        host_limit: chosen(&raw.host_limit).map(|rate| rate.0),
        neighbours: raw.neighbours.items().filter_map(|(_, raw)| neighbour(raw)).collect(),
        mtu: raw.mtu.value().copied().unwrap_or(default::MTU),
        domain: domains.number(&raw.route_domain),
        vlans: raw.vlans.items().filter_map(|(_, vlan)| self::vlan(vlan, raw, domains)).collect(),
        offloads: !matches!(raw.offloads.value(), Some(raw::Offloads::Off)),
    })
}

fn route(raw: &raw::Route) -> Option<Route> {
    let via = raw.via.items().map(|(_, address)| address.0).collect();
    Some(Route { to: raw.to.value()?.0, via })
}

fn neighbour(raw: &raw::Neighbour) -> Option<StaticNeighbour> {
    Some(StaticNeighbour { address: raw.address.value()?.0, mac: raw.mac.value()?.0 })
}

fn profile(raw: &raw::Profile) -> Option<Profile> {
    Some(Profile {
        name: raw.name.value()?.0.clone(),
        idle_timeout: raw.idle_timeout.value().map(|timeout| timeout.0),
        loose_initiation: flag(&raw.loose_initiation),
        reassembles: flag(&raw.reassemble_fragments),
        tcp: tcp_settings(raw),
        cookies: syn_cookies(raw),
        treatment: treatment(raw),
        rtt: model::RoundTrips {
            from_client: raw.rtt_from_client.value().copied().unwrap_or(true),
            from_server: raw.rtt_from_server.value().copied().unwrap_or(true),
        },
    })
}

fn pool(raw: &raw::Pool) -> Option<Pool> {
    Some(Pool {
        name: raw.name.value()?.0.clone(),
        method: raw.method.value().map_or(model::Method::Maglev, |method| self::method(*method)),
        backends: raw.backends.items().filter_map(|(_, raw)| backend(raw)).collect(),
        monitors: raw.monitors.items().map(|(_, raw)| monitor(raw)).collect(),
        slots: chosen(&raw.slots).map(|slots| slots.0),
        min_active: raw.min_active.value().copied().unwrap_or_default(),
        slow_ramp: raw.slow_ramp.value().map_or(time::Duration::ZERO, |ramp| ramp.0),
        drain_deadline: raw.drain_deadline.value().map(|deadline| deadline.0),
        on_backend_down: match raw.on_backend_down.value() {
            None | Some(raw::OnBackendDown::None) => model::OnBackendDown::None,
            Some(raw::OnBackendDown::Reset) => model::OnBackendDown::Reset,
            Some(raw::OnBackendDown::Drop) => model::OnBackendDown::Drop,
            Some(raw::OnBackendDown::Reselect) => model::OnBackendDown::Reselect,
        },
        // Told once all pools have their numbers.
        fallback: None,
    })
}

pub(crate) const fn method(raw: raw::Method) -> model::Method {
    match raw {
        raw::Method::Maglev => model::Method::Maglev,
        raw::Method::Rendezvous => model::Method::Rendezvous,
        raw::Method::RoundRobin => model::Method::RoundRobin,
        raw::Method::WeightedRoundRobin => model::Method::WeightedRoundRobin,
        raw::Method::LeastConnections => model::Method::LeastConnections,
        raw::Method::WeightedLeastConnections => model::Method::WeightedLeastConnections,
        raw::Method::Fastest => model::Method::Fastest,
        raw::Method::SourceHash => model::Method::SourceHash,
        raw::Method::Adaptive => model::Method::Adaptive,
    }
}

fn backend(raw: &raw::Backend) -> Option<Backend> {
    Some(Backend {
        address: raw.address.value()?.0,
        weight: raw.weight.value().copied().unwrap_or(default::WEIGHT),
        priority: raw.priority.value().copied().unwrap_or(default::PRIORITY),
        state: match raw.state.value() {
            None | Some(raw::State::Enabled) => model::AdminState::Enabled,
            Some(raw::State::Drain) => model::AdminState::Drain,
            Some(raw::State::Disabled) => model::AdminState::Disabled,
        },
        server_id: raw.server_id.value().map(|id| id.0),
        limits: Limits {
            connections: number(&raw.max_connections),
            new_per_second: number(&raw.new_per_second),
            new_per_second_per_source: 0,
            bandwidth: rate(&raw.bandwidth),
        },
    })
}

fn limits(raw: &raw::Limits) -> Limits {
    Limits {
        connections: number(&raw.connections),
        new_per_second: number(&raw.new_per_second),
        new_per_second_per_source: number(&raw.new_per_second_per_source),
        bandwidth: rate(&raw.bandwidth),
    }
}

fn number(given: &Given<u32>) -> u32 {
    given.value().copied().unwrap_or_default()
}

fn rate(given: &Given<crate::text::Rate>) -> u64 {
    given.value().map_or(0, |rate| rate.0)
}

fn monitor(raw: &raw::Monitor) -> Monitor {
    let millis = |given: &Given<crate::text::Duration>, default| {
        given.value().map_or(time::Duration::from_millis(default), |duration| duration.0)
    };
    Monitor {
        interval: millis(&raw.interval, default::INTERVAL_MILLIS),
        timeout: millis(&raw.timeout, default::TIMEOUT_MILLIS),
        fall: raw.fall.value().copied().unwrap_or(default::FALL),
        rise: raw.rise.value().copied().unwrap_or(default::RISE),
        port: raw.port.value().copied(),
    }
}

fn virtual_server(
    raw: &raw::VirtualServer,
    pools: &HashMap<&str, PoolId>,
    profiles: &HashMap<String, Profile>,
) -> Option<VirtualServer> {
    let profile = raw.profile.value().map_or("default", |name| name.0.as_str());
    Some(VirtualServer {
        name: raw.name.value()?.0.clone(),
        address: raw.address.value()?.0.addr(),
        length: raw.address.value()?.0.prefix_len(),
        port: *raw.port.value()?,
        protocol: match raw.protocol.value()? {
            raw::Protocol::Tcp => model::Protocol::Tcp,
            raw::Protocol::Udp => model::Protocol::Udp,
            raw::Protocol::Any => model::Protocol::Any,
        },
        mode: match raw.mode.value()? {
            raw::Mode::Nat => model::Mode::Nat,
            raw::Mode::FullNat => model::Mode::FullNat,
            raw::Mode::Dsr => model::Mode::Dsr,
            raw::Mode::Ipip => model::Mode::Ipip,
            raw::Mode::Gue => model::Mode::Gue,
        },
        snat: match chosen(&raw.snat) {
            None => model::Snat::Auto,
            Some(list) => model::Snat::Addresses(
                list.iter().filter_map(Given::value).map(|address| address.0).collect(),
            ),
        },
        show_client: match raw.show_client.value() {
            None | Some(raw::ShowClient::None) => model::ShowClient::None,
            Some(raw::ShowClient::ProxyV2) => model::ShowClient::ProxyV2,
            Some(raw::ShowClient::Toa) => model::ShowClient::Toa,
        },
        outer_sources: chosen(&raw.outer_source)
            .map(|list| list.iter().filter_map(Given::value).map(|network| network.0).collect())
            .unwrap_or_default(),
        profile: profiles.get(profile).cloned().unwrap_or_default(),
        persistence: raw.persistence.value().and_then(persistence),
        quic_rotation: raw.quic.value().map(|quic| quic.rotation.value().copied().unwrap_or_default()),
        pool: *pools.get(raw.pool.value()?.0.as_str())?,
        domain: 0,
        sources: Sources::default(),
        limits: raw.limits.value().map_or(Limits::NONE, limits),
    })
}

fn tcp_settings(raw: &raw::Profile) -> TcpSettings {
    let default = TcpSettings::default();
    let time = |given: &Given<crate::text::Duration>, default| given.value().map_or(default, |time| time.0);
    TcpSettings {
        handshake_timeout: time(&raw.handshake_timeout, default.handshake_timeout),
        close_timeout: time(&raw.close_timeout, default.close_timeout),
        time_wait: time(&raw.time_wait, default.time_wait),
        loose_close: flag(&raw.loose_close),
        reset_on_timeout: raw.reset_on_timeout.value().copied().unwrap_or(default.reset_on_timeout),
        keep_alive: raw.keep_alive.value().map(|time| time.0),
        evicts_embryonic: raw.idle_action_on_full.value() != Some(&raw::ActionOnFull::None),
    }
}

fn syn_cookies(raw: &raw::Profile) -> SynCookies {
    let default = SynCookies::default();
    SynCookies {
        use_of: raw.syn_cookies.value().map_or(default.use_of, |chosen| match chosen {
            raw::SynCookies::Off => UseOfCookies::Off,
            raw::SynCookies::Auto => UseOfCookies::Auto,
            raw::SynCookies::Always => UseOfCookies::Always,
        }),
        mss: raw.syn_cookie_mss.value().copied().unwrap_or(default.mss),
        allowlist: raw.syn_allowlist.value().map_or(default.allowlist, |time| time.0),
    }
}

fn treatment(raw: &raw::Profile) -> Treatment {
    let ttl = |given: &Given<u8>, default| given.value().copied().unwrap_or(default);
    let set = |v4, v6| model::Ttl::Set { v4, v6 };
    Treatment {
        mss_override: raw.mss_override.value().copied().unwrap_or_default(),
        mss_clamp: raw.mss_clamp.value() != Some(&raw::MssClamp::None),
        strip_sack: flag(&raw.strip_sack),
        window_scale: match raw.window_scale.value() {
            None | Some(raw::WindowScale::Preserve) => model::WindowScale::Preserve,
            Some(raw::WindowScale::Rewrite) => model::WindowScale::Rewrite(
                raw.window_scale_shift.value().copied().unwrap_or(default::WINDOW_SCALE_SHIFT),
            ),
            Some(raw::WindowScale::Strip) => model::WindowScale::Strip,
        },
        timestamps: match raw.timestamps.value() {
            None | Some(raw::Timestamps::Preserve) => model::Timestamps::Preserve,
            Some(raw::Timestamps::Rewrite) => model::Timestamps::Rewrite,
            Some(raw::Timestamps::Strip) => model::Timestamps::Strip,
        },
        generate_isn: flag(&raw.generate_isn),
        ttl: match raw.ttl.value() {
            None | Some(raw::Ttl::Decrement) => model::Ttl::Decrement,
            Some(raw::Ttl::Preserve) => model::Ttl::Preserve,
            Some(raw::Ttl::Proxy) => set(default::TTL_V4, default::TTL_V6),
            Some(raw::Ttl::Set) => set(ttl(&raw.ttl_v4, default::TTL_V4), ttl(&raw.ttl_v6, default::TTL_V6)),
        },
        df: match raw.df.value() {
            None | Some(raw::Df::Preserve) => model::Df::Preserve,
            Some(raw::Df::Set) => model::Df::Set,
            Some(raw::Df::Clear) => model::Df::Clear,
            Some(raw::Df::Pmtu) => model::Df::Pmtu,
        },
        tos_to_client: raw.tos_to_client.value().copied(),
        tos_to_server: raw.tos_to_server.value().copied(),
        qos_to_client: raw.qos_to_client.value().copied(),
        qos_to_server: raw.qos_to_server.value().copied(),
    }
}

fn persistence(raw: &raw::Persistence) -> Option<model::Persistence> {
    let default = time::Duration::from_secs(default::PERSISTENCE_SECONDS);
    let timeout = raw.timeout.value().map_or(default, |timeout| timeout.0);
    Some(model::Persistence { source: *raw.source.value()?, timeout })
}

/// A flag that is off unless the file says otherwise.
fn flag(given: &Given<bool>) -> bool {
    given.value().copied().unwrap_or_default()
}

/// What the file gives instead of `auto`.
fn chosen<T>(given: &Given<Auto<T>>) -> Option<&T> {
    given.value().and_then(Auto::value)
}

//! Virtual servers: each address, port and protocol once, a pool that fits, and an address that is nobody else's.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use crate::{
    mistake::{Findings, Place},
    raw::{
        Backend, File, Given, Mode, Pool, Profile, Protocol, ShowClient, SynCookies, Timestamps,
        VirtualServer, WindowScale, domain,
    },
    text,
    words::quoted,
};

mod outer;
mod snat;

use super::{
    Firsts, at_most, family, is_somebodys,
    names::Names,
    site::{Site, Sites},
    unique_names,
};

/// Seconds that a client may be known after its last new flow.
const LONGEST_PERSISTENCE: u64 = 12 * 3600;

pub(super) fn check(file: &File, sites: &Sites<'_>, findings: &mut Findings) {
    at_most(&file.virtual_servers, model::MAX_VIRTUAL_SERVERS, "virtual servers", findings);
    unique_names("virtual server", file.virtual_servers.items().map(|(_, server)| &server.name), findings);
    overlaps(file, findings);
    let pools = Names::of(&file.pools, |pool| &pool.name);
    let profiles = Names::of(&file.profiles, |profile| &profile.name);
    let families = families(file);
    for (_, server) in file.virtual_servers.items() {
        pools.must_have("pool", &server.pool, findings);
        profiles.must_have("profile", &server.profile, findings);
        both_directions(server, file, findings);
        outer::check(server, findings);
        show_client(server, findings);
        any(server, findings);
        quic(server, file, findings);
        if let Some((place, network)) = server.address.at()
            && let Some(site) = sites.of_domain(&server.route_domain)
            && is_somebodys(network.0.addr(), place, findings)
        {
            let address = network.0.addr();
            conflict(network.0, place, site, findings);
            pool_family(server, address, &families, findings);
            snat::check(server, (address, &snat::behind(server, file)), site, findings);
            persistence(server, address, findings);
            cookies(server, (file, address), findings);
        }
    }
}

/// What translates numbers must see the packets of both sides.
fn both_directions(server: &VirtualServer, file: &File, findings: &mut Findings) {
    let Some((place, Mode::Dsr | Mode::Ipip | Mode::Gue)) = server.mode.at() else { return };
    let name = server.profile.value().map_or("default", |name| name.0.as_str());
    let is_its = |profile: &&Profile| profile.name.value().is_some_and(|known| known.0 == name);
    let Some(profile) = file.profiles.items().map(|(_, profile)| profile).find(is_its) else { return };
    let settings = [
        ("generate_isn: true", profile.generate_isn.value() == Some(&true)),
        ("timestamps: rewrite", profile.timestamps.value() == Some(&Timestamps::Rewrite)),
        ("window_scale: rewrite", profile.window_scale.value() == Some(&WindowScale::Rewrite)),
        ("syn_cookies: always", profile.syn_cookies.value() == Some(&SynCookies::Always)),
    ];
    for (setting, _) in settings.into_iter().filter(|(_, is_set)| *is_set) {
        let message = format!("`{setting}` of profile {} needs the backend's packets too", quoted(name));
        findings.add_at(place, message, "write `nat` or `full_nat`, or take another profile");
    }
}

/// What the gateway says in a handshake with a cookie is of one family, and without a header in front.
fn cookies(server: &VirtualServer, (file, address): (&File, IpAddr), findings: &mut Findings) {
    let Some((place, Mode::FullNat)) = server.mode.at() else { return };
    let name = server.profile.value().map_or("default", |name| name.0.as_str());
    let is_its = |profile: &&Profile| profile.name.value().is_some_and(|known| known.0 == name);
    let profile = file.profiles.items().map(|(_, profile)| profile).find(is_its);
    if !profile.is_some_and(|profile| profile.syn_cookies.value() == Some(&SynCookies::Always)) {
        return;
    }
    let [v4, v6] = snat::behind(server, file);
    let crosses = if address.is_ipv4() { v6.is_some() } else { v4.is_some() };
    let shows = match server.show_client.value() {
        None | Some(ShowClient::None) => None,
        Some(ShowClient::ProxyV2) => Some("`show_client: proxy_v2`"),
        Some(ShowClient::Toa) => Some("`show_client: toa`"),
    };
    if let Some(what) = crosses.then_some("backends of another family").or(shows) {
        let message =
            format!("`syn_cookies: always` of profile {} cannot be had with {what} yet", quoted(name));
        findings.add_at(place, message, "take another profile");
    }
}

fn overlaps(file: &File, findings: &mut Findings) {
    let mut firsts = Firsts::new();
    for (_, server) in file.virtual_servers.items() {
        let (Some((place, address)), Some(&port), Some(&protocol), Some(domain)) =
            (server.address.at(), server.port.value(), server.protocol.value(), domain(&server.route_domain))
        else {
            continue;
        };
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Any => "any protocol at",
        };
        if let Some(first) = firsts.before((domain, address.0, port, protocol), place) {
            let port = if port == 0 { "any port".to_owned() } else { format!("port {port}") };
            let message = format!("two virtual servers take {protocol} {port} of `{}`", shown(address.0));
            let line = findings.line(first);
            let remedy = format!("change the address, port or protocol of one; the first is on line {line}");
            findings.add_at(place, message, remedy);
        }
    }
}

/// An address without the length that it has by itself.
fn shown(network: IpNet) -> String {
    let is_one = network.prefix_len() == network.max_prefix_len();
    if is_one { network.addr().to_string() } else { network.to_string() }
}

/// Only `full_nat` hides the client, and only TCP has where to say who it is.
fn show_client(server: &VirtualServer, findings: &mut Findings) {
    let Some((place, shown)) = server.show_client.at().filter(|(_, how)| **how != ShowClient::None) else {
        return;
    };
    let how = if *shown == ShowClient::Toa { "toa" } else { "proxy_v2" };
    if server.mode.value().is_some_and(|mode| *mode != Mode::FullNat) {
        let message =
            format!("`show_client: {how}` has no effect in this mode: backends see the client's address");
        findings.add_at(place, message, "remove it, or write `mode: full_nat`");
    } else if matches!(server.protocol.value(), Some(Protocol::Udp)) {
        let message = format!("`show_client: {how}` is for TCP, but the virtual server takes UDP");
        findings.add_at(place, message, "remove it");
    }
}

/// Protocols that have no ports are not for a port, and cannot be told apart by one.
fn any(server: &VirtualServer, findings: &mut Findings) {
    if !matches!(server.protocol.value(), Some(Protocol::Any)) {
        return;
    }
    if let Some((place, port)) = server.port.at().filter(|(_, port)| **port != 0) {
        let message = format!("`port: {port}` with `protocol: any`, of which most protocols have no ports");
        findings.add_at(place, message, "write `port: 0`, or `protocol: tcp` or `protocol: udp`");
    }
    if let Some((place, Mode::FullNat)) = server.mode.at() {
        let message = "`protocol: any` is not available in `full_nat`: replies without ports do not tell which client they are for";
        let remedy = "write `nat`, `dsr`, `ipip` or `gue`, or a virtual server for each of `tcp` and `udp`";
        findings.add_at(place, message, remedy);
    }
}

fn conflict(network: IpNet, place: Place, site: &Site<'_>, findings: &mut Findings) {
    if network.prefix_len() < network.max_prefix_len() {
        if let Some((address, port)) = site.within(network) {
            let message = format!("address conflict: `{network}` contains `{address}` of port `{port}`");
            findings.add_at(place, message, "write networks without that address");
        }
        return;
    }
    let address = network.addr();
    let owner = match (site.port_of(address), site.port_beside(address)) {
        (Some(port), _) => format!("an address of port `{port}`"),
        (None, Some(port)) => format!("a router or neighbour of port `{port}`"),
        (None, None) => return,
    };
    let message = format!("address conflict: `{address}` is also {owner}");
    findings.add_at(place, message, "give the virtual server an address of its own");
}

/// For each pool: a backend of each family that it has.
type Families<'a> = HashMap<&'a str, [Option<String>; 2]>;

fn families(file: &File) -> Families<'_> {
    let mut families = Families::new();
    for (_, pool) in file.pools.items() {
        let Some(name) = pool.name.value() else { continue };
        let own = families.entry(name.0.as_str()).or_default();
        for endpoint in pool.backends.items().filter_map(|(_, backend)| backend.address.value()) {
            let [v4, v6] = own;
            let slot = if endpoint.0.is_ipv4() { v4 } else { v6 };
            slot.get_or_insert_with(|| endpoint.0.to_string());
        }
    }
    families
}

fn pool_family(server: &VirtualServer, address: IpAddr, families: &Families<'_>, findings: &mut Findings) {
    let Some((place, pool)) = server.pool.at() else { return };
    if server.mode.value().is_none_or(|mode| mode.is_tunnel() || *mode == Mode::FullNat) {
        return;
    }
    let Some([v4, v6]) = families.get(pool.0.as_str()) else { return };
    if let Some(other) = if address.is_ipv4() { v6 } else { v4 } {
        let wanted = family(address);
        let message =
            format!("{wanted} virtual server `{address}` cannot use pool `{}`, which has `{other}`", pool.0);
        let remedy = format!("name a pool whose backends all have {wanted} addresses, or use `full_nat`");
        findings.add_at(place, message, remedy);
    }
}

/// Connection ids are QUIC's, which is UDP's, and name backends that have a name.
fn quic(server: &VirtualServer, file: &File, findings: &mut Findings) {
    let Some((place, _)) = server.quic.at() else { return };
    let stranger = match server.protocol.value() {
        Some(Protocol::Tcp) => Some("TCP"),
        Some(Protocol::Any) => Some("protocols other than UDP"),
        Some(Protocol::Udp) | None => None,
    };
    if let Some(stranger) = stranger {
        let message = format!("`quic` means nothing to {stranger}");
        findings.add_at(place, message, "remove it, or write `protocol: udp`");
    }
    let Some(name) = server.pool.value() else { return };
    let is_its = |pool: &&Pool| pool.name.value().is_some_and(|known| known.0 == name.0);
    let Some(pool) = file.pools.items().map(|(_, pool)| pool).find(is_its) else { return };
    let is_without = |backend: &Backend| matches!(backend.server_id, Given::Absent);
    if pool.backends.items().any(|(_, backend)| is_without(backend)) {
        let message = format!("`quic` is of no use while backends of pool `{}` have no `server_id`", name.0);
        findings.add_at(
            place,
            message,
            "give each of them a `server_id`, the one that it is configured with",
        );
    }
}

/// As many bits as addresses have, and a time that can be counted.
fn persistence(server: &VirtualServer, address: IpAddr, findings: &mut Findings) {
    let Some(persistence) = server.persistence.value() else { return };
    let most = if address.is_ipv4() { 32 } else { 128 };
    if let Some((place, source)) = persistence.source.at().filter(|(_, source)| **source > most) {
        let message = format!("`source: {source}`: {} addresses have {most} bits", family(address));
        findings.add_at(place, message, format!("write {most} or less"));
    }
    if let Some((place, timeout)) = persistence.timeout.at()
        && !(1..=LONGEST_PERSISTENCE).contains(&timeout.0.as_secs())
    {
        let message = format!("clients cannot be known for {}", text::shown(timeout.0));
        findings.add_at(place, message, "write a time from `1s` to `12h`");
    }
}

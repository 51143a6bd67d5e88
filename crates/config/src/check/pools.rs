//! Pools: each backend once, another machine's address, and reachable.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use crate::{
    meaning,
    mistake::{Findings, Place},
    raw::{File, Method, Mode, Monitor, Pool, default},
    text,
};

use super::{
    Firsts, is_somebodys,
    names::Names,
    site::{Site, Sites},
    unique_names,
};

pub(super) fn check(file: &File, sites: &Sites<'_>, findings: &mut Findings) {
    unique_names("pool", file.pools.items().map(|(_, pool)| &pool.name), findings);
    number_of_backends(file, findings);
    number_of_slots(file, findings);
    fallbacks(file, findings);
    let dsr = users(file, |mode| mode == Mode::Dsr);
    let direct = users(file, |mode| matches!(mode, Mode::Dsr | Mode::Ipip | Mode::Gue));
    for (_, pool) in file.pools.items() {
        let user_of = |users: &HashMap<&str, &str>| {
            pool.name.value().and_then(|name| users.get(name.0.as_str())).map(|name| (*name).to_owned())
        };
        method(pool, user_of(&direct).as_deref(), findings);
        if let Some(site) = sites.of_pool(pool) {
            backends(pool, site, user_of(&dsr).as_deref(), findings);
        }
        server_ids(pool, findings);
        for (place, monitor) in pool.monitors.items() {
            times(place, monitor, findings);
        }
    }
}

/// A method must be able to work, and `slots` must mean something to it.
fn method(pool: &Pool, direct_for: Option<&str>, findings: &mut Findings) {
    let Some((place, method)) = pool.method.at() else { return };
    if *method == Method::Fastest
        && let Some(server) = direct_for
    {
        let message = format!(
            "`fastest` cannot measure handshakes whose answers do not come by: the backends of virtual server \
             `{server}` answer directly"
        );
        findings.add_at(place, message, "write `least_connections`, or use `nat` or `full_nat`");
    }
    let has_slots = matches!(method, Method::Maglev | Method::Rendezvous | Method::SourceHash);
    if let Some((place, _)) = pool.slots.at().filter(|_| !has_slots) {
        let message = "`slots` means nothing to a method that does not choose by hash";
        findings.add_at(place, message, "remove it, or write `method: maglev`");
    }
}

fn number_of_backends(file: &File, findings: &mut Findings) {
    let backends: usize = file.pools.items().map(|(_, pool)| pool.backends.items().count()).sum();
    if let Some((place, _)) = file.pools.at()
        && backends > model::MAX_BACKENDS
    {
        let most = model::MAX_BACKENDS;
        let message = format!("{backends} backends are more than the {most} that a gateway can have");
        findings.add_at(place, message, format!("remove {}", backends - most));
    }
}

/// Each table's number must be a power of two, and all tables must fit into memory.
fn number_of_slots(file: &File, findings: &mut Findings) {
    let mut all = 0;
    for (_, pool) in file.pools.items() {
        let given = pool.slots.at().and_then(|(place, slots)| Some((place, slots.value()?.0)));
        if let Some((place, slots)) = given
            && !slots.is_power_of_two()
        {
            let message = format!("`slots: {slots}` is not a power of two");
            findings.add_at(place, message, format!("write {}", slots.next_power_of_two()));
        }
        let weights = pool.backends.items().map(|(_, raw)| raw.weight.or(default::WEIGHT).unwrap_or(1));
        let spares = pool.min_active.value().is_some_and(|least| *least > 0);
        let method = pool.method.value().map_or(model::Method::Maglev, |method| meaning::method(*method));
        all += given.map_or_else(|| method.slots_for(weights, spares), |(_, slots)| slots);
    }
    if let Some((place, _)) = file.pools.at()
        && all > model::MAX_ALL_MAGLEV_SLOTS
    {
        let most = model::MAX_ALL_MAGLEV_SLOTS;
        let message = format!("the tables of all pools have {all} slots, more than the {most} that fit");
        findings.add_at(place, message, "give pools with very unequal weights or many `slots` fewer `slots`");
    }
}

/// For each pool that a virtual server uses with such a mode, by itself or as a fallback: that virtual server.
fn users(file: &File, is_meant: impl Fn(Mode) -> bool) -> HashMap<&str, &str> {
    let servers = file.virtual_servers.items();
    let direct = servers.filter(|(_, server)| server.mode.value().is_some_and(|mode| is_meant(*mode)));
    let mut users: HashMap<&str, &str> = direct
        .filter_map(|(_, server)| Some((server.pool.value()?.0.as_str(), server.name.value()?.0.as_str())))
        .collect();
    let fallbacks = file.pools.items().filter_map(|(_, pool)| {
        let user = *users.get(pool.name.value()?.0.as_str())?;
        Some((pool.fallback.value()?.0.as_str(), user))
    });
    let fallbacks: Vec<_> = fallbacks.collect();
    users.extend(fallbacks);
    users
}

/// A fallback must be another pool, and of the same family where packets stay of one.
fn fallbacks(file: &File, findings: &mut Findings) {
    let names = Names::of(&file.pools, |pool| &pool.name);
    let pool = |name: &str| {
        let pools = file.pools.items().map(|(_, pool)| pool);
        pools.into_iter().find(|pool| pool.name.value().is_some_and(|known| known.0 == name))
    };
    let of_one_family = users(file, |mode| matches!(mode, Mode::Nat | Mode::Dsr));
    for (_, own) in file.pools.items() {
        let Some((place, name)) = own.fallback.at() else { continue };
        names.must_have("pool", &own.fallback, findings);
        if own.name.value().is_some_and(|own| own.0 == name.0) {
            findings.add_at(place, "a pool cannot be its own `fallback`", "name another pool, or remove it");
            continue;
        }
        if !own.name.value().is_some_and(|own| of_one_family.contains_key(own.0.as_str())) {
            continue;
        }
        let Some(other) = pool(&name.0).and_then(|other| odd_one(own, other)) else { continue };
        let message =
            format!("`fallback` has backend `{other}`, which is of another address family than this pool");
        findings.add_at(
            place,
            message,
            "name a pool whose backends are all of one family with this pool's, or use `full_nat`",
        );
    }
}

/// A backend of `other` that is of another family than one of `own`.
fn odd_one(own: &Pool, other: &Pool) -> Option<SocketAddr> {
    let endpoints = |pool: &Pool| -> Vec<SocketAddr> {
        pool.backends.items().filter_map(|(_, backend)| Some(backend.address.value()?.0)).collect()
    };
    let first = endpoints(own).first()?.is_ipv4();
    endpoints(other).into_iter().find(|endpoint| endpoint.is_ipv4() != first)
}

fn backends(pool: &Pool, site: &Site<'_>, direct_for: Option<&str>, findings: &mut Findings) {
    let mut firsts = Firsts::new();
    for (place, endpoint) in pool.backends.items().filter_map(|(_, backend)| backend.address.at()) {
        let endpoint = endpoint.0;
        if let Some(first) = firsts.before(endpoint, place) {
            let message = format!("backend `{endpoint}` is there twice");
            let remedy = format!(
                "remove one, and give the other more `weight`; the first is on line {}",
                findings.line(first)
            );
            findings.add_at(place, message, remedy);
        } else if is_somebodys(endpoint.ip(), place, findings)
            && is_another_machines(endpoint, place, site, findings)
        {
            reachable(endpoint, place, site, direct_for, findings);
        }
    }
}

/// Each server id once in its pool, and all of one length.
fn server_ids(pool: &Pool, findings: &mut Findings) {
    let (mut firsts, mut first_length) = (Firsts::new(), None);
    for (place, id) in pool.backends.items().filter_map(|(_, backend)| backend.server_id.at()) {
        let (id, bytes) = (id.0, id.0.length);
        let length = *first_length.get_or_insert(bytes);
        if length != bytes {
            let message = format!("this `server_id` has {bytes} bytes, the pool's first one {length}");
            findings.add_at(place, message, "give all backends of a pool ids of one length");
        } else if let Some(first) = firsts.before(id, place) {
            let message = "two backends of the pool have this `server_id`";
            findings.add_at(
                place,
                message,
                format!("write another one; the first is on line {}", findings.line(first)),
            );
        }
    }
}

fn is_another_machines(endpoint: SocketAddr, place: Place, site: &Site<'_>, findings: &mut Findings) -> bool {
    let owner = match (site.port_of(endpoint.ip()), site.virtual_server_of(endpoint.ip())) {
        (Some(port), _) => format!("of port `{port}`"),
        (None, Some(server)) => format!("of virtual server `{server}`"),
        (None, None) => return true,
    };
    let message = format!("backend `{endpoint}` has the address {owner}");
    findings.add_at(place, message, "write the address that the backend itself has");
    false
}

fn reachable(
    endpoint: SocketAddr,
    place: Place,
    site: &Site<'_>,
    direct_for: Option<&str>,
    findings: &mut Findings,
) {
    let address = endpoint.ip();
    if !site.may_reach(address) {
        let message = format!("no port leads to backend `{endpoint}`");
        let remedy =
            "add a `gateway` or a route to a port, or an address in the backend's network to its `addresses`";
        findings.add_at(place, message, remedy);
    } else if let Some(server) = direct_for.filter(|_| !site.may_be_on_link(address)) {
        let message =
            format!("backend `{endpoint}` is on no port's network, but virtual server `{server}` uses `dsr`");
        let remedy =
            "add an address in the backend's network to a port's `addresses`, or use `nat` or `full_nat`";
        findings.add_at(place, message, remedy);
    }
}

fn times(place: Place, monitor: &Monitor, findings: &mut Findings) {
    let given = |given: &crate::raw::Given<text::Duration>, default| {
        given.or(text::Duration(Duration::from_millis(default))).map(|duration| duration.0)
    };
    let interval = given(&monitor.interval, default::INTERVAL_MILLIS);
    let (Some(interval), Some(timeout)) = (interval, given(&monitor.timeout, default::TIMEOUT_MILLIS)) else {
        return;
    };
    if interval.is_zero() {
        let place = monitor.interval.at().map_or(place, |(place, _)| place);
        let message = "with `interval: 0s` checks would follow each other without a pause";
        findings.add_at(place, message, "write a longer time, such as `1s`");
    }
    let said = monitor.timeout.at().map(|(place, _)| place);
    let place = said.or(monitor.interval.at().map(|(place, _)| place)).unwrap_or(place);
    if timeout.is_zero() {
        findings.add_at(
            place,
            "with `timeout: 0s` no check can succeed",
            "write a longer time, such as `300ms`",
        );
    } else if timeout >= interval && !interval.is_zero() {
        let (timeout, interval) = (text::shown(timeout), text::shown(interval));
        let message = format!("`timeout` ({timeout}) is not less than `interval` ({interval})");
        findings.add_at(place, message, "write a shorter `timeout` or a longer `interval`");
    }
}

//! What is different between two configurations, and what of it a running gateway can take.

use std::{
    collections::{HashMap, HashSet},
    fmt::Display,
    hash::Hash,
};

use config::Configuration;
use model::{Gateway, Pool, Port, VirtualServer};

/// What differs and is settled when the gateway starts: devices, cores, the socket, the seed, addresses that the host twin
/// has too. One entry each, for a person.
pub(super) fn needs_restart(before: &Configuration, after: &Configuration) -> Vec<String> {
    let sections = [
        (before.eal != after.eal, "eal"),
        (before.workers != after.workers, "workers"),
        (before.control != after.control, "control"),
        (before.gateway.route_domains != after.gateway.route_domains, "route_domains"),
    ];
    let mut different: Vec<_> = sections
        .iter()
        .filter(|(differs, _)| *differs)
        .map(|(_, name)| format!("the section `{name}`"))
        .collect();
    different.extend(ports(&before.gateway, &after.gateway));
    different
}

fn ports(before: &Gateway, after: &Gateway) -> Vec<String> {
    let names = |gateway: &Gateway| gateway.ports.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
    if names(before) != names(after) {
        return vec![format!(
            "the list of ports (in force: {}; in the file: {})",
            names(before).join(", "),
            names(after).join(", ")
        )];
    }
    before.ports.iter().zip(&after.ports).flat_map(|(before, after)| port(before, after)).collect()
}

fn port(before: &Port, after: &Port) -> Vec<String> {
    let mut different = Vec::new();
    let mut compare = |key: &str, differs: bool| {
        if differs {
            different.push(format!("`{key}` of port `{}`", before.name));
        }
    };
    compare("device", before.device != after.device);
    compare("addresses", before.addresses != after.addresses);
    compare("mac", before.mac != after.mac);
    compare("queues", before.queues != after.queues);
    compare("facing", before.facing != after.facing);
    compare("host", before.host != after.host);
    compare("offloads", before.offloads != after.offloads);
    compare("mtu", before.mtu != after.mtu);
    compare("route_domain", before.domain != after.domain);
    // What else there is of a VLAN may change.
    let tags = |port: &Port| port.vlans.iter().map(|vlan| (vlan.id, vlan.port.domain)).collect::<Vec<_>>();
    compare("vlans", tags(before) != tags(after));
    different
}

/// What differs at all, a line each, for a person; none when nothing does.
pub(super) fn changes(before: &Configuration, after: &Configuration) -> Vec<String> {
    let mut lines = Vec::new();
    if before.shutdown != after.shutdown {
        lines.push("shutdown changed".to_owned());
    }
    let (before, after) = (&before.gateway, &after.gateway);
    lines.extend(named("port", &before.ports, &after.ports, |port| port.name.clone()));
    let old: HashMap<&str, &Pool> = before.pools.iter().map(|pool| (pool.name.as_str(), pool)).collect();
    for pool in &after.pools {
        if let Some(old) = old.get(pool.name.as_str()) {
            lines.extend(backends(old, pool));
        }
    }
    lines.extend(named("pool", &pools(before), &pools(after), |(_, pool)| pool.name.clone()));
    lines.extend(named("virtual server", &servers(before), &servers(after), |(_, server)| {
        server.name.clone()
    }));
    if lines.is_empty() && before != after {
        lines.push("the order of the file changed".to_owned());
    }
    lines
}

/// Pools without their backends, and with their fallbacks by name.
fn pools(gateway: &Gateway) -> Vec<(Option<&str>, Pool)> {
    let name = |id: model::PoolId| gateway.pools.get(id.index()).map(|pool| pool.name.as_str());
    let by_name = |pool: &Pool| Pool { backends: Vec::new(), fallback: None, ..pool.clone() };
    gateway.pools.iter().map(|pool| (pool.fallback.and_then(name), by_name(pool))).collect()
}

/// Virtual servers with their pools by name: the number of a pool changes when another one comes before it.
fn servers(gateway: &Gateway) -> Vec<(String, VirtualServer)> {
    let by_name = |server: &VirtualServer| {
        let pool = gateway.pools.get(server.pool.index()).map_or_else(String::new, |pool| pool.name.clone());
        (pool, VirtualServer { pool: model::PoolId(0), ..server.clone() })
    };
    gateway.virtual_servers.iter().map(by_name).collect()
}

fn backends(before: &Pool, after: &Pool) -> Vec<String> {
    let kind = format!("pool {}: backend", after.name);
    named(&kind, &before.backends, &after.backends, |backend| backend.address)
}

fn named<T: PartialEq, K: Display + Eq + Hash>(
    kind: &str,
    before: &[T],
    after: &[T],
    key: impl Fn(&T) -> K,
) -> Vec<String> {
    let old: HashMap<K, &T> = before.iter().map(|thing| (key(thing), thing)).collect();
    let new: HashSet<K> = after.iter().map(&key).collect();
    let removed = before.iter().map(&key).filter(|key| !new.contains(key)).map(|key| (key, "removed"));
    let kept_or_added = after.iter().filter_map(|thing| {
        let key = key(thing);
        match old.get(&key) {
            None => Some((key, "added")),
            Some(old) if *old != thing => Some((key, "changed")),
            Some(_) => None,
        }
    });
    let all: Vec<_> = removed.chain(kept_or_added).collect();
    all.into_iter().map(|(key, what)| format!("{kind} {key} {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn told(before: Gateway, after: Gateway) -> Vec<String> {
        changes(&fixture::configuration(before), &fixture::configuration(after))
    }

    #[test]
    fn what_came_went_and_changed_is_told_by_name() {
        let before = fixture::gateway([fixture::pool("a", 1), fixture::pool("b", 1)]);
        let mut after = fixture::gateway([fixture::pool("c", 1), fixture::monitored_pool("b", 1)]);
        after.virtual_servers[1].profile.loose_initiation = true;
        let lines = [
            "pool a removed",
            "pool c added",
            "pool b changed",
            "virtual server a removed",
            "virtual server c added",
            "virtual server b changed",
        ];
        assert_eq!(told(before, after), lines);
    }

    #[test]
    fn another_order_is_told_but_no_change_of_what_is_in_it() {
        let before = fixture::gateway([fixture::pool("a", 1), fixture::pool("b", 1)]);
        let mut after = before.clone();
        after.pools.swap(0, 1);
        after.virtual_servers[0].pool = model::PoolId(1);
        after.virtual_servers[1].pool = model::PoolId(0);
        assert_eq!(told(before.clone(), after), ["the order of the file changed"]);
        assert!(told(before.clone(), before).is_empty());
    }
}

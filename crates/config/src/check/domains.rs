//! Route domains: each name once, references to those that there are, and pools that are of one.

use std::collections::HashMap;

use crate::{
    mistake::Findings,
    raw::{File, Given, Port, domain},
    text::Name,
    words::quoted,
};

use super::{at_most, names::Names, unique_names};

pub(super) fn check(file: &File, links: &[Port], findings: &mut Findings) {
    at_most(&file.route_domains, model::MAX_ROUTE_DOMAINS, "route domains", findings);
    unique_names("route domain", file.route_domains.items().map(|(_, domain)| &domain.name), findings);
    let names = Names::of(&file.route_domains, |domain| &domain.name);
    let servers = || file.virtual_servers.items().map(|(_, server)| server);
    let of_links = links.iter().map(|port| &port.route_domain);
    for given in of_links.chain(servers().map(|server| &server.route_domain)) {
        names.must_have("route domain", given, findings);
    }
    pools(file, users(file), &names, findings);
}

/// The pools that virtual servers use, themselves or as a fallback, with the route domains that they are used in.
pub(super) fn users(file: &File) -> impl Iterator<Item = (&Given<Name>, &str)> {
    let named = file.pools.items().filter_map(|(_, pool)| Some((pool.name.value()?.0.as_str(), pool)));
    let fallbacks: HashMap<&str, &Given<Name>> = named.map(|(name, pool)| (name, &pool.fallback)).collect();
    file.virtual_servers.items().flat_map(move |(_, server)| {
        let fallback = server.pool.value().and_then(|name| fallbacks.get(name.0.as_str()).copied());
        let pools = [Some(&server.pool), fallback].into_iter().flatten();
        let domain = domain(&server.route_domain);
        pools.filter_map(move |pool| Some((pool, domain?)))
    })
}

/// A pool's backends are of one route domain: that of the virtual servers that use it.
fn pools<'a>(
    file: &File,
    users: impl Iterator<Item = (&'a Given<Name>, &'a str)>,
    domains: &Names<'_>,
    findings: &mut Findings,
) {
    let mut of_pools: HashMap<&str, &str> = HashMap::new();
    for (pool, domain) in users {
        let Some((place, pool)) = pool.at() else { continue };
        let first = *of_pools.entry(&pool.0).or_insert(domain);
        if first != domain {
            let message =
                format!("pool {} is used in {} and in {}", quoted(&pool.0), called(first), called(domain));
            findings.add_at(place, message, "give each route domain a pool of its own");
        }
    }
    for (_, pool) in file.pools.items() {
        let domain = pool.name.value().and_then(|name| of_pools.get(name.0.as_str())).copied();
        let Some(domain) = domain.filter(|domain| domains.has(domain)) else { continue };
        if let Some((place, _)) = pool.monitors.items().next() {
            let message = format!("monitors do not reach into {}", called(domain));
            findings.add_at(place, message, "remove the pool's `monitors`: without them its backends are up");
        }
    }
}

fn called(domain: &str) -> String {
    if domain.is_empty() { "no route domain".to_owned() } else { format!("route domain {}", quoted(domain)) }
}

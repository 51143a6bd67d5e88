//! The sources of `full_nat`: of each family that backends have at least one, and of no other.

use std::{collections::HashSet, net::IpAddr};

use super::{Firsts, Site, family, is_somebodys};
use crate::{
    mistake::{Findings, Place},
    raw::{Auto, File, Given, Mode, Pool, VirtualServer},
    text::Address,
};

/// A backend of each family, IPv4 first, that a virtual server may have: its pool's, and the fallback's.
pub(super) fn behind(server: &VirtualServer, file: &File) -> [Option<String>; 2] {
    let pool = |name: &str| {
        let mut pools = file.pools.items().map(|(_, pool)| pool);
        pools.find(|pool| pool.name.value().is_some_and(|known| known.0 == name))
    };
    let own = server.pool.value().and_then(|name| pool(&name.0));
    let fallback = own.and_then(|own| pool(&own.fallback.value()?.0));
    let of = |pool: &Pool| -> Vec<_> {
        pool.backends.items().filter_map(|(_, backend)| Some(backend.address.value()?.0)).collect()
    };
    let all: Vec<_> = own.into_iter().chain(fallback).flat_map(of).collect();
    [true, false]
        .map(|is_v4| all.iter().find(|endpoint| endpoint.is_ipv4() == is_v4).map(ToString::to_string))
}

/// Checks them for a virtual server with an address, and the backends behind it.
pub(super) fn check(
    server: &VirtualServer,
    (address, behind): (IpAddr, &[Option<String>; 2]),
    site: &Site<'_>,
    findings: &mut Findings,
) {
    let full_nat = server.mode.value() == Some(&Mode::FullNat);
    match (&server.snat, server.mode.at()) {
        (Given::At(place, Auto::Value(_)), Some((_, mode))) if *mode != Mode::FullNat => {
            let remedy = "remove `snat`, or write `mode: full_nat`";
            findings.add_at(*place, "`snat` has no effect in this mode", remedy);
        }
        (Given::At(place, Auto::Value(list)), _) => each(list, (*place, behind), site, findings),
        (_, Some((place, _))) if full_nat => automatic(place, (address, behind), site, findings),
        _ => {}
    }
}

/// Addresses of IPv4 and IPv6, as far as there are backends of them.
const ANY: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)];

/// A port must have an address of each family.
fn automatic(
    place: Place,
    (address, behind): (IpAddr, &[Option<String>; 2]),
    site: &Site<'_>,
    findings: &mut Findings,
) {
    let is_empty = behind.iter().all(Option::is_none);
    for (any, backend) in ANY.into_iter().zip(behind) {
        let is_needed = backend.is_some() || is_empty && any.is_ipv4() == address.is_ipv4();
        if is_needed && !site.may_speak_like(any) {
            let wanted = family(any);
            let message = format!("`full_nat` has no source address: no port has an {wanted} address");
            let remedy =
                format!("add one to the `addresses` of a port, or list {wanted} addresses in `snat`");
            findings.add_at(place, message, remedy);
        }
    }
}

fn each(
    list: &[Given<Address>],
    (place, behind): (Place, &[Option<String>; 2]),
    site: &Site<'_>,
    findings: &mut Findings,
) {
    if list.is_empty() {
        findings.add_at(place, "`snat` names no address", "write `auto` or at least one address");
        return;
    }
    let is_empty = behind.iter().all(Option::is_none);
    let (mut firsts, mut there) = (Firsts::new(), HashSet::new());
    // One mistake is enough: who has written the wrong family has not written the right one.
    let mut is_all_told = list.iter().any(|source| source.value().is_none());
    for (place, source) in
        list.iter().filter_map(|source| source.at().map(|(place, source)| (place, source.0)))
    {
        there.insert(source.is_ipv4());
        let [v4, v6] = behind;
        let is_of_use = is_empty || if source.is_ipv4() { v4.is_some() } else { v6.is_some() };
        if firsts.before(source, place).is_some() {
            findings.add_at(place, format!("source address `{source}` is there twice"), "remove one");
        } else if !is_of_use {
            is_all_told = true;
            let message = format!("source address `{source}` is {}, but no backend is", family(source));
            findings.add_at(place, message, "write an address of the family of the pool's backends");
        } else if let Some(server) = site.virtual_server_of(source) {
            let message = format!("source address `{source}` is the address of virtual server `{server}`");
            findings.add_at(place, message, "write an address that no virtual server has");
        } else {
            is_somebodys(source, place, findings);
        }
    }
    for (any, backend) in ANY.into_iter().zip(behind) {
        if let Some(backend) = backend
            && !is_all_told
            && !there.contains(&any.is_ipv4())
        {
            let message = format!("`snat` has no {} address for backend `{backend}`", family(any));
            findings.add_at(place, message, "add one, or write `auto`");
        }
    }
}

//! Virtual servers: each address, port and protocol once, a pool that fits, and an address that is nobody else's.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use crate::{
    mistake::{Findings, Place},
    raw::{Auto, File, Given, Mode, Profile, Protocol, Timestamps, VirtualServer},
    text::{Address, Name},
    words::{nearest, or_list, quoted},
};

use super::{Firsts, at_most, family, is_somebodys, site::Site, unique_names};

pub(super) fn check(file: &File, site: &Site<'_>, findings: &mut Findings) {
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
        if let Some((place, address)) = server.address.at()
            && is_somebodys(address.0, place, findings)
        {
            conflict(address.0, place, site, findings);
            pool_family(server, address.0, &families, findings);
            snat(server, address.0, site, findings);
        }
    }
}

/// What translates numbers must see the packets of both sides.
fn both_directions(server: &VirtualServer, file: &File, findings: &mut Findings) {
    let Some((place, Mode::Dsr)) = server.mode.at() else { return };
    let name = server.profile.value().map_or("default", |name| name.0.as_str());
    let is_its = |profile: &&Profile| profile.name.value().is_some_and(|known| known.0 == name);
    let Some(profile) = file.profiles.items().map(|(_, profile)| profile).find(is_its) else { return };
    let settings = [
        ("generate_isn: true", profile.generate_isn.value() == Some(&true)),
        ("timestamps: rewrite", profile.timestamps.value() == Some(&Timestamps::Rewrite)),
    ];
    for (setting, _) in settings.into_iter().filter(|(_, is_set)| *is_set) {
        let message = format!("`{setting}` of profile {} needs the backend's packets too", quoted(name));
        findings.add_at(place, message, "write `nat` or `full_nat`, or take another profile");
    }
}

fn overlaps(file: &File, findings: &mut Findings) {
    let mut firsts = Firsts::new();
    for (_, server) in file.virtual_servers.items() {
        let (Some((place, address)), Some(&port), Some(&protocol)) =
            (server.address.at(), server.port.value(), server.protocol.value())
        else {
            continue;
        };
        let protocol = match protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        if let Some(first) = firsts.before((address.0, port, protocol), place) {
            let message = format!("two virtual servers take {protocol} port {port} of `{}`", address.0);
            let line = findings.line(first);
            let remedy = format!("change the address, port or protocol of one; the first is on line {line}");
            findings.add_at(place, message, remedy);
        }
    }
}

fn conflict(address: IpAddr, place: Place, site: &Site<'_>, findings: &mut Findings) {
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
        let [v4, v6] = families.entry(&name.0).or_default();
        for endpoint in pool.backends.items().filter_map(|(_, backend)| backend.address.value()) {
            let slot = if endpoint.0.is_ipv4() { &mut *v4 } else { &mut *v6 };
            slot.get_or_insert_with(|| endpoint.0.to_string());
        }
    }
    families
}

fn pool_family(server: &VirtualServer, address: IpAddr, families: &Families<'_>, findings: &mut Findings) {
    let Some((place, pool)) = server.pool.at() else { return };
    let Some([v4, v6]) = families.get(pool.0.as_str()) else { return };
    if let Some(other) = if address.is_ipv4() { v6 } else { v4 } {
        let wanted = family(address);
        let message =
            format!("{wanted} virtual server `{address}` cannot use pool `{}`, which has `{other}`", pool.0);
        findings.add_at(place, message, format!("name a pool whose backends all have {wanted} addresses"));
    }
}

fn snat(server: &VirtualServer, address: IpAddr, site: &Site<'_>, findings: &mut Findings) {
    let full_nat = server.mode.value() == Some(&Mode::FullNat);
    match (&server.snat, server.mode.at()) {
        (Given::At(place, Auto::Value(_)), Some((_, mode))) if *mode != Mode::FullNat => {
            let remedy = "remove `snat`, or write `mode: full_nat`";
            findings.add_at(*place, "`snat` has no effect in this mode", remedy);
        }
        (Given::At(place, Auto::Value(list)), _) => snat_list(list, *place, address, site, findings),
        (_, Some((place, _))) if full_nat && !site.may_speak_like(address) => {
            let wanted = family(address);
            let message = format!("`full_nat` has no source address: no port has an {wanted} address");
            let remedy =
                format!("add one to the `addresses` of a port, or list {wanted} addresses in `snat`");
            findings.add_at(place, message, remedy);
        }
        _ => {}
    }
}

fn snat_list(
    list: &[Given<Address>],
    place: Place,
    address: IpAddr,
    site: &Site<'_>,
    findings: &mut Findings,
) {
    if list.is_empty() {
        findings.add_at(place, "`snat` names no address", "write `auto` or at least one address");
    }
    let wanted = family(address);
    let mut firsts = Firsts::new();
    for (place, source) in
        list.iter().filter_map(|source| source.at().map(|(place, source)| (place, source.0)))
    {
        if firsts.before(source, place).is_some() {
            findings.add_at(place, format!("source address `{source}` is there twice"), "remove one");
        } else if source.is_ipv4() != address.is_ipv4() {
            let message = format!(
                "source address `{source}` is {}, but virtual server `{address}` is {wanted}",
                family(source)
            );
            findings.add_at(place, message, format!("write an {wanted} address"));
        } else if let Some(server) = site.virtual_server_of(source) {
            let message = format!("source address `{source}` is the address of virtual server `{server}`");
            findings.add_at(place, message, "write an address that no virtual server has");
        } else {
            is_somebodys(source, place, findings);
        }
    }
}

/// The names that can be referred to.
struct Names<'a> {
    names: HashSet<&'a String>,
    /// Whether a name is mistaken, so that there may be more.
    unsure: bool,
}

impl<'a> Names<'a> {
    fn of<T>(list: &'a crate::raw::List<T>, name: impl Fn(&'a T) -> &'a Given<Name>) -> Self {
        let named = || list.items().map(|(_, item)| name(item));
        Self {
            names: named().filter_map(Given::value).map(|name| &name.0).collect(),
            unsure: list.is_partly_mistaken() || named().any(|name| name.value().is_none()),
        }
    }

    fn must_have(&self, noun: &str, wanted: &Given<Name>, findings: &mut Findings) {
        let Some((place, name)) = wanted.at() else { return };
        if self.unsure || self.names.contains(&name.0) {
            return;
        }
        let remedy = findings.remedy(|| match nearest(&name.0, self.names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.names.is_empty() => format!("add a {noun} with this name to `{noun}s`"),
            None => format!("write {}, or add a {noun} with this name", or_list(self.some())),
        });
        findings.add_at(place, format!("there is no {noun} {}", quoted(&name.0)), remedy);
    }

    /// Some of the names, for a message.
    fn some(&self) -> Vec<&'a String> {
        let mut names: Vec<_> = self.names.iter().copied().collect();
        names.sort();
        names.truncate(5);
        names
    }
}

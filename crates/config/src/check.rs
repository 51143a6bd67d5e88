//! What no schema can say: names that are there twice, references to nothing, addresses that conflict or that no port
//! reaches, settings that contradict each other.
//!
//! Nothing follows from a value that is mistaken: a check that needs it is left out, so that each mistake is told once.

mod domains;
mod names;
mod networks;
mod pools;
mod ports;
mod process;
mod queues;
mod site;
mod virtual_servers;

use std::{collections::HashMap, hash::Hash, net::IpAddr, time::Duration};

use crate::{
    mistake::{Findings, Place},
    raw::{File, Given, List, Profile, SynCookies, Ttl, WindowScale},
    text::Name,
    words::quoted,
};
use site::Sites;

/// Reports all that contradicts itself or the rest of the file.
pub(crate) fn all(file: &File, findings: &mut Findings) {
    process::check(file, findings);
    let links = file.links();
    ports::check(file, &links, findings);
    queues::check(file, findings);
    let sites = Sites::of(file, &links);
    domains::check(file, &links, findings);
    pools::check(file, &sites, findings);
    profiles(file, findings);
    virtual_servers::check(file, &sites, findings);
}

fn profiles(file: &File, findings: &mut Findings) {
    unique_names("profile", file.profiles.items().map(|(_, profile)| &profile.name), findings);
    for (_, profile) in file.profiles.items() {
        headers(profile, findings);
        keep_alive(profile, findings);
        syn_cookies(profile, findings);
        window_scale(profile, findings);
        for (key, given, what) in [
            ("idle_timeout", &profile.idle_timeout, "every flow at once"),
            ("handshake_timeout", &profile.handshake_timeout, "every flow before its handshake is complete"),
            ("close_timeout", &profile.close_timeout, "every flow before both of its sides have ended"),
        ] {
            if let Some((place, timeout)) = given.at()
                && timeout.0.is_zero()
            {
                let message = format!("`{key}: 0s` would forget {what}");
                findings.add_at(place, message, "write a longer time, or remove it for the default");
            }
        }
    }
}

/// A client is asked before its flow is forgotten, or never.
fn keep_alive(profile: &Profile, findings: &mut Findings) {
    const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
    let idle = profile.idle_timeout.value().map_or(IDLE_TIMEOUT, |timeout| timeout.0);
    let Some((place, interval)) = profile.keep_alive.at() else { return };
    if interval.0.is_zero() {
        findings.add_at(place, "`keep_alive: 0s` would ask without end", "write a longer time, or remove it");
    } else if interval.0 >= idle && !profile.idle_timeout.is_mistaken() {
        let message = format!("a flow is forgotten after {} s, before `keep_alive` asks", idle.as_secs());
        findings.add_at(place, message, "write a shorter time, or a longer `idle_timeout`");
    }
}

/// What is said of cookies while there are none.
fn syn_cookies(profile: &Profile, findings: &mut Findings) {
    if profile.syn_cookies.value() != Some(&SynCookies::Off) {
        return;
    }
    let given = [
        ("syn_cookie_mss", profile.syn_cookie_mss.at().map(|(place, _)| place)),
        ("syn_allowlist", profile.syn_allowlist.at().map(|(place, _)| place)),
    ];
    for (key, place) in given {
        if let Some(place) = place {
            let message = format!("`{key}` has no meaning with `syn_cookies: off`");
            findings.add_at(
                place,
                message,
                "remove it, or write `syn_cookies: auto` or `syn_cookies: always`",
            );
        }
    }
}

/// What is said of window scales that are not rewritten, or cannot be.
fn window_scale(profile: &Profile, findings: &mut Findings) {
    let is_rewritten = profile.window_scale.value() == Some(&WindowScale::Rewrite);
    if let Some((place, _)) = profile.window_scale_shift.at()
        && !is_rewritten
        && !profile.window_scale.is_mistaken()
    {
        let message = "`window_scale_shift` has no meaning without `window_scale: rewrite`";
        findings.add_at(place, message, "remove it, or write `window_scale: rewrite`");
    }
    if let Some((place, true)) = profile.loose_initiation.at()
        && is_rewritten
    {
        let message = "of a flow that is adopted in mid-stream nobody knows how its windows were rewritten";
        findings.add_at(place, message, "write `false`, or another `window_scale`");
    }
}

/// What a profile says of headers.
fn headers(profile: &Profile, findings: &mut Findings) {
    for (key, given) in [("tos_to_client", &profile.tos_to_client), ("tos_to_server", &profile.tos_to_server)]
    {
        if let Some((place, &tos)) = given.at()
            && !tos.is_multiple_of(4)
        {
            let message = format!("`{key}: {tos}` would change what is said of congestion");
            findings.add_at(place, message, format!("write a multiple of 4, such as {}", tos / 4 * 4));
        }
    }
    for (key, given) in [("ttl_v4", &profile.ttl_v4), ("ttl_v6", &profile.ttl_v6)] {
        if let Some((place, _)) = given.at()
            && !profile.ttl.is_mistaken()
            && profile.ttl.value() != Some(&Ttl::Set)
        {
            let message = format!("`{key}` has no meaning without `ttl: set`");
            findings.add_at(place, message, "remove it, or write `ttl: set`");
        }
    }
}

/// Where each key was seen first.
struct Firsts<K>(HashMap<K, Place>);

impl<K: Eq + Hash> Firsts<K> {
    fn new() -> Self {
        Self(HashMap::new())
    }

    /// Where `key` was seen before, if it was.
    fn before(&mut self, key: K, place: Place) -> Option<Place> {
        match self.0.get(&key) {
            Some(&first) => Some(first),
            None => self.0.insert(key, place),
        }
    }
}

fn unique_names<'a>(noun: &str, names: impl Iterator<Item = &'a Given<Name>>, findings: &mut Findings) {
    let mut firsts = Firsts::new();
    for (place, name) in names.filter_map(Given::at) {
        if let Some(first) = firsts.before(name.0.as_str(), place) {
            let message = format!("two {noun}s have the name {}", quoted(&name.0));
            let remedy = format!("choose another name; the first is on line {}", findings.line(first));
            findings.add_at(place, message, remedy);
        }
    }
}

fn at_most<T>(list: &List<T>, most: usize, noun: &str, findings: &mut Findings) {
    if let Some((place, items)) = list.at()
        && items.len() > most
    {
        let message = format!("{} {noun} are more than the {most} that a gateway can have", items.len());
        findings.add_at(place, message, format!("remove {}", items.len() - most));
    }
}

/// Why no machine can have this address.
fn nobodys(address: IpAddr) -> Option<&'static str> {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    let reasons = [
        (address.is_unspecified(), "the unspecified address"),
        (address.is_loopback(), "a loopback address"),
        (address.is_multicast(), "a multicast address"),
        (broadcast, "the broadcast address"),
    ];
    reasons.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
}

/// Reports an address that no machine can have. Whether it can be one's.
fn is_somebodys(address: IpAddr, place: Place, findings: &mut Findings) -> bool {
    let Some(reason) = nobodys(address) else {
        return true;
    };
    findings.add_at(place, format!("`{address}` is {reason}"), "write the address of one machine");
    false
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

//! The sources of outer headers: of a family at most one, and it can be somebody's. That there is one follows from a way to each
//! backend: a port that leads there has an address of its family.

use ipnet::IpNet;

use super::{family, is_somebodys};
use crate::{
    mistake::{Findings, Place},
    raw::{Auto, Given, VirtualServer},
};

pub(super) fn check(server: &VirtualServer, findings: &mut Findings) {
    let Some(&mode) = server.mode.value() else { return };
    let mut given = [None; 2];
    if let Given::At(place, Auto::Value(list)) = &server.outer_source {
        if !mode.is_tunnel() {
            let remedy = "remove `outer_source`, or write `mode: ipip` or `mode: gue`";
            return findings.add_at(*place, "`outer_source` has no effect in this mode", remedy);
        }
        if list.is_empty() {
            findings.add_at(
                *place,
                "`outer_source` names no network",
                "write `auto` or at least one network",
            );
        }
        for (place, network) in list.iter().filter_map(Given::at) {
            one(network.0, place, &mut given, findings);
        }
    }
}

/// One network of the list.
fn one(network: IpNet, place: Place, given: &mut [Option<IpNet>; 2], findings: &mut Findings) {
    let [v4, v6] = given;
    let slot = if network.addr().is_ipv4() { v4 } else { v6 };
    if let Some(first) = slot {
        let message =
            format!("`outer_source` has two {} networks, `{first}` and `{network}`", family(network.addr()));
        findings.add_at(place, message, "remove one");
    } else if network.addr() != network.network() {
        let message = format!(
            "`{network}` has bits behind its first {}, which flows would overwrite",
            network.prefix_len()
        );
        let host = IpNet::from(network.addr());
        findings.add_at(place, message, format!("write `{}`, or for one address `{host}`", network.trunc()));
    } else {
        is_somebodys(network.addr(), place, findings);
    }
    slot.get_or_insert(network);
}

//! Routing for sockets that are bound to a port's address: they use the port's host twin, whatever else the host's
//! routes say, and the host's own routes stay as they are.
//!
//! Each twin has a routing table of its own, and each of its addresses a rule that leads there. Table and routes go with
//! the twin's interface; rules do not, so [`Policy`] removes them when it is dropped, and those that a killed gateway
//! left when it is made.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteNextHop, RouteProtocol, RouteScope},
    rule::{RuleAction, RuleAttribute, RuleMessage},
};

use super::{address::family, link::Link, netlink::Netlink};

/// Marks our routes and rules (`ip rule` shows it as `proto 116`).
const OURS: RouteProtocol = RouteProtocol::Other(116);
/// After the kernel's table of local addresses (0), before its main table (32766).
const PRIORITY: u32 = 7400;
/// Tables are numbered from here, by interface, which makes them unique.
const FIRST_TABLE: u32 = 0x7469_0000;

/// A network and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoutePlan {
    /// The network.
    pub(crate) to: IpNet,
    /// By which routers.
    pub(crate) via: Hop,
}

/// How a network is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    /// It is on the link.
    Link,
    /// Through any of these.
    Routers(Vec<IpAddr>),
}

/// The rules of one twin.
#[derive(Debug)]
pub(crate) struct Policy {
    rules: Vec<RuleMessage>,
}

impl Policy {
    /// Makes the twin's table, and the rules that lead there from its addresses.
    ///
    /// # Errors
    /// When the kernel refuses; what was made until then is removed.
    pub(crate) fn install(twin: &Link, addresses: &[IpNet], routes: &[RoutePlan]) -> io::Result<Self> {
        let table = FIRST_TABLE | twin.index;
        let mut netlink = Netlink::route()?;
        for plan in routes {
            netlink.order(
                RouteNetlinkMessage::NewRoute(route(twin, table, plan)),
                NLM_F_CREATE | NLM_F_REPLACE,
            )?;
        }
        forget_stale_rules(&mut netlink, addresses)?;
        let mut policy = Self { rules: Vec::new() };
        for address in addresses {
            let rule = rule(address.addr(), table);
            netlink.order(RouteNetlinkMessage::NewRule(rule.clone()), NLM_F_CREATE)?;
            policy.rules.push(rule);
        }
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let removed = Netlink::route().and_then(|mut netlink| {
            self.rules.drain(..).try_for_each(|rule| netlink.order(RouteNetlinkMessage::DelRule(rule), 0))
        });
        if let Err(error) = removed {
            tracing::error!("a routing rule of a host twin could not be removed: {error}");
        }
    }
}

fn rule(from: IpAddr, table: u32) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(from);
    message.header.src_len = if from.is_ipv4() { 32 } else { 128 };
    message.header.action = RuleAction::ToTable;
    message.attributes = vec![
        RuleAttribute::Source(from),
        RuleAttribute::Table(table),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::Protocol(OURS),
    ];
    message
}

/// Removes rules of ours from these addresses.
fn forget_stale_rules(netlink: &mut Netlink, addresses: &[IpNet]) -> io::Result<()> {
    for answer in netlink.dump(RouteNetlinkMessage::GetRule(RuleMessage::default()))? {
        let RouteNetlinkMessage::NewRule(rule) = answer else { continue };
        let from = rule.attributes.iter().find_map(|attribute| match attribute {
            RuleAttribute::Source(from) => Some(*from),
            _ => None,
        });
        let ours = rule.attributes.contains(&RuleAttribute::Protocol(OURS));
        if ours && from.is_some_and(|from| addresses.iter().any(|network| network.addr() == from)) {
            netlink.order(RouteNetlinkMessage::DelRule(rule), 0)?;
        }
    }
    Ok(())
}

fn route(twin: &Link, table: u32, plan: &RoutePlan) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(plan.to.addr());
    message.header.destination_prefix_length = plan.to.prefix_len();
    message.header.protocol = OURS;
    message.header.kind = netlink_packet_route::route::RouteType::Unicast;
    message.attributes = vec![RouteAttribute::Table(table)];
    if plan.to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(plan.to.network().into()));
    }
    let to_link = RouteAttribute::Oif(twin.index);
    match &plan.via {
        Hop::Link => {
            message.header.scope = RouteScope::Link;
            message.attributes.push(to_link);
        }
        Hop::Routers(routers) => match routers.as_slice() {
            [one] => message.attributes.extend([RouteAttribute::Gateway((*one).into()), to_link]),
            many => message
                .attributes
                .push(RouteAttribute::MultiPath(many.iter().map(|hop| next_hop(twin, *hop)).collect())),
        },
    }
    message
}

fn next_hop(twin: &Link, router: IpAddr) -> RouteNextHop {
    let mut hop = RouteNextHop::default();
    hop.interface_index = twin.index;
    hop.attributes = vec![RouteAttribute::Gateway(RouteAddress::from(router))];
    hop
}

//! Packets that are for no virtual server: for the gateway itself, for its host, or for nobody.

use flow::FlowKey;
use model::PortId;

use crate::{DropReason, Verdict, host, serve::Occasion, snapshot::Owned};

/// A packet that no virtual server is the destination of.
pub(crate) fn without_service(occasion: &Occasion<'_>, key: &FlowKey) -> Verdict {
    match occasion.addresses().owner(key.destination) {
        Some(owned) if owned.is_snat_port(key.protocol, key.destination_port) => {
            Verdict::Drop(DropReason::NoFlow)
        }
        Some(Owned::Virtual { .. }) => Verdict::Drop(DropReason::NoVirtualServer),
        Some(_) => unanswered(occasion, key, DropReason::NoListener),
        None if host::is_own(occasion, key.destination) => unanswered(occasion, key, DropReason::NoListener),
        None if occasion.addresses().is_nat_backend(key.source) => Verdict::Drop(DropReason::NoFlow),
        None => Verdict::Drop(DropReason::NoVirtualServer),
    }
}

/// What is not answered here goes to the host, if the destination is a port's own address and the port has a host twin.
pub(crate) fn unanswered(occasion: &Occasion<'_>, key: &FlowKey, otherwise: DropReason) -> Verdict {
    match occasion.addresses().owner(key.destination) {
        Some(Owned::Port { port, .. }) => to_host(occasion, port, otherwise),
        Some(_) => Verdict::Drop(otherwise),
        None if host::is_own(occasion, key.destination) => {
            to_host(occasion, occasion.arrival.port, otherwise)
        }
        None => Verdict::Drop(DropReason::NoVirtualServer),
    }
}

/// To the host twin of a port, if it has one.
pub(crate) fn to_host(occasion: &Occasion<'_>, port: PortId, otherwise: DropReason) -> Verdict {
    let has_host = occasion.snapshot.port(port).is_some_and(|port| port.host);
    if has_host { Verdict::ToHost(port) } else { Verdict::Drop(otherwise) }
}

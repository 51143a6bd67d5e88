//! Packets of protocols without ports that are known here (all but TCP, UDP and ICMP), for virtual servers that take any: balanced by their
//! addresses, and nothing else.
//!
//! What is behind their IP header is not looked at. All packets from one address to another have one hash, whatever their protocol: what
//! belongs together comes to one backend, and so do fragments, which need no first one for that. Packets of one protocol between two addresses
//! are a flow, whose ports are 0 ([`crate::admit`] opens it as any): so it keeps its backend while the pool changes, counts where flows
//! are counted, and in `nat` has replies that find their way back (decision 26).

use flow::{Candidate, FlowKey};
use model::Mode;
use nic::Frame;
use wire::{fragment::Fragment, ipv6, protocol};

use crate::{
    DropReason, Verdict, admit,
    answer::error,
    packet::{Kind, Packet, Step},
    plan::Plan,
    serve::{Occasion, Sought},
    snapshot::VirtualServer,
    state::Memory,
    stray,
};

/// Sends a packet to where its flow goes; if it is for nobody, it is dropped for `otherwise`.
pub(crate) fn serve<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    (key, candidate): (&FlowKey, Candidate),
    otherwise: DropReason,
) -> Result<Step, DropReason> {
    let is_known = memory.flows.settle(candidate, key).is_ok();
    let candidate = if is_known { candidate } else { Candidate::NONE };
    let plan = if candidate.is_some() { None } else { Plan::find(occasion.snapshot, key) };
    if is_known || plan.is_some() {
        let sought = Sought { key, candidate, plan };
        return admit::converse(memory, occasion, frame, packet, &sought);
    }
    admit::check_addresses(packet, key, occasion)?;
    stranger(memory, occasion, key, otherwise).map(Step::Done)
}

/// A packet that is for no virtual server, and of no flow here.
fn stranger<F>(
    memory: &Memory<F>,
    occasion: &Occasion<'_>,
    key: &FlowKey,
    otherwise: DropReason,
) -> Result<Verdict, DropReason> {
    let addresses = occasion.addresses();
    if addresses.is_ours(key.destination) || !addresses.is_nat_backend(key.source) {
        return Ok(stray::unanswered(occasion, key, otherwise));
    }
    // A reply, of which another worker may know.
    admit::foreign_owner(memory, occasion, || *key).map(Verdict::HandOver).ok_or(DropReason::NoFlow)
}

/// Sends a fragment of such a packet, like a packet of its own.
pub(crate) fn serve_part<F: Frame>(
    memory: &mut Memory<F>,
    occasion: &Occasion<'_>,
    (frame, packet): (&mut F, &Packet),
    (key, fragment): (&FlowKey, Fragment),
) -> Result<Step, DropReason> {
    if !is_told(packet.v6, key.protocol) {
        return Ok(Step::Done(stray::unanswered(occasion, key, DropReason::Fragment)));
    }
    let whole = Packet { kind: Kind::Other, ..*packet };
    let of = (key, Candidate::NONE);
    let served = serve(memory, occasion, (frame, &whole), of, DropReason::Fragment);
    // Of a packet's later parts nobody is told (RFC 1122, 3.2.2; RFC 4443, 2.4 (e)).
    if !fragment.is_first() {
        return served;
    }
    served.or_else(|reason| error::instead(memory, occasion, (frame, &whole), key, reason))
}

/// Whether a fragment tells that it is of such a packet: over IPv6 an extension header may be all that it says of what follows.
const fn is_told(v6: bool, number: u8) -> bool {
    if v6 { number != protocol::ICMPV6 && !ipv6::is_extension(number) } else { number != protocol::ICMP }
}

/// Whether a virtual server takes packets of a protocol.
///
/// `nat` changes their addresses, and takes those that are right afterwards. A checksum of UDP-Lite or DCCP would no longer be, nor an
/// authentication header; of protocols that nobody here knows nobody knows.
pub(crate) const fn takes(server: &VirtualServer, number: u8) -> bool {
    !matches!(server.mode, Mode::Nat) || has_ports(number) || is_right_anywhere(number)
}

/// Whether packets of a protocol are told apart by ports.
pub(crate) const fn has_ports(number: u8) -> bool {
    matches!(number, protocol::TCP | protocol::UDP)
}

/// Whether nothing in a protocol's header or checksum depends on the addresses: RFC 2003, 2473, 2784 (2.1), 4303 (2.8), 3378, 3931 (4.1),
/// 9260 (6.8) and 4023.
const fn is_right_anywhere(number: u8) -> bool {
    use protocol::{ESP, ETHERIP, GRE, IPV4, IPV6, L2TP, MPLS, SCTP};
    matches!(number, IPV4 | IPV6 | GRE | ESP | ETHERIP | L2TP | SCTP | MPLS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_whose_checksum_is_over_the_addresses_are_not_right_anywhere() {
        let right: Vec<u8> = (0..=u8::MAX).filter(|&number| is_right_anywhere(number)).collect();
        assert_eq!(right, [4, 41, 47, 50, 97, 115, 132, 137]);
    }

    #[test]
    fn a_fragment_behind_an_extension_header_does_not_tell_its_protocol() {
        for (v6, number, expected) in [
            (true, 50, true),
            (true, 132, true),
            (true, 51, true),
            (true, 60, false),
            (true, 43, false),
            (true, 58, false),
            (true, 1, true),
            (false, 60, true),
            (false, 58, true),
            (false, 1, false),
        ] {
            assert_eq!(is_told(v6, number), expected, "{number}");
        }
    }
}

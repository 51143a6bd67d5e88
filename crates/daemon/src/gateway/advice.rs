//! What an operator should be told once, when a counter shows it: workers do not log.

use std::{collections::HashSet, net::SocketAddr, time::Duration};

use control::{Fleet, Plane, Scarcity};
use datapath::DropReason;

/// How often to look.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// What shows in the counters, and what to do about it.
const ADVICE: [(&[DropReason], &str); 4] = [
    (
        &[DropReason::FrameCut],
        "frames were dropped that are larger than the slots of the port's ring: their sender leaves it to its network card to cut them up, and \
         between virtual interfaces there is none. Larger slots take them whole (`device: \"net_af_packet0,iface=INTERFACE,framesz=65408,\
         blocksz=2093056,framecnt=512\"`, 64 MiB a queue), or none are made where they come from: ethtool -K INTERFACE tso off gso off",
    ),
    (
        &[DropReason::FrameOverMtu],
        "packets larger than the MTU are dropped that may not be cut up, and whose sender is not told; where they come from: \
         ethtool -K INTERFACE tso off gso off gro off",
    ),
    (
        &[DropReason::FramesExhausted],
        "packets that had to be cut up are lost, because the packet memory is used up: give it more segments (`workers.mbufs`)",
    ),
    (
        &[DropReason::ToHostRateLimit, DropReason::FromHostRateLimit],
        "packets to or from a host twin are more than its port lets pass; if it is not a flood, raise the port's `host_limit`",
    ),
];

/// Of a hundred source ports towards a backend: from how many in use on that is told, and below how many it may be told again.
const SCARCE: u64 = 80;
const AMPLE: u64 = 60;

/// What was told already.
#[derive(Debug, Default)]
pub(crate) struct Advice {
    told: [bool; ADVICE.len()],
    /// Backends towards which source ports got scarce, by pool.
    scarce: HashSet<(String, SocketAddr)>,
}

impl Advice {
    /// Looks at the counters; what is new in them is logged.
    pub(crate) fn look(&mut self, fleet: &Fleet) {
        for ((reasons, text), told) in ADVICE.iter().zip(&mut self.told) {
            let packets: u64 = reasons.iter().map(|reason| dropped(fleet, *reason)).sum();
            if packets > 0 && !*told {
                tracing::warn!("{packets} packet(s) so far: {text}");
                *told = true;
            }
        }
    }
}

impl Advice {
    /// Looks at how many source ports are left; where they get scarce, that is logged before there are none.
    pub(crate) fn look_at_source_ports(&mut self, plane: &Plane) {
        for Scarcity { pool, backend, used_percent } in self.newly_scarce(plane.scarce_source_ports(AMPLE)) {
            tracing::warn!(
                "{used_percent} % of the source ports towards backend {backend} of pool {pool} are in use: when there is none left, clients are \
                 refused (`snat_exhausted`). Give its virtual servers more addresses in `snat`, or the pool more backends"
            );
        }
    }

    /// Those of them that are to be told of.
    fn newly_scarce(&mut self, known: Vec<Scarcity>) -> Vec<Scarcity> {
        let name = |of: &Scarcity| (of.pool.clone(), of.backend);
        let still: HashSet<_> = known.iter().map(name).collect();
        self.scarce.retain(|told| still.contains(told));
        let is_new = |of: &Scarcity| of.used_percent >= SCARCE && self.scarce.insert(name(of));
        known.into_iter().filter(is_new).collect()
    }
}

fn dropped(fleet: &Fleet, reason: DropReason) -> u64 {
    let counters = fleet.members.iter().filter_map(|member| member.meters.drops.get(reason.index()));
    counters.map(meter::Counter::read).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use control::Member;
    use datapath::WorkerMeters;

    use super::*;

    #[test]
    fn scarce_source_ports_are_told_of_once_until_there_are_enough_again() {
        let of = |used_percent| {
            vec![Scarcity { pool: "p".to_owned(), backend: "192.0.2.1:80".parse().unwrap(), used_percent }]
        };
        let mut advice = Advice::default();
        let told: Vec<usize> = [of(79), of(80), of(95), of(70), of(85), vec![], of(81)]
            .into_iter()
            .map(|known| advice.newly_scarce(known).len())
            .collect();
        assert_eq!(told, [0, 1, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn advice_is_given_once_and_only_when_it_is_due() {
        let member = Member { lcore: 0, meters: Arc::new(WorkerMeters::new()) };
        let fleet = Fleet { members: vec![member], cycles_per_second: 1, capacities: Arc::default() };
        let mut advice = Advice::default();
        advice.look(&fleet);
        assert_eq!(advice.told, [false; 4]);
        fleet.members[0].meters.drop_packets(DropReason::FrameOverMtu, 3);
        advice.look(&fleet);
        assert_eq!(advice.told, [false, true, false, false]);
        assert_eq!(dropped(&fleet, DropReason::FrameOverMtu), 3);
    }
}

//! What an operator should be told once, when a counter shows it: workers do not log.

use std::time::Duration;

use control::Fleet;
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

/// What was told already.
#[derive(Debug, Default)]
pub(crate) struct Advice {
    told: [bool; ADVICE.len()],
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

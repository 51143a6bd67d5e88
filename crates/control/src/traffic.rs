//! Sums over the workers' counters.

use std::{collections::HashMap, sync::Arc};

use datapath::{
    Colleagues,
    meters::{Capacities, PortMeters, TrafficMeters, WorkerMeters},
};
use meter::{Counter, Histograms};
use model::{BackendId, PortId, VirtualServerId};

use crate::view::Traffic;

/// How often a round trip took as long as each of the buckets of [`Histograms`] says: of clients, and of backends.
pub(crate) type RoundTrips = [Vec<u64>; 2];

/// The workers, as control sees them.
#[derive(Clone)]
pub struct Fleet {
    /// By [`model::WorkerId`].
    pub members: Vec<Member>,
    /// Ticks of the workers' clock in a second.
    pub cycles_per_second: u64,
    /// What control tells the workers of backends.
    pub capacities: Arc<Capacities>,
}

/// One worker, as control sees it.
#[derive(Clone)]
pub struct Member {
    /// The core that it runs on.
    pub lcore: u32,
    /// What it counts.
    pub meters: Arc<WorkerMeters>,
}

/// Something that traffic is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    VirtualServer(VirtualServerId),
    Backend(BackendId),
}

/// What the counters said when an id was used again, so that nobody inherits another's traffic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Baselines(HashMap<Subject, (u16, Traffic, RoundTrips)>);

impl Fleet {
    /// The workers, as each of them sees the others.
    #[must_use]
    pub fn colleagues(&self) -> Colleagues {
        Colleagues {
            workers: self.members.iter().map(|member| Arc::clone(&member.meters)).collect(),
            capacities: Arc::clone(&self.capacities),
        }
    }

    /// A counter of a port, over all workers.
    pub(crate) fn port(&self, id: PortId, counter: fn(&PortMeters) -> &Counter) -> u64 {
        let ports = self.members.iter().filter_map(|member| member.meters.port(id));
        ports.map(|port| counter(port).read()).sum()
    }

    /// The counters of one subject, over all workers.
    pub(crate) fn traffic(&self, subject: Subject) -> Traffic {
        let meters = self.members.iter().filter_map(|member| match subject {
            Subject::VirtualServer(id) => member.meters.virtual_server(id),
            Subject::Backend(id) => member.meters.backend(id),
        });
        meters.fold(Traffic::default(), add)
    }

    /// The round trips of a virtual server, over all workers.
    pub(crate) fn round_trips(&self, subject: Subject) -> RoundTrips {
        let Subject::VirtualServer(id) = subject else { return RoundTrips::default() };
        let sum = |of: fn(&WorkerMeters) -> &Histograms| {
            let mut sum = vec![0; Histograms::BUCKETS];
            for member in &self.members {
                sum.iter_mut()
                    .zip(of(&member.meters).read(id.index()))
                    .for_each(|(sum, count)| *sum += count);
            }
            sum
        };
        [sum(|meters| &meters.client_round_trips), sum(|meters| &meters.server_round_trips)]
    }

    /// The lowest generation that a worker says it runs with; 0 before all have begun.
    pub(crate) fn generation(&self) -> u64 {
        self.members.iter().map(|member| member.meters.generation.read()).min().unwrap_or(0)
    }
}

/// What closed is read before what opened, so that flows that come and go meanwhile make `flows` no less than it is.
fn add(sum: Traffic, meters: &TrafficMeters) -> Traffic {
    let closed = meters.flows_closed.read();
    let opened = meters.flows_opened.read();
    Traffic {
        flows: sum.flows + opened.saturating_sub(closed),
        flows_opened: sum.flows_opened + opened,
        packets_in: sum.packets_in + meters.packets_in.read(),
        bytes_in: sum.bytes_in + meters.bytes_in.read(),
        packets_out: sum.packets_out + meters.packets_out.read(),
        bytes_out: sum.bytes_out + meters.bytes_out.read(),
    }
}

impl Baselines {
    /// Notes where the counters of ids stand that are used again, and forgets ids that are not in use.
    pub(crate) fn renew(&mut self, in_use: impl Iterator<Item = (Subject, u16)>, fleet: &Fleet) {
        let used_again = in_use.filter(|(_, incarnation)| *incarnation > 0);
        let renewed = used_again.map(|(subject, incarnation)| match self.0.get(&subject) {
            Some(known) if known.0 == incarnation => (subject, known.clone()),
            _ => (subject, (incarnation, fleet.traffic(subject), fleet.round_trips(subject))),
        });
        self.0 = renewed.collect();
    }

    /// The round trips of a subject since it was configured.
    pub(crate) fn round_trips_since(&self, subject: Subject, fleet: &Fleet) -> RoundTrips {
        let mut all = fleet.round_trips(subject);
        if let Some((_, _, before)) = self.0.get(&subject) {
            let counts = all.iter_mut().flatten().zip(before.iter().flatten());
            counts.for_each(|(count, before)| *count = count.saturating_sub(*before));
        }
        all
    }

    /// The traffic of a subject since it was configured. Flows are what is open, whoever opened them.
    pub(crate) fn since(&self, subject: Subject, fleet: &Fleet) -> Traffic {
        let all = fleet.traffic(subject);
        let Some((_, before, _)) = self.0.get(&subject) else { return all };
        Traffic {
            flows: all.flows,
            flows_opened: all.flows_opened.saturating_sub(before.flows_opened),
            packets_in: all.packets_in.saturating_sub(before.packets_in),
            bytes_in: all.bytes_in.saturating_sub(before.bytes_in),
            packets_out: all.packets_out.saturating_sub(before.packets_out),
            bytes_out: all.bytes_out.saturating_sub(before.bytes_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_a_used_id_does_not_inherit_its_traffic() {
        let fleet = Fleet {
            members: (0..2).map(|lcore| Member { lcore, meters: Arc::new(WorkerMeters::new()) }).collect(),
            cycles_per_second: 1,
            capacities: Arc::default(),
        };
        let count = |amount| {
            fleet.members.iter().for_each(|m| m.meters.backend(BackendId(3)).unwrap().packets_in.add(amount));
        };
        let subject = Subject::Backend(BackendId(3));
        let mut baselines = Baselines::default();

        count(10);
        baselines.renew([(subject, 0)].into_iter(), &fleet);
        assert_eq!(baselines.since(subject, &fleet).packets_in, 20);
        baselines.renew([(subject, 1)].into_iter(), &fleet);
        assert_eq!(baselines.since(subject, &fleet).packets_in, 0);
        count(1);
        baselines.renew([(subject, 1)].into_iter(), &fleet);
        assert_eq!(baselines.since(subject, &fleet).packets_in, 2);
    }
}

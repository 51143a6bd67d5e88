//! A gateway that runs: waiting for signals, draining, and the end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use config::Configuration;
use control::{Fleet, Order, Plane};
use datapath::meters::Balance;
use dpdk::{Eal, Mempool};
use model::AdminState;
use sd_notify::NotifyState;

use super::{
    advice::{self, Advice},
    control_thread::ControlThread,
    crew::Crew,
    ports::OpenPort,
    signals::{Signals, Wish, notify},
};
use crate::kernel::Taken;

/// How often to look whether flows have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(100);
/// What the workers run on. Dropped in this order.
pub(crate) struct Devices {
    pub(crate) ports: Vec<OpenPort>,
    pub(crate) pool: Mempool,
    pub(crate) eal: Eal,
    pub(crate) give_back: bool,
    pub(crate) _taken: Vec<Taken>,
}

impl Devices {
    /// Closes the ports, and sees whether all packet memory comes back. The rest goes with the value.
    fn close(self) {
        drop(self.ports);
        match self.pool.in_use() {
            0 => tracing::debug!("all packet memory was given back"),
            out if self.give_back => tracing::error!("{out} segments of packet memory were not given back"),
            out => tracing::debug!(
                "{out} segments of packet memory stay with a driver that never gives them back"
            ),
        }
    }
}

/// A running gateway.
pub(crate) struct Gateway {
    pub(crate) crew: Crew,
    pub(crate) fleet: Fleet,
    pub(crate) plane: Arc<Plane>,
    pub(crate) control: ControlThread,
    pub(crate) devices: Devices,
}

impl Gateway {
    /// Runs until a signal ends it.
    pub(crate) fn run(self, signals: &mut Signals) {
        let processors = self.crew.processors();
        tracing::info!("ready: {} worker(s), on processor(s) {processors:?}", processors.len());
        notify(NotifyState::Ready);
        let patience =
            sd_notify::watchdog_enabled().map_or(advice::LOOK, |limit| advice::LOOK.min(limit / 2));
        let mut advice = Advice::default();
        loop {
            match signals.wait(patience) {
                None => {
                    notify(NotifyState::Watchdog);
                    advice.look(&self.fleet);
                    advice.look_at_source_ports(&self.plane);
                }
                Some(Wish::Reload) => self.control.order(Order::Reload),
                Some(Wish::Drain) => {
                    notify(NotifyState::Stopping);
                    self.drain(signals);
                    break;
                }
                Some(Wish::End) => {
                    notify(NotifyState::Stopping);
                    break;
                }
            }
        }
        self.end();
    }

    /// Opens no new flows, and waits until those that there are have ended, the time is up, or a signal comes.
    fn drain(&self, signals: &mut Signals) {
        let configuration = self.plane.configuration();
        let limit = configuration.shutdown.drain;
        if limit.is_zero() {
            return;
        }
        tracing::info!("draining: {} flow(s), {} s at most", self.flows(), limit.as_secs());
        if let Err(error) = signals.block_on(self.plane.apply(draining(&configuration))) {
            tracing::error!("new flows are still opened: {error}");
        }
        let end = Instant::now() + limit;
        while self.flows() > 0 && Instant::now() < end {
            if matches!(signals.wait(DRAIN_LOOK), Some(Wish::Drain | Wish::End)) {
                break;
            }
        }
        tracing::info!("drained: {} flow(s) left", self.flows());
    }

    fn flows(&self) -> u64 {
        self.fleet.members.iter().map(|member| member.meters.flows.read()).sum()
    }

    /// Ends it, from the workers down to the interfaces.
    fn end(self) {
        let Self { crew, fleet, plane, control, devices } = self;
        crew.stop();
        drop((control, plane));
        account(&fleet);
        devices.close();
        tracing::info!("ended");
    }
}

/// The same configuration, its backends without new flows.
fn draining(configuration: &Configuration) -> Configuration {
    let mut configuration = configuration.clone();
    let backends = configuration.gateway.pools.iter_mut().flat_map(|pool| &mut pool.backends);
    backends
        .filter(|backend| backend.state == AdminState::Enabled)
        .for_each(|backend| backend.state = AdminState::Drain);
    configuration
}

/// Says whether every packet is accounted for.
fn account(fleet: &Fleet) {
    let mut sum = Balance::default();
    for balance in fleet.members.iter().map(|member| member.meters.balance()) {
        sum.entered += balance.entered;
        sum.left += balance.left;
        sum.held += balance.held;
    }
    let Balance { entered, left, held } = sum;
    if sum.holds() {
        tracing::info!("every packet is accounted for: {entered} entered, {left} left, {held} held");
    } else {
        tracing::error!("packets are not accounted for: {entered} entered, {left} left, {held} held");
    }
}

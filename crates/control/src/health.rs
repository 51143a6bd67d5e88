//! What the monitors found out, and what follows from it for a backend.
//!
//! A *check* is a target with a monitor's settings. Pools that check the same target in the same way share the check, so
//! that a backend in ten pools is asked once.

use std::{
    collections::{HashMap, HashSet},
    fmt, io,
    net::SocketAddr,
    time::Duration,
};

use balance::Level;
use model::{Backend, Gateway, Monitor, Pool};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{drain::Drains, ramp::Ramps};

/// Something that is checked, and how. Backends that agree in all of it share one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// Where a connection must open.
    pub target: SocketAddr,
    /// From the start of one check to the start of the next.
    pub interval: Duration,
    /// How long one check may take.
    pub timeout: Duration,
    /// Checks that fail in a row before the target is down.
    pub fall: u16,
    /// Checks that succeed in a row before it is up again.
    pub rise: u16,
}

/// Whether a backend, or the target of a check, works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It does.
    Up,
    /// It does not.
    Down,
    /// Nobody knows yet: it was never checked.
    #[default]
    Unchecked,
}

/// A condition, and for one that is down why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    /// Whether it works.
    pub condition: Condition,
    /// What the failed check said.
    pub cause: Option<Cause>,
}

/// Why a check failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The target's host answered that nobody listens there.
    Refused,
    /// No answer came in time.
    TimedOut,
    /// No way leads there, or a router said so.
    Unreachable,
    /// The address to ask from is not this machine's.
    NoLocalAddress,
    /// Anything else, in the system's words.
    Other(String),
}

/// What is known of all checks.
#[derive(Clone, Debug, Default)]
pub struct Health {
    checks: HashMap<Check, Diagnosis>,
    optimistic: bool,
    /// Whether the gateway itself is about to end.
    draining: bool,
    /// Backends that come up slowly.
    pub(crate) ramps: Ramps,
    /// Backends that are drained for a time only.
    pub(crate) drains: Drains,
}

impl Check {
    /// The check of `backend` by `monitor`.
    #[must_use]
    pub fn of(backend: &Backend, monitor: &Monitor) -> Self {
        let port = monitor.port.unwrap_or(backend.address.port());
        Self {
            target: SocketAddr::new(backend.address.ip(), port),
            interval: monitor.interval,
            timeout: monitor.timeout,
            fall: monitor.fall,
            rise: monitor.rise,
        }
    }

    /// All checks of a configuration.
    #[must_use]
    pub fn all(gateway: &Gateway) -> HashSet<Self> {
        let backends = gateway.pools.iter().flat_map(|pool| pool.backends.iter().map(move |b| (pool, b)));
        backends.flat_map(|(pool, backend)| pool.monitors.iter().map(|m| Self::of(backend, m))).collect()
    }
}

impl Diagnosis {
    /// It works.
    pub const UP: Self = Self { condition: Condition::Up, cause: None };

    /// It does not, and why.
    #[must_use]
    pub const fn down(cause: Cause) -> Self {
        Self { condition: Condition::Down, cause: Some(cause) }
    }
}

impl Health {
    /// A state in which everything works that was never checked: what `replay` and `explain` suppose.
    #[must_use]
    pub fn optimistic() -> Self {
        Self { optimistic: true, ..Self::default() }
    }

    /// The same, but no backend takes new flows any more.
    pub(crate) fn draining(&self) -> Self {
        Self { draining: true, ..self.clone() }
    }

    /// Whether no backend takes new flows, because the gateway is about to end.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// How a pool's backend is: down when one of its checks says so, up when all say so.
    #[must_use]
    pub fn of(&self, pool: &Pool, backend: &Backend) -> Diagnosis {
        let mut found = Diagnosis::UP;
        for monitor in &pool.monitors {
            let diagnosis = self.check(&Check::of(backend, monitor));
            match diagnosis.condition {
                Condition::Down => return diagnosis,
                Condition::Unchecked => found = diagnosis,
                Condition::Up => {}
            }
        }
        found
    }

    /// How much of its weight a backend gets while it is up.
    #[must_use]
    pub(crate) fn level(&self, pool: &Pool, backend: &Backend) -> Level {
        self.ramps.level(pool, backend)
    }

    /// What is known of a check.
    #[must_use]
    pub fn check(&self, check: &Check) -> Diagnosis {
        let unknown = || if self.optimistic { Diagnosis::UP } else { Diagnosis::default() };
        self.checks.get(check).cloned().unwrap_or_else(unknown)
    }

    /// Whether a check belongs to the configuration.
    #[must_use]
    pub fn watches(&self, check: &Check) -> bool {
        self.checks.contains_key(check)
    }

    /// Notes what a check found; `false` when that was known.
    pub fn record(&mut self, check: Check, diagnosis: Diagnosis) -> bool {
        let known = self.checks.insert(check, diagnosis.clone());
        known.is_none_or(|known| known.condition != diagnosis.condition)
    }

    /// Lets a pool's backend be as it is said to be, as if all its monitors had found that at `now`: what `replay` supposes. Without
    /// monitors nobody would find it: `false`.
    pub fn suppose(
        &mut self,
        (pool, backend): (&Pool, &Backend),
        supposed: &Diagnosis,
        now: Instant,
    ) -> bool {
        let was = self.of(pool, backend).condition;
        for monitor in &pool.monitors {
            self.record(Check::of(backend, monitor), supposed.clone());
        }
        if was == Condition::Down && supposed.condition == Condition::Up {
            self.ramps.begin(pool, backend, now);
        }
        !pool.monitors.is_empty()
    }

    /// Lets backends that come up slowly come as far as they are at `now`, and ends what is drained for too long; whether anything is
    /// to be published.
    pub fn advance(&mut self, gateway: &Gateway, now: Instant) -> bool {
        let moved = self.ramps.advance(gateway, now);
        self.drains.advance(gateway, now) || !moved.is_empty()
    }

    /// What is known when configuration changes from `before` to `after`.
    ///
    /// Checks that stay keep what they found. A new check of a backend that was up supposes that it still is, so that
    /// changing an interval does not empty a pool.
    #[must_use]
    pub fn carried_over(&self, before: &Gateway, after: &Gateway) -> Self {
        let was_up = self.backends_up(before);
        let mut checks = HashMap::new();
        for pool in &after.pools {
            for backend in &pool.backends {
                let supposed = if was_up.contains(&(pool.name.as_str(), backend.address)) {
                    Diagnosis::UP
                } else {
                    Diagnosis::default()
                };
                for check in pool.monitors.iter().map(|monitor| Check::of(backend, monitor)) {
                    let found = self.checks.get(&check).cloned().unwrap_or_else(|| supposed.clone());
                    let entry = checks.entry(check).or_insert_with(Diagnosis::default);
                    if entry.condition == Condition::Unchecked {
                        *entry = found;
                    }
                }
            }
        }
        let ramps = self.ramps.carried_over(before, after, Instant::now());
        Self { checks, ramps, drains: self.drains.clone(), ..*self }
    }

    fn backends_up<'a>(&self, gateway: &'a Gateway) -> HashSet<(&'a str, SocketAddr)> {
        let backends = gateway.pools.iter().flat_map(|pool| pool.backends.iter().map(move |b| (pool, b)));
        let up = backends.filter(|(pool, backend)| self.of(pool, backend).condition == Condition::Up);
        up.map(|(pool, backend)| (pool.name.as_str(), backend.address)).collect()
    }
}

impl From<&io::Error> for Cause {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown => Self::Unreachable,
            io::ErrorKind::AddrNotAvailable => Self::NoLocalAddress,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::TimedOut => "timed out",
            Self::Unreachable => "unreachable",
            Self::NoLocalAddress => "no local address to ask from",
            Self::Other(text) => text,
        })
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Unchecked => "unchecked",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_backend_is_up_while_all_its_checks_say_so() {
        let mut pool = fixture::monitored_pool("objects", 1);
        pool.monitors.push(Monitor { port: Some(9), ..pool.monitors[0].clone() });
        let [first, second] = [0, 1].map(|m: usize| Check::of(&pool.backends[0], &pool.monitors[m]));
        let mut health = Health::default();
        let condition = |health: &Health| health.of(&pool, &pool.backends[0]).condition;

        assert!(health.record(first, Diagnosis::UP));
        assert_eq!(condition(&health), Condition::Unchecked, "the second has not said anything");
        assert!(health.record(second, Diagnosis::UP));
        assert_eq!(condition(&health), Condition::Up);
        assert!(health.record(first, Diagnosis::down(Cause::Refused)));
        assert!(!health.record(first, Diagnosis::down(Cause::TimedOut)), "down it was already");
        assert_eq!(condition(&health), Condition::Down);
    }

    #[test]
    fn a_backend_without_monitors_is_up() {
        let pool = fixture::pool("objects", 1);
        assert_eq!(Health::default().of(&pool, &pool.backends[0]), Diagnosis::UP);
    }

    #[test]
    fn changing_a_monitor_leaves_an_up_backend_up_and_a_new_one_unchecked() {
        let before = fixture::gateway([fixture::monitored_pool("objects", 2)]);
        let mut health = Health::default();
        let checks = before.pools[0].backends.iter().map(|b| Check::of(b, &before.pools[0].monitors[0]));
        for (check, diagnosis) in checks.zip([Diagnosis::UP, Diagnosis::down(Cause::Refused)]) {
            health.record(check, diagnosis);
        }
        let mut after = fixture::gateway([fixture::monitored_pool("objects", 3)]);
        after.pools[0].monitors[0].interval *= 2;

        let carried = health.carried_over(&before, &after);
        let pool = &after.pools[0];
        let conditions: Vec<_> = pool.backends.iter().map(|b| carried.of(pool, b).condition).collect();
        assert_eq!(conditions, [Condition::Up, Condition::Unchecked, Condition::Unchecked]);
    }

    #[test]
    fn the_system_s_errors_have_plain_words() {
        let said = |kind| Cause::from(&io::Error::from(kind)).to_string();
        assert_eq!(said(io::ErrorKind::ConnectionRefused), "connection refused");
        assert_eq!(said(io::ErrorKind::HostUnreachable), "unreachable");
        assert_eq!(said(io::ErrorKind::AddrNotAvailable), "no local address to ask from");
    }
}

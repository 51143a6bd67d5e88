//! Active checks: does a TCP connection open?
//!
//! One task per [`Check`], however many pools share it. The kernel connects (over the host twin of a port); a connection
//! that opened is reset at once, which leaves nothing behind on either side.
//!
//! What must stay true: the first result of a check decides at once, so that a gateway that starts neither sends to
//! the dead nor waits `rise` × `interval` for the living; later ones need `fall` or `rise` in a row.
//!
//! What it leaves to others: what a transition means for pools, and saying so ([`Plane`]).

mod probe;
mod streak;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    task::AbortHandle,
    time::{self, MissedTickBehavior},
};

use self::streak::Streak;
use crate::{Plane, health::Check, supervise::supervise};

/// The address to connect from for a target; `None` leaves it to the kernel.
pub type SourceFor = Arc<dyn Fn(IpAddr) -> Option<IpAddr> + Send + Sync>;

/// Connections that may be opening at once; further checks wait their turn, which delays and does not fail them.
const CONCURRENT: usize = 512;
/// The first checks after a start are spread over this time, or a check's interval when that is less.
const SPREAD: Duration = Duration::from_millis(250);

/// Runs the checks of whatever configuration `plane` has. Never returns.
pub(crate) async fn run(plane: Arc<Plane>, source: SourceFor) {
    let mut tasks =
        Tasks { plane, source, permits: Arc::new(Semaphore::new(CONCURRENT)), running: HashMap::new() };
    let mut changes = tasks.plane.changes();
    loop {
        tasks.reconcile();
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// One task per check. Dropping it ends them.
struct Tasks {
    plane: Arc<Plane>,
    source: SourceFor,
    permits: Arc<Semaphore>,
    running: HashMap<Check, AbortHandle>,
}

impl Tasks {
    /// Ends the checks that the configuration has no longer and begins those that are new.
    fn reconcile(&mut self) {
        let wanted = Check::all(&self.plane.configuration().gateway);
        self.running.retain(|check, task| {
            let keep = wanted.contains(check);
            if !keep {
                task.abort();
            }
            keep
        });
        for check in wanted {
            self.running.entry(check).or_insert_with(|| {
                let (plane, source, permits) =
                    (Arc::clone(&self.plane), Arc::clone(&self.source), Arc::clone(&self.permits));
                let again =
                    move || watch(check, Arc::clone(&plane), Arc::clone(&source), Arc::clone(&permits));
                tokio::spawn(supervise("monitor", again)).abort_handle()
            });
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.running.values().for_each(AbortHandle::abort);
    }
}

/// Checks one target again and again, and reports what changes.
async fn watch(check: Check, plane: Arc<Plane>, source: SourceFor, permits: Arc<Semaphore>) {
    let mut streak = Streak::new(plane.condition(&check));
    time::sleep(start_delay(check)).await;
    let mut turns = time::interval(check.interval.max(Duration::from_millis(1)));
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let Ok(permit) = permits.acquire().await else { return };
        let result = probe::connect(check.target, source(check.target.ip()), check.timeout).await;
        drop(permit);
        if let Some(diagnosis) = streak.record(result, check.fall, check.rise) {
            plane.report(check, diagnosis);
        }
    }
}

/// Chance spreads the checks, so that a thousand of them do not start in one millisecond, and again each interval.
fn start_delay(check: Check) -> Duration {
    let spread = SPREAD.min(check.interval).as_micros().max(1) as u64;
    Duration::from_micros(RandomState::new().hash_one(check) % spread)
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::{fixture, health::Condition};

    fn condition(plane: &Plane, address: SocketAddr) -> (Condition, Option<String>) {
        let row = plane.backends().into_iter().find(|row| row.address == address).unwrap();
        (row.health, row.cause)
    }

    #[tokio::test]
    async fn a_backend_is_up_while_it_listens() {
        let [steady, fickle] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [kept, address] = [&steady, &fickle].map(|listener| listener.local_addr().unwrap());
        let pools = ["a", "b"].map(|name| fixture::pool_at(name, &[kept, address]));
        let (plane, readers) = fixture::plane(fixture::gateway(pools));
        fixture::read_on(readers);
        let checks = tokio::spawn(run(Arc::clone(&plane), Arc::new(|_| None)));

        let up = (Condition::Up, None);
        fixture::eventually("both up", || [kept, address].iter().all(|a| condition(&plane, *a) == up)).await;
        drop(fickle);
        let down = (Condition::Down, Some("connection refused".to_owned()));
        fixture::eventually("one down", || condition(&plane, address) == down).await;
        assert_eq!(condition(&plane, kept), up);
        let _again = TcpListener::bind(address).unwrap();
        fixture::eventually("up again", || condition(&plane, address) == up).await;
        checks.abort();
    }

    #[tokio::test]
    async fn checks_come_and_go_with_the_configuration() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (plane, readers) = fixture::plane(fixture::gateway([]));
        fixture::read_on(readers);
        let checks = tokio::spawn(run(Arc::clone(&plane), Arc::new(|_| None)));
        let gateway = fixture::gateway([fixture::pool_at("objects", &[address])]);
        plane.apply(fixture::configuration(gateway)).await.unwrap();
        fixture::eventually("up", || condition(&plane, address).0 == Condition::Up).await;
        assert!(!listener.accept().unwrap().1.ip().is_unspecified());

        plane.apply(fixture::configuration(fixture::gateway([]))).await.unwrap();
        assert!(plane.backends().is_empty());
        checks.abort();
    }
}

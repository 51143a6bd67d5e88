//! Everything that control does while the gateway runs.

use std::{io, path::PathBuf, sync::Arc};

use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    Plane,
    api::{self, Shared, Socket, Workers},
    capacities,
    monitor::{self, SourceFor},
    plane::republish,
    supervise::supervise,
};

/// What control needs besides the configuration.
pub struct Runtime {
    /// The owner of configuration and health.
    pub plane: Arc<Plane>,
    /// What can be asked of the workers.
    pub workers: Arc<dyn Workers>,
    /// Where the API listens.
    pub socket: Socket,
    /// The file that a reload reads.
    pub file: PathBuf,
    /// The address to connect from for a monitor's target.
    pub source: SourceFor,
}

/// What the process was told by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read the file again (SIGHUP).
    Reload,
}

/// Runs monitors, publication of health, measuring capacities, and the API; carries out orders until their sender is dropped, then removes the
/// socket. A panic in one of them is logged and that one begins again.
///
/// # Errors
///
/// When the socket cannot be handed to the runtime.
pub async fn run(runtime: Runtime, mut orders: mpsc::Receiver<Order>) -> io::Result<()> {
    let Runtime { plane, workers, socket, file, source } = runtime;
    let listener = socket.listener()?;
    let shared = Shared { plane: Arc::clone(&plane), workers, file: file.clone() };
    let mut tasks = JoinSet::new();
    tasks.spawn(supervise("API", move || api::serve(Arc::clone(&listener), shared.clone())));
    let publishing = Arc::clone(&plane);
    tasks.spawn(supervise("publication", move || republish(Arc::clone(&publishing))));
    let measured = Arc::clone(&plane);
    tasks.spawn(supervise("capacities", move || capacities::run(Arc::clone(&measured))));
    let watched = Arc::clone(&plane);
    tasks.spawn(supervise("monitors", move || monitor::run(Arc::clone(&watched), Arc::clone(&source))));
    while let Some(Order::Reload) = orders.recv().await {
        let (plane, file) = (Arc::clone(&plane), file.clone());
        // In a task of its own, so that a panic in it ends the reload only. Its outcome is logged where it arises.
        if tokio::spawn(async move { plane.reload(&file).await.is_ok() }).await.is_err() {
            tracing::error!("the reload panicked; the configuration in force stays");
        }
    }
    tasks.shutdown().await;
    drop(socket);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{future::Future, path::Path, pin::Pin};

    use datapath::{DropReason, FlowRow, FlowStage};
    use http_body_util::{BodyExt, Empty};
    use hyper::{Request, StatusCode, body::Bytes, client::conn::http1};
    use hyper_util::rt::TokioIo;
    use model::{Address, BackendId, Gateway, Generation, Mode, PortId, VirtualServerId, WorkerId};
    use serde::de::DeserializeOwned;
    use tempfile::TempDir;
    use tokio::{net::UnixStream, task::JoinHandle};

    use super::*;
    use crate::{fixture, view};

    /// Workers with any number of flows, of which every second one is of a backend that was removed.
    struct Flows;

    impl Workers for Flows {
        fn list_flows(&self, limit: usize) -> Pin<Box<dyn Future<Output = Vec<FlowRow>> + Send + '_>> {
            Box::pin(async move { (0..limit as u32).map(row).collect() })
        }
    }

    fn row(number: u32) -> FlowRow {
        let client = (Address::from_v4([203, 0, 113, 5]), 40_000);
        FlowRow {
            worker: WorkerId(1),
            virtual_server: VirtualServerId(number % 2),
            backend: BackendId(number % 2),
            protocol: 6,
            mode: Mode::Nat,
            client,
            service: (Address::from_v4([192, 0, 2, 1]), 80),
            source: client,
            state: FlowStage::Established,
            idle: 5,
            age: 70,
            lifetime: 300_000,
        }
    }

    /// A running control plane.
    struct Running {
        plane: Arc<Plane>,
        directory: TempDir,
        orders: mpsc::Sender<Order>,
        done: JoinHandle<io::Result<()>>,
    }

    impl Running {
        fn start(gateway: Gateway) -> Self {
            let (plane, readers) = fixture::plane(gateway);
            fixture::read_on(readers);
            let (directory, file) = fixture::file(fixture::FILE);
            let socket = Socket::bind(&directory.path().join("tidegate.sock")).unwrap();
            let (orders, received) = mpsc::channel(1);
            let workers = Arc::new(Flows);
            let runtime =
                Runtime { plane: Arc::clone(&plane), workers, socket, file, source: Arc::new(|_| None) };
            Self { plane, directory, orders, done: tokio::spawn(run(runtime, received)) }
        }

        fn socket(&self) -> std::path::PathBuf {
            self.directory.path().join("tidegate.sock")
        }

        async fn ask(&self, method: &str, path: &str) -> (StatusCode, String) {
            ask(&self.socket(), method, path).await
        }

        async fn rows<T: DeserializeOwned>(&self, path: &str) -> T {
            let (status, body) = self.ask("GET", path).await;
            assert_eq!(status, StatusCode::OK, "{path}: {body}");
            serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
        }

        async fn problem(&self, method: &str, path: &str) -> (u16, String) {
            let (status, body) = self.ask(method, path).await;
            let problem: view::Problem = serde_json::from_str(&body).unwrap();
            (status.as_u16(), problem.error)
        }
    }

    async fn ask(socket: &Path, method: &str, path: &str) -> (StatusCode, String) {
        let stream = UnixStream::connect(socket).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "tidegate");
        let answer = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    fn gateway() -> Gateway {
        let mut gateway =
            fixture::gateway([fixture::pool("objects", 1), fixture::monitored_pool("others", 0)]);
        gateway.pools[1].backends.push(fixture::backend("127.0.0.1:1"));
        gateway
    }

    #[tokio::test]
    async fn state_is_read_over_the_socket() {
        let running = Running::start(gateway());
        let meters = &running.plane.fleet.members[0].meters;
        let counted = meters.backend(BackendId(0)).unwrap();
        counted.flows_opened.add(3);
        counted.flows_closed.add(1);
        counted.bytes_in.add(1_000);
        meters.port(PortId(0)).unwrap().rx_frames.add(10);
        meters.drop_packets(DropReason::NoVirtualServer, 4);
        meters.absorbed_frames.add(6);

        let backends: Vec<view::Backend> = running.rows("/v1/backends").await;
        let traffic = backends[0].traffic;
        assert_eq!((traffic.flows, traffic.flows_opened, traffic.bytes_in), (2, 3, 1_000));
        let servers: Vec<view::VirtualServer> = running.rows("/v1/virtual-servers").await;
        assert_eq!(
            (servers[1].name.as_str(), servers[1].pool.as_str(), servers[1].port),
            ("others", "others", 81)
        );
        let pools: Vec<view::Pool> = running.rows("/v1/pools").await;
        assert_eq!((pools[0].up, pools[0].flows, pools[0].available), (1, 2, true));
        let ports: Vec<view::Port> = running.rows("/v1/ports").await;
        assert_eq!((ports[0].mac.as_str(), ports[0].rx_frames), ("02:00:00:00:00:01", 10));
        let workers: Vec<view::Worker> = running.rows("/v1/workers").await;
        assert_eq!((workers.len(), workers[1].lcore, workers[0].absorbed), (2, 2, 6));
        let drops: Vec<view::Drop> = running.rows("/v1/drops").await;
        assert_eq!((drops.len(), drops[0].reason.as_str(), drops[0].packets), (1, "no_virtual_server", 4));
        let all: Vec<view::Drop> = running.rows("/v1/drops?all").await;
        assert_eq!(all.len(), DropReason::COUNT);
        let balance: view::Balance = running.rows("/v1/balance").await;
        assert!(balance.total.holds && balance.workers.len() == 2, "{balance:?}");
        let published: view::Generation = running.rows("/v1/generation").await;
        assert!(published.generation >= 1);
    }

    #[tokio::test]
    async fn a_monitored_backend_shows_why_it_is_down() {
        let running = Running::start(gateway());
        let cause = || running.plane.backends().pop().and_then(|row| row.cause);
        fixture::eventually("down", || cause().as_deref() == Some("connection refused")).await;
        let servers: Vec<view::VirtualServer> = running.rows("/v1/virtual-servers").await;
        assert_eq!(servers.iter().map(|row| row.available).collect::<Vec<_>>(), [true, false]);
    }

    #[tokio::test]
    async fn flows_have_names_and_a_limit() {
        let running = Running::start(fixture::gateway([fixture::pool("objects", 1)]));
        running.plane.fleet.members[0].meters.flows.set(1_200);
        let view::Flows { total, shown, flows } = running.rows("/v1/flows?limit=2").await;
        assert_eq!((total, shown, flows.len()), (1_200, 2, 2));
        assert_eq!(flows[0].client, "203.0.113.5:40000".parse().unwrap());
        assert_eq!(flows[0].backend, Some("10.0.0.1:80".parse().unwrap()));
        assert_eq!(
            (flows[0].protocol.as_str(), flows[0].virtual_server.as_deref()),
            ("tcp", Some("objects"))
        );
        assert_eq!(
            (flows[1].backend, flows[1].pool.as_ref(), flows[1].virtual_server.as_ref()),
            (None, None, None)
        );
        assert_eq!(running.rows::<view::Flows>("/v1/flows").await.flows.len(), 1_000);
        let (status, error) = running.problem("GET", "/v1/flows?limit=all").await;
        assert_eq!(status, 400, "{error}");
    }

    #[tokio::test]
    async fn it_is_ready_when_all_workers_have_begun() {
        let running = Running::start(gateway());
        assert_eq!(running.ask("GET", "/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
        assert_eq!(running.problem("GET", "/readyz").await.0, 503);
        for member in &running.plane.fleet.members {
            member.meters.generation.set(1);
        }
        assert_eq!(running.ask("GET", "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_reload_is_asked_for_by_request_or_by_order() {
        let running = Running::start(gateway());
        let (status, error) = running.problem("POST", "/v1/reload").await;
        assert_eq!(status, 422, "another device in the file");
        assert!(error.contains("restart tidegate"), "{error}");

        let file = running.directory.path().join("tidegate.yaml");
        let configuration = config::read(&file).unwrap();
        let (plane, readers) = Plane::new(configuration, fixture::facts(), fixture::fleet());
        fixture::read_on(readers);
        let socket = Socket::bind(&running.directory.path().join("other.sock")).unwrap();
        let (orders, received) = mpsc::channel(1);
        let plane = Arc::new(plane);
        let runtime = Runtime {
            plane: Arc::clone(&plane),
            workers: Arc::new(Flows),
            socket,
            file: file.clone(),
            source: Arc::new(|_| None),
        };
        let done = tokio::spawn(run(runtime, received));
        std::fs::write(&file, fixture::FILE.replace("10.0.0.2:80", "10.0.0.3:80")).unwrap();
        let (status, body) = ask(&running.directory.path().join("other.sock"), "POST", "/v1/reload").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        let applied: view::Applied = serde_json::from_str(&body).unwrap();
        assert_eq!((applied.generation, applied.acknowledged, applied.changes.len()), (2, true, 2));

        std::fs::write(&file, fixture::FILE).unwrap();
        orders.send(Order::Reload).await.unwrap();
        fixture::eventually("reloaded", || plane.generation() == Generation(3)).await;
        drop(orders);
        done.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn it_ends_when_nobody_gives_orders_any_more_and_removes_its_socket() {
        let running = Running::start(gateway());
        let socket = running.socket();
        assert!(socket.exists());
        let Running { orders, done, directory, .. } = running;
        drop(orders);
        done.await.unwrap().unwrap();
        assert!(!socket.exists());
        drop(directory);
    }

    #[tokio::test]
    async fn what_there_is_not_is_said_in_json() {
        let running = Running::start(gateway());
        assert_eq!(running.problem("GET", "/v2").await.0, 404);
        assert_eq!(running.problem("GET", "/v1/reload").await.0, 405);
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_keeps_nobody_waiting() {
        let running = Running::start(gateway());
        let mut silent = Vec::new();
        for _ in 0..40 {
            silent.push(UnixStream::connect(running.socket()).await.unwrap());
        }
        assert_eq!(running.ask("GET", "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_text_that_prometheus_reads() {
        let running = Running::start(gateway());
        let meters = &running.plane.fleet.members[1].meters;
        meters.residence_cycles.record(3_000); // 3 µs
        meters.residence_cycles.record(150_000);
        meters.drop_packets(DropReason::NoFlow, 9);
        (0..16).for_each(|id| meters.server_round_trips.record(id, 400));
        running.plane.fleet.members[0].meters.server_round_trips.record(0, 90_000);
        let (status, text) = running.ask("GET", "/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(text.ends_with("# EOF\n"));
        let samples: std::collections::HashMap<&str, f64> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name, value.parse().unwrap()))
            .collect();
        assert!(samples.keys().all(|name| name.starts_with("tidegate_")));
        let sample = |name: &str| *samples.get(name).unwrap_or_else(|| panic!("no {name} in\n{text}"));
        assert_eq!(sample("tidegate_dropped_packets_total{reason=\"no_flow\"}"), 9.0);
        assert_eq!(sample("tidegate_backend_up{pool=\"objects\",backend=\"10.0.0.1:80\"}"), 1.0);
        assert_eq!(sample("tidegate_virtual_server_bytes_in_total{virtual_server=\"others\"}"), 0.0);
        let bucket = |le: &str| {
            sample(&format!("tidegate_worker_residence_seconds_bucket{{le=\"{le}\",worker=\"1\"}}"))
        };
        assert_eq!(
            ["0.000002", "0.000005", "0.0001", "0.0002", "+Inf"].map(bucket),
            [0.0, 1.0, 1.0, 2.0, 2.0]
        );
        assert_eq!(sample("tidegate_worker_residence_seconds_count{worker=\"1\"}"), 2.0);
        let rtt = |what: &str, from: &str, le: &str| {
            let labels = format!("virtual_server=\"others\",from=\"{from}\"");
            sample(&format!("tidegate_virtual_server_rtt_seconds_{what}{{{le}{labels}}}"))
        };
        assert_eq!(rtt("count", "client", ""), 0.0);
        let buckets =
            ["le=\"0.00025\",", "le=\"0.0005\",", "le=\"+Inf\","].map(|le| rtt("bucket", "server", le));
        assert_eq!(buckets[..2], [0.0, 1.0]);
        assert_eq!(buckets[2], rtt("count", "server", ""));
    }
}

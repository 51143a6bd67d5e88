//! A topology with the gateway running in it, and what many stories ask of it.

use std::{
    collections::BTreeMap,
    net::TcpStream,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use testkit::netns::{
    Plan, Tidegate, Topology, Transfer, dial, echoes, get, object, program, put, wait_until,
};

/// Longer than anything here takes on a machine that has much else to do.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// How long the end may take: a few seconds, and patience for a busy machine.
const END: Duration = Duration::from_secs(20);
/// Requests of a round: with three backends one of them is left out once in 10^10 rounds.
const ROUND: usize = 60;

/// Clients, backends, and the gateway between them.
pub(crate) struct Site {
    pub(crate) gateway: Tidegate,
    pub(crate) topology: Topology,
    before: String,
}

impl Site {
    /// Builds it and starts the gateway with `settings`, further top-level members of the configuration.
    pub(crate) fn start(plan: Plan, settings: &str) -> Self {
        let topology = Topology::build(plan).unwrap();
        let configuration = topology.configuration(settings);
        Self::start_with(topology, &configuration)
    }

    /// Starts the gateway of a topology that is there.
    pub(crate) fn start_with(topology: Topology, configuration: &str) -> Self {
        let before = topology.traces().unwrap();
        let gateway = topology.start(&program().unwrap(), configuration).unwrap();
        Self { gateway, topology, before }
    }

    /// How many of a round of requests each backend answered, when all were answered.
    pub(crate) fn try_round(&self, v6: bool) -> testkit::netns::Result<BTreeMap<String, usize>> {
        let mut answered = BTreeMap::new();
        for _ in 0..ROUND {
            let answer = get(&self.topology.client, self.topology.http(v6), "/")?;
            assert_eq!((answer.status, answer.body.as_slice()), (200, answer.backend.as_bytes()));
            *answered.entry(answer.backend).or_default() += 1;
        }
        Ok(answered)
    }

    /// The names of the backends that answer requests.
    pub(crate) fn serving(&self, v6: bool) -> Vec<String> {
        self.try_round(v6).unwrap().into_keys().collect()
    }

    /// Stores an object and looks at what arrived; fetches one that all backends have.
    pub(crate) fn exchange_objects(&self, v6: bool) {
        let (up, down) = (object(1, 5_000_000), object(2, 5_000_000));
        let (client, server) = (&self.topology.client, self.topology.http(v6));
        let answer = put(client, server, "/upload/object", &up).unwrap();
        assert_eq!(answer.status, 201);
        let stored = self.topology.backends.iter().find(|backend| backend.name == answer.backend).unwrap();
        assert!(stored.nginx.uploaded("object").unwrap() == up, "the stored object is another one");
        std::fs::remove_file(self.topology.directory().join(&stored.name).join("files/upload/object"))
            .unwrap();
        self.offer("object", &down);
        assert!(get(client, server, "/object").unwrap().body == down, "the fetched object is another one");
    }

    /// Makes an object available on all backends.
    pub(crate) fn offer(&self, name: &str, content: &[u8]) {
        for backend in &self.topology.backends {
            backend.nginx.offer(name, content).unwrap();
        }
    }

    /// Datagrams come back, and each was seen by one backend.
    pub(crate) fn exchange_datagrams(&self, v6: bool) {
        let seen = || self.topology.backends.iter().map(|backend| backend.echo.received()).sum::<u64>();
        let before = seen();
        for number in 0..20 {
            let question = object(number, 1 + 70 * number as usize);
            assert!(echoes(&self.topology.client, self.topology.echo(v6), &question).unwrap(), "{number}");
        }
        assert_eq!(seen() - before, 20);
    }

    /// A connection from the client.
    pub(crate) fn dial(&self, v6: bool) -> TcpStream {
        dial(&self.topology.client, self.topology.http(v6)).unwrap()
    }

    /// `count` transfers at once, of a third of a MiB each, every other one an upload. All must be right.
    pub(crate) fn exchange_in_parallel(&self, v6: bool, count: usize) {
        let content = Arc::new(object(3, 350_000));
        self.offer("parallel", &content);
        let connections: Vec<_> = (0..count).map(|_| self.dial(v6)).collect();
        let start = |(number, stream)| match number % 2 {
            0 => Transfer::get(stream, "/parallel").unwrap(),
            _ => Transfer::put(stream, &format!("/upload/{number}"), &content, Duration::ZERO).unwrap(),
        };
        let transfers: Vec<_> = connections.into_iter().enumerate().map(start).collect();
        for (number, transfer) in transfers.into_iter().enumerate() {
            let answer = transfer.finish().unwrap_or_else(|failure| panic!("transfer {number}: {failure}"));
            let content_there = match number % 2 {
                0 => answer.body,
                _ => self.uploaded(&answer.backend, &number.to_string()),
            };
            assert!(content_there == *content, "transfer {number} is wrong");
        }
    }

    /// What a backend stored under a name.
    pub(crate) fn uploaded(&self, backend: &str, name: &str) -> Vec<u8> {
        let backend = self.topology.backends.iter().find(|known| known.name == backend).unwrap();
        backend.nginx.uploaded(name).unwrap()
    }

    /// Waits until what workers hand over to one another has arrived; how much that was.
    pub(crate) fn handed_over(&self) -> u64 {
        let count = |what: &str| self.gateway.count("/v1/workers", what).unwrap();
        let mut outward = 0;
        wait_until(LIMIT, "what was handed over has arrived", || {
            outward = count("/handed_out");
            count("/handed_in") == outward && count("/handed_out") == outward
        })
        .unwrap();
        outward
    }

    /// Ends the gateway: it ends at once, has all packets accounted for, all packet memory back, leaves nothing.
    pub(crate) fn stop(self) {
        self.gateway.wait_until_accounted(LIMIT).unwrap();
        self.stop_now("all packet memory was given back");
    }

    /// The same while packets are in the workers' hands. `memory` is what the log must say of the packet memory.
    pub(crate) fn stop_now(mut self, memory: &str) {
        let process = self.gateway.process();
        let id = process.id();
        let told = Instant::now();
        process.signal(Signal::SIGTERM).unwrap();
        let status = process.wait(END).unwrap();
        println!("ended after {:?}", told.elapsed());
        let log = self.gateway.log();
        assert_eq!(status.code(), Some(0), "{log}");
        for line in ["every packet is accounted for", memory] {
            assert!(log.contains(line), "`{line}` is not in the log:\n{log}");
        }
        assert!(!log.contains("ERROR"), "{log}");
        let after = self.topology.traces().unwrap();
        let only = |one: &str, other: &str| {
            one.lines().filter(|line| !other.contains(line)).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            only(&self.before, &after),
            only(&after, &self.before),
            "before and after; the log:\n{log}"
        );
        assert_eq!(Tidegate::leftovers(id), Vec::<PathBuf>::new());
        assert!(!Tidegate::socket(self.topology.directory()).exists());
    }
}

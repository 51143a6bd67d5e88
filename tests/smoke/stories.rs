//! What is told in every mode (`matrix`): each story is of one family, fails by a panic, and returns figures for the table.

use std::{
    cell::RefCell,
    fs,
    net::TcpStream,
    rc::Rc,
    time::{Duration, Instant},
};

use model::Mode;
use serde_json::Value;
use testkit::netns::{
    Content, Device, Namespace, connect_as_it_is, dial, dial_near_the_wrap, digest_of, download, echoes, get,
    object, upload, wait_until,
};

use crate::{
    matrix::{Scale, Story},
    site::{LIMIT, Site},
};

/// What is told where packets are of 1,500 bytes.
pub(crate) const ALL: [Story; 8] = [
    ("ping", ping),
    ("traceroute shows the hop", traceroute),
    ("short connections, no reset", short_connections),
    ("an object arrives", arrives),
    ("an object is stored", is_stored),
    ("iperf3 UDP", iperf),
    ("a path MTU of 1,280 is found", narrow_path),
    ("8 KiB datagrams in fragments", fragments),
];
/// What is told where packets are of 9,000 bytes.
pub(crate) const OF_JUMBO_FRAMES: [Story; 4] = [
    ("an object arrives", arrives),
    ("an object is stored", is_stored),
    ("an object arrives, numbers wrap", arrives_over_the_wrap),
    ("an object is stored, numbers wrap", is_stored_over_the_wrap),
];

/// Where the client far away is, and where its router is.
const FAR: [(&str, &str); 2] = [("10.10.9.2", "10.10.9.1"), ("fd00:10:9::2", "fd00:10:9::1")];
/// Bytes of the largest packet that every IPv6 link takes.
pub(crate) const NARROW: usize = 1280;
/// What is transferred where only that it is matters.
const SMALL: u64 = 3_000_000;

/// A running gateway in a mode, and the family that a story is of.
pub(crate) struct Scene<'a> {
    pub(crate) v6: bool,
    site: Site,
    mode: Mode,
    scale: &'a Scale,
    far: Namespace,
    contents: RefCell<Vec<Rc<Content>>>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(site: Site, mode: Mode, scale: &'a Scale) -> Self {
        let far = far_client(&site.topology.client);
        Self { v6: false, site, mode, scale, far, contents: RefCell::default() }
    }

    /// The gateway's reasons for drops, all packets accounted for, nothing left behind.
    pub(crate) fn end(self) -> String {
        let drops = self.site.gateway.list("drop").unwrap();
        let drops: Vec<_> = drops.iter().filter(|row| row["packets"] != 0).collect();
        let drops: Vec<_> = drops.iter().map(|row| format!("{} {}", row["packets"], row["reason"])).collect();
        self.site.stop();
        if drops.is_empty() {
            "no drops".to_owned()
        } else {
            format!("drops: {}", drops.join(", ").replace('"', ""))
        }
    }

    fn client(&self) -> &Namespace {
        &self.site.topology.client
    }

    fn backend(&self) -> &Namespace {
        &self.site.topology.backends[0].namespace
    }

    /// The virtual servers' address.
    fn service(&self) -> String {
        self.site.topology.http(self.v6).ip().to_string()
    }

    /// An object of so many bytes, which the backend has.
    fn content(&self, bytes: u64) -> Rc<Content> {
        let mut contents = self.contents.borrow_mut();
        if let Some(content) = contents.iter().find(|content| content.length == bytes) {
            return Rc::clone(content);
        }
        let name = format!("content-{bytes}");
        let content = Content::make(self.site.topology.directory().join(&name), bytes).unwrap();
        self.site.topology.backends[0].nginx.offer_file(&name, &content.file).unwrap();
        contents.push(Rc::new(content));
        Rc::clone(&contents[contents.len() - 1])
    }

    fn fetch(&self, bytes: u64, dial: impl FnOnce() -> (TcpStream, String)) -> String {
        let content = self.content(bytes);
        let (stream, numbers) = dial();
        let began = Instant::now();
        let digest = download(stream, &format!("/content-{bytes}")).unwrap();
        let elapsed = began.elapsed();
        assert_eq!(digest, content.digest, "another object arrived");
        speed(bytes, elapsed) + &numbers
    }

    fn store(&self, bytes: u64, dial: impl FnOnce() -> (TcpStream, String)) -> String {
        let content = self.content(bytes);
        let (stream, numbers) = dial();
        let began = Instant::now();
        upload(stream, "/upload/content", &content).unwrap();
        let elapsed = began.elapsed();
        let stored = self.site.topology.backends[0].nginx.file_of_upload("content");
        let digest = digest_of(&stored).unwrap();
        fs::remove_file(stored).unwrap();
        assert_eq!(digest, content.digest, "another object was stored");
        speed(bytes, elapsed) + &numbers
    }

    fn dial(&self) -> (TcpStream, String) {
        (self.site.dial(self.v6), String::new())
    }

    fn dial_near_the_wrap(&self) -> (TcpStream, String) {
        let numbered = dial_near_the_wrap(self.client(), self.site.topology.http(self.v6)).unwrap();
        let before = |number: u32| number.wrapping_neg() >> 10;
        let numbers = format!(
            "; the client's numbers began {} KiB before the wrap, the server's {} KiB",
            before(numbered.client),
            before(numbered.server)
        );
        (numbered.stream, numbers)
    }
}

fn speed(bytes: u64, elapsed: Duration) -> String {
    let megabits = bytes as f64 * 8e-6 / elapsed.as_secs_f64();
    format!("{} MiB, {megabits:.0} Mbit/s", bytes >> 20)
}

fn ping(scene: &Scene<'_>) -> String {
    let shown = scene.client().run(&format!("ping -c 5 -i 0.01 -W 10 {}", scene.service())).unwrap();
    assert!(shown.contains("5 received"), "{shown}");
    "5 of 5".to_owned()
}

/// In `dsr` the gateway is no hop: it changes nothing but MAC addresses.
fn traceroute(scene: &Scene<'_>) -> String {
    let (family, gateway) = if scene.v6 { ("-6", "fd00:10:1::1") } else { ("-4", "10.10.1.1") };
    let service = scene.service();
    let command = format!("traceroute {family} -n -T -p 80 -q 1 -w 10 -m 4 {service}");
    let shown = scene.client().run(&command).unwrap();
    let hops: Vec<&str> = shown.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
    match scene.mode {
        Mode::Dsr => assert_eq!(hops, [service.as_str()], "{shown}"),
        _ => assert_eq!(hops, [gateway, service.as_str()], "{shown}"),
    }
    hops.join(", ")
}

fn short_connections(scene: &Scene<'_>) -> String {
    let before = scene.client().resets().unwrap();
    for number in 0..scene.scale.connections {
        let answer = get(scene.client(), scene.site.topology.http(scene.v6), "/");
        let answer = answer.unwrap_or_else(|failure| panic!("connection {number}: {failure}"));
        assert_eq!((answer.status, answer.body.as_slice()), (200, answer.backend.as_bytes()));
    }
    assert_eq!(scene.client().resets().unwrap() - before, 0);
    format!("{} connections", scene.scale.connections)
}

fn arrives(scene: &Scene<'_>) -> String {
    scene.fetch(scene.scale.object, || scene.dial())
}

fn is_stored(scene: &Scene<'_>) -> String {
    scene.store(scene.scale.object, || scene.dial())
}

fn arrives_over_the_wrap(scene: &Scene<'_>) -> String {
    scene.fetch(scene.scale.wrapping, || scene.dial_near_the_wrap())
}

fn is_stored_over_the_wrap(scene: &Scene<'_>) -> String {
    scene.store(scene.scale.wrapping, || scene.dial_near_the_wrap())
}

/// Datagrams of 1,200 bytes both ways, 5 Mbit/s. A machine that is busy with other things loses some in front of programs that do not
/// get to read: that most arrive is what matters, and the gateway's own drops are told at the end.
fn iperf(scene: &Scene<'_>) -> String {
    let address = scene.site.topology.address_at_backend(0, scene.v6);
    let mut figures = Vec::new();
    for (way, option) in [("there", ""), ("back", "-R")] {
        let log = scene.site.topology.directory().join("iperf.log");
        let server = scene.backend().spawn(&format!("iperf3 -s -1 --forceflush -B {address}"), &log).unwrap();
        wait_until(LIMIT, "iperf3 listens", || server.log().contains("listening")).unwrap();
        let bytes = scene.scale.datagrams * 1200;
        let command = format!("iperf3 -c {} -u -l 1200 -b 5M -n {bytes} -J {option}", scene.service());
        let result: Value = serde_json::from_str(&scene.client().run(&command).unwrap()).unwrap();
        let count = |what: &str| result["end"]["sum"][what].as_f64().unwrap();
        let (packets, lost) = (count("packets"), count("lost_packets"));
        assert!(packets > 0.0 && lost < packets / 2.0, "{lost} of {packets} datagrams are lost");
        figures.push(format!("{way} {packets} datagrams, {lost} lost"));
    }
    figures.join("; ")
}

/// A client behind the client, which is a router now; the link between them takes less on the way there, and nobody tells the
/// ends of it.
pub(crate) fn far_client(router: &Namespace) -> Namespace {
    let far = Namespace::create("far").unwrap();
    connect_as_it_is((router, "far"), (&far, "eth0")).unwrap();
    router.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1").unwrap();
    router.ip(&format!("link set far mtu {NARROW}")).unwrap();
    for ((address, gateway), length) in FAR.into_iter().zip([24, 64]) {
        router.ip(&format!("address add {gateway}/{length} dev far nodad")).unwrap();
        far.ip(&format!("address add {address}/{length} dev eth0 nodad")).unwrap();
        far.ip(&format!("route add default via {gateway}")).unwrap();
    }
    far
}

/// The MTU that a machine has learned of on the way to `address`.
pub(crate) fn learned(namespace: &Namespace, address: &str) -> Option<usize> {
    let route = namespace.ip(&format!("route get {address}")).unwrap();
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1)?.parse().ok()
}

fn narrow_path(scene: &Scene<'_>) -> String {
    let family = usize::from(scene.v6);
    let peer =
        if scene.mode == Mode::FullNat { ["10.10.2.1", "fd00:10:2::1"] } else { FAR.map(|(far, _)| far) };
    let figures =
        scene.fetch(SMALL, || (dial(&scene.far, scene.site.topology.http(scene.v6)).unwrap(), String::new()));
    assert_eq!(learned(scene.backend(), peer[family]), Some(NARROW), "the backend was told");
    assert_eq!(scene.site.gateway.drops("quote_unknown").unwrap(), 0);
    figures
}

fn fragments(scene: &Scene<'_>) -> String {
    let datagrams = 20;
    let packets = || scene.site.gateway.count("/v1/virtual-servers", "/packets_in").unwrap();
    let before = packets();
    for number in 0..datagrams {
        let question = object(number, 8192);
        assert!(
            echoes(scene.client(), scene.site.topology.echo(scene.v6), &question).unwrap(),
            "datagram {number}"
        );
    }
    // Each is six packets, one way at least; but a packet socket puts those of IPv4 together, and they are cut anew.
    let each = if scene.scale.device == Device::AfPacket && !scene.v6 { 1 } else { 6 };
    wait_until(LIMIT, "all packets are counted", || packets() >= before + each * datagrams).unwrap();
    format!("{datagrams} datagrams")
}

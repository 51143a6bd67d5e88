//! Every story in every mode, over both families, with one worker and with two; and, once for each mode, packets of 9,000 bytes and
//! sequence numbers that wrap.
//!
//! Among the other tests with small objects; `scripts/transfers` runs the same with large ones. One story that fails does not keep the
//! others from being told: each is a line of a table, and the test fails at its end.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
};

use model::Mode;
use testkit::netns::{Device, Plan, Topology, mode_name};

use crate::{
    site::Site,
    stories::{self, Scene},
};

/// How much is done.
pub(crate) struct Scale {
    /// Under the ports where packets are of 1,500 bytes.
    pub(crate) device: Device,
    /// Over which families: whether it is IPv6.
    families: &'static [bool],
    /// Bytes of an object.
    pub(crate) object: u64,
    /// Bytes of an object whose sequence numbers wrap.
    pub(crate) wrapping: u64,
    /// Short connections.
    pub(crate) connections: u64,
    /// Datagrams that iperf3 sends each way.
    pub(crate) datagrams: u64,
}

impl Scale {
    /// What `scripts/transfers` asks for, or little.
    fn asked_for() -> Self {
        Self {
            device: match env::var("TIDEGATE_TRANSFERS_DEVICE").as_deref() {
                Ok("af_packet") => Device::AfPacket,
                Ok("af_xdp") => Device::AfXdp,
                _ => Device::Tap,
            },
            families: match env::var("TIDEGATE_TRANSFERS_FAMILY").as_deref() {
                Ok("4") => &[false],
                Ok("6") => &[true],
                _ => &[false, true],
            },
            object: asked("OBJECT", 8 << 20),
            wrapping: asked("WRAPPING", 8 << 20),
            connections: asked("CONNECTIONS", 50),
            datagrams: asked("DATAGRAMS", 200),
        }
    }
}

fn device_name(device: Device) -> &'static str {
    match device {
        Device::AfPacket => "af_packet",
        Device::Tap => "tap",
        Device::AfXdp => "af_xdp",
    }
}

fn asked<T: FromStr>(what: &str, otherwise: T) -> T {
    let given = env::var(format!("TIDEGATE_TRANSFERS_{what}"));
    given.map_or(otherwise, |text| {
        text.parse().unwrap_or_else(|_| panic!("TIDEGATE_TRANSFERS_{what}: {text}"))
    })
}

/// What is told of a scene: a name, and what comes of it in figures.
pub(crate) type Story = (&'static str, fn(&Scene) -> String);

/// The lines of a table, and how many of them say that something failed.
struct Table {
    mode: Mode,
    failed: usize,
}

impl Table {
    /// Tells a story and writes down how it ended.
    fn line(&mut self, of: &str, story: &str, tell: impl FnOnce() -> String) {
        let (outcome, figures) = match catch_unwind(AssertUnwindSafe(tell)) {
            Ok(figures) => ("ok", figures),
            Err(panic) => {
                self.failed += 1;
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
                ("failed", text.lines().next().unwrap_or_default().replace('|', "/"))
            }
        };
        // What prints the name of a test does not end its line.
        println!("\n| {} | {of} | {story} | {outcome} | {figures} |", mode_name(self.mode));
    }

    /// Tells stories over both families, and ends the gateway.
    fn lines(&mut self, of: &str, site: Site, scale: &Scale, stories: &[Story]) {
        let mut scene = Scene::new(site, self.mode, scale);
        for &v6 in scale.families {
            scene.v6 = v6;
            let family = if v6 { "IPv6" } else { "IPv4" };
            for (name, story) in stories {
                self.line(&format!("{of} | {family}"), name, || story(&scene));
            }
        }
        self.line(&format!("{of} | both"), "every packet is accounted for, nothing is left", || scene.end());
    }
}

/// Packets of 1,500 bytes, with one worker and with two.
fn every_story_holds(mode: Mode) {
    let scale = Scale::asked_for();
    let mut table = Table { mode, failed: 0 };
    let plan = Plan::new(scale.device, mode, 1);
    for (workers, settings) in [("1", ""), ("2", "workers: { lcores: [0, 1] }\n")] {
        let topology = Topology::build(plan).unwrap();
        let configuration = topology.patient_configuration(settings);
        let site = Site::start_with(topology, &configuration);
        table.lines(&format!("{} | {workers}", device_name(scale.device)), site, &scale, &stories::ALL);
    }
    assert_eq!(table.failed, 0, "stories failed in {mode:?}");
}

/// Packets of 9,000 bytes, which a tap does not send; what translates sequence numbers does.
fn jumbo_frames_and_wraps(mode: Mode) {
    let scale = Scale::asked_for();
    let mut table = Table { mode, failed: 0 };
    let topology = Topology::build_with_mtu(Plan::new(Device::AfPacket, mode, 1), 9000).unwrap();
    let translated = "profiles: [{ name: default, generate_isn: true }]\n";
    let settings = if mode.is_direct() { "" } else { translated };
    let configuration = topology.patient_configuration(settings);
    let site = Site::start_with(topology, &configuration);
    table.lines("af_packet, 9,000 bytes | 1", site, &scale, &stories::OF_JUMBO_FRAMES);
    assert_eq!(table.failed, 0, "stories failed in {mode:?}");
}

#[test]
fn every_story_holds_in_nat() {
    every_story_holds(Mode::Nat);
}

#[test]
fn every_story_holds_in_full_nat() {
    every_story_holds(Mode::FullNat);
}

#[test]
fn every_story_holds_in_dsr() {
    every_story_holds(Mode::Dsr);
}

#[test]
fn every_story_holds_in_ipip() {
    every_story_holds(Mode::Ipip);
}

#[test]
fn every_story_holds_in_gue() {
    every_story_holds(Mode::Gue);
}

#[test]
fn jumbo_frames_pass_and_numbers_wrap_in_nat() {
    jumbo_frames_and_wraps(Mode::Nat);
}

#[test]
fn jumbo_frames_pass_and_numbers_wrap_in_full_nat() {
    jumbo_frames_and_wraps(Mode::FullNat);
}

#[test]
fn jumbo_frames_pass_and_numbers_wrap_in_dsr() {
    jumbo_frames_and_wraps(Mode::Dsr);
}

#[test]
fn jumbo_frames_pass_and_numbers_wrap_in_ipip() {
    jumbo_frames_and_wraps(Mode::Ipip);
}

#[test]
fn jumbo_frames_pass_and_numbers_wrap_in_gue() {
    jumbo_frames_and_wraps(Mode::Gue);
}

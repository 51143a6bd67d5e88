use std::{fs, net::IpAddr, path::Path, time::Duration};

use super::{Child, Failure, Namespace, Result, wait_until};

const LOSSY: &str = include_str!("lossy.py");
const FLOOD: &str = include_str!("flood.py");
const LIMIT: Duration = Duration::from_secs(30);

/// A wire that loses TCP segments.
pub struct LossyWire(Child);

impl LossyWire {
    /// Puts it between an interface of a namespace and whoever will use that, who finds another one of the same name. It loses one segment
    /// of `one_of`, in each direction.
    ///
    /// # Errors
    /// When it is not there within 30 s, with what it said.
    pub fn insert(namespace: &Namespace, interface: &str, one_of: u32, directory: &Path) -> Result<Self> {
        namespace.ip(&format!("link set {interface} down"))?;
        namespace.ip(&format!("link set {interface} name line"))?;
        namespace.run("sysctl -qw net.ipv6.conf.line.disable_ipv6=1")?;
        namespace.ip("link set line up")?;
        let words = format!("line {interface} {one_of}");
        let child = start(namespace, ("lossy", LOSSY), &words, directory)?;
        namespace.run(&format!("sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1"))?;
        namespace.ip(&format!("link set {interface} up"))?;
        wait_until(LIMIT, "the carrier", || {
            namespace.ip("link show line").is_ok_and(|link| link.contains("state UP"))
        })?;
        Ok(Self(child))
    }

    /// How many segments it has lost so far.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.0.log().lines().filter(|line| line.starts_with("lost")).count()
    }
}

/// SYNs without end, from sources that nobody has.
pub struct Flood(Child);

impl Flood {
    /// Starts it in a namespace by an interface, to a gateway's MAC address, a port, and addresses.
    ///
    /// # Errors
    /// When it has not begun within 30 s, with what it said.
    pub fn start(
        namespace: &Namespace,
        (interface, mac): (&str, &str),
        (port, addresses): (u16, &[IpAddr]),
        directory: &Path,
    ) -> Result<Self> {
        let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
        let words = format!("{interface} {mac} {port} {}", addresses.join(" "));
        start(namespace, ("flood", FLOOD), &words, directory).map(Self)
    }

    /// Ends it.
    pub fn stop(self) {
        drop(self.0);
    }
}

/// Starts a script, and returns when it says that it is ready.
fn start(
    namespace: &Namespace,
    (name, script): (&str, &str),
    words: &str,
    directory: &Path,
) -> Result<Child> {
    let program = directory.join(format!("{name}.py"));
    fs::write(&program, script).map_err(Failure::of(program.display()))?;
    let log = directory.join(format!("{name}.log"));
    let child = namespace.spawn(&format!("python3 {} {words}", program.display()), &log)?;
    wait_until(LIMIT, "a script is ready", || child.log().contains("ready"))
        .map_err(|failure| Failure::new(format!("{failure}\n{}", child.log())))?;
    Ok(child)
}

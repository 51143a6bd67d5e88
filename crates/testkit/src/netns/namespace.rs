use std::{
    fs::File,
    panic::resume_unwind,
    path::Path,
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::{Pid, geteuid},
};

use super::{Child, Failure, Result, wait_until};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A host of its own as far as the network is concerned. Dropped, it goes with all that runs in it.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one with a loopback and without waiting for IPv6 addresses to be checked for duplicates.
    ///
    /// # Errors
    /// Without root, or when the kernel refuses.
    pub fn create(role: &str) -> Result<Self> {
        if !geteuid().is_root() {
            return Err(Failure::new(
                "network namespaces need root: run the tests as root, with scripts/test",
            ));
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidegate-test-{}-{number}-{role}", process::id());
        output("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip("link set lo up")?;
        namespace.run("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0")?;
        Ok(namespace)
    }

    /// The name that `ip netns` knows it by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on it with these words as arguments and returns what that printed.
    ///
    /// # Errors
    /// With the command and its message, when it fails.
    pub fn ip(&self, words: &str) -> Result<String> {
        let mut arguments = vec!["-n", &self.name];
        arguments.extend(words.split_whitespace());
        output("ip", &arguments)
    }

    /// Runs these words as a command in it and returns what that printed.
    ///
    /// # Errors
    /// With the command and its message, when it fails.
    pub fn run(&self, words: &str) -> Result<String> {
        let mut arguments = vec!["netns", "exec", &self.name];
        arguments.extend(words.split_whitespace());
        output("ip", &arguments)
    }

    /// A command that will run in it; add arguments, then start or run it.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Starts these words as a command in it that runs until dropped; see [`Child::start`].
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(&self, words: &str, log: &Path) -> Result<Child> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words.split_whitespace());
        Child::start(command, log)
    }

    /// Runs `work` on a thread that is in it. Sockets opened there stay there, whoever uses them afterwards.
    ///
    /// # Errors
    /// When the kernel does not let the thread in. A panic of `work` goes on in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = Path::new("/run/netns").join(&self.name);
        let door = File::open(&path).map_err(Failure::of(path.display()))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(door, CloneFlags::CLONE_NEWNET).map_err(Failure::of("cannot enter a namespace"))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// TCP connections that were refused or reset since the namespace was made.
    ///
    /// # Errors
    /// When the kernel's counters cannot be read.
    pub fn resets(&self) -> Result<u64> {
        let counters = self.run("cat /proc/net/snmp")?;
        let mut lines = counters.lines().filter_map(|line| line.strip_prefix("Tcp: "));
        let (names, values) =
            lines.next().zip(lines.next()).ok_or_else(|| Failure::new("no TCP counters"))?;
        let counted = names.split(' ').zip(values.split(' '));
        Ok(counted
            .filter(|(name, _)| matches!(*name, "AttemptFails" | "EstabResets"))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum())
    }

    fn processes(&self) -> Vec<Pid> {
        let listed = output("ip", &["netns", "pids", &self.name]).unwrap_or_default();
        listed.lines().filter_map(|line| line.trim().parse().ok().map(Pid::from_raw)).collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for process in self.processes() {
            let _ = kill(process, Signal::SIGKILL); // it may have ended meanwhile
        }
        if let Err(failure) = output("ip", &["netns", "delete", &self.name]) {
            eprintln!("left behind: {failure}");
        }
    }
}

/// Lays a cable between two namespaces ([`connect_as_it_is`]) that carries no frame larger than the MTU (veth would leave it to
/// a NIC that is not there to cut them up).
///
/// # Errors
/// With the message of the command that failed.
pub fn connect(one: (&Namespace, &str), other: (&Namespace, &str)) -> Result<()> {
    connect_as_it_is(one, other)?;
    for (namespace, interface) in [one, other] {
        namespace.run(&format!("ethtool -K {interface} tso off gso off gro off"))?;
    }
    Ok(())
}

/// Lays a cable between two namespaces: a veth pair, up, one queue each way (af_xdp hears nothing on an interface with several).
/// Nothing that Linux does with cards is switched off.
///
/// # Errors
/// With the message of the command that failed.
pub fn connect_as_it_is(one: (&Namespace, &str), other: (&Namespace, &str)) -> Result<()> {
    let queues = "numrxqueues 1 numtxqueues 1";
    one.0.ip(&format!(
        "link add {} {queues} type veth peer name {} netns {} {queues}",
        one.1, other.1, other.0.name
    ))?;
    for (namespace, interface) in [one, other] {
        namespace.ip(&format!("link set {interface} up"))?;
    }
    // The kernel sees the carrier a moment after the other end is up.
    wait_until(Duration::from_secs(30), "the carrier", || {
        [one, other].iter().all(|(namespace, interface)| {
            namespace.ip(&format!("link show {interface}")).is_ok_and(|link| link.contains("state UP"))
        })
    })
}

fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let what = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output().map_err(Failure::of(&what))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Failure::new(format!("{what}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr))))
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener, net::TcpStream};

    use super::*;

    #[test]
    fn two_namespaces_with_a_cable_reach_each_other() {
        let (one, other) = (Namespace::create("one").unwrap(), Namespace::create("other").unwrap());
        connect((&one, "eth0"), (&other, "eth0")).unwrap();
        one.ip("address add 192.0.2.1/24 dev eth0").unwrap();
        other.ip("address add 192.0.2.2/24 dev eth0").unwrap();
        one.ip("address add fd00::1/64 dev eth0").unwrap();
        other.ip("address add fd00::2/64 dev eth0").unwrap();
        one.run("ping -c 1 -W 10 192.0.2.2").unwrap();
        one.run("ping -c 1 -W 10 fd00::2").unwrap();
    }

    #[test]
    fn a_cable_as_it_is_takes_frames_that_a_card_would_cut() {
        let (one, other) = (Namespace::create("one").unwrap(), Namespace::create("other").unwrap());
        connect_as_it_is((&one, "eth0"), (&other, "eth0")).unwrap();
        connect((&one, "eth1"), (&other, "eth1")).unwrap();
        for (interface, state) in [("eth0", "on"), ("eth1", "off")] {
            let features = one.run(&format!("ethtool -k {interface}")).unwrap();
            assert!(features.contains(&format!("\ntcp-segmentation-offload: {state}")), "{features}");
        }
    }

    #[test]
    fn a_socket_stays_in_the_namespace_where_it_was_opened() {
        let namespace = Namespace::create("sockets").unwrap();
        let listener = namespace.enter(|| TcpListener::bind("127.0.0.1:9")).unwrap().unwrap();
        let mut stream = namespace.enter(|| TcpStream::connect("127.0.0.1:9")).unwrap().unwrap();
        assert!(TcpStream::connect("127.0.0.1:9").is_err(), "nobody listens outside");
        drop(listener.accept().unwrap());
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        assert_eq!(namespace.resets().unwrap(), 0);
        drop(listener);
        assert!(namespace.enter(|| TcpStream::connect("127.0.0.1:9")).unwrap().is_err());
        assert_eq!(namespace.resets().unwrap(), 1);
    }

    #[test]
    fn a_dropped_namespace_takes_its_processes_along() {
        let directory = tempfile::tempdir().unwrap();
        let namespace = Namespace::create("gone").unwrap();
        let mut child = namespace.spawn("sleep 600", &directory.path().join("log")).unwrap();
        // Until `ip netns exec` has entered, the process is not yet inside.
        wait_until(Duration::from_secs(60), "sleep in the namespace", || !namespace.processes().is_empty())
            .unwrap();
        let name = namespace.name().to_owned();
        drop(namespace);
        assert!(!child.wait(Duration::from_secs(60)).unwrap().success());
        assert!(!Path::new("/run/netns").join(name).exists());
    }

    #[test]
    fn a_command_that_fails_says_what_it_was_and_why() {
        let namespace = Namespace::create("errors").unwrap();
        let failure = namespace.ip("address add 192.0.2.1/24 dev nowhere").unwrap_err().to_string();
        assert!(failure.contains("dev nowhere") && failure.contains("Cannot find device"), "{failure}");
    }
}

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use super::{Child, Failure, Namespace, Result, wait_until};

const PROGRAM: &str = include_str!("decapsulate.py");

/// Takes packets out of outer headers in a namespace: what `ipip`, `sit`, `ip6tnl` and `fou` devices would do, which not all kernels have.
pub struct Decapsulator(Child);

impl Decapsulator {
    /// Starts it and returns when it listens. Its program and what it prints go into `directory`.
    ///
    /// # Errors
    /// When it does not listen within 30 s, with what it said.
    pub fn start(namespace: &Namespace, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory).map_err(Failure::of(directory.display()))?;
        let program = directory.join("decapsulate.py");
        fs::write(&program, PROGRAM).map_err(Failure::of(program.display()))?;
        // What comes out is from clients, whom other interfaces lead to.
        namespace.run("sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0")?;
        let words = format!("python3 {}", program.display());
        let child = namespace.spawn(&words, &directory.join("decapsulate.log"))?;
        wait_until(Duration::from_secs(30), "outer headers are taken off", || child.log().contains("ready"))
            .map_err(|failure| Failure::new(format!("{failure}\n{}", child.log())))?;
        Ok(Self(child))
    }

    /// The addresses and UDP ports (0 where there is none) that outer headers said they were from.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<(String, u16)> {
        let log = self.0.log();
        let sources = log.lines().filter_map(|line| line.strip_prefix("from ")?.rsplit_once(' '));
        sources.filter_map(|(address, port)| Some((address.to_owned(), port.parse().ok()?))).collect()
    }
}

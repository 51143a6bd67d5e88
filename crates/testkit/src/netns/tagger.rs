use std::{fs, path::Path, time::Duration};

use super::{Child, Failure, Namespace, Result, wait_until};

const PROGRAM: &str = include_str!("tag.py");

/// Joins interfaces that it makes to a trunk, each by a VLAN: what `vlan` devices would do, which not all kernels have.
pub struct Tagger(Child);

impl Tagger {
    /// Starts it on an interface of a namespace with `vlans`, names and ids, and returns when their interfaces are there. Its
    /// program and what it prints go into `directory`.
    ///
    /// # Errors
    /// When they are not there within 30 s, with what it said.
    pub fn start(
        namespace: &Namespace,
        trunk: &str,
        vlans: &[(&str, u16)],
        directory: &Path,
    ) -> Result<Self> {
        let program = directory.join("tag.py");
        fs::write(&program, PROGRAM).map_err(Failure::of(program.display()))?;
        let vlans: Vec<String> = vlans.iter().map(|(name, id)| format!("{name}={id}")).collect();
        let words = format!("python3 {} {trunk} {}", program.display(), vlans.join(" "));
        let child = namespace.spawn(&words, &directory.join("tag.log"))?;
        wait_until(Duration::from_secs(30), "VLANs are joined to the trunk", || {
            child.log().contains("ready")
        })
        .map_err(|failure| Failure::new(format!("{failure}\n{}", child.log())))?;
        Ok(Self(child))
    }

    /// What it has to say.
    #[must_use]
    pub fn log(&self) -> String {
        self.0.log()
    }
}

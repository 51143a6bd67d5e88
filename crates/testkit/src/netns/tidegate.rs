use std::{
    env, fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::{
    Child, Failure, Namespace, Result,
    http::{head, hear, say},
    wait_until,
};

/// The program under test: what `TIDEGATE` names, otherwise the one that cargo built for this test run.
///
/// # Errors
/// When there is none.
pub fn program() -> Result<PathBuf> {
    ["TIDEGATE", "CARGO_BIN_EXE_tidegate", "NEXTEST_BIN_EXE_tidegate"]
        .into_iter()
        .find_map(env::var_os)
        .map(PathBuf::from)
        .ok_or_else(|| Failure::new("which program? set TIDEGATE, as scripts/test does"))
}

/// A running gateway. Dropped, it is killed.
pub struct Tidegate {
    child: Child,
    program: PathBuf,
    directory: PathBuf,
}

impl Tidegate {
    /// Where a gateway of this directory listens: for the configuration's `control.socket`.
    #[must_use]
    pub fn socket(directory: &Path) -> PathBuf {
        directory.join("tidegate.sock")
    }

    /// Starts `program` in `namespace` with `configuration`, which must name [`Tidegate::socket`]; does not wait.
    ///
    /// # Errors
    /// When the configuration cannot be written or the program not be started.
    pub fn start(
        namespace: &Namespace,
        program: &Path,
        directory: &Path,
        configuration: &str,
    ) -> Result<Self> {
        let mut command = namespace.command(program);
        command.arg("run").arg("-c").arg(file(directory));
        // It says at its end whether it has all packet memory back.
        command.env("TIDEGATE_LOG", "info,tidegate::gateway::running=debug");
        write(directory, configuration)?;
        let child = Child::start(command, &directory.join("tidegate.log"))?;
        Ok(Self { child, program: program.to_owned(), directory: directory.to_owned() })
    }

    /// Waits until it answers on its socket.
    ///
    /// # Errors
    /// When it ends or does not answer within `limit`, with its log.
    pub fn wait_until_ready(&mut self, limit: Duration) -> Result<()> {
        let mut ended = None;
        wait_until(limit, "Tidegate answers on its socket", || {
            ended = self.child.exited();
            ended.is_some() || self.list("worker").is_ok()
        })
        .map_err(|failure| Failure::new(format!("{failure}\n{}", self.log())))?;
        match ended {
            Some(status) => Err(Failure::new(format!("Tidegate ended: {status}\n{}", self.log()))),
            None => Ok(()),
        }
    }

    /// The rows of `tidegate NOUN list`.
    ///
    /// # Errors
    /// With the program's message when it fails, or when it does not print rows.
    pub fn list(&self, noun: &str) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.program);
        command.args([noun, "list", "-o", "json", "--socket"]).arg(Self::socket(&self.directory));
        let output = command.output().map_err(Failure::of(self.program.display()))?;
        if !output.status.success() {
            return Err(Failure::new(String::from_utf8_lossy(&output.stderr)));
        }
        let failed = Failure::of(format!("{noun} list"));
        let answer: Value = serde_json::from_slice(&output.stdout).map_err(failed)?;
        // `flow list` says how many there are besides its rows.
        let rows = answer.get("flows").unwrap_or(&answer).as_array().cloned();
        rows.ok_or_else(|| Failure::new(format!("{noun} list printed no rows: {answer}")))
    }

    /// The JSON that the API has at `path`.
    ///
    /// # Errors
    /// When it does not answer, or says no.
    pub fn ask(&self, path: &str) -> Result<Value> {
        let socket = Self::socket(&self.directory);
        let mut stream = UnixStream::connect(&socket).map_err(Failure::of(socket.display()))?;
        say(&mut stream, &[head("GET", path, 0).as_bytes()])?;
        let answer = hear(&mut stream)?;
        if answer.status != 200 {
            return Err(Failure::new(String::from_utf8_lossy(&answer.body)));
        }
        serde_json::from_slice(&answer.body).map_err(Failure::of(path))
    }

    /// A number that the API has at `path`, by the pointer to it (RFC 6901); summed over its rows when it is a list.
    ///
    /// # Errors
    /// As [`Tidegate::ask`], or when there is no such number.
    pub fn count(&self, path: &str, pointer: &str) -> Result<u64> {
        let answer = self.ask(path)?;
        let rows = answer.as_array().map_or(std::slice::from_ref(&answer), Vec::as_slice);
        let number = |row: &Value| row.pointer(pointer).and_then(Value::as_u64);
        rows.iter()
            .map(number)
            .sum::<Option<u64>>()
            .ok_or_else(|| Failure::new(format!("{path} has no number {pointer}: {answer}")))
    }

    /// Waits until all workers run with the last generation, and no other is about to follow; which one that is.
    ///
    /// # Errors
    /// When there is no such moment within `limit`.
    pub fn wait_until_settled(&self, limit: Duration) -> Result<u64> {
        let mut settled = 0;
        wait_until(limit, "all workers know the state of things", || {
            let count = |what| self.count("/v1/generation", what).ok();
            settled = count("/generation").unwrap_or_default();
            // What monitors find is published within half a second.
            count("/acknowledged") == Some(settled) && count("/age_ms").is_some_and(|age| age > 700)
        })?;
        Ok(settled)
    }

    /// Waits until every packet is accounted for, which can be seen while none is in a worker's hands.
    ///
    /// # Errors
    /// When there is no such moment within `limit`, with the accounts.
    pub fn wait_until_accounted(&self, limit: Duration) -> Result<()> {
        let mut last = Value::Null;
        wait_until(limit, "every packet is accounted for", || {
            last = self.ask("/v1/balance").unwrap_or_default();
            last.get("holds") == Some(&Value::Bool(true))
        })
        .map_err(|failure| Failure::new(format!("{failure}: {last}")))
    }

    /// Packets dropped for `reason`, by its name.
    ///
    /// # Errors
    /// As [`Tidegate::list`].
    pub fn drops(&self, reason: &str) -> Result<u64> {
        let rows = self.list("drop")?;
        let row = rows.iter().find(|row| row.get("reason").and_then(Value::as_str) == Some(reason));
        Ok(row.and_then(|row| row.get("packets")).and_then(Value::as_u64).unwrap_or(0))
    }

    /// How many rows of `backend list` say `up`; a machine that is in two pools counts twice.
    ///
    /// # Errors
    /// As [`Tidegate::list`].
    pub fn backends_up(&self) -> Result<usize> {
        let up = |row: &&Value| row.get("health").and_then(Value::as_str) == Some("up");
        Ok(self.list("backend")?.iter().filter(up).count())
    }

    /// Changes the configuration's file and sends SIGHUP; does not wait until it is in force.
    ///
    /// # Errors
    /// When the file cannot be written or the process has ended.
    pub fn reload(&self, configuration: &str) -> Result<()> {
        write(&self.directory, configuration)?;
        self.child.signal(Signal::SIGHUP)
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn stop(mut self, limit: Duration) -> Result<ExitStatus> {
        self.child.signal(Signal::SIGTERM)?;
        self.child.wait(limit)
    }

    /// Files that DPDK leaves behind when it does not clean up: in the mount of huge pages, and its directory.
    #[must_use]
    pub fn leftovers(id: u32) -> Vec<PathBuf> {
        let prefix = format!("tidegate-{id}");
        let ours = |name: &str| {
            name.strip_prefix(&prefix)
                .is_some_and(|rest| !rest.starts_with(|digit: char| digit.is_ascii_digit()))
        };
        ["/dev/hugepages", "/var/run/dpdk"]
            .into_iter()
            .flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten())
            .filter(|entry| ours(&entry.file_name().to_string_lossy()))
            .map(|entry| entry.path())
            .collect()
    }

    /// Its process, for signals and for what `/proc` tells.
    pub fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    /// What it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.child.log()
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("tidegate.yaml")
}

fn write(directory: &Path, configuration: &str) -> Result<()> {
    let file = file(directory);
    fs::write(&file, configuration).map_err(Failure::of(file.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// A script in the place of the program: it is `run`, or it lists.
    fn start(script: &str) -> (tempfile::TempDir, Namespace, Tidegate) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let namespace = Namespace::create("program").unwrap();
        let tidegate = Tidegate::start(&namespace, &program, directory.path(), "version: 1\n").unwrap();
        (directory, namespace, tidegate)
    }

    #[test]
    fn what_the_program_lists_is_read() {
        let rows = r#"[{"reason":"no_flow","packets":3,"health":"up"},{"reason":"other","health":"down"}]"#;
        let (_directory, _namespace, mut tidegate) = start(&format!(
            "test $1 = flow && echo '{{\"total\":9,\"shown\":2,\"flows\":{rows}}}' && exit\n\
             test $1 != run && echo '{rows}' && exit\nexec sleep 600"
        ));
        tidegate.wait_until_ready(LIMIT).unwrap();
        assert_eq!(tidegate.drops("no_flow").unwrap(), 3);
        assert_eq!(tidegate.drops("never_seen").unwrap(), 0);
        assert_eq!(tidegate.backends_up().unwrap(), 1);
        assert_eq!(tidegate.list("flow").unwrap().len(), 2);
    }

    #[test]
    fn a_program_that_ends_at_once_is_reported_with_its_log() {
        let (_directory, _namespace, mut tidegate) = start("echo no such device >&2; exit 5");
        let failure = tidegate.wait_until_ready(LIMIT).unwrap_err().to_string();
        assert!(failure.contains("no such device") && failure.contains("exit status: 5"), "{failure}");
    }

    #[test]
    fn a_reload_is_a_new_file_and_a_signal_and_stop_is_another() {
        let (directory, _namespace, tidegate) =
            start("trap 'cat $3' HUP; trap 'exit 7' TERM; echo ready; while true; do sleep 0.05; done");
        wait_until(LIMIT, "the script", || tidegate.log() == "ready\n").unwrap();
        tidegate.reload("version: 2\n").unwrap();
        wait_until(LIMIT, "the reload", || tidegate.log() == "ready\nversion: 2\n").unwrap();
        assert_eq!(tidegate.stop(LIMIT).unwrap().code(), Some(7));
        drop(directory);
    }
}

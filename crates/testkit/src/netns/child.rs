use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::{Failure, Result, wait_until};

/// A process that does not outlive its owner: dropped, it and the processes that it started are killed.
pub struct Child {
    process: process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command` in a process group of its own, without input; what it prints goes to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be made or the program not be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let what = format!("cannot start {:?}", command.get_program());
        let output = fs::File::create(log).map_err(Failure::of(log.display()))?;
        let errors = output.try_clone().map_err(Failure::of(log.display()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
        let process = command.spawn().map_err(Failure::of(what))?;
        Ok(Self { process, log: log.to_owned() })
    }

    /// The process's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The exit status; `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Sends a signal to the process, not to those that it started.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).map_err(Failure::of(format!("cannot send {signal}")))
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// When it still runs after `limit`; it goes on running.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let mut status = None;
        wait_until(limit, "the end of a process", || {
            status = self.exited();
            status.is_some()
        })
        .map_err(|failure| Failure::new(format!("{failure}\n{}", self.log())))?;
        status.ok_or_else(|| Failure::new("a process ended without a status"))
    }

    /// Kills the process and those that it started, as a crash of the machine would.
    pub fn kill(&mut self) {
        if let Ok(group) = self.pid() {
            let _ = killpg(group, Signal::SIGKILL); // nobody left to kill is as good
        }
        let _ = self.process.wait();
    }

    fn pid(&self) -> Result<Pid> {
        i32::try_from(self.id()).map(Pid::from_raw).map_err(Failure::of("no process number"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn shell(script: &str) -> Child {
        let log = tempfile::NamedTempFile::new().unwrap().into_temp_path().keep().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::start(command, &log).unwrap()
    }

    #[test]
    fn what_a_child_printed_can_be_read_after_its_end() {
        let mut child = shell("echo out; echo err >&2; exit 3");
        assert_eq!(child.wait(LIMIT).unwrap().code(), Some(3));
        assert_eq!(child.log(), "out\nerr\n");
        fs::remove_file(&child.log).unwrap();
    }

    #[test]
    fn a_dropped_child_takes_its_own_children_along() {
        let child = shell("sleep 600 & echo $!; wait");
        wait_until(LIMIT, "the grandchild's number", || child.log().ends_with('\n')).unwrap();
        let grandchild = PathBuf::from("/proc").join(child.log().trim()).join("cmdline");
        assert!(grandchild.exists());
        fs::remove_file(&child.log).unwrap();
        drop(child);
        // A zombie that nobody has collected yet has an empty command line.
        wait_until(LIMIT, "the grandchild's end", || {
            fs::read(&grandchild).map_or(true, |line| line.is_empty())
        })
        .unwrap();
    }
}

//! How a command fails: what happened, what to do about it, and the exit code that says so to scripts.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

/// The exit codes besides 0. Most usage errors are clap's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The thing asked about is not so, or could not be told.
    NotSo = 1,
    /// What was typed cannot be meant.
    Usage = 2,
    /// The configuration is invalid, or cannot be read.
    Configuration = 3,
    /// The daemon cannot be reached.
    Unreachable = 4,
    /// A device, an interface or EAL failed.
    Device = 5,
}

/// Why a command did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    what: String,
    remedy: Option<String>,
}

impl Failure {
    /// The result could not be printed.
    pub(crate) fn unprintable(error: impl fmt::Display) -> Self {
        Self::new(Exit::NotSo, format_args!("the result could not be printed: {error}"))
    }

    /// The thing asked about is not so, or could not be told.
    pub(crate) fn not_so(what: impl fmt::Display) -> Self {
        Self::new(Exit::NotSo, what)
    }

    /// The thing asked about is not so, as was told already.
    pub(crate) const fn told() -> Self {
        Self { exit: Exit::NotSo, what: String::new(), remedy: None }
    }

    /// What was typed cannot be meant.
    pub(crate) fn usage(what: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// The configuration has mistakes; `rendered` tells them with their remedies, or is empty when that was done.
    pub(crate) const fn mistakes(rendered: String) -> Self {
        Self { exit: Exit::Configuration, what: rendered, remedy: None }
    }

    /// The configuration does not suit this program.
    pub(crate) fn configuration(what: impl fmt::Display) -> Self {
        Self::new(Exit::Configuration, what)
    }

    /// The daemon cannot be reached.
    pub(crate) fn unreachable(what: impl fmt::Display) -> Self {
        Self::new(Exit::Unreachable, what)
    }

    /// A device, an interface or EAL failed.
    pub(crate) fn device(what: impl fmt::Display) -> Self {
        Self::new(Exit::Device, what)
    }

    fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Self { exit, what: format!("tidegate: {what}"), remedy: None }
    }

    /// With what to do about it.
    pub(crate) fn remedy(mut self, remedy: impl fmt::Display) -> Self {
        self.remedy = Some(remedy.to_string());
        self
    }

    /// Says it on standard error; the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // There is nobody left to tell when standard error is closed.
        let text = self.to_string();
        if !text.is_empty() {
            let _ = writeln!(io::stderr(), "{}", text.trim_end());
        }
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.remedy
            .as_ref()
            .map_or(Ok(()), |remedy| write!(f, "\n  remedy: {}", remedy.replace('\n', "\n          ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_with_its_remedy() {
        let failure = Failure::device("the interface veth0 is down").remedy("ip link set veth0 up");
        assert_eq!(
            failure.to_string(),
            "tidegate: the interface veth0 is down\n  remedy: ip link set veth0 up"
        );
        assert_eq!(failure.exit as u8, 5);
    }

    #[test]
    fn the_lines_of_a_remedy_stand_below_each_other() {
        let failure = Failure::unreachable("no").remedy("first\nsecond");
        assert_eq!(failure.to_string(), "tidegate: no\n  remedy: first\n          second");
    }
}

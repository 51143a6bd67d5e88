//! What DPDK logs: kept for error messages, and passed on to whoever asked for it.
//!
//! What must stay true: a line is never lost on its way to the listener; only the last [`KEPT`] are kept for errors, which
//! tell what nobody was shown.
//! Drivers may log from worker threads, but not on the frame path.

use std::collections::{HashSet, VecDeque};
use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines kept for error messages.
const KEPT: usize = 64;

/// How serious a line of DPDK's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something works otherwise than asked.
    Warning,
    /// Something that is normal.
    Info,
    /// Something for developers of drivers.
    Debug,
}

impl LogLevel {
    /// DPDK's levels: 1 emergency, 2 alert, 3 critical, 4 error, 5 warning, 6 notice, 7 info, 8 debug; 0 is none.
    const fn from_dpdk(level: u32) -> Self {
        match level {
            0..=4 => Self::Error,
            5 => Self::Warning,
            6 | 7 => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// Where the lines go; whether a line was shown to somebody, who need not read it again in an error.
pub(crate) type Listener = fn(LogLevel, &str) -> bool;

struct Line {
    text: String,
    shown: bool,
}

struct Lines {
    kept: VecDeque<Line>,
    /// Lines seen since the start, kept or not.
    seen: u64,
    listener: Option<Listener>,
}

/// DPDK's log is one for the process, and so is this.
static LINES: Mutex<Lines> = Mutex::new(Lines { kept: VecDeque::new(), seen: 0, listener: None });

/// Held while one thread's output is captured.
static OUTPUT: Mutex<()> = Mutex::new(());

/// While it lives, what C libraries print goes to the log instead of the terminal.
pub(crate) struct CapturedOutput {
    _alone: MutexGuard<'static, ()>,
}

/// Captures what C libraries print, as drivers' libraries do when they attach a device.
pub(crate) fn capture_output() -> CapturedOutput {
    let alone = OUTPUT.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: `alone` sees to it that captures neither nest nor meet.
    unsafe { dpdk_sys::shim_output_capture() };
    CapturedOutput { _alone: alone }
}

impl Drop for CapturedOutput {
    fn drop(&mut self) {
        // SAFETY: it follows a capture, still alone.
        unsafe { dpdk_sys::shim_output_release() };
    }
}

/// A point in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

/// Sends DPDK's log here. False when there is no memory for it: the log then goes where DPDK sends it.
pub(crate) fn capture(listener: Option<Listener>) -> bool {
    lines().listener = listener;
    // SAFETY: `take` matches the declared type and may be called from any thread.
    let result = unsafe { dpdk_sys::shim_log_to(Some(take)) };
    result == 0
}

/// The present end of the log.
pub(crate) fn mark() -> Mark {
    Mark(lines().seen)
}

/// What was logged after `mark`, as far as it is kept: the lines that nobody was shown, each once, and whether there
/// are others.
pub(crate) fn since(mark: Mark) -> (Vec<String>, bool) {
    let lines = lines();
    let new = usize::try_from(lines.seen - mark.0).unwrap_or(usize::MAX);
    let skip = lines.kept.len().saturating_sub(new);
    news(lines.kept.iter().skip(skip))
}

fn news<'a>(lines: impl Iterator<Item = &'a Line>) -> (Vec<String>, bool) {
    let (shown, others): (Vec<&Line>, Vec<&Line>) = lines.partition(|line| line.shown);
    let mut known: HashSet<String> = shown.iter().map(|line| plain(&line.text)).collect();
    let news = others.into_iter().filter(|line| known.insert(plain(&line.text)));
    (news.map(|line| line.text.clone()).collect(), !shown.is_empty())
}

/// A line without what EAL adds when it prints what it also logs.
fn plain(line: &str) -> String {
    line.replacen("FATAL: ", "", 1)
}

/// A listener that panics must not end the capture.
fn lines() -> MutexGuard<'static, Lines> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Called by C with the bytes of one message or more; unwinding out of it aborts.
extern "C" fn take(level: u32, text: *const c_char, length: usize) {
    // SAFETY: the shim passes `length` readable bytes that live until this function returns.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    let level = LogLevel::from_dpdk(level);
    for line in String::from_utf8_lossy(bytes).lines().filter(|line| !line.trim().is_empty()) {
        // It is called while nobody holds the lock.
        let listener = lines().listener;
        let shown = listener.is_some_and(|listener| listener(level, line.trim_end()));
        keep(Line { text: line.trim_end().to_owned(), shown });
    }
}

fn keep(line: Line) {
    let mut lines = lines();
    if lines.kept.len() == KEPT {
        lines.kept.pop_front();
    }
    lines.kept.push_back(line);
    lines.seen += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(lines: &[(&str, bool)]) -> (Vec<String>, bool) {
        let lines: Vec<Line> =
            lines.iter().map(|(text, shown)| Line { text: (*text).to_owned(), shown: *shown }).collect();
        news(lines.iter())
    }

    #[test]
    fn an_error_tells_what_nobody_was_shown_and_tells_it_once() {
        let option = "tidegate: unrecognized option '--nonsense'";
        let lines = [
            (option, false),
            (option, false),
            ("EAL: FATAL: Invalid 'command line' arguments.", false),
            ("EAL: Invalid 'command line' arguments.", true),
        ];
        assert_eq!(told(&lines), (vec![option.to_owned()], true));
        assert_eq!(told(&lines[..2]), (vec![option.to_owned()], false));
        assert_eq!(told(&[]), (Vec::new(), false));
    }
}

//! Why DPDK refused: its error number, and what it logged about it.

use std::ffi::{CStr, CString, NulError};
use std::fmt;

/// `EINVAL`
const INVALID: i32 = 22;

/// A refusal by DPDK: the error number, and the lines that it logged meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A positive `errno` value.
    pub errno: i32,
    /// What DPDK logged during the call and nobody was shown, oldest first; often empty.
    pub messages: Vec<String>,
    /// Whether [`EalOptions::log`](crate::EalOptions::log) has shown somebody the rest of it.
    pub shown: bool,
}

impl Failure {
    /// From what a DPDK function returned (negative `errno`) and the log lines since `mark`.
    pub(crate) fn from_result(result: i32, mark: crate::log::Mark) -> Self {
        let (messages, shown) = crate::log::since(mark);
        Self { errno: result.saturating_abs(), messages, shown }
    }

    /// What cannot be said to C.
    pub(crate) const fn invalid() -> Self {
        Self { errno: INVALID, messages: Vec::new(), shown: false }
    }

    /// From the calling thread's `rte_errno` and the log lines since `mark`.
    pub(crate) fn from_errno(mark: crate::log::Mark) -> Self {
        // SAFETY: reading a thread-local variable has no obligation.
        let errno = unsafe { dpdk_sys::shim_errno() };
        Self::from_result(errno, mark)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Drivers return -1 for failures of any kind, which is also the number of this error.
        const NOT_PERMITTED: i32 = 1;
        let messages = self.messages.join("; ");
        match self.errno {
            NOT_PERMITTED if messages.is_empty() && self.shown => formatter.write_str("DPDK's log says why"),
            errno if messages.is_empty() => formatter.write_str(&describe(errno)),
            NOT_PERMITTED => write!(formatter, "DPDK says: {messages}"),
            errno => write!(formatter, "{} (DPDK says: {messages})", describe(errno)),
        }
    }
}

impl std::error::Error for Failure {}

/// DPDK's text for an error number.
fn describe(errno: i32) -> String {
    // SAFETY: any number is allowed.
    let text = unsafe { dpdk_sys::rte_strerror(errno) };
    // SAFETY: rte_strerror returns a NUL-terminated text in a thread-local buffer, which is read before its next call.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_string_lossy().into_owned()
}

/// `text` for C; an error when it holds a NUL byte.
pub(crate) fn c_string(text: &str) -> Result<CString, NulError> {
    CString::new(text)
}

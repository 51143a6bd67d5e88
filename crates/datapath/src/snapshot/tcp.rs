//! What a virtual server's profile says of TCP.

use model::UseOfCookies;

/// How SYNs are answered with cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookies {
    /// Which ones.
    pub use_of: UseOfCookies,
    /// The MSS of the answers; 0: that of the treatment, or a usual one.
    pub mss: u16,
    /// Milliseconds after a handshake in which a source's SYNs go around cookies.
    pub allowlist: u32,
}

impl Cookies {
    /// None.
    pub const OFF: Self = Self { use_of: UseOfCookies::Off, mss: 0, allowlist: 0 };
}

/// What a profile says of the lives of TCP flows. Times are milliseconds of silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpRules {
    /// Until its handshake is complete.
    pub handshake_timeout: u32,
    /// When it was ended or broken off, until both sides know that the other knows.
    pub close_timeout: u32,
    /// From then on; 0: it is forgotten at once.
    pub time_wait: u32,
    /// Whether it is forgotten with the first FIN or RST.
    pub loose_close: bool,
    /// Whether both sides are told when it is forgotten because it was silent.
    pub reset_on_timeout: bool,
    /// After so much silence the client is asked whether it is still there, and again; 0: it is not.
    pub keep_alive: u32,
    /// Whether a flow whose handshake is not complete makes room for a new one in a full table.
    pub evicts_embryonic: bool,
}

impl TcpRules {
    /// Without a profile.
    pub const DEFAULT: Self = Self {
        handshake_timeout: 5_000,
        close_timeout: 5_000,
        time_wait: 0,
        loose_close: false,
        reset_on_timeout: true,
        keep_alive: 0,
        evicts_embryonic: true,
    };
}

impl Default for TcpRules {
    fn default() -> Self {
        Self::DEFAULT
    }
}

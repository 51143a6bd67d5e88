//! What profiles say: how long flows live, and what is changed in their packets.

use std::time::Duration;

/// A named bundle of settings that virtual servers share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name; `default` when the file names none.
    pub name: String,
    /// How long a flow may be silent; `None`: 300 s for TCP, 60 s for UDP.
    pub idle_timeout: Option<Duration>,
    /// Whether a TCP packet in mid-stream opens a flow.
    pub loose_initiation: bool,
    /// Whether packets that come in fragments are put together.
    pub reassembles: bool,
    /// The lives of TCP flows.
    pub tcp: TcpSettings,
    /// How SYNs are answered with cookies.
    pub cookies: SynCookies,
    /// What is changed in packets.
    pub treatment: Treatment,
    /// Which round trips are measured.
    pub rtt: RoundTrips,
}

/// Which round trips are measured in handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrips {
    /// From the SYN-ACK to the client's answer.
    pub from_client: bool,
    /// From the SYN to the backend's answer.
    pub from_server: bool,
}

impl RoundTrips {
    /// None.
    pub const NONE: Self = Self { from_client: false, from_server: false };
    /// Both.
    pub const BOTH: Self = Self { from_client: true, from_server: true };

    /// Whether any is.
    #[inline(always)]
    #[must_use]
    pub const fn is_any(self) -> bool {
        self.from_client | self.from_server
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            idle_timeout: None,
            loose_initiation: false,
            reassembles: false,
            tcp: TcpSettings::default(),
            cookies: SynCookies::default(),
            treatment: Treatment::default(),
            rtt: RoundTrips::BOTH,
        }
    }
}

/// How SYNs are answered with cookies: by the gateway, without remembering them, until the client has shown that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynCookies {
    /// Which SYNs.
    pub use_of: UseOfCookies,
    /// The MSS of these answers; 0: that of [`Treatment::mss_override`], or a usual one.
    pub mss: u16,
    /// How long after a handshake a source's SYNs go around cookies.
    pub allowlist: Duration,
}

impl Default for SynCookies {
    fn default() -> Self {
        Self { use_of: UseOfCookies::Auto, mss: 0, allowlist: Duration::from_secs(30) }
    }
}

/// Which SYNs are answered with cookies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UseOfCookies {
    /// None.
    Off,
    /// Those that come while a worker has too many handshakes that are not complete.
    #[default]
    Auto,
    /// All.
    Always,
}

/// What a profile changes in the headers of packets, beyond where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Treatment {
    /// The MSS of handshakes, if not 0.
    pub mss_override: u16,
    /// Whether no larger MSS is said than fits the ports that a flow goes by.
    pub mss_clamp: bool,
    /// Whether SACK is taken out of handshakes.
    pub strip_sack: bool,
    /// What becomes of the scales of windows.
    pub window_scale: WindowScale,
    /// What becomes of timestamps.
    pub timestamps: Timestamps,
    /// Whether sequence numbers are translated to others.
    pub generate_isn: bool,
    /// The TTL or hop limit with which packets leave.
    pub ttl: Ttl,
    /// IPv4: whether routers may fragment packets.
    pub df: Df,
    /// DSCP of packets to the client, in the high six bits.
    pub tos_to_client: Option<u8>,
    /// DSCP of packets to the backend.
    pub tos_to_server: Option<u8>,
    /// Priority of packets to the client that leave with a VLAN tag.
    pub qos_to_client: Option<u8>,
    /// Priority of packets to the backend that leave with a VLAN tag.
    pub qos_to_server: Option<u8>,
}

impl Treatment {
    /// Nothing is changed.
    pub const NONE: Self = Self { mss_clamp: false, ..Self::DEFAULT };

    /// What is changed unless something else is said.
    const DEFAULT: Self = Self {
        mss_override: 0,
        mss_clamp: true,
        strip_sack: false,
        window_scale: WindowScale::Preserve,
        timestamps: Timestamps::Preserve,
        generate_isn: false,
        ttl: Ttl::Decrement,
        df: Df::Preserve,
        tos_to_client: None,
        tos_to_server: None,
        qos_to_client: None,
        qos_to_server: None,
    };
}

impl Default for Treatment {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Treatment {
    /// Whether handshakes are looked at.
    #[inline]
    #[must_use]
    pub fn is_of_handshakes(&self) -> bool {
        self.mss_clamp
            || self.mss_override != 0
            || self.strip_sack
            || self.window_scale != WindowScale::Preserve
            || self.timestamps == Timestamps::Strip
    }

    /// Whether every packet is looked at, so that no flow is steady.
    #[inline]
    #[must_use]
    pub fn is_of_all(&self) -> bool {
        self.moves_numbers()
            || self.ttl != Ttl::Decrement
            || self.df != Df::Preserve
            || self.tos_to_client.is_some()
            || self.tos_to_server.is_some()
            || self.qos_to_client.is_some()
            || self.qos_to_server.is_some()
    }

    /// Whether numbers of both sides are translated: that takes both directions.
    #[must_use]
    pub fn moves_numbers(&self) -> bool {
        self.generate_isn || self.timestamps == Timestamps::Rewrite
    }
}

/// What becomes of the scales of windows in handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WindowScale {
    /// They stay.
    #[default]
    Preserve,
    /// Both sides are told this shift, and windows are said anew where that is not the other side's own.
    Rewrite(u8),
    /// They are taken out.
    Strip,
}

impl WindowScale {
    /// The largest shift (RFC 7323, 2.3).
    pub const LARGEST: u8 = 14;

    /// What is said instead of a side's own shift.
    #[must_use]
    pub const fn told(self, own: u8) -> Option<u8> {
        match self {
            Self::Preserve => Some(own),
            Self::Rewrite(shift) => Some(shift),
            Self::Strip => None,
        }
    }
}

/// What becomes of TCP timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// They stay.
    #[default]
    Preserve,
    /// They are moved by a secret.
    Rewrite,
    /// They are taken out of handshakes.
    Strip,
}

/// The TTL or hop limit with which packets leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ttl {
    /// One less than they came with.
    #[default]
    Decrement,
    /// What they came with.
    Preserve,
    /// For each family.
    Set {
        /// IPv4's TTL.
        v4: u8,
        /// IPv6's hop limit.
        v6: u8,
    },
}

/// Whether routers may fragment packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Df {
    /// As they came.
    #[default]
    Preserve,
    /// They may not.
    Set,
    /// They may.
    Clear,
    /// Segments of TCP may not, which finds out what the path takes (RFC 1191, 6.1); datagrams as they came.
    Pmtu,
}

/// What a profile says of the lives of TCP flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// How long a flow may be silent until its handshake is complete.
    pub handshake_timeout: Duration,
    /// How long it may be silent when it was ended or broken off.
    pub close_timeout: Duration,
    /// How long it is remembered when both sides know that the other knows.
    pub time_wait: Duration,
    /// Whether it is forgotten with the first FIN or RST.
    pub loose_close: bool,
    /// Whether both sides are told when it is forgotten because it was silent.
    pub reset_on_timeout: bool,
    /// After how much silence the client is asked whether it is still there; `None`: it is not.
    pub keep_alive: Option<Duration>,
    /// Whether a flow whose handshake is not complete makes room for a new one in a full table.
    pub evicts_embryonic: bool,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(5),
            close_timeout: Duration::from_secs(5),
            time_wait: Duration::ZERO,
            loose_close: false,
            reset_on_timeout: true,
            keep_alive: None,
            evicts_embryonic: true,
        }
    }
}

//! SYN cookies: the first packets of a flood are answered without being remembered.
//!
//! The gateway answers a SYN by itself, with a cookie as its initial sequence number and a window of 0 ([`meet`]). Who acknowledges the cookie is there;
//! only then a flow is opened, and the packet becomes the SYN that the client would have sent to the backend. The backend's SYN-ACK is acknowledged here, and becomes the
//! window that the client waits for ([`follow`]); so the client sends nothing in between that would have to be kept. From then
//! on the backend's numbers are moved, and windows scaled, from what it says to what the client was told (`treat`), as in Linux's SYNPROXY.
//!
//! What must stay true:
//!
//! - Answering a SYN changes nothing but counters, costs no memory, and sends no more bytes than came.
//! - Who cannot see what is sent to an address opens no flow in its name, but by guessing 1 in 2²⁷.
//! - All workers know each other's cookies; ownership brings a client's packets to one of them anyway.

mod follow;
mod guard;
mod meet;
mod mint;
mod terms;

use flow::{FlowState, Tracked};

pub use self::mint::CookieKey;
pub(crate) use self::{
    follow::{follow, resume},
    guard::Guard,
    meet::{Met, begin, meet},
    terms::{SCALE, Terms},
};
use crate::{scale::Scales, track};

/// What is between both sides' segments and what the other one knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translation {
    /// What is added to the backend's sequence numbers, and to the values of its timestamps, if the flow was opened with a cookie.
    pub(crate) shifts: Option<[u32; 2]>,
    /// Of the windows of both.
    pub(crate) scales: Scales,
}

impl Translation {
    /// That of a flow, if it has any.
    pub(crate) fn of(flow: &Tracked<'_>) -> Option<Self> {
        if !track::is_translated(flow.hot) {
            return None;
        }
        // Before the backend has answered, nothing of its is known.
        let shifts = if flow.hot.state() == FlowState::Handshake { [0; 2] } else { flow.numbers.shifts };
        let shifts = track::is_by_cookie(flow.hot).then_some(shifts);
        Some(Self { shifts, scales: Scales::of(flow.numbers) })
    }
}

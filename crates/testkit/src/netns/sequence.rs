//! Connections whose sequence numbers wrap soon after the handshake, on both sides, with the kernel's own TCP on both ends.
//!
//! The client's number is set before the handshake: Linux lets root do that with a socket that is under repair (`TCP_REPAIR`, made for
//! moving connections to other machines), and keeps the number when the repair ends. The server's cannot be set; but it is a hash of
//! the addresses and ports plus a clock of 64 ns (RFC 6528, 3; Linux' `secure_tcp_seq`). So who has connected once from a port knows
//! what the server will say to that port at any time after. Many ports are tried, and the one whose number wraps next is connected
//! from again at that moment. A gateway in between that adds something to numbers changes nothing of that.

use std::{
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use nix::{
    getsockopt_impl, libc, setsockopt_impl, sockopt_impl,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getsockopt, setsockopt, socket,
        sockopt::Linger,
    },
};

use super::{Failure, Namespace, Result, http::LIMIT};

sockopt_impl!(Repair, SetOnly, libc::IPPROTO_TCP, libc::TCP_REPAIR, i32);
sockopt_impl!(RepairQueue, SetOnly, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, i32);
sockopt_impl!(QueueSequence, Both, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ, u32);

/// What `TCP_REPAIR` takes. The end is one without a window probe.
const REPAIR: (i32, i32) = (1, -1);
/// What `TCP_REPAIR_QUEUE` takes.
const RECEIVED: i32 = 1;
const SENT: i32 = 2;

/// A number is near the wrap when it is at most so far before it.
pub const NEAR: u32 = 1 << 20;
/// The numbers that are aimed at: in the middle of those.
const AIM: u32 = 0_u32.wrapping_sub(NEAR / 2);
/// What the server's clock takes for one number.
const TICK: Duration = Duration::from_nanos(64);
/// With so many the next one is about a second away: the clock goes round in 275 s.
const PORTS: usize = 256;
/// What lies between knowing the moment and connecting.
const NOTICE: Duration = Duration::from_millis(50);
/// A machine that has much else to do may miss the moment, which is 67 ms long.
const ATTEMPTS: usize = 20;

/// A connection, and the first sequence numbers of its sides as the client has them.
pub struct Numbered {
    /// The connection.
    pub stream: TcpStream,
    /// The client's first number.
    pub client: u32,
    /// The server's first number.
    pub server: u32,
    /// The client's address and port.
    from: SocketAddr,
    /// Before the handshake.
    began: Instant,
}

/// A connection to `server` on which both sides' numbers begin at most [`NEAR`] before the wrap.
///
/// # Errors
/// When there is no connection, or the moment was missed again and again.
pub fn dial_near_the_wrap(namespace: &Namespace, server: SocketAddr) -> Result<Numbered> {
    let mut last = 0;
    for _ in 0..ATTEMPTS {
        let (from, moment) = namespace.enter(|| next_wrap(server))??;
        thread::sleep(moment.saturating_duration_since(Instant::now()));
        let numbered = namespace.enter(|| Numbered::dial(server, from))??;
        if is_near(numbered.client) && is_near(numbered.server) {
            return Ok(numbered);
        }
        last = numbered.server;
        numbered.reset()?;
    }
    Err(Failure::new(format!(
        "missed the wrap {ATTEMPTS} times, by {} the last time",
        last.wrapping_sub(AIM)
    )))
}

/// Whether a number is at most [`NEAR`] before the wrap.
#[must_use]
pub fn is_near(number: u32) -> bool {
    number >= 0_u32.wrapping_sub(NEAR)
}

/// From where to connect, and when, for the server's number to be the one aimed at.
fn next_wrap(server: SocketAddr) -> Result<(SocketAddr, Instant)> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    // All at once, so that no two are from one port.
    let all: Result<Vec<Numbered>> = (0..PORTS).map(|_| Numbered::dial(server, any)).collect();
    let moments: Vec<_> =
        all?.into_iter().map(|one| (one.from, one.began, one.server, one.reset())).collect();
    let earliest = Instant::now() + NOTICE;
    let moment_of = |began: Instant, number: u32| {
        let moment = began + TICK * AIM.wrapping_sub(number);
        if moment >= earliest { moment } else { moment + TICK * u32::MAX }
    };
    let moments = moments.into_iter().map(|(from, began, number, _)| (from, moment_of(began, number)));
    moments.min_by_key(|(_, moment)| *moment).ok_or_else(|| Failure::new("no port was tried"))
}

impl Numbered {
    /// Connects from an address and port, the client's number being the one aimed at.
    fn dial(server: SocketAddr, from: SocketAddr) -> Result<Self> {
        let failed = Failure::of(format!("no connection from {from} to {server}"));
        Self::try_dial(server, from).map_err(failed)
    }

    fn try_dial(server: SocketAddr, from: SocketAddr) -> nix::Result<Self> {
        let family = if server.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let stream = TcpStream::from(socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?);
        setsockopt(&stream, Repair, &REPAIR.0)?;
        setsockopt(&stream, RepairQueue, &SENT)?;
        setsockopt(&stream, QueueSequence, &AIM)?;
        setsockopt(&stream, Repair, &REPAIR.1)?;
        bind(stream.as_raw_fd(), &SockaddrStorage::from(from))?;
        let refused = |_| nix::errno::Errno::ENOTCONN;
        // For connecting, too.
        stream.set_write_timeout(Some(LIMIT)).map_err(refused)?;
        stream.set_read_timeout(Some(LIMIT)).map_err(refused)?;
        let began = Instant::now();
        connect(stream.as_raw_fd(), &SockaddrStorage::from(server))?;
        setsockopt(&stream, Repair, &REPAIR.0)?;
        // The SYN has taken one.
        let first = |queue: i32| {
            setsockopt(&stream, RepairQueue, &queue)?;
            getsockopt(&stream, QueueSequence).map(|number| number.wrapping_sub(1))
        };
        let (client, server) = (first(SENT)?, first(RECEIVED)?);
        setsockopt(&stream, Repair, &REPAIR.1)?;
        let from = stream.local_addr().map_err(refused)?;
        Ok(Self { stream, client, server, from, began })
    }

    /// Ends it without a trace on either side.
    fn reset(self) -> Result<()> {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, Linger, &at_once).map_err(Failure::of("no reset"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::{Content, Nginx, digest_of, download, upload};

    #[test]
    fn the_numbers_of_both_sides_wrap_and_nothing_is_lost() {
        let directory = tempfile::tempdir().unwrap();
        let namespace = Namespace::create("numbers").unwrap();
        let nginx = Nginx::start(&namespace, "backend7", 8080, &directory.path().join("nginx")).unwrap();
        let content = Content::make(directory.path().join("content"), 3 * u64::from(NEAR)).unwrap();
        nginx.offer_file("object", &content.file).unwrap();
        for (name, server) in [("4", "127.0.0.1:8080"), ("6", "[::1]:8080")] {
            let dial = || {
                let numbered = dial_near_the_wrap(&namespace, server.parse().unwrap()).unwrap();
                assert!(is_near(numbered.client) && is_near(numbered.server));
                numbered.stream
            };
            assert_eq!(download(dial(), "/object").unwrap(), content.digest);
            upload(dial(), &format!("/upload/{name}"), &content).unwrap();
            assert_eq!(digest_of(&nginx.file_of_upload(name)).unwrap(), content.digest);
        }
    }
}

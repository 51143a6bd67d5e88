use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Failure, Namespace, Result};

/// Sends every datagram back from the address and port that it was sent to.
pub struct UdpEcho {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl UdpEcho {
    /// Listens on `port` of these addresses of `namespace`: one socket an address, since on a wildcard socket the
    /// kernel would choose the reply's source by itself.
    ///
    /// # Errors
    /// When an address is not the namespace's or the port is taken.
    pub fn start(namespace: &Namespace, addresses: &[IpAddr], port: u16) -> Result<Self> {
        let mut echo = Self { stop: Arc::default(), received: Arc::default(), threads: Vec::new() };
        for &address in addresses {
            let socket = namespace
                .enter(|| UdpSocket::bind((address, port)))?
                .and_then(|socket| socket.set_read_timeout(Some(Duration::from_millis(50))).map(|()| socket))
                .map_err(Failure::of(format!("cannot listen on {address}")))?;
            let (stop, received) = (Arc::clone(&echo.stop), Arc::clone(&echo.received));
            echo.threads.push(thread::spawn(move || serve(&socket, &stop, &received)));
        }
        Ok(echo)
    }

    /// How many datagrams it has received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &UdpSocket, stop: &AtomicBool, received: &AtomicU64) {
    let mut datagram = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        // Errors are the end of the read timeout and ICMP errors for earlier replies.
        let Ok((length, sender)) = socket.recv_from(&mut datagram) else { continue };
        // Counted first: who has the answer finds it counted.
        received.fetch_add(1, Ordering::Relaxed);
        let _ = socket.send_to(datagram.get(..length).unwrap_or_default(), sender);
    }
}

/// Sends `question` to `server` from a new port in `namespace`: whether it came back unchanged within 10 s.
///
/// # Errors
/// When the socket cannot be opened.
pub fn echoes(namespace: &Namespace, server: SocketAddr, question: &[u8]) -> Result<bool> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = namespace.enter(|| UdpSocket::bind(any))?.map_err(Failure::of("no UDP socket"))?;
    let mut answer = vec![0; 65_536];
    let answered = socket
        .connect(server)
        .and_then(|()| socket.set_read_timeout(Some(Duration::from_secs(10))))
        .and_then(|()| socket.send(question))
        .and_then(|_| socket.recv(&mut answer));
    Ok(answered.is_ok_and(|length| answer.get(..length) == Some(question)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_come_back_over_both_families() {
        let namespace = Namespace::create("echo").unwrap();
        let addresses: [IpAddr; 2] = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let echo = UdpEcho::start(&namespace, &addresses, 7).unwrap();
        for address in addresses {
            assert!(echoes(&namespace, (address, 7).into(), b"question").unwrap(), "{address}");
        }
        assert_eq!(echo.received(), 2);
    }

    #[test]
    fn nobody_answers_where_nobody_listens() {
        let namespace = Namespace::create("echo").unwrap();
        assert!(!echoes(&namespace, "127.0.0.1:7".parse().unwrap(), b"question").unwrap());
    }
}

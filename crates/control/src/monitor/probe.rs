//! One check.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpSocket, time};

use crate::health::Cause;

/// Opens a connection to `target` and resets it.
pub(super) async fn connect(
    target: SocketAddr,
    source: Option<IpAddr>,
    limit: Duration,
) -> Result<(), Cause> {
    match time::timeout(limit, open(target, source)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Cause::from(&error)),
        Err(_) => Err(Cause::TimedOut),
    }
}

async fn open(target: SocketAddr, source: Option<IpAddr>) -> io::Result<()> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    // A reset at the end: no TIME_WAIT, of which there would be one per check for a minute.
    socket.set_zero_linger()?;
    socket.connect(target).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_listener_is_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        assert_eq!(connect(target, None, LIMIT).await, Ok(()));
        assert_eq!(connect(target, Some("127.0.0.2".parse().unwrap()), LIMIT).await, Ok(()));
        let peers: Vec<_> = (0..2).map(|_| listener.accept().unwrap().1.ip().to_string()).collect();
        assert_eq!(peers, ["127.0.0.1", "127.0.0.2"], "the second came from the source that was asked for");
    }

    #[tokio::test]
    async fn nobody_listening_is_a_refusal() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // From another address, so that the kernel cannot connect it to itself.
        let source = Some("127.0.0.2".parse().unwrap());
        assert_eq!(connect(closed, source, LIMIT).await, Err(Cause::Refused));
    }

    #[tokio::test]
    async fn a_source_that_is_not_ours_is_said_to_be_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let source = Some("192.0.2.77".parse().unwrap());
        assert_eq!(connect(target, source, LIMIT).await, Err(Cause::NoLocalAddress));
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_is_given_up_in_time() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let target = listener.local_addr().unwrap();
        // Nobody accepts: once the queue is full, the kernel ignores who knocks.
        let mut result = Ok(());
        for _ in 0..32 {
            result = connect(target, None, Duration::from_millis(200)).await;
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result, Err(Cause::TimedOut));
    }
}

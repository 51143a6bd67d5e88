use std::{
    net::{Shutdown, SocketAddr, TcpStream},
    panic::resume_unwind,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    Answer, Failure, Result,
    http::{head, hear, say},
};

/// What a paced upload sends at once.
const PORTION: usize = 16 << 10;

/// An HTTP exchange that goes on while the test does something else.
pub struct Transfer {
    client: SocketAddr,
    stream: TcpStream,
    thread: JoinHandle<Result<Answer>>,
}

impl Transfer {
    /// Begins to fetch `path` over a connection ([`dial`](super::dial)).
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn get(stream: TcpStream, path: &str) -> Result<Self> {
        let head = head("GET", path, 0);
        Self::start(stream, move |mut stream| {
            say(&mut stream, &[head.as_bytes()])?;
            hear(&mut stream)
        })
    }

    /// Begins to store `body` under `path` over a connection, 16 KiB at a time with a `pause` after each.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn put(stream: TcpStream, path: &str, body: &Arc<Vec<u8>>, pause: Duration) -> Result<Self> {
        let (head, body) = (head("PUT", path, body.len()), Arc::clone(body));
        Self::start(stream, move |mut stream| {
            say(&mut stream, &[head.as_bytes()])?;
            for portion in body.chunks(PORTION) {
                say(&mut stream, &[portion])?;
                thread::sleep(pause);
            }
            hear(&mut stream)
        })
    }

    fn start(
        stream: TcpStream,
        work: impl FnOnce(&TcpStream) -> Result<Answer> + Send + 'static,
    ) -> Result<Self> {
        let client = stream.local_addr().map_err(Failure::of("no address"))?;
        let inside = stream.try_clone().map_err(Failure::of("no second handle"))?;
        Ok(Self { client, stream, thread: thread::spawn(move || work(&inside)) })
    }

    /// The client's address and port.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.client
    }

    /// Whether it still goes on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it broke off, or the server was silent for 30 s.
    pub fn finish(self) -> Result<Answer> {
        self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Breaks it off.
    pub fn abandon(self) {
        let _ = self.stream.shutdown(Shutdown::Both); // it may have ended
        let _ = self.finish();
    }
}

/// Bytes that do not repeat: a different object for each `number`.
#[must_use]
pub fn object(number: u64, length: usize) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(|| {
        // xorshift64, Marsaglia 2003
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::{Namespace, Nginx, dial};

    #[test]
    fn transfers_run_beside_the_test_until_they_are_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let namespace = Namespace::create("nginx").unwrap();
        let nginx = Nginx::start(&namespace, "backend7", 8080, &directory.path().join("nginx")).unwrap();
        let connect = || dial(&namespace, "127.0.0.1:8080".parse().unwrap()).unwrap();
        let body = Arc::new(object(1, 512 << 10));
        nginx.offer("object", &body).unwrap();
        let download = Transfer::get(connect(), "/slow/object").unwrap();
        let upload = Transfer::put(connect(), "/upload/new", &body, Duration::from_millis(10)).unwrap();
        let abandoned = Transfer::get(connect(), "/slow/object").unwrap();
        assert!(download.is_running() && upload.is_running() && abandoned.is_running());
        abandoned.abandon();
        assert_eq!(download.finish().unwrap().body, *body);
        assert_eq!(upload.finish().unwrap().status, 201);
        assert_eq!(nginx.uploaded("new").unwrap(), *body);
    }

    #[test]
    fn objects_differ_by_their_number() {
        assert_eq!(object(1, 1000), object(1, 1000));
        assert_ne!(object(1, 1000), object(2, 1000));
        assert_eq!(object(3, 13).len(), 13);
    }
}

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{Failure, Namespace, Result};

/// How long the other side may be silent.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The backend that gave it (the header `X-Backend`), or nothing.
    pub backend: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Fetches `path` over a new connection from `namespace`.
///
/// # Errors
/// When the connection fails, breaks off, or the server is silent for 30 s.
pub fn get(namespace: &Namespace, server: SocketAddr, path: &str) -> Result<Answer> {
    exchange(namespace, server, "GET", path, &[])
}

/// Stores `body` under `path` over a new connection from `namespace`.
///
/// # Errors
/// As [`get`].
pub fn put(namespace: &Namespace, server: SocketAddr, path: &str, body: &[u8]) -> Result<Answer> {
    exchange(namespace, server, "PUT", path, body)
}

fn exchange(
    namespace: &Namespace,
    server: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<Answer> {
    let what = format!("{method} http://{server}{path}");
    let mut stream = dial(namespace, server)?;
    say(&mut stream, &[head(method, path, body.len()).as_bytes(), body]).map_err(Failure::of(&what))?;
    hear(&mut stream).map_err(Failure::of(&what))
}

/// A connection from `namespace` that gives up when the other side is silent for 30 s.
///
/// # Errors
/// When it does not come about within 30 s.
pub fn dial(namespace: &Namespace, server: SocketAddr) -> Result<TcpStream> {
    let stream = namespace
        .enter(|| TcpStream::connect_timeout(&server, LIMIT))?
        .map_err(Failure::of(format!("no connection to {server}")))?;
    let limits = stream.set_read_timeout(Some(LIMIT)).and_then(|()| stream.set_write_timeout(Some(LIMIT)));
    limits.map_err(Failure::of("no limit"))?;
    Ok(stream)
}

/// The head of a request after which the server closes the connection.
pub(super) fn head(method: &str, path: &str, length: usize) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
}

/// Sends all of it.
pub(super) fn say(stream: &mut impl Write, parts: &[&[u8]]) -> Result<()> {
    parts.iter().try_for_each(|part| stream.write_all(part)).map_err(Failure::of("broken off"))
}

/// What an answer begins with.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) backend: String,
    /// Bytes of the body, where it says.
    pub(super) length: Option<u64>,
}

impl Head {
    /// `None` when it is none.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?;
        let header = |name: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(": "));
            headers.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let length = header("Content-Length").map(str::parse).transpose().ok()?;
        let backend = header("X-Backend").unwrap_or_default().to_owned();
        Some(Self { status: head.split(' ').nth(1)?.parse().ok()?, backend, length })
    }
}

/// Receives the answer, to the end of the connection.
pub(super) fn hear(stream: &mut impl Read) -> Result<Answer> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(Failure::of("broken off"))?;
    let length = answer.len();
    parse(&answer).ok_or_else(|| Failure::new(format!("the answer is incomplete after {length} bytes")))
}

/// `None` when the head does not end or the body is not as long as the head says.
fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, body) = answer.split_at_checked(end + 4)?;
    let head = Head::parse(head)?;
    if head.length.is_some_and(|length| length != body.len() as u64) {
        return None;
    }
    Some(Answer { status: head.status, backend: head.backend, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nX-Backend: backend1\r\n\r\nhello";

    #[test]
    fn an_answer_is_taken_apart() {
        let answer = parse(ANSWER).unwrap();
        assert_eq!(answer, Answer { status: 200, backend: "backend1".into(), body: b"hello".into() });
    }

    #[test]
    fn an_answer_that_breaks_off_is_none() {
        for length in 0..ANSWER.len() {
            assert_eq!(parse(&ANSWER[..length]), None, "{length} bytes");
        }
    }
}

//! Objects that may be larger than memory: they go from file to connection and from connection to digest, and nothing holds them whole.

use std::{
    fs::File,
    io::{self, Read},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{
    Failure, Result,
    http::{Head, head, say},
};

/// A file with bytes that never repeat, and its SHA-256.
pub struct Content {
    /// The file.
    pub file: PathBuf,
    /// Bytes of it.
    pub length: u64,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
}

impl Content {
    /// Makes `file` of `length` random bytes.
    ///
    /// # Errors
    /// When it cannot be written or read.
    pub fn make(file: PathBuf, length: u64) -> Result<Self> {
        let random = File::open("/dev/urandom").map_err(Failure::of("no random bytes"))?;
        let mut new = File::create(&file).map_err(Failure::of(file.display()))?;
        io::copy(&mut random.take(length), &mut new).map_err(Failure::of(file.display()))?;
        let digest = digest_of(&file)?;
        Ok(Self { file, length, digest })
    }
}

/// The SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of(file: &Path) -> Result<String> {
    let mut bytes = File::open(file).map_err(Failure::of(file.display()))?;
    digest(&mut bytes)
}

/// Fetches `path` over a connection ([`dial`](super::dial)): the SHA-256 of what came.
///
/// # Errors
/// When the connection breaks off, the server is silent for 30 s, or its answer is not 200.
pub fn download(mut stream: TcpStream, path: &str) -> Result<String> {
    say(&mut stream, &[head("GET", path, 0).as_bytes()])?;
    let answer = hear_head(&mut stream)?;
    let (200, Some(length)) = (answer.status, answer.length) else {
        return Err(Failure::new(format!("answered with {}", answer.status)));
    };
    digest(&mut stream.take(length))
}

/// Stores a file under `path` over a connection ([`dial`](super::dial)): the name of the backend that took it.
///
/// # Errors
/// When the connection breaks off, the server is silent for 30 s, or its answer is not 201.
pub fn upload(mut stream: TcpStream, path: &str, content: &Content) -> Result<String> {
    let mut file = File::open(&content.file).map_err(Failure::of(content.file.display()))?;
    let length = usize::try_from(content.length).map_err(Failure::of("too long"))?;
    say(&mut stream, &[head("PUT", path, length).as_bytes()])?;
    io::copy(&mut file, &mut stream).map_err(Failure::of("broken off"))?;
    let answer = hear_head(&mut stream)?;
    match answer.status {
        201 => Ok(answer.backend),
        status => Err(Failure::new(format!("answered with {status}"))),
    }
}

/// Receives the head alone: what follows is left in the connection.
fn hear_head(stream: &mut TcpStream) -> Result<Head> {
    const MOST: usize = 4096;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < MOST {
        let mut byte = [0];
        stream.read_exact(&mut byte).map_err(Failure::of("broken off"))?;
        head.extend(byte);
    }
    Head::parse(&head).ok_or_else(|| Failure::new("the answer has no head"))
}

/// All that can be read goes through OpenSSL, which the kernel hands it to: quick in tests, too, which are not optimised.
fn digest(source: &mut impl Read) -> Result<String> {
    let failed = |error| Failure::of("openssl dgst")(error);
    let mut command = Command::new("openssl");
    command.args(["dgst", "-sha256", "-r"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let copied = child.stdin.take().map(|mut input| io::copy(source, &mut input));
    let output = child.wait_with_output().map_err(failed)?;
    copied.transpose().map_err(Failure::of("broken off"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let digest = printed.split_whitespace().next().filter(|digest| digest.len() == 64);
    digest.map(str::to_owned).ok_or_else(|| Failure::new(format!("openssl printed {printed}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::{Namespace, Nginx, dial};

    #[test]
    fn a_file_has_the_digest_that_the_standard_gives() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("abc");
        std::fs::write(&file, "abc").unwrap();
        // FIPS 180-4, example of one block.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest_of(&file).unwrap(), expected);
    }

    #[test]
    fn what_is_stored_and_fetched_has_the_digest_of_what_was_made() {
        let directory = tempfile::tempdir().unwrap();
        let namespace = Namespace::create("nginx").unwrap();
        let nginx = Nginx::start(&namespace, "backend7", 8080, &directory.path().join("nginx")).unwrap();
        let connect = || dial(&namespace, "127.0.0.1:8080".parse().unwrap()).unwrap();
        let content = Content::make(directory.path().join("content"), 3_000_001).unwrap();
        nginx.offer_file("object", &content.file).unwrap();
        assert_eq!(download(connect(), "/object").unwrap(), content.digest);
        assert_eq!(upload(connect(), "/upload/object", &content).unwrap(), "backend7");
        assert_eq!(digest_of(&nginx.file_of_upload("object")).unwrap(), content.digest);
        assert!(download(connect(), "/nothing").unwrap_err().to_string().contains("404"));
    }
}

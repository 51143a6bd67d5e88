use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Child, Failure, Namespace, Result, wait_until};

const CONFIGURATION: &str = "\
daemon off;
worker_processes 1;
user root;
pid @DIRECTORY@/pid;
error_log @DIRECTORY@/error.log;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path @DIRECTORY@/body;
    proxy_temp_path @DIRECTORY@/proxy;
    fastcgi_temp_path @DIRECTORY@/fastcgi;
    uwsgi_temp_path @DIRECTORY@/uwsgi;
    scgi_temp_path @DIRECTORY@/scgi;
    client_max_body_size 0;
    server {
        listen @PORT@ backlog=1024;
        listen [::]:@PORT@ backlog=1024;
        add_header X-Backend @NAME@ always;
        root @DIRECTORY@/files;
        location = / { return 200 @NAME@; }
        location /slow/ { alias @DIRECTORY@/files/; limit_rate 128k; }
        location /upload/ { dav_methods PUT; create_full_put_path on; }
    }
    server {
        listen 8081 proxy_protocol backlog=1024;
        listen [::]:8081 proxy_protocol backlog=1024;
        add_header X-Backend @NAME@ always;
        root @DIRECTORY@/files;
        location = / { return 200 @NAME@; }
        location = /client { return 200 $proxy_protocol_addr; }
        location /upload/ { dav_methods PUT; create_full_put_path on; }
    }
}
";

/// Debian's nginx in a namespace. `/` answers with its name, files that it was given can be fetched, under `/slow/` at
/// 128 KiB/s, and what is PUT under `/upload/` is stored. Every answer has its name in the header `X-Backend`. On port
/// 8081 it wants the header of the PROXY protocol first, and `/client` answers with the address that that one says.
pub struct Nginx {
    child: Child,
    directory: PathBuf,
    port: u16,
}

impl Nginx {
    /// Starts it on `port` of all addresses of `namespace` and returns when it listens. `directory`, which must not
    /// exist yet, will hold its files.
    ///
    /// # Errors
    /// When it does not listen within 30 s, with what it said.
    pub fn start(namespace: &Namespace, name: &str, port: u16, directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory.join("files/upload")).map_err(Failure::of(directory.display()))?;
        let file = directory.join("nginx.conf");
        let configuration = CONFIGURATION
            .replace("@DIRECTORY@", &directory.display().to_string())
            .replace("@PORT@", &port.to_string())
            .replace("@NAME@", name);
        fs::write(&file, configuration).map_err(Failure::of(file.display()))?;
        let child = launch(namespace, port, directory)?;
        Ok(Self { child, directory: directory.to_owned(), port })
    }

    /// Starts it again in `namespace` after [`Nginx::kill`], with the files that it had.
    ///
    /// # Errors
    /// When it does not listen within 30 s, with what it said.
    pub fn restart(&mut self, namespace: &Namespace) -> Result<()> {
        self.child = launch(namespace, self.port, &self.directory)?;
        Ok(())
    }

    /// Makes `content` available under `/NAME`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn offer(&self, name: &str, content: &[u8]) -> Result<()> {
        let file = self.directory.join("files").join(name);
        fs::write(&file, content).map_err(Failure::of(file.display()))
    }

    /// Makes a file available under `/NAME`, on the same file system.
    ///
    /// # Errors
    /// When it cannot be linked.
    pub fn offer_file(&self, name: &str, file: &Path) -> Result<()> {
        fs::hard_link(file, self.directory.join("files").join(name)).map_err(Failure::of(file.display()))
    }

    /// Where that is which was PUT to `/upload/NAME`.
    #[must_use]
    pub fn file_of_upload(&self, name: &str) -> PathBuf {
        self.directory.join("files/upload").join(name)
    }

    /// What was PUT to `/upload/NAME`.
    ///
    /// # Errors
    /// When nothing was.
    pub fn uploaded(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.file_of_upload(name);
        fs::read(&file).map_err(Failure::of(file.display()))
    }

    /// Kills it in the middle of whatever it does.
    pub fn kill(&mut self) {
        self.child.kill();
    }
}

fn launch(namespace: &Namespace, port: u16, directory: &Path) -> Result<Child> {
    let words = format!("nginx -e {0}/error.log -c {0}/nginx.conf", directory.display());
    let child = namespace.spawn(&words, &directory.join("log"))?;
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listens = || matches!(namespace.enter(|| TcpStream::connect(server)), Ok(Ok(_)));
    wait_until(Duration::from_secs(30), "nginx listens", listens)
        .map_err(|failure| Failure::new(format!("{failure}\n{}", child.log())))?;
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netns::{get, put};

    #[test]
    fn nginx_tells_its_name_gives_files_and_takes_files() {
        let directory = tempfile::tempdir().unwrap();
        let namespace = Namespace::create("nginx").unwrap();
        let nginx = Nginx::start(&namespace, "backend7", 8080, &directory.path().join("nginx")).unwrap();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        let answer = get(&namespace, server, "/").unwrap();
        assert_eq!(
            (answer.status, answer.backend.as_str(), &*answer.body),
            (200, "backend7", &b"backend7"[..])
        );
        let object: Vec<u8> = (0..1 << 20).map(|number: u32| number.to_le_bytes()[1]).collect();
        nginx.offer("object", &object).unwrap();
        assert_eq!(get(&namespace, server, "/object").unwrap().body, object);
        assert_eq!(put(&namespace, server, "/upload/new", &object).unwrap().status, 201);
        assert_eq!(nginx.uploaded("new").unwrap(), object);
    }

    #[test]
    fn a_killed_nginx_answers_no_more_until_it_is_started_again() {
        let directory = tempfile::tempdir().unwrap();
        let namespace = Namespace::create("nginx").unwrap();
        let mut nginx = Nginx::start(&namespace, "backend7", 8080, &directory.path().join("nginx")).unwrap();
        nginx.kill();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
        assert!(get(&namespace, server, "/").is_err());
        nginx.restart(&namespace).unwrap();
        assert_eq!(get(&namespace, server, "/").unwrap().body, b"backend7");
    }
}

//! The socket's file: who has it, and that it goes away again.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// Owner and group may read and write, that is connect.
const MODE: u32 = 0o660;

/// A listening unix socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that nobody else's is removed.
    identity: (u64, u64),
}

/// Why there is no socket. What to do about it is the caller's to say.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("{path}: another tidegate answers on this socket", path = path.display())]
    AlreadyRunning {
        /// The socket's path.
        path: PathBuf,
    },
    /// Something else has the name.
    #[error("{path}: exists and is no socket", path = path.display())]
    NotASocket {
        /// The socket's path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("{path}: cannot listen: {source}", path = path.display())]
    Refused {
        /// The socket's path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Socket {
    /// Listens at `path`; makes its directory when there is none, and takes the place of a socket that nobody answers on.
    ///
    /// # Errors
    ///
    /// When somebody answers there, when the name is something else's, or when the system refuses.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let refused = |source| BindError::Refused { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(refused)?;
        }
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(refused)?;
        let socket = Self { listener, path: path.to_owned(), identity: identity(path).map_err(refused)? };
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(refused)?;
        socket.listener.set_nonblocking(true).map_err(refused)?;
        Ok(socket)
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same listener for tokio. Call it within a runtime.
    pub(crate) fn listener(&self) -> io::Result<Arc<tokio::net::UnixListener>> {
        tokio::net::UnixListener::from_std(self.listener.try_clone()?).map(Arc::new)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|present| present == self.identity) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what a process that is gone has left at `path`.
fn clear(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(BindError::NotASocket { path: path.to_owned() }),
        Ok(_) if UnixStream::connect(path).is_ok() => {
            Err(BindError::AlreadyRunning { path: path.to_owned() })
        }
        Ok(_) => fs::remove_file(path).map_err(|source| BindError::Refused { path: path.to_owned(), source }),
        Err(_) => Ok(()), // nothing there, or nothing to be seen: listening will tell
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_file_is_for_owner_and_group_and_goes_away_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made/for/it/tidegate.sock");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_somebody_answers_on_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tidegate.sock");
        let first = Socket::bind(&path).unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindError::AlreadyRunning { .. })));
        assert!(path.exists());
        drop(first);
    }

    #[test]
    fn a_socket_that_nobody_answers_on_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tidegate.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "its process is gone, its file is not");
        Socket::bind(&path).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(matches!(Socket::bind(&path), Err(BindError::NotASocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn the_next_owner_s_file_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tidegate.sock");
        let first = Socket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Socket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
    }
}

//! Settings below `/proc/sys/net`, changed and changed back.

use std::{fs, io, path::PathBuf};

/// A setting that was changed; dropping it restores what was there.
#[derive(Debug)]
pub(super) struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    /// Changes a setting of an interface, `rp_filter` of `ipv4` for one. `None` when it has that value already, or the
    /// kernel has no such setting.
    pub(super) fn change(family: &str, interface: &str, name: &str, value: &str) -> io::Result<Option<Self>> {
        let path = PathBuf::from(format!("/proc/sys/net/{family}/conf/{interface}/{name}"));
        let before = match fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if before == value {
            return Ok(None);
        }
        fs::write(&path, value)?;
        Ok(Some(Self { path, before }))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        // The interface may be gone, and its settings with it.
        let _ = fs::write(&self.path, &self.before);
    }
}

/// The ports from which the kernel takes those of its own connections: the lowest and the highest.
pub(crate) fn local_ports() -> io::Result<(u16, u16)> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")?;
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(high))) => Ok((low, high)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("not two port numbers: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_its_range_of_ports() {
        let (low, high) = local_ports().unwrap();
        assert!(low < high);
    }

    #[test]
    fn a_setting_that_the_kernel_does_not_have_is_left_alone() {
        assert!(Setting::change("ipv4", "no-such-iface", "rp_filter", "1").unwrap().is_none());
    }
}

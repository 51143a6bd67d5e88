//! What a machine tells about itself in files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::kernel;

/// A machine, by its `/sys` and `/proc`.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    root: PathBuf,
}

impl Machine {
    pub(crate) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The text of a file without the space around it; `None` when there is none that can be read.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok().map(|text| text.trim().to_owned())
    }

    /// A file's number.
    pub(crate) fn number(&self, path: &str) -> Option<i64> {
        self.text(path)?.parse().ok()
    }

    /// A file's list of numbers, as in `0-3,6`; none when there is no such file.
    pub(crate) fn list(&self, path: &str) -> Vec<u32> {
        self.text(path).map(|text| numbers(&text)).unwrap_or_default()
    }

    /// Whether there is such a file or directory.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The names in a directory, in their order; none when there is no such directory.
    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join(path)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The last name of where a link leads.
    pub(crate) fn link(&self, path: &str) -> Option<String> {
        let to = fs::read_link(self.root.join(path)).ok()?;
        to.file_name()?.to_str().map(str::to_owned)
    }

    /// Whether an interface joins received frames and cannot be kept from it. Of another machine `ethtool/INTERFACE` has what `ethtool -k` said.
    pub(crate) fn joins_for_good(&self, interface: &str) -> bool {
        const JOINING: [&str; 3] = ["large-receive-offload", "generic-receive-offload", "rx-gro-hw"];
        if self.root == Path::new("/") {
            return kernel::joins_for_good(interface).unwrap_or(false);
        }
        let text = self.text(&format!("ethtool/{interface}")).unwrap_or_default();
        let features = text.lines().filter_map(|line| line.trim().split_once(": "));
        features.into_iter().any(|(name, state)| JOINING.contains(&name) && state == "on [fixed]")
    }
}

/// Reads `0-3,6`.
pub(crate) fn numbers(list: &str) -> Vec<u32> {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.trim().parse::<u32>().ok()?..=last.trim().parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

/// Writes `0-3,6`.
pub(crate) fn as_list(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    let texts = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_they_are_written() {
        assert_eq!(numbers("0-3,6"), [0, 1, 2, 3, 6]);
        assert!(numbers("").is_empty());
        assert_eq!(as_list(&[0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(as_list(&[]), "");
    }
}

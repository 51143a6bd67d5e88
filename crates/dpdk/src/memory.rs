//! Where packet memory comes from: huge pages, and how many of them are free.

use std::fs;
use std::path::Path;

/// Whether packet memory lies in huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// In huge pages when enough are free, otherwise in ordinary pages.
    #[default]
    Auto,
    /// In huge pages, or not at all.
    On,
    /// In ordinary pages: slower, and impossible for hardware without an IOMMU.
    Off,
}

/// Free memory in huge pages of all sizes, in MiB, as the kernel reports it; zero when it has none.
#[must_use]
pub fn free_hugepages_mib() -> u32 {
    free_below(Path::new("/sys/kernel/mm/hugepages"))
}

/// Sums `hugepages-<size>kB/free_hugepages` in `directory`.
fn free_below(directory: &Path) -> u32 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let kib: u64 = entries.flatten().filter_map(|entry| free_kib(&entry.path())).sum();
    u32::try_from(kib / 1024).unwrap_or(u32::MAX)
}

fn free_kib(size: &Path) -> Option<u64> {
    let page_kib: u64 =
        size.file_name()?.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    let free: u64 = fs::read_to_string(size.join("free_hugepages")).ok()?.trim().parse().ok()?;
    free.checked_mul(page_kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_pages_of_all_sizes_are_summed() {
        let directory = tempfile::tempdir().unwrap();
        for (size, free) in [("hugepages-2048kB", "3\n"), ("hugepages-1048576kB", "1\n"), ("other", "9\n")] {
            fs::create_dir(directory.path().join(size)).unwrap();
            fs::write(directory.path().join(size).join("free_hugepages"), free).unwrap();
        }
        assert_eq!(free_below(directory.path()), 3 * 2 + 1024);
    }

    #[test]
    fn a_kernel_without_huge_pages_has_none_free() {
        assert_eq!(free_below(Path::new("/nonexistent")), 0);
    }
}

//! Stamps what `tidegate version` shows: the git commit, if there is one, and DPDK's version. Probes nothing else.

use std::{path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=TIDEGATE_COMMIT={}", commit().unwrap_or_default());
    println!("cargo::rustc-env=TIDEGATE_DPDK={}", dpdk_version().unwrap_or_else(|| "unknown".to_owned()));
}

/// The commit that is checked out, in short; `None` outside a git checkout.
fn commit() -> Option<String> {
    let head = git(&["rev-parse", "--git-path", "HEAD"])?;
    // The log of HEAD changes with each commit; HEAD itself only when another branch is checked out.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    for file in [head, log] {
        if Path::new(&file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The version of the DPDK that is built against.
fn dpdk_version() -> Option<String> {
    let library = pkg_config::Config::new().cargo_metadata(false).probe("libdpdk").ok()?;
    Some(library.version)
}

//! What is generated from the types and committed is what the types say now: `UPDATE=1 cargo test -p config` writes it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

use std::{fs, path::PathBuf};

fn agrees(file: &str, generated: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "{file} has drifted from crates/config; run: UPDATE=1 cargo test -p config"
    );
}

#[test]
fn the_committed_schema_is_the_schema() {
    agrees("dpdk-config/schema.json", &format!("{:#}\n", config::schema()));
}

#[test]
fn the_committed_reference_is_the_reference() {
    agrees("docs/configuration.md", &config::reference());
}

//! The shape of the project: who may use whom, how large things may be, where unsafe may live. What fails here says in a
//! sentence what to do.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on panics")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// What each crate may use of ours; `docs/architecture.md` says why.
const LAYERS: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("model", &[]),
    ("nic", &[]),
    ("meter", &[]),
    ("publish", &[]),
    ("cpu", &[]),
    ("flow", &["wire", "model", "cpu"]),
    ("balance", &["model", "cpu"]),
    ("datapath", &["wire", "model", "flow", "balance", "meter", "nic", "cpu"]),
    ("worker", &["datapath", "model", "publish", "meter", "nic"]),
    ("config", &["model"]),
    ("control", &["config", "model", "balance", "flow", "datapath", "publish", "meter"]),
    ("dpdk-sys", &[]),
    ("dpdk", &["dpdk-sys", "nic"]),
    (
        "tidegate",
        &[
            "wire", "model", "nic", "meter", "publish", "cpu", "flow", "balance", "datapath", "worker",
            "config", "control", "dpdk",
        ],
    ),
    ("testkit", &["wire", "nic", "model", "datapath"]),
];

/// Crates that may contain unsafe blocks; every other forbids them.
const FENCED: &[&str] = &["dpdk-sys", "dpdk", "cpu", "publish"];

/// Lines of production code a file may have without a reason at its top.
const FILE_LINES: usize = 500;
/// Lines of production code of the packet's way: wire, flow, balance, datapath and worker together.
const DATAPATH_LINES: usize = 15_500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Our crates, each with those of ours that its product code uses.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata =
        MetadataCommand::new().no_deps().other_options(vec!["--offline".to_owned()]).exec().unwrap();
    let ours: BTreeSet<String> = metadata.packages.iter().map(|package| package.name.to_string()).collect();
    let used = |package: &cargo_metadata::Package| {
        let used = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        used.map(|dependency| dependency.name.clone()).filter(|name| ours.contains(name)).collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), used(package))).collect()
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The lines of a file before its unit tests.
fn production(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests").next().unwrap()
}

fn is_code(line: &&str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with("//")
}

#[test]
fn dependencies_point_down_only() {
    let allowed: BTreeMap<&str, &[&str]> = LAYERS.iter().copied().collect();
    for (package, used) in dependencies() {
        let Some(allowed) = allowed.get(package.as_str()) else {
            panic!(
                "`{package}` has no place among the layers: give it one in tests/layers.rs and docs/architecture.md"
            );
        };
        for name in used {
            assert!(
                allowed.contains(&name.as_str()),
                "`{package}` uses `{name}`, which is not below it: move what it needs down, or pass it in from above"
            );
        }
    }
}

#[test]
fn unsafe_code_stays_behind_the_fence() {
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let top = ["lib.rs", "main.rs"]
            .map(|file| folder.join("src").join(file))
            .into_iter()
            .find(|file| file.exists());
        let text = fs::read_to_string(top.unwrap()).unwrap();
        if FENCED.contains(&name.as_str()) {
            let packed: String = text.split_whitespace().collect();
            assert!(
                packed.contains("#![allow(unsafe_code,reason="),
                "`{name}` opens with #![allow(unsafe_code, reason = …)]"
            );
        } else {
            assert!(text.contains("#![forbid(unsafe_code)]"), "`{name}` opens with #![forbid(unsafe_code)]");
        }
    }
}

#[test]
fn only_dpdk_names_dpdk_sys() {
    for file in sources(&root().join("crates")) {
        let inside =
            file.components().any(|part| matches!(part.as_os_str().to_str(), Some("dpdk" | "dpdk-sys")));
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            inside || !text.contains("dpdk_sys"),
            "{} names dpdk_sys: ask `dpdk` for what it needs",
            file.display()
        );
    }
}

#[test]
fn files_stay_small() {
    for file in sources(&root().join("crates")) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = production(&text).lines().count();
        let has_reason = text.lines().take(10).any(|line| line.contains("Long because"));
        assert!(
            lines <= FILE_LINES || has_reason,
            "{} has {lines} lines: split it, or say at its top `Long because …`",
            file.display()
        );
    }
}

#[test]
fn the_packets_way_stays_rewritable_by_one_engineer_in_a_month() {
    let crates = ["wire", "flow", "balance", "datapath", "worker"];
    let files = crates.iter().flat_map(|name| sources(&root().join("crates").join(name).join("src")));
    let lines: usize = files
        .map(|file| production(&fs::read_to_string(file).unwrap()).lines().filter(is_code).count())
        .sum();
    assert!(
        lines <= DATAPATH_LINES,
        "{lines} lines: delete some, or raise the budget with a decision record"
    );
}

#[test]
fn the_glossarys_words_are_used() {
    for file in sources(&root().join("crates")) {
        let text = fs::read_to_string(&file).unwrap();
        let inside =
            file.components().any(|part| matches!(part.as_os_str().to_str(), Some("dpdk" | "dpdk-sys")));
        for word in ["pkt", "hdr", "cfg", "mgr", "ctx", "buf"] {
            let uses = |line: &str| {
                line.split(|letter: char| !letter.is_ascii_alphanumeric()).any(|part| part == word)
                    && !line.contains("cfg(")
                    && !line.contains("cfg_attr")
                    && !line.trim_start().starts_with("//")
            };
            let found = text.lines().position(uses);
            assert!(
                inside || found.is_none(),
                "{}:{}: `{word}` is not a word of ours; docs/architecture.md has the glossary",
                file.display(),
                found.unwrap_or_default() + 1
            );
        }
    }
}

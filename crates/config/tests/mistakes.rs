//! What is wrong with a file, and that it is told well: `mistakes/NAME.yaml` and the message that it gets, `NAME.txt`.
//!
//! After a change of messages: `UPDATE=1 cargo test -p config`, then read the difference as an operator would.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

use std::{collections::BTreeSet, fs, path::PathBuf};

fn cases() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/mistakes");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn message(path: &PathBuf) -> config::Mistakes {
    let text = fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    config::parse(&text, name).expect_err(name)
}

#[test]
fn every_mistake_gets_its_message() {
    for path in cases() {
        let found = format!("{}\n", message(&path));
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(found, expected, "{} differs; see the top of {}", golden.display(), file!());
    }
}

#[test]
fn at_least_sixty_messages_are_distinct() {
    let messages: BTreeSet<String> = cases()
        .iter()
        .flat_map(|path| message(path).iter().map(|m| m.message.clone()).collect::<Vec<_>>())
        .collect();
    assert!(messages.len() >= 60, "only {}", messages.len());
}

#[test]
fn a_case_is_about_the_one_thing_in_its_name() {
    for path in cases() {
        let several = ["ten_mistakes", "full_nat_without_source_address"]
            .iter()
            .any(|name| path.ends_with(format!("{name}.yaml")));
        assert_eq!(message(&path).len() == 1, !several, "{}: {}", path.display(), message(&path));
    }
}

#[test]
fn ten_mistakes_are_told_at_once_in_the_order_of_their_lines() {
    let path = cases().into_iter().find(|path| path.ends_with("ten_mistakes.yaml")).unwrap();
    let mistakes = message(&path);
    assert_eq!(mistakes.len(), 10, "{mistakes}");
    let lines: Vec<usize> = mistakes.iter().map(|mistake| mistake.line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

//! Files that want to hurt: whatever they say, the answer is a list of mistakes, soon.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may")]

use std::time::{Duration, Instant};

use proptest::prelude::*;

const EXAMPLE: &str = include_str!("../src/example.yaml");

/// Generous: what is not bounded takes minutes or all memory.
const SOON: Duration = Duration::from_secs(600);

fn refused_soon(text: &str) -> config::Mistakes {
    let start = Instant::now();
    let mistakes = config::parse(text, "hostile.yaml").expect_err("it is wrong");
    let shown = mistakes.to_string();
    assert!(start.elapsed() < SOON, "took {:?}", start.elapsed());
    assert!(shown.len() < 1 << 20, "{} bytes of messages", shown.len());
    mistakes
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = "version: 1\na: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (before, letter) in ('a'..='y').zip('b'..='z') {
        let tenfold = format!("*{before}, ").repeat(10);
        bomb.push_str(&format!("{letter}: &{letter} [{tenfold}]\n"));
    }
    let mistakes = refused_soon(&bomb);
    assert!(mistakes.iter().any(|mistake| mistake.message.contains("aliases")), "{mistakes}");
}

#[test]
fn a_file_that_is_too_large_is_refused_unread() {
    let mistakes = refused_soon(&"#".repeat((16 << 20) + 1));
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes.iter().all(|mistake| mistake.message.contains("16 MiB")), "{mistakes}");
}

#[test]
fn deep_nesting_is_refused() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000)] {
        assert_eq!(refused_soon(&text).len(), 1);
    }
}

#[test]
fn very_many_mistakes_are_counted_and_a_hundred_told() {
    let text = format!("version: 1\n{}", (0..100_000).map(|n| format!("key{n}: 1\n")).collect::<String>());
    let mistakes = refused_soon(&text);
    assert_eq!((mistakes.iter().count(), mistakes.len()), (100, 100_001));
    assert!(mistakes.to_string().ends_with("100001 mistakes, 99901 of them not shown"));
}

#[test]
fn very_many_values_are_refused() {
    let text = format!("version: [{}]", "a,".repeat(2_500_000));
    assert!(refused_soon(&text).to_string().contains("more values"));
}

#[test]
fn very_many_networks_backends_and_references_are_checked_soon() {
    let list = |item: &dyn Fn(u32) -> String| (0..20_000).map(item).collect::<String>();
    let ip = |n: u32| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    let text = format!(
        "version: 1\nports:\n- name: a\n  device: net_null0\n  addresses: [192.0.2.2/24]\n  routes:\n{}pools:\n- name: p\n  backends:\n{}virtual_servers:\n{}",
        list(&|n| format!("  - {{ to: {}/32, via: [192.0.2.1] }}\n", ip(n))),
        list(&|n| format!("  - {{ address: '{}:80' }}\n", ip(n))),
        list(&|n| format!(
            "- {{ name: v{n}, address: {}, port: 1, protocol: tcp, mode: dsr, pool: q{n} }}\n",
            ip(n + 99_999)
        )),
    );
    assert!(refused_soon(&text).len() >= 20_000);
}

#[test]
fn a_long_line_and_control_characters_do_not_reach_the_terminal() {
    for text in [format!("version: \"{}\"", "x".repeat(1 << 20)), "version: \"\\e[2J\u{9b}2J\"".to_owned()] {
        let shown = refused_soon(&text).to_string();
        assert!(shown.len() < 2_000, "{shown}");
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n'), "{shown:?}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let missing = config::read(&folder.path().join("missing.yaml")).unwrap_err();
    assert!(missing.to_string().contains("check the path"), "{missing}");
    let is_a_folder = config::read(folder.path()).unwrap_err();
    assert!(is_a_folder.to_string().contains("cannot read"), "{is_a_folder}");
    let binary = folder.path().join("binary.yaml");
    std::fs::write(&binary, b"version: 1\n\xff\xfe").unwrap();
    let not_text = config::read(&binary).unwrap_err();
    assert!(not_text.to_string().contains("line 2 of"), "{not_text}");
}

#[test]
fn mistakes_are_data_too() {
    let mistakes = config::parse("version: 2\nports: []\n", "a.yaml").unwrap_err();
    let data = serde_json::to_value(&mistakes).unwrap();
    assert_eq!(data["file"], "a.yaml");
    assert_eq!(data["mistakes"][0]["line"], 1);
    assert_eq!(data["mistakes"][0]["column"], 10);
    assert_eq!(data["mistakes"][1]["message"], "`ports` is empty");
    assert!(mistakes.render(true).contains("\u{1b}["));
}

/// A change to a text: a stretch of characters goes, another comes.
#[derive(Clone, Debug)]
struct Change {
    at: prop::sample::Index,
    length: usize,
    with: String,
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let word = prop_oneof![
        "[ -~\n\t]{0,6}",
        prop::sample::select(vec![
            "- ", "{", "}", "[", "]", ": ", "\"", "'", "*a", "&a ", "!x ", "\n---\n", "|\n", "~", "é", "#",
            "<<: "
        ])
        .prop_map(str::to_owned),
    ];
    let change = (any::<prop::sample::Index>(), 0..8_usize, word);
    prop::collection::vec(change.prop_map(|(at, length, with)| Change { at, length, with }), 1..6)
}

fn changed(text: &str, changes: &[Change]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for Change { at, length, with } in changes {
        let start = at.index(characters.len() + 1);
        let end = (start + length).min(characters.len());
        characters.splice(start..end, with.chars());
    }
    characters.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_file_changed_at_random_is_right_or_has_mistakes_that_can_be_shown(changes in changes()) {
        let text = changed(EXAMPLE, &changes);
        if let Err(mistakes) = config::parse(&text, "changed.yaml") {
            let lines = text.lines().count() + 1;
            prop_assert!(mistakes.len() > 0);
            for mistake in &mistakes {
                prop_assert!((1..=lines).contains(&mistake.line), "{mistake:?} of {lines} lines");
                prop_assert!(mistake.column >= 1 && !mistake.remedy.is_empty(), "{mistake:?}");
                prop_assert!(!mistake.message.contains("cannot be understood"), "{mistake:?}");
            }
            prop_assert!(!mistakes.to_string().is_empty());
        }
    }

    #[test]
    fn half_of_a_file_never_hurts(end in any::<prop::sample::Index>()) {
        let characters: Vec<char> = EXAMPLE.chars().collect();
        let half: String = characters.iter().take(end.index(characters.len())).collect();
        if let Err(mistakes) = config::parse(&half, "half.yaml") {
            prop_assert!(!mistakes.to_string().is_empty());
        }
    }
}

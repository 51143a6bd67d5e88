//! Configuration files: whatever they say, the answer is a configuration, or mistakes that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;

/// Bytes of messages at most.
const SHOWN: usize = 1 << 20;

fuzz_target!(|text: &str| {
    let Err(mistakes) = config::parse(text, "fuzz.yaml") else { return };
    assert!(mistakes.len() > 0);
    // A carriage return alone ends a line too (YAML 1.2.2, 5.4).
    let lines = text.matches(['\n', '\r']).count() + 1;
    for mistake in &mistakes {
        assert!((1..=lines).contains(&mistake.line), "{mistake:?} of {lines} lines");
        assert!(
            mistake.column >= 1 && !mistake.message.is_empty() && !mistake.remedy.is_empty(),
            "{mistake:?}"
        );
    }
    let shown = mistakes.to_string();
    assert!(!shown.is_empty() && shown.len() < SHOWN);
    assert!(!shown.contains(|character: char| character.is_control() && character != '\n'), "{shown:?}");
});

//! Findings, and how they are shown.

use serde::Serialize;

use crate::table::WIDTH;

/// How bad it is; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// The gateway does not start, or a port of it does not work.
    Error,
    /// It works, and is slower than it could be, or loses packets.
    Warning,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// What was looked at, in a word.
    pub(crate) check: &'static str,
    /// What is the matter with whom.
    pub(crate) finding: String,
    /// The command that helps, or what to write into the configuration.
    pub(crate) remedy: String,
}

impl Finding {
    pub(crate) fn error(check: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { severity: Severity::Error, check, finding: finding.into(), remedy: remedy.into() }
    }

    pub(crate) fn warning(
        check: &'static str,
        finding: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, check, finding: finding.into(), remedy: remedy.into() }
    }

    /// Its lines for people: a remedy can be copied to a shell, however many lines it has.
    pub(crate) fn lines(&self) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let head = format!("{severity:<9}{:<11}", self.check);
        let mut text = String::new();
        for (number, line) in wrap(&self.finding, WIDTH - head.len(), "").into_iter().enumerate() {
            let before = if number == 0 { head.clone() } else { " ".repeat(head.len()) };
            text += &format!("{before}{line}\n");
        }
        for line in wrap(&self.remedy, WIDTH - INDENT.len(), " \\") {
            text += &format!("{INDENT}{line}\n");
        }
        text
    }
}

/// Before a remedy.
const INDENT: &str = "    ";

/// Cuts a text into lines of at most `width` between words, but not within quotes. All lines but the last end with `going_on`.
fn wrap(text: &str, width: usize, going_on: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words(text) {
        let Some(line) = lines.last_mut() else { break };
        if line.is_empty() {
            *line = word.to_owned();
        } else if line.chars().count() + 1 + word.chars().count() + going_on.len() <= width {
            *line += &format!(" {word}");
        } else {
            *line += going_on;
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Splits at spaces that are in no quotes.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    text.split(move |letter: char| {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
        quote.is_none() && letter == ' '
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_finding_goes_on_below_itself_and_its_remedy_stays_a_command() {
        let remedy = format!("first {} 'two words' {}", "x".repeat(60), "y".repeat(40));
        let text = Finding::warning("memory", "word ".repeat(30).trim_end(), remedy.clone()).lines();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        let command = text.lines().skip(2).collect::<Vec<_>>().join("\n").replace(" \\\n   ", "");
        assert_eq!(command.trim(), remedy);
    }

    #[test]
    fn quoted_words_stay_together() {
        assert_eq!(words("a 'b c' \"d 'e\" f").collect::<Vec<_>>(), ["a", "'b c'", "\"d 'e\"", "f"]);
    }
}

//! Mistakes: collected while reading, told all at once.

use std::fmt;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::tree::Span;

/// Mistakes that are rendered at most; the rest is counted.
const SHOWN: usize = 100;
/// Bytes of the longest line that is shown.
const LONGEST_LINE: usize = 2000;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The line, from 1; 0 when the file could not be read.
    pub line: usize,
    /// The character in the line, from 1; 0 when the file could not be read.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    #[serde(skip)]
    span: Span,
}

/// Everything that is wrong with a file, in the order of its lines.
#[derive(Clone, Debug)]
pub struct Mistakes {
    name: String,
    text: String,
    all: Vec<Mistake>,
}

/// Mistakes while they are being found, in any order.
#[derive(Debug, Default)]
pub(crate) struct Found(Vec<(Span, String, String)>);

impl Found {
    /// Adds one.
    pub(crate) fn add(&mut self, span: Span, message: impl Into<String>, remedy: impl Into<String>) {
        self.0.push((span, message.into(), remedy.into()));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them with their lines and columns. What is found twice, through an alias, is told once.
    pub(crate) fn told(mut self, name: &str, text: &str) -> Mistakes {
        self.0.sort_by_key(|(span, ..)| *span);
        self.0.dedup();
        let mut place = Place { line: 1, column: 1, offset: 0 };
        let all = self.0.into_iter().map(|(span, message, remedy)| {
            place.advance(text, span.start);
            Mistake { line: place.line, column: place.column, message, remedy, span }
        });
        let all = all.collect();
        Mistakes { name: name.to_owned(), text: text.to_owned(), all }
    }
}

/// A place that moves forward through a text, so that all mistakes together cost one reading of it.
struct Place {
    line: usize,
    column: usize,
    offset: usize,
}

impl Place {
    fn advance(&mut self, text: &str, to: usize) {
        let passed = text.get(self.offset..to).unwrap_or_default();
        for c in passed.chars() {
            if c == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.offset = self.offset.max(to);
    }
}

impl Mistakes {
    /// A file that could not be read.
    pub(crate) fn unreadable(name: &str, message: String, remedy: String) -> Self {
        let span = Span::default();
        let mistake = Mistake { line: 0, column: 0, message, remedy, span };
        Self { name: name.to_owned(), text: String::new(), all: vec![mistake] }
    }

    /// The mistakes in the order of their lines; at least one.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.all.iter()
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.all.len()
    }

    /// A JSON array with `line`, `column`, `message` and `remedy` of each.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.all).unwrap_or_default()
    }

    /// Each with the line it is in and its remedy, for a person; with colours for a terminal if asked.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut text = String::new();
        for mistake in self.all.iter().take(SHOWN) {
            text.push_str(&self.report(mistake, &renderer));
            text.push_str("\n\n");
        }
        let hidden = self.all.len().saturating_sub(SHOWN);
        if hidden > 0 {
            text.push_str(&format!("and {hidden} more\n"));
        }
        match self.all.len() {
            1 => text.push_str(&format!("{}: 1 mistake\n", self.name)),
            count => text.push_str(&format!("{}: {count} mistakes\n", self.name)),
        }
        text
    }

    fn report(&self, mistake: &Mistake, renderer: &Renderer) -> String {
        let group = Level::ERROR.primary_title(mistake.message.as_str());
        let remedy = Level::HELP.message(mistake.remedy.as_str());
        if mistake.line == 0 {
            return renderer.render(&[group.element(Origin::path(self.name.as_str())).element(remedy)]);
        }
        let start = self.text.get(..mistake.span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let line = self.text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
        if line.len() > LONGEST_LINE {
            let place = Origin::path(self.name.as_str()).line(mistake.line).char_column(mistake.column);
            return renderer.render(&[group.element(place).element(remedy)]);
        }
        let begin = mistake.span.start.saturating_sub(start).min(line.len());
        let end = mistake.span.end.saturating_sub(start).min(line.len()).max(begin);
        let marked = line.get(begin..end).map_or(begin..begin, |marked| begin..begin + marked.trim_end().len());
        let snippet = Snippet::source(line)
            .line_start(mistake.line)
            .path(self.name.as_str())
            .annotation(AnnotationKind::Primary.span(marked));
        renderer.render(&[group.element(snippet).element(remedy)])
    }
}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Mistakes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters() {
        let text = "a: ä\nbü: x\n";
        let mut found = Found::default();
        let x = text.find('x').unwrap();
        found.add(Span { start: x, end: x + 1 }, "second", "-");
        found.add(Span { start: 3, end: 5 }, "first", "-");
        let told = found.told("f", text);
        let places: Vec<_> = told.iter().map(|m| (m.line, m.column, m.message.as_str())).collect();
        assert_eq!(places, [(1, 4, "first"), (2, 5, "second")]);
    }
}

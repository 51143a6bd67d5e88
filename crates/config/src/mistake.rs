//! Mistakes: found in any order, shown in the order of the file.

use std::{fmt, io, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use crate::tree::Span;

/// Mistakes that are kept; beyond that they are only counted.
const MAX_KEPT: usize = 100;
/// Bytes of a line that is shown.
const MAX_LINE: usize = 4_096;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// The line, from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 when it is about the file as a whole.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The bytes of the file that it is about.
    #[serde(skip)]
    bytes: Range<usize>,
}

/// All that is wrong with a file, in the order of its lines; never empty.
#[derive(Clone, Debug, Serialize)]
pub struct Mistakes {
    file: String,
    mistakes: Vec<Mistake>,
    /// Mistakes beyond those kept.
    more: usize,
    #[serde(skip)]
    text: String,
}

impl Mistakes {
    pub(crate) fn unreadable(file: &str, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "check the path".to_owned(),
            io::ErrorKind::PermissionDenied => {
                format!("give this user permission to read it: chmod o+r {file}")
            }
            io::ErrorKind::IsADirectory => "name a file in it".to_owned(),
            _ => "check the path and the disk".to_owned(),
        };
        Self::whole_file(file, format!("cannot read {file}: {error}"), remedy)
    }

    pub(crate) fn not_text(file: &str, bytes: &[u8], valid: usize) -> Self {
        let before = bytes.get(..valid).unwrap_or_default();
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let message = format!("line {line} of {file} is not UTF-8 text");
        Self::whole_file(file, message, "save the file as UTF-8".to_owned())
    }

    fn whole_file(file: &str, message: String, remedy: String) -> Self {
        let mistake = Mistake { line: 0, column: 0, message, remedy, bytes: 0..0 };
        Self { file: file.to_owned(), mistakes: vec![mistake], more: 0, text: String::new() }
    }

    /// The mistakes in the order of their lines. Of a file with very many only the first hundred found.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.mistakes.iter()
    }

    /// How many there are, also those not kept. Never 0.
    #[expect(clippy::len_without_is_empty, reason = "there is always at least one")]
    #[must_use]
    pub fn len(&self) -> usize {
        self.mistakes.len() + self.more
    }

    /// For a person: each with its snippet and remedy, then their number. `color` adds ANSI sequences.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for mistake in &self.mistakes {
            out.push_str(&renderer.render(&[self.group(mistake)]));
            out.push_str("\n\n");
        }
        let s = if self.len() == 1 { "" } else { "s" };
        out.push_str(&format!("{}: {} mistake{s}", self.file, self.len()));
        if self.more > 0 {
            out.push_str(&format!(", {} of them not shown", self.more));
        }
        out
    }

    fn group<'a>(&'a self, mistake: &'a Mistake) -> Group<'a> {
        let title = Group::with_title(Level::ERROR.primary_title(mistake.message.as_str()));
        let help = Level::HELP.message(mistake.remedy.as_str());
        let file = self.file.as_str();
        match self.snippet(mistake) {
            _ if mistake.line == 0 => title,
            Some((line, span)) => {
                let source = Snippet::source(line).line_start(mistake.line).path(file);
                title.element(source.annotation(AnnotationKind::Primary.span(span)))
            }
            None => title.element(Origin::path(file).line(mistake.line).char_column(mistake.column)),
        }
        .element(help)
    }

    /// The line of a mistake and the bytes of it that are marked. `None` for a line that is no sight for a terminal.
    fn snippet(&self, mistake: &Mistake) -> Option<(&str, Range<usize>)> {
        let before = self.text.get(..mistake.bytes.start)?;
        let begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text.get(begin..)?.lines().next().unwrap_or_default();
        let start = (mistake.bytes.start - begin).min(line.len());
        let end = mistake.bytes.end.saturating_sub(begin).clamp(start, line.len());
        let end = if line.is_char_boundary(end) { end } else { line.len() };
        let showable = line.len() <= MAX_LINE && !line.contains(|c: char| c.is_control() && c != '\t');
        showable.then_some((line, start..end))
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

/// Where a node of the tree was written; an index into [`Findings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) u32);

/// The mistakes found so far, and the places to which later steps can point.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    mistakes: Vec<Mistake>,
    more: usize,
    places: Vec<Span>,
}

impl Findings {
    pub(crate) fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// Reports a mistake at a span.
    pub(crate) fn add(&mut self, span: Span, message: impl Into<String>, remedy: impl Into<String>) {
        if self.mistakes.len() == MAX_KEPT {
            self.more += 1;
            return;
        }
        self.mistakes.push(Mistake {
            line: span.line as usize,
            column: span.column as usize,
            message: message.into(),
            remedy: remedy.into(),
            bytes: span.start as usize..span.end as usize,
        });
    }

    /// Reports a mistake at a place.
    pub(crate) fn add_at(&mut self, place: Place, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(self.span(place), message, remedy);
    }

    /// A remedy that takes work to find, while there is room for it.
    pub(crate) fn remedy(&self, find: impl FnOnce() -> String) -> String {
        if self.mistakes.len() < MAX_KEPT { find() } else { String::new() }
    }

    /// Remembers a span under a place.
    pub(crate) fn place(&mut self, span: Span) -> Place {
        // The tree has fewer nodes than a u32 can count.
        let place = Place(self.places.len() as u32);
        self.places.push(span);
        place
    }

    /// The line of a place, from 1.
    pub(crate) fn line(&self, place: Place) -> u32 {
        self.span(place).line
    }

    fn span(&self, place: Place) -> Span {
        self.places.get(place.0 as usize).copied().unwrap_or_default()
    }

    pub(crate) fn into_mistakes(mut self, name: &str, text: &str) -> Mistakes {
        self.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        Mistakes { file: name.to_owned(), mistakes: self.mistakes, more: self.more, text: text.to_owned() }
    }
}

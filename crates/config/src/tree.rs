//! YAML as a tree whose nodes know where they were written.
//!
//! Whatever the file says, it is read in one pass, without recursion and within the limits below. Aliases are refused, so
//! that no file can mean more than it says.

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span as YamlSpan};

use crate::mistake::Findings;

/// Bytes of a file.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Lists and maps inside each other.
const MAX_DEPTH: usize = 32;
/// Values, keys and ends of lists and maps.
const MAX_EVENTS: usize = 2_000_000;

/// A stretch of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    /// Its first byte.
    pub(crate) start: u32,
    /// The byte after its last.
    pub(crate) end: u32,
    /// The line of its first byte, from 1.
    pub(crate) line: u32,
    /// The column of its first byte in characters, from 1.
    pub(crate) column: u32,
}

/// The beginning of the file.
const TOP: Span = Span { start: 0, end: 0, line: 1, column: 1 };

impl From<YamlSpan> for Span {
    fn from(span: YamlSpan) -> Self {
        let bytes = span.byte_range().unwrap_or_default();
        // A file is shorter than a u32 can count.
        Self {
            start: bytes.start as u32,
            end: bytes.end as u32,
            line: span.start.line() as u32,
            column: span.start.col() as u32 + 1,
        }
    }
}

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// `plain`: without quotes, so it may be a number, a boolean or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Was refused and reported.
    Refused,
}

#[derive(Debug)]
pub(crate) struct Entry {
    /// `None`: was refused and reported.
    pub(crate) key: Option<String>,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

/// Reads the one document of `text`.
///
/// `None`: it is not YAML, or more than the limits allow, and that was reported.
pub(crate) fn read(text: &str, findings: &mut Findings) -> Option<Node> {
    if text.len() > MAX_BYTES {
        let message = format!("the file is larger than {} MiB", MAX_BYTES >> 20);
        findings.add(TOP, message, "check that this is the file you meant");
        return None;
    }
    let mut options = Options::default();
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.take(event, span.into(), findings)?,
            Err(error) => {
                report_syntax(&error, findings);
                return None;
            }
        }
    }
    if builder.root.is_none() {
        let remedy = "start with `version: 1`, then `ports`, `pools` and `virtual_servers`";
        findings.add(TOP, "the file is empty", remedy);
    }
    builder.root
}

/// What was opened and not yet closed, and the finished root.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    events: usize,
    documents: usize,
}

/// A list or map whose end was not yet seen.
struct Open {
    node: Node,
    /// In a map: the key that waits for its value.
    key: Option<(Option<String>, Span)>,
}

impl Builder {
    /// `None`: reading ends here, for a reason that was reported.
    fn take(&mut self, event: Event<'_>, span: Span, findings: &mut Findings) -> Option<()> {
        self.events += 1;
        if self.events > MAX_EVENTS {
            let remedy = "split it over several gateways";
            findings.add(span, "the file has more values than a gateway can use", remedy);
            return None;
        }
        match event {
            Event::DocumentStart(..) => self.document(span, findings)?,
            Event::Scalar(_, _, _, Some(_)) => {
                report_tag(span, findings);
                self.value(Node { span, content: Content::Refused }, findings);
            }
            Event::Scalar(text, style, _, None) => {
                let content = Content::Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                self.value(Node { span, content }, findings);
            }
            Event::Alias(_) => {
                let remedy = "write the value out where it is used";
                findings.add(span, "YAML aliases (`*name`) are not accepted", remedy);
                self.value(Node { span, content: Content::Refused }, findings);
            }
            Event::SequenceStart(_, _, tag) => {
                self.begin(span, Content::List(Vec::new()), tag.is_some(), findings)?;
            }
            Event::MappingStart(_, _, tag) => {
                self.begin(span, Content::Map(Vec::new()), tag.is_some(), findings)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(done) = self.open.pop() {
                    self.value(done.node, findings);
                }
            }
            _ => {}
        }
        Some(())
    }

    fn document(&mut self, span: Span, findings: &mut Findings) -> Option<()> {
        self.documents += 1;
        if self.documents > 1 {
            findings.add(span, "a second YAML document begins here", "remove everything from this `---` on");
            return None;
        }
        Some(())
    }

    fn begin(&mut self, span: Span, content: Content, tagged: bool, findings: &mut Findings) -> Option<()> {
        if tagged {
            report_tag(span, findings);
        }
        if self.open.len() == MAX_DEPTH {
            report_depth(span, findings);
            return None;
        }
        self.open.push(Open { node: Node { span, content }, key: None });
        Some(())
    }

    /// Puts a finished node where it belongs: into the innermost open list or map, as its next item, key or value.
    fn value(&mut self, node: Node, findings: &mut Findings) {
        let Some(parent) = self.open.last_mut() else {
            self.root.get_or_insert(node);
            return;
        };
        match (&mut parent.node.content, parent.key.take()) {
            (Content::List(items), _) => items.push(node),
            (Content::Map(entries), Some((key, key_span))) => {
                entries.push(Entry { key, key_span, value: node });
            }
            (_, None) => {
                let span = node.span;
                parent.key = Some((key_text(node, findings), span));
            }
            _ => {}
        }
    }
}

fn key_text(node: Node, findings: &mut Findings) -> Option<String> {
    match node.content {
        Content::Scalar { text, .. } => Some(text),
        Content::Refused => None,
        _ => {
            findings.add(node.span, "a key must be a word", "write `key: value`");
            None
        }
    }
}

fn report_tag(span: Span, findings: &mut Findings) {
    findings.add(span, "YAML tags are not accepted", "remove the `!` and the word after it");
}

fn report_depth(span: Span, findings: &mut Findings) {
    let message = format!("lists and maps are nested more than {MAX_DEPTH} deep");
    findings.add(span, message, "no key needs that; look for a bracket that was not closed");
}

/// What is not YAML: one message, since nothing after it can be trusted.
fn report_syntax(error: &ScanError, findings: &mut Findings) {
    let marker = error.marker();
    let start = marker.byte_offset().unwrap_or_default() as u32;
    let (line, column) = (marker.line().max(1) as u32, marker.col() as u32 + 1);
    let span = Span { start, end: start + 1, line, column };
    let remedy = match error.kind() {
        ErrorKind::RecursionLimitExceeded => return report_depth(span, findings),
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
            "indent with spaces"
        }
        ErrorKind::UnclosedQuotedScalar => "close the quote",
        ErrorKind::UnclosedFlowCollection { open: '{' } => "close it with `}`",
        ErrorKind::UnclosedFlowCollection { .. } => "close it with `]`",
        ErrorKind::UnknownAnchor => "write the value out where it is used",
        _ => "look at this line and the one before it: indentation, colons, brackets and quotes",
    };
    findings.add(span, format!("this is not YAML: {}", error.info()), remedy);
}

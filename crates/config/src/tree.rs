//! A YAML text as a tree in which every key and value knows its place.
//!
//! Nothing is judged here but YAML itself: an integer is an integer, whatever the key wants. Duplicate keys are kept,
//! so that the one who knows the keys can complain. Size, nesting and aliases are bounded.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_yaml::{
    Location, Options, Spanned,
    options::{DuplicateKeyPolicy, NonFiniteFloatPolicy},
};

/// Bytes of a file at most.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Lists and objects inside each other at most.
pub(crate) const MAX_DEPTH: usize = 32;

/// A range of bytes of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A value with its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> At<T> {
    /// The same place with another value.
    pub(crate) fn with<U>(&self, value: U) -> At<U> {
        At { value, span: self.span }
    }
}

/// A value as YAML sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Null,
    Flag(bool),
    Integer(i128),
    /// A number that is not whole, or too long for one.
    Number,
    Text(String),
    List(Vec<At<Node>>),
    Map(Vec<(At<String>, At<Node>)>),
}

/// What is wrong with the text as YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) remedy: &'static str,
}

/// Reads a text; an empty one is an empty map.
pub(crate) fn parse(text: &str) -> Result<At<Node>, SyntaxError> {
    if text.len() > MAX_BYTES {
        return Err(SyntaxError {
            span: Span::default(),
            message: format!("the file has {} bytes; {MAX_BYTES} are the most that is read", text.len()),
            remedy: "split the gateway in several, or generate a shorter file",
        });
    }
    let root: Spanned<Node> = serde_yaml::from_str_with_options(text, options()).map_err(|error| syntax(&error))?;
    Ok(match at(root) {
        At { value: Node::Null, span } => At { value: Node::Map(Vec::new()), span },
        other => other,
    })
}

fn options() -> Options {
    serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 1,
            max_nodes: 4_000_000,
            max_events: 8_000_000,
            max_aliases: 10_000,
            max_anchors: 10_000,
            max_buffered_comment_events: 1_000_000,
        },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: 100_000, max_replay_stack_depth: 8 },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_floats: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        emit_comments: false,
        with_snippet: false,
    }
}

fn syntax(error: &serde_yaml::Error) -> SyntaxError {
    let span = error.location().map(|location| span(&location)).unwrap_or_default();
    SyntaxError { span, message: error.without_snippet().to_string(), remedy: "correct the YAML" }
}

fn span(location: &Location) -> Span {
    let start = location.span().byte_offset().unwrap_or_default() as usize;
    let length = location.span().byte_len().unwrap_or_default() as usize;
    Span { start, end: start.saturating_add(length) }
}

/// A map without braces starts where its first key does.
fn at(spanned: Spanned<Node>) -> At<Node> {
    let mut span = span(&spanned.defined);
    if let Node::Map(entries) = &spanned.value
        && let Some((key, _)) = entries.first()
        && span.start == span.end
    {
        span = key.span;
    }
    At { value: spanned.value, span }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Integer(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Node, E> {
        Ok(Node::Integer(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Node, E> {
        Ok(i128::try_from(number).map_or(Node::Number, Node::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Number)
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element::<Spanned<Node>>()? {
            nodes.push(at(node));
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let place = At { span: span(&key.defined), value: key.value };
            entries.push((place, at(map.next_value()?)));
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_knows_its_place() {
        let text = "a: 1\nb: [x, \"y z\"]\nc: { d: true }\n";
        let Node::Map(entries) = parse(text).unwrap().value else { panic!() };
        let places: Vec<_> =
            entries.iter().map(|(key, node)| (&text[key.span.start..key.span.end], node.span)).collect();
        assert_eq!(places[0].0, "a");
        assert_eq!(&text[places[0].1.start..places[0].1.end], "1");
        let Node::List(items) = &entries[1].1.value else { panic!() };
        assert_eq!(&text[items[1].span.start..items[1].span.end], "\"y z\"");
        assert_eq!(text[entries[2].1.span.start..].chars().next(), Some('{'));
    }

    #[test]
    fn a_key_that_is_there_twice_is_there_twice() {
        let Node::Map(entries) = parse("a: 1\na: 2\n").unwrap().value else { panic!() };
        assert_eq!(entries.len(), 2);
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let before = format!("*a{}", n - 1);
            text.push_str(&format!("a{n}: &a{n} [{}]\n", vec![before; 10].join(", ")));
        }
        assert!(parse(&text).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1))).is_err());
        assert!(parse(&"- ".repeat(10_000)).is_err());
    }
}

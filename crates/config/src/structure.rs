//! The tree against the JSON Schema: keys, types, ranges and forms, every mistake in one walk.
//!
//! What is wrong is reported and marked as mistaken; the rest goes on to be checked for its meaning.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::{
    later,
    mistake::Findings,
    raw::{File, Given},
    schema::{Kind, Schema, example, kind, required},
    text::Form,
    tree::{Content, Entry, Node, Span},
    words::{in_yaml, nearest, or_list, quoted},
};

/// The file that the tree writes down, without what is mistaken. `None` when nothing is left.
pub(crate) fn check(tree: &Node, schema: &Value, findings: &mut Findings) -> Option<File> {
    let written = Walk { schema: Schema(schema), findings }.node(tree, schema, Label::File);
    match serde_json::from_value::<Given<File>>(written) {
        Ok(Given::At(_, file)) => Some(file),
        Ok(_) => None,
        Err(error) => {
            // The walk let something pass that the types refuse: a defect here, never an accepted file.
            let remedy = "report this file to the makers of Tidegate";
            findings.add(tree.span, format!("the file cannot be understood: {error}"), remedy);
            None
        }
    }
}

/// How messages call a node.
#[derive(Clone, Copy)]
enum Label<'a> {
    File,
    /// The value of a key, and where the key stands.
    Key(&'a str, Span),
    /// An item of the list with this key.
    Item(&'a str),
}

impl Label<'_> {
    fn show(self) -> String {
        match self {
            Self::File => "the file".to_owned(),
            Self::Key(key, _) => quoted(key),
            Self::Item(key) => format!("an entry of {}", quoted(key)),
        }
    }

    /// The key, of an item its list's.
    fn key(&self) -> &str {
        match self {
            Self::File => "",
            Self::Key(key, _) | Self::Item(key) => key,
        }
    }
}

/// What is written for a node that is mistaken.
const MISTAKEN: Value = Value::Bool(false);

struct Walk<'a> {
    schema: Schema<'a>,
    findings: &'a mut Findings,
}

impl<'a> Walk<'a> {
    /// `[place, value]`, or [`MISTAKEN`].
    fn node(&mut self, node: &Node, schema: &'a Value, label: Label<'_>) -> Value {
        let (schema, form) = self.schema.resolve(schema);
        if let Content::Scalar { text, plain: true } = &node.content
            && matches!(text.as_str(), "" | "~" | "null")
        {
            return self.nothing(node, schema, label);
        }
        let value = match (&node.content, kind(schema)) {
            (Content::Refused, _) => None,
            (_, Kind::AutoOr(inner)) => return self.auto_or(node, inner, label),
            (Content::Map(entries), Kind::Object(keys)) => {
                Some(self.object(node, entries, schema, keys, label))
            }
            (Content::List(items), Kind::List) => self.list(node, items, schema, label),
            (Content::Scalar { text, .. }, Kind::Words(words)) => self.word(node, text, &words, label),
            (Content::Scalar { text, plain }, Kind::Text) => self.text(node, text, *plain, form, label),
            (Content::Scalar { text, plain: true }, Kind::Number) => self.number(node, text, schema, label),
            (Content::Scalar { text, plain: true }, Kind::Boolean) if text == "true" => Some(json!(true)),
            (Content::Scalar { text, plain: true }, Kind::Boolean) if text == "false" => Some(json!(false)),
            _ => self.wrong_type(node, schema, label),
        };
        match value {
            Some(value) => json!([self.findings.place(start(node)).0, value]),
            None => MISTAKEN,
        }
    }

    fn nothing(&mut self, node: &Node, schema: &'a Value, label: Label<'_>) -> Value {
        let span = if let Label::Key(_, key) = label { key } else { node.span };
        let expected = self.schema.expected(schema);
        self.findings.add(
            span,
            format!("{} has no value", label.show()),
            format!("write {expected}, or remove it"),
        );
        MISTAKEN
    }

    fn auto_or(&mut self, node: &Node, inner: &'a Value, label: Label<'_>) -> Value {
        match &node.content {
            Content::Scalar { text, .. } if text == "auto" => {
                json!([self.findings.place(node.span).0, "auto"])
            }
            Content::Scalar { text, .. } if matches!(kind(self.schema.resolve(inner).0), Kind::List) => {
                let message = format!("{} cannot be {}", label.show(), quoted(text));
                let remedy = format!("write `auto` or a list such as `[{}]`", in_yaml(text));
                self.findings.add(node.span, message, remedy);
                MISTAKEN
            }
            _ => self.node(node, inner, label),
        }
    }

    fn object(
        &mut self,
        node: &Node,
        entries: &[Entry],
        schema: &'a Value,
        keys: &'a Map<String, Value>,
        label: Label<'_>,
    ) -> Value {
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let mut written = Map::new();
        for Entry { key, key_span, value } in entries {
            let Some(key) = key else { continue };
            let Some(expected) = keys.get(key) else {
                self.unknown_key(key, *key_span, keys);
                continue;
            };
            if let Some(first) = seen.insert(key, key_span.line) {
                let message = format!("{} is given twice", quoted(key));
                self.findings.add(
                    *key_span,
                    message,
                    format!("remove one of them; the first is on line {first}"),
                );
                continue;
            }
            written.insert(key.clone(), self.node(value, expected, Label::Key(key, *key_span)));
        }
        for key in required(schema) {
            if !seen.contains_key(key) {
                self.missing(key, node, keys, label);
            }
        }
        Value::Object(written)
    }

    fn unknown_key(&mut self, key: &str, span: Span, keys: &Map<String, Value>) {
        if later::key(key) {
            let message = format!("{} is not available in this version", quoted(key));
            self.findings.add(span, message, "remove it");
            return;
        }
        let remedy = self.findings.remedy(|| match nearest(key, keys.keys()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("remove it, or write one of {}", or_list(keys.keys())),
        });
        self.findings.add(span, format!("unknown key {}", quoted(key)), remedy);
    }

    fn missing(&mut self, key: &str, node: &Node, keys: &Map<String, Value>, label: Label<'_>) {
        let place = match label {
            Label::File => String::new(),
            _ => format!(" in {}", label.show()),
        };
        let remedy = match keys.get(key).and_then(example) {
            Some(example) => format!("add `{key}`, such as `{key}: {example}`"),
            None => format!("add `{key}`"),
        };
        self.findings.add(start(node), format!("`{key}` is missing{place}"), remedy);
    }

    fn list(&mut self, node: &Node, items: &[Node], schema: &'a Value, label: Label<'_>) -> Option<Value> {
        if items.is_empty() && schema.get("minItems").is_some() {
            let remedy = match example(schema) {
                Some(example) => format!("write at least one, such as `{example}`"),
                None => "write at least one entry".to_owned(),
            };
            self.findings.add(node.span, format!("{} is empty", label.show()), remedy);
            return None;
        }
        let item = schema.get("items").unwrap_or(&Value::Null);
        Some(items.iter().map(|node| self.node(node, item, Label::Item(label.key()))).collect())
    }

    fn word(&mut self, node: &Node, text: &str, words: &[&str], label: Label<'_>) -> Option<Value> {
        if words.contains(&text) {
            return Some(json!(text));
        }
        let message = if later::value(label.key(), text) {
            format!("`{}: {text}` is not available in this version", label.key())
        } else {
            format!("{} cannot be {}", label.show(), quoted(text))
        };
        self.findings.add(node.span, message, format!("write {}", or_list(words)));
        None
    }

    fn text(
        &mut self,
        node: &Node,
        text: &str,
        plain: bool,
        form: Option<Form>,
        label: Label<'_>,
    ) -> Option<Value> {
        if let Some(Err(refusal)) = form.as_ref().map(|form| (form.check)(text)) {
            self.findings.add(node.span, format!("{}: {}", label.show(), refusal.message), refusal.remedy);
            return None;
        }
        let other = match text {
            "true" | "false" => "true or false",
            _ if text.parse::<f64>().is_ok() => "a number",
            _ => return Some(json!(text)),
        };
        if !plain || form.is_some_and(|form| form.may_be_a_number) {
            return Some(json!(text));
        }
        let message = format!("{} must be text, but {} is {other} to YAML", label.show(), quoted(text));
        self.findings.add(node.span, message, format!("put it in quotes: `{:?}`", text));
        None
    }

    fn number(&mut self, node: &Node, text: &str, schema: &'a Value, label: Label<'_>) -> Option<Value> {
        let limit = |key: &str| schema.get(key).and_then(Value::as_u64);
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        let number = text.parse::<u64>().ok().filter(|_| digits);
        let fits = number.filter(|&number| {
            schema.get("const").is_none_or(|only| *only == json!(number))
                && limit("minimum").is_none_or(|min| number >= min)
                && limit("maximum").is_none_or(|max| number <= max)
        });
        if fits.is_none() {
            return self.wrong_type(node, schema, label);
        }
        fits.map(|number| json!(number))
    }

    fn wrong_type(&mut self, node: &Node, schema: &'a Value, label: Label<'_>) -> Option<Value> {
        let subject = label.show();
        let (message, remedy) = match (&node.content, kind(schema)) {
            (Content::Scalar { text, .. }, Kind::List) => {
                (format!("{subject} must be a list"), format!("write `[{}]`", in_yaml(text)))
            }
            (Content::Scalar { text, plain }, _) => {
                let quotes = if *plain { "" } else { " without quotes" };
                let remedy = format!("write {}{quotes}", self.schema.expected(schema));
                (format!("{subject} cannot be {}", quoted(text)), remedy)
            }
            (Content::List(_), _) => {
                (format!("{subject} cannot be a list"), format!("write {}", self.schema.expected(schema)))
            }
            _ => (format!("{subject} cannot have keys"), format!("write {}", self.schema.expected(schema))),
        };
        self.findings.add(start(node), message, remedy);
        None
    }
}

/// Where to point for a node: of a map its first key.
fn start(node: &Node) -> Span {
    match &node.content {
        Content::Map(entries) => entries.first().map_or(node.span, |entry| entry.key_span),
        _ => node.span,
    }
}

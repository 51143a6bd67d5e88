//! From the tree to values of the kinds that the grammar wants. Everything malformed becomes a mistake and is left out.

use crate::{
    grammar::{Absent, Choice, Key, Kind, Object},
    mistake::Found,
    scalar::{self, Refusal, shortened},
    similar,
    tree::{At, Node, Span},
    value::{Fields, Listed, Value, nowhere},
};

/// Reads a tree by the grammar. `text` is what the tree was made of.
pub(crate) struct Shape<'a> {
    pub(crate) text: &'a str,
    pub(crate) found: &'a mut Found,
}

impl Shape<'_> {
    /// An object; `None` when it is none at all.
    pub(crate) fn object(&mut self, node: At<Node>, object: &'static Object) -> Option<Fields> {
        let span = node.span;
        let Node::Map(entries) = node.value else {
            let keys: Vec<_> = object.keys.iter().map(|key| key.name).collect();
            let message = format!("{} is {}, not an object", object.noun, self.described(&node));
            self.found.add(span, message, format!("write its keys: {}", keys.join(", ")));
            return None;
        };
        let mut seen: Vec<At<String>> = Vec::new();
        let mut fields = Fields { entries: Vec::new() };
        for (name, value) in entries {
            if self.is_fresh(&name, &seen, object) {
                if let Some(key) = object.key(&name.value) {
                    let value = self.value(&name, value, &key.kind);
                    fields.entries.push((key.name, value));
                } else {
                    self.unknown(&name, object);
                }
                seen.push(name);
            }
        }
        self.complete(&mut fields, object, span);
        Some(fields)
    }

    /// Complains about a key that is there for the second time.
    fn is_fresh(&mut self, name: &At<String>, seen: &[At<String>], object: &Object) -> bool {
        if !seen.iter().any(|earlier| earlier.value == name.value) {
            return true;
        }
        let message = format!("`{}` is there twice in {}", shortened(&name.value), object.noun);
        self.found.add(name.span, message, "remove one of the two");
        false
    }

    fn unknown(&mut self, name: &At<String>, object: &Object) {
        let shown = shortened(&name.value);
        if object.later.contains(&name.value.as_str()) {
            self.found.add(name.span, format!("`{shown}` is not available in this version"), "remove it");
            return;
        }
        let keys: Vec<_> = object.keys.iter().map(|key| key.name).collect();
        let remedy = match similar::to(&name.value, &keys) {
            Some(key) => format!("did you mean `{key}`?"),
            None => format!("remove it; the keys are: {}", keys.join(", ")),
        };
        self.found.add(name.span, format!("{} has no key `{shown}`", object.noun), remedy);
    }

    /// Adds the defaults of absent keys, and complains about those that must be there.
    fn complete(&mut self, fields: &mut Fields, object: &'static Object, span: Span) {
        for key in object.keys {
            if !fields.is_absent(key.name) {
                continue;
            }
            match key.absent {
                Absent::Otherwise(_) => {}
                Absent::Default(default) => fields.entries.push((key.name, self.default(key, default, span))),
                Absent::Mistake => {
                    let message = format!("{} has no `{}`", object.noun, key.name);
                    self.found.add(span, message, format!("add `{}: {}`", key.name, example(key)));
                    fields.entries.push((key.name, None));
                }
            }
        }
    }

    fn default(&mut self, key: &Key, default: &str, span: Span) -> Option<At<Value>> {
        let span = nowhere(span);
        let name = At { value: key.name.to_owned(), span };
        self.value(&name, At { value: written(default), span }, &key.kind)
    }

    /// The value of a key, or of a member of the list that the key has.
    fn value(&mut self, name: &At<String>, node: At<Node>, kind: &Kind) -> Option<At<Value>> {
        if node.value == Node::Null {
            self.found.add(name.span, format!("`{}` has no value", name.value), "write one, or remove the key");
            return None;
        }
        let span = node.span;
        let read = match (kind, node.value) {
            (Kind::AutoOr(_), Node::Text(text)) if text == "auto" => Some(Value::Auto),
            (Kind::AutoOr(inner), value) => return self.value(name, At { value, span }, inner),
            (Kind::List(inner), value) => self.list(name, At { value, span }, inner).map(Value::List),
            (Kind::Object(object), value) => self.object(At { value, span }, object).map(Value::Object),
            (Kind::Flag, Node::Flag(flag)) => Some(Value::Flag(flag)),
            (Kind::Integer { least, most }, Node::Integer(number)) => self.integer(name, number, *least, *most, span),
            (Kind::Choice(choice), Node::Text(word)) => self.choice(name, &word, choice, span),
            (kind, Node::Text(text)) => match text_value(&text, kind) {
                Some(read) => self.accepted(read, span),
                None => self.wrong_kind(name, &At { value: Node::Text(text), span }, kind),
            },
            (kind, value) => self.wrong_kind(name, &At { value, span }, kind),
        };
        read.map(|value| At { value, span })
    }

    fn list(&mut self, name: &At<String>, node: At<Node>, kind: &Kind) -> Option<Listed<Value>> {
        let Node::List(nodes) = node.value else {
            let message = format!("`{}` is {}, not a list", name.value, self.described(&node));
            let remedy = match node.value {
                Node::Map(_) => format!("start each member with a dash: `- {}`", self.source(node.span)),
                _ => format!("put it in brackets: `{}: [{}]`", name.value, self.source(node.span)),
            };
            self.found.add(node.span, message, remedy);
            return None;
        };
        let known = nodes.len();
        let items: Vec<_> = nodes.into_iter().filter_map(|node| self.member(name, node, kind)).collect();
        let whole = items.len() == known;
        Some(Listed { items, whole })
    }

    fn member(&mut self, name: &At<String>, node: At<Node>, kind: &Kind) -> Option<At<Value>> {
        if node.value == Node::Null {
            self.found.add(node.span, format!("a member of `{}` is empty", name.value), "write it, or remove it");
            return None;
        }
        self.value(name, node, kind)
    }

    fn integer(&mut self, name: &At<String>, number: i128, least: u64, most: u64, span: Span) -> Option<Value> {
        if let Some(number) = u64::try_from(number).ok().filter(|number| (least..=most).contains(number)) {
            return Some(Value::Integer(number));
        }
        if least == most {
            self.found.add(span, format!("`{}` is {number}, not {most}", name.value), format!("write {most}"));
        } else {
            let remedy = format!("write a whole number from {least} to {most}");
            self.found.add(span, format!("`{}` is {number}, which is out of range", name.value), remedy);
        }
        None
    }

    fn choice(&mut self, name: &At<String>, word: &str, choice: &Choice, span: Span) -> Option<Value> {
        let words: Vec<_> = choice.words.iter().map(|(word, _)| *word).collect();
        if let Some(known) = words.iter().find(|known| **known == word) {
            return Some(Value::Word(known));
        }
        let shown = shortened(word);
        if choice.later.contains(&word) {
            let message = format!("`{}: {shown}` is not available in this version", name.value);
            self.found.add(span, message, format!("write {}", alternatives(&words)));
            return None;
        }
        let remedy = match similar::to(word, &words) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("write {}", alternatives(&words)),
        };
        self.found.add(span, format!("`{}` cannot be `{shown}`", name.value), remedy);
        None
    }

    fn accepted(&mut self, read: Result<Value, Refusal>, span: Span) -> Option<Value> {
        read.map_err(|refusal| self.found.add(span, refusal.message, refusal.remedy)).ok()
    }

    fn wrong_kind(&mut self, name: &At<String>, node: &At<Node>, kind: &Kind) -> Option<Value> {
        let message = format!("`{}` is {}, not {}", name.value, self.described(node), wanted(kind));
        let scalar = !matches!(node.value, Node::List(_) | Node::Map(_));
        let remedy = match kind {
            Kind::Duration { .. } if matches!(node.value, Node::Integer(_)) => {
                format!("add a unit: `{}s`", self.source(node.span))
            }
            Kind::Name | Kind::Text | Kind::Seed | Kind::Mac | Kind::Socket if scalar => {
                format!("put it in quotes: `\"{}\"`", self.source(node.span))
            }
            Kind::Choice(choice) => {
                let words: Vec<_> = choice.words.iter().map(|(word, _)| *word).collect();
                format!("write {}", alternatives(&words))
            }
            Kind::Flag => "write `true` or `false`".to_owned(),
            Kind::Integer { least, most } => format!("write a whole number from {least} to {most}"),
            other => format!("write it as in `{}`", sample(other)),
        };
        self.found.add(node.span, message, remedy);
        None
    }

    /// A value in a sentence.
    fn described(&self, node: &At<Node>) -> String {
        let source = self.source(node.span);
        match &node.value {
            Node::Null => "empty".to_owned(),
            Node::Flag(_) => format!("the truth value `{source}`"),
            Node::Integer(_) | Node::Number => format!("the number `{source}`"),
            Node::Text(text) => format!("the text `{}`", shortened(text)),
            Node::List(_) => "a list".to_owned(),
            Node::Map(_) => "an object".to_owned(),
        }
    }

    /// What was written there, if it is in one line.
    fn source(&self, span: Span) -> String {
        shortened(self.text.get(span.start..span.end).unwrap_or_default().lines().next().unwrap_or_default().trim())
    }
}

/// A text that is to mean something; `None` for kinds that are not written as a text.
fn text_value(text: &str, kind: &Kind) -> Option<Result<Value, Refusal>> {
    Some(match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Name => scalar::name(text).map(Value::Text),
        Kind::Socket => scalar::socket(text).map(Value::Text),
        Kind::Duration { zero } => scalar::duration(text, *zero).map(Value::Duration),
        Kind::Address => scalar::address(text).map(Value::Address),
        Kind::Network { host } => scalar::network(text, *host).map(Value::Network),
        Kind::Mac => scalar::mac(text).map(Value::Mac),
        Kind::Endpoint => scalar::endpoint(text).map(Value::Endpoint),
        Kind::Seed => scalar::seed(text).map(Value::Seed),
        _ => return None,
    })
}

/// A default as YAML would read it.
fn written(default: &str) -> Node {
    match (default, default.parse()) {
        ("[]", _) => Node::List(Vec::new()),
        ("{}", _) => Node::Map(Vec::new()),
        ("true", _) => Node::Flag(true),
        ("false", _) => Node::Flag(false),
        (_, Ok(number)) => Node::Integer(number),
        (text, Err(_)) => Node::Text(text.to_owned()),
    }
}

fn wanted(kind: &Kind) -> &'static str {
    match kind {
        Kind::Flag => "a truth value",
        Kind::Name | Kind::Text | Kind::Socket => "a text",
        Kind::Integer { .. } => "a whole number",
        Kind::Choice(_) => "one of its words",
        Kind::Duration { .. } => "a duration",
        Kind::Address => "an IP address",
        Kind::Network { .. } => "an address with the length of its network",
        Kind::Mac => "an Ethernet address",
        Kind::Endpoint => "an address with a port",
        Kind::Seed => "a text of 32 hexadecimal digits",
        Kind::AutoOr(inner) => wanted(inner),
        Kind::List(_) => "a list",
        Kind::Object(_) => "an object",
    }
}

/// A value of a kind, as an operator would write it.
fn sample(kind: &Kind) -> String {
    match kind {
        Kind::Flag => "true".to_owned(),
        Kind::Name => "NAME".to_owned(),
        Kind::Text => "TEXT".to_owned(),
        Kind::Socket => "/run/tidegate/tidegate.sock".to_owned(),
        Kind::Integer { least, .. } => least.to_string(),
        Kind::Choice(choice) => choice.words.first().map_or("", |(word, _)| word).to_owned(),
        Kind::Duration { .. } => "5s".to_owned(),
        Kind::Address => "192.0.2.1".to_owned(),
        Kind::Network { host: true } => "192.0.2.2/24".to_owned(),
        Kind::Network { host: false } => "10.1.0.0/16".to_owned(),
        Kind::Mac => "\"02:00:00:00:00:01\"".to_owned(),
        Kind::Endpoint => "\"10.1.0.11:9000\"".to_owned(),
        Kind::Seed => "\"000102030405060708090a0b0c0d0e0f\"".to_owned(),
        Kind::AutoOr(inner) => sample(inner),
        Kind::List(inner) => format!("[{}]", sample(inner)),
        Kind::Object(object) => {
            let required = object.keys.iter().filter(|key| key.absent == Absent::Mistake);
            let entries: Vec<_> = required.map(|key| format!("{}: {}", key.name, example(key))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

fn example(key: &Key) -> String {
    match key.name {
        "device" => "\"net_af_packet0,iface=eth1\"".to_owned(),
        "port" => "443".to_owned(),
        _ => sample(&key.kind),
    }
}

/// `a`, `b` or `c`.
fn alternatives(words: &[&str]) -> String {
    let mut quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    let last = quoted.pop().unwrap_or_default();
    if quoted.is_empty() { last } else { format!("{} or {last}", quoted.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::tests::objects;

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for object in objects() {
            for key in object.keys {
                let Absent::Default(default) = key.absent else { continue };
                let mut found = Found::default();
                let mut shape = Shape { text: "", found: &mut found };
                assert!(shape.default(key, default, Span::default()).is_some(), "{}.{}", object.path, key.name);
                assert!(found.is_empty(), "{}.{}: {found:?}", object.path, key.name);
            }
        }
    }
}

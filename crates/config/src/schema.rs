//! The JSON Schema of the file: made from the `raw` types, read by the walk over the tree and by the reference.

use serde_json::{Map, Value};

use crate::{
    raw::File,
    text::{self, Form},
    words::{self, or_list},
};

/// The JSON Schema of the file, as `tidegate schema` prints it.
#[must_use]
pub fn schema() -> Value {
    schemars::schema_for!(File).to_value()
}

/// A whole schema with its definitions.
#[derive(Clone, Copy)]
pub(crate) struct Schema<'a>(pub(crate) &'a Value);

impl<'a> Schema<'a> {
    /// Follows a reference; gives the form that the definition's name stands for.
    pub(crate) fn resolve(self, schema: &'a Value) -> (&'a Value, Option<Form>) {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/$defs/"));
        let definition = name.and_then(|name| self.0.get("$defs")?.get(name));
        (definition.unwrap_or(schema), name.and_then(text::form))
    }

    /// What should stand where `schema` holds, in words.
    pub(crate) fn expected(self, schema: &'a Value) -> String {
        let (schema, form) = self.resolve(schema);
        match (form, kind(schema)) {
            (Some(form), _) => form.expected.to_owned(),
            (None, Kind::AutoOr(inner)) => format!("`auto` or {}", self.expected(inner)),
            (None, Kind::Words(words)) => or_list(&words),
            (None, Kind::Number) => number(schema),
            (None, Kind::Boolean) => "`true` or `false`".to_owned(),
            (None, Kind::List) => "a list such as `[first, second]`".to_owned(),
            (None, Kind::Object(keys)) => format!("one or more of the keys {}", or_list(keys.keys())),
            (None, Kind::Text) => "text".to_owned(),
        }
    }
}

/// What a schema asks for.
pub(crate) enum Kind<'a> {
    AutoOr(&'a Value),
    Words(Vec<&'a str>),
    Number,
    Boolean,
    Text,
    List,
    Object(&'a Map<String, Value>),
}

/// What a schema, whose reference was followed, asks for.
pub(crate) fn kind(schema: &Value) -> Kind<'_> {
    if let Some([_, inner]) = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) {
        return Kind::AutoOr(inner);
    }
    if let Some(words) = schema.get("oneOf").and_then(Value::as_array) {
        return Kind::Words(words.iter().filter_map(|word| word.get("const")?.as_str()).collect());
    }
    if let Some(keys) = schema.get("properties").and_then(Value::as_object) {
        return Kind::Object(keys);
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("array") => Kind::List,
        Some("integer") => Kind::Number,
        Some("boolean") => Kind::Boolean,
        _ => Kind::Text,
    }
}

/// The keys that must be there.
pub(crate) fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// The range of a number, in words.
fn number(schema: &Value) -> String {
    let limit = |key: &str| schema.get(key).and_then(Value::as_u64);
    match (schema.get("const"), limit("minimum"), limit("maximum")) {
        (Some(only), ..) => format!("`{only}`"),
        (None, Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
        _ => "a whole number".to_owned(),
    }
}

/// The example of a key's value, as it is written in a file.
pub(crate) fn example(schema: &Value) -> Option<String> {
    schema.get("examples")?.as_array()?.first().map(in_yaml)
}

/// A value on one line of YAML.
fn in_yaml(value: &Value) -> String {
    match value {
        Value::String(text) => words::in_yaml(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(in_yaml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{key}: {}", in_yaml(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        _ => value.to_string(),
    }
}

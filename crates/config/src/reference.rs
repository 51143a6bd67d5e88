//! `docs/configuration.md`, written from the schema.

use serde_json::Value;

use crate::{
    schema::{Kind, Schema, example, kind, required, schema},
    words::or_list,
};

const EXAMPLE: &str = include_str!("example.yaml");

/// The reference of the configuration file in Markdown.
#[must_use]
pub fn reference() -> String {
    let root = schema();
    let mut page = Page { schema: Schema(&root), sections: String::new() };
    page.object("", &root);
    format!("{}{}\n{}", head(), page.sections, limits())
}

fn head() -> String {
    format!(
        "<!-- Generated from crates/config by `UPDATE=1 cargo test -p config`; do not edit. -->

# Configuration

One YAML file says everything. `tidegate check FILE` tells all that is wrong with it at once; nothing is applied while
anything is wrong. Editors complete and check it with `dpdk-config/schema.json` (also `tidegate schema`): put
`# yaml-language-server: $schema=../dpdk-config/schema.json` on the first line. Ready files are in `dpdk-config/`.

## A full example

```yaml
{EXAMPLE}```

## How values are written

| value | written |
|---|---|
| duration | a number and `ms`, `s`, `m` or `h`: `250ms`, `5s`, `10m` |
| address | `192.0.2.1` or `\"2001:db8::1\"`; names are not looked up |
| rate | `0`, or bits a second: a number and `bps`, `kbps`, `Mbps` or `Gbps`: `10Gbps` |
| prefix | a network's address and length, or an address alone: `10.0.0.0/8`, `\"2001:db8::/32\"`, `192.0.2.1` |
| network | an address and the length of its network: `192.0.2.2/24` |
| endpoint | an address and a port: `\"10.1.0.11:9000\"`, `\"[2001:db8::11]:9000\"` |
| Ethernet address | `\"02:00:00:00:00:01\"` |
| name | 1 to 64 letters, digits, `.`, `_` or `-` |

What contains a colon is best put in quotes. YAML aliases and tags are not accepted. Lists and maps are at most 32 deep,
the file is at most 16 MiB.

"
    )
}

fn limits() -> String {
    let limits = [
        ("ports", model::MAX_PORTS),
        ("workers", model::MAX_WORKERS),
        ("virtual servers", model::MAX_VIRTUAL_SERVERS),
        ("backends, over all pools", model::MAX_BACKENDS),
        ("prefixes of a list of sources", model::MAX_SOURCE_PREFIXES),
    ];
    let rows: String = limits.iter().map(|(what, most)| format!("| {what} | {most} |\n")).collect();
    format!(
        "## Limits

| of one gateway | at most |
|---|---|
{rows}
## What is refused beside wrong types

Names, devices, interfaces, addresses, routes and backends that are there twice; two virtual servers with the same address,
port and protocol; references to pools and profiles that do not exist; routers and neighbours outside their port's networks;
backends that no port leads to, and with `dsr` those that are on no port's own network; a virtual server whose address a
port, router or neighbour has, or in `nat` and `dsr` whose family its pool has not; `full_nat` without a source address of a backend's family;
prefixes that are both allowed and denied; a monitor's `timeout` that is not less than its `interval`; an lcore with two tasks. A backend with `weight: 0` and a pool that
nobody uses are fine.
"
    )
}

struct Page<'a> {
    schema: Schema<'a>,
    sections: String,
}

impl<'a> Page<'a> {
    /// The section of an object, then those of the objects in it.
    fn object(&mut self, path: &str, schema: &'a Value) {
        let Kind::Object(keys) = kind(schema) else {
            return;
        };
        let title = if path.is_empty() { "The file".to_owned() } else { format!("`{path}`") };
        let meaning = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        self.sections.push_str(&format!("## {title}\n\n{}\n\n", one_line(meaning)));
        self.sections.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        for (key, value) in keys {
            let is_required = required(schema).any(|required| required == key);
            let row = self.row(path, key, value, is_required);
            self.sections.push_str(&row);
        }
        self.sections.push('\n');
        for (key, value) in keys {
            let dot = if path.is_empty() { "" } else { "." };
            let inner = self.schema.resolve(value).0;
            match (kind(inner), inner.get("items")) {
                (Kind::List, Some(item)) => {
                    self.object(&format!("{path}{dot}{key}[]"), self.schema.resolve(item).0);
                }
                _ => self.object(&format!("{path}{dot}{key}"), inner),
            }
        }
    }

    fn row(&self, path: &str, key: &str, schema: &'a Value, is_required: bool) -> String {
        let default = match (schema.get("default"), is_required) {
            (Some(Value::String(word)), _) => format!("`{word}`"),
            (Some(value), _) => format!("`{value}`"),
            (None, true) => "**required**".to_owned(),
            (None, false) => "—".to_owned(),
        };
        let mut meaning = one_line(schema.get("description").and_then(Value::as_str).unwrap_or_default());
        for word in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
            let text = |key| word.get(key).and_then(Value::as_str).unwrap_or_default();
            meaning.push_str(&format!("<br>`{}`: {}.", text("const"), one_line(text("description"))));
        }
        if let Some(example) = example(schema).filter(|_| is_required && schema.get("oneOf").is_none()) {
            meaning.push_str(&format!(" For example `{example}`."));
        }
        let kind = self.words(&format!("{path}{key}"), schema);
        format!("| `{key}` | {} | {default} | {} |\n", kind.replace('|', "\\|"), meaning.replace('|', "\\|"))
    }

    /// The type of the value at `path`, in words.
    fn words(&self, path: &str, schema: &'a Value) -> String {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
        let (inner, form) = self.schema.resolve(schema);
        let anchor: String = path.chars().filter(|c| c.is_alphanumeric() || *c == '_').collect();
        match (form, kind(inner), inner.get("items")) {
            (Some(_), ..) => form_words(name.unwrap_or_default()).to_owned(),
            (None, Kind::AutoOr(value), _) => format!("`auto` or {}", self.words(path, value)),
            (None, Kind::Words(words), _) => or_list(&words),
            (None, Kind::Object(_), _) => format!("[keys](#{anchor})"),
            (None, Kind::List, Some(item)) => match kind(self.schema.resolve(item).0) {
                Kind::Object(_) => format!("[list](#{anchor})"),
                _ => format!("list, each {}", self.words(path, item)),
            },
            (None, ..) => self.schema.expected(inner).replace("a whole number", "number"),
        }
    }
}

/// What the table at the top of the page calls a form.
fn form_words(name: &str) -> &str {
    match name {
        "Address" => "address",
        "Device" => "device",
        "Duration" => "duration",
        "Endpoint" => "endpoint",
        "Mac" => "Ethernet address",
        "Name" => "name",
        "Network" => "network",
        "Rate" => "rate",
        "Prefix" => "prefix",
        "FilePath" => "path",
        "Seed" => "32 hexadecimal digits",
        "SocketPath" => "path",
        _ => name,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

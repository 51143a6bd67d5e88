//! From file to meaning: raw YAML → checked [`Configuration`], or every mistake at once, each with line, column,
//! snippet and remedy.
//!
//! The way of a file, a module a step:
//!
//! 1. `tree`: YAML becomes a tree whose nodes know where they were written. What is not YAML ends here.
//! 2. `structure`: the tree is walked against the JSON Schema of the `raw` types. Unknown, duplicate and missing keys, wrong
//!    types, ranges and forms (`text`) are reported; what is wrong is left out, so that the rest is still checked.
//! 3. `check`: what no schema can say: references, conflicts, addresses that no port reaches.
//! 4. `sources`: files that the configuration names are read and checked.
//! 5. `meaning`: the raw values become a [`Configuration`].
//!
//! What must stay true: a file yields a configuration only when nothing at all is wrong with it; the types in `raw` are
//! the single source of what is accepted, of [`schema`] and of [`reference()`]; time and memory are bounded by the limits
//! in `tree` whatever the file says.
//!
//! What it leaves to others: whether devices, cores and interfaces exist (`daemon`, `dpdk`).
#![forbid(unsafe_code)]

mod check;
mod configuration;
mod later;
mod meaning;
mod mistake;
mod raw;
mod reference;
mod schema;
mod sources;
mod structure;
mod text;
mod tree;
mod words;

use std::{fs::File, io::Read, path::Path};

pub use configuration::{Configuration, Control, Eal, Hugepages, Idle, Shutdown, Workers};
pub use mistake::{Mistake, Mistakes};
pub use reference::reference;
pub use schema::schema;

use mistake::Findings;

/// Reads and checks the file at `path`.
///
/// # Errors
/// Every mistake in it; a file that cannot be read is a mistake too.
pub fn read(path: &Path) -> Result<Configuration, Mistakes> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    let limit = tree::MAX_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| Mistakes::unreadable(&name, &error))?;
    match String::from_utf8(bytes) {
        Ok(text) => parse(&text, &name),
        Err(error) => Err(Mistakes::not_text(&name, error.as_bytes(), error.utf8_error().valid_up_to())),
    }
}

/// Checks `text`, which messages call `name`. Files that it names are looked for beside that.
///
/// # Errors
/// Every mistake in it.
pub fn parse(text: &str, name: &str) -> Result<Configuration, Mistakes> {
    let mut findings = Findings::default();
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    match understand(text, folder, &mut findings) {
        Some(configuration) if findings.is_empty() => Ok(configuration),
        _ => Err(findings.into_mistakes(name, text)),
    }
}

fn understand(text: &str, folder: &Path, findings: &mut Findings) -> Option<Configuration> {
    let tree = tree::read(text, findings)?;
    let file = structure::check(&tree, &schema(), findings)?;
    check::all(&file, findings);
    let sources = sources::of(&file, folder, findings);
    Some(meaning::of(&file, sources))
}

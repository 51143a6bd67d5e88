//! Lists of sources, of which the long ones lie in files of their own.
//!
//! A file is read once, however many virtual servers name it, and its list is shared by all of them.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use model::{MAX_SOURCE_PREFIXES, Sources};

use crate::{
    mistake::{Findings, Place},
    raw::{self, Given, List},
    text::{FilePath, Prefix, prefix},
};

/// Bytes of a list's file.
const MAX_BYTES: u64 = 256 << 20;
/// Mistakes of one list's file that are told.
const MAX_TOLD: usize = 10;

/// Of each virtual server of `file`, in their order. Relative paths count from `folder`.
pub(crate) fn of(file: &raw::File, folder: &Path, findings: &mut Findings) -> Vec<Sources> {
    let mut library = Library { folder, read: HashMap::new() };
    let servers = file.virtual_servers.items();
    servers.map(|(_, server)| library.sources(&server.sources, findings)).collect()
}

/// The files that were read.
struct Library<'a> {
    folder: &'a Path,
    read: HashMap<PathBuf, Arc<[IpNet]>>,
}

impl Library<'_> {
    fn sources(&mut self, given: &Given<raw::Sources>, findings: &mut Findings) -> Sources {
        let Some((place, given)) = given.at() else { return Sources::default() };
        let allow = self.list((&given.allow, &given.allow_file), place, findings);
        let deny = self.list((&given.deny, &given.deny_file), place, findings);
        contradictions(given, (&allow, &deny), place, findings);
        Sources { allow, deny }
    }

    fn list(
        &mut self,
        (inline, file): (&List<Prefix>, &Given<FilePath>),
        place: Place,
        findings: &mut Findings,
    ) -> Arc<[IpNet]> {
        let inline: Arc<[IpNet]> = inline.items().map(|(_, prefix)| prefix.0).collect();
        let Some((place, path)) = file.at() else { return at_most(inline, place, findings) };
        let of_file = self.file(&self.folder.join(&path.0), place, findings);
        let both = match inline.is_empty() {
            true => of_file,
            false => inline.iter().chain(&*of_file).copied().collect(),
        };
        at_most(both, place, findings)
    }

    fn file(&mut self, path: &Path, place: Place, findings: &mut Findings) -> Arc<[IpNet]> {
        if let Some(list) = self.read.get(path) {
            return Arc::clone(list);
        }
        let list: Arc<[IpNet]> = match read(path) {
            Ok(text) => prefixes(&text, path, place, findings).into(),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                findings.add_at(place, message, "check the path, and that this user may read the file");
                Arc::default()
            }
        };
        self.read.insert(path.to_owned(), Arc::clone(&list));
        list
    }
}

fn read(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no file")); // of a pipe or a device there may be no end
    }
    let mut text = String::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(text)
}

/// The prefixes of a list's lines.
fn prefixes(text: &str, path: &Path, place: Place, findings: &mut Findings) -> Vec<IpNet> {
    let (mut list, mut wrong) = (Vec::new(), 0);
    for (number, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        match prefix(entry) {
            _ if entry.is_empty() => {}
            Ok(prefix) => list.push(prefix),
            Err(_) if wrong == MAX_TOLD => break,
            Err(refusal) => {
                wrong += 1;
                let message = format!("line {} of {}: {}", number + 1, path.display(), refusal.message);
                findings.add_at(place, message, refusal.remedy);
            }
        }
    }
    list
}

fn at_most(list: Arc<[IpNet]>, place: Place, findings: &mut Findings) -> Arc<[IpNet]> {
    if list.len() > MAX_SOURCE_PREFIXES {
        let message =
            format!("{} prefixes are more than the {MAX_SOURCE_PREFIXES} that a list can have", list.len());
        findings.add_at(place, message, "join prefixes that lie side by side");
    }
    list
}

/// What is both allowed and denied.
fn contradictions(
    given: &raw::Sources,
    (allow, deny): (&[IpNet], &[IpNet]),
    place: Place,
    findings: &mut Findings,
) {
    let [fewer, more] = if allow.len() < deny.len() { [allow, deny] } else { [deny, allow] };
    if fewer.is_empty() {
        return;
    }
    let fewer: HashSet<&IpNet> = fewer.iter().collect();
    let both: HashSet<&IpNet> = more.iter().filter(|prefix| fewer.contains(prefix)).collect();
    let inline: HashMap<IpNet, Place> = given.deny.items().map(|(place, prefix)| (prefix.0, place)).collect();
    let of_file = given.deny_file.at().map_or(place, |(place, _)| place);
    let mut both: Vec<&IpNet> = both.into_iter().collect();
    both.sort_unstable();
    for prefix in both {
        let place = inline.get(prefix).copied().unwrap_or(of_file);
        findings.add_at(place, format!("`{prefix}` is both allowed and denied"), "remove it from one list");
    }
}

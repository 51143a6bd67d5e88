//! References by name.

use std::collections::HashSet;

use crate::{
    mistake::Findings,
    raw::Given,
    text::Name,
    words::{nearest, or_list, quoted},
};

/// The names that can be referred to.
pub(super) struct Names<'a> {
    names: HashSet<&'a String>,
    /// Whether a name is mistaken, so that there may be more.
    unsure: bool,
}

impl<'a> Names<'a> {
    pub(super) fn of<T>(list: &'a crate::raw::List<T>, name: impl Fn(&'a T) -> &'a Given<Name>) -> Self {
        let named = || list.items().map(|(_, item)| name(item));
        Self {
            names: named().filter_map(Given::value).map(|name| &name.0).collect(),
            unsure: list.is_partly_mistaken() || named().any(|name| name.value().is_none()),
        }
    }

    pub(super) fn must_have(&self, noun: &str, wanted: &Given<Name>, findings: &mut Findings) {
        let Some((place, name)) = wanted.at() else { return };
        if self.unsure || self.names.contains(&name.0) {
            return;
        }
        let remedy = findings.remedy(|| match nearest(&name.0, self.names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if self.names.is_empty() => format!("add a {noun} with this name to `{noun}s`"),
            None => format!("write {}, or add a {noun} with this name", or_list(self.some())),
        });
        findings.add_at(place, format!("there is no {noun} {}", quoted(&name.0)), remedy);
    }

    /// Some of the names, for a message.
    fn some(&self) -> Vec<&'a String> {
        let mut names: Vec<_> = self.names.iter().copied().collect();
        names.sort();
        names.truncate(5);
        names
    }
}

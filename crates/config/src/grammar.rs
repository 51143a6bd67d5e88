//! What a file may say: every object, key, kind of value and default, as data.
//!
//! Reading ([`crate::shape`]), the JSON Schema ([`crate::schema`]) and the reference ([`crate::reference`]) all follow these
//! tables; a new key is a line here and its use in [`crate::meaning`]. Defaults are texts as an operator would write them.

mod gateway;
mod pool;
mod port;
mod process;
mod virtual_server;

pub(crate) use gateway::FILE;

/// A set of keys.
#[derive(Debug)]
pub(crate) struct Object {
    /// Where it is in the file, as in `pools[].backends[]`; empty for the file itself.
    pub(crate) path: &'static str,
    /// What one is called in a message.
    pub(crate) noun: &'static str,
    /// What it is.
    pub(crate) meaning: &'static str,
    /// The keys that it may have.
    pub(crate) keys: &'static [Key],
    /// Keys that a later version will have.
    pub(crate) later: &'static [&'static str],
}

/// A key of an object.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) absent: Absent,
    pub(crate) meaning: &'static str,
}

/// What it means when a key is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// A mistake.
    Mistake,
    /// As if this were written.
    Default(&'static str),
    /// `auto` or a value that depends on something else, which is told here.
    Otherwise(&'static str),
}

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Flag,
    /// Letters, digits, `-`, `_` and `.`, at most 63.
    Name,
    Text,
    /// An absolute path, short enough for a unix socket.
    Socket,
    /// A whole number, bounds included.
    Integer { least: u64, most: u64 },
    /// One of some words.
    Choice(Choice),
    /// As in `5s`; zero where allowed.
    Duration { zero: bool },
    Address,
    /// An address with the length of its network; `host` whether it is an address of its own, not only a network.
    Network { host: bool },
    Mac,
    /// An address and a port.
    Endpoint,
    /// Thirty-two hexadecimal digits.
    Seed,
    /// The word `auto`, or something else.
    AutoOr(&'static Kind),
    List(&'static Kind),
    Object(&'static Object),
}

/// Words with their meanings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) words: &'static [(&'static str, &'static str)],
    /// Words that a later version will have.
    pub(crate) later: &'static [&'static str],
}

impl Object {
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key that must be there.
const fn required(name: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key { name, kind, absent: Absent::Mistake, meaning }
}

/// A key that is as if `default` were written when it is not there.
const fn optional(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, absent: Absent::Default(default), meaning }
}

/// A key without which something else decides.
const fn otherwise(name: &'static str, kind: Kind, without: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, absent: Absent::Otherwise(without), meaning }
}

/// Words, all of which this version has.
const fn words(words: &'static [(&'static str, &'static str)]) -> Kind {
    Kind::Choice(Choice { words, later: &[] })
}

/// A port number.
const PORT_NUMBER: Kind = Kind::Integer { least: 1, most: 65_535 };

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every object that a file can hold, the file first.
    pub(crate) fn objects() -> Vec<&'static Object> {
        let mut all = vec![&FILE];
        let mut next = 0;
        while let Some(object) = all.get(next).copied() {
            all.extend(object.keys.iter().filter_map(|key| inner(&key.kind)));
            next += 1;
        }
        all
    }

    fn inner(kind: &Kind) -> Option<&'static Object> {
        match kind {
            Kind::Object(object) => Some(object),
            Kind::List(kind) | Kind::AutoOr(kind) => inner(kind),
            _ => None,
        }
    }

    #[test]
    fn what_comes_later_is_not_here() {
        for object in objects() {
            for key in object.later {
                assert!(object.key(key).is_none(), "{key} of {}", object.path);
            }
        }
    }
}

//! Values whose shape is right, and how the rest of the crate takes them out of an object.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use model::MacAddress;

use crate::tree::{At, Span};

/// A value of the kind that its key wants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Auto,
    Flag(bool),
    Text(String),
    Integer(u64),
    /// A word of a choice.
    Word(&'static str),
    Duration(Duration),
    Address(IpAddr),
    Network(IpNet),
    Mac(MacAddress),
    Endpoint(SocketAddr),
    Seed([u8; 16]),
    List(Listed<Value>),
    Object(Fields),
}

/// A list without its malformed members.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<At<T>>,
    /// Whether no member is missing. What is missing has been complained about; nothing else should be on its account.
    pub(crate) whole: bool,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { items: Vec::new(), whole: true }
    }
}

impl<T> Listed<T> {
    /// A list that nothing is known of.
    pub(crate) fn unknown() -> Self {
        Self { items: Vec::new(), whole: false }
    }

    /// The values, unless one is missing.
    pub(crate) fn values(self) -> Option<Vec<T>> {
        self.whole.then(|| self.items.into_iter().map(|item| item.value).collect())
    }
}

/// The values of an object's keys.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fields {
    /// Each key of the grammar at most once. Without a value: it was malformed or missing, which has been complained about.
    pub(crate) entries: Vec<(&'static str, Option<At<Value>>)>,
}

impl Fields {
    /// The value of a key; `None` when it was malformed, or when it may be absent and is.
    pub(crate) fn take<T: FromValue>(&mut self, key: &str) -> Option<At<T>> {
        let (_, value) = self.entries.iter_mut().find(|(name, _)| *name == key)?;
        let At { value, span } = value.take()?;
        Some(At { value: T::from_value(value)?, span })
    }

    /// The same without its place.
    pub(crate) fn value<T: FromValue>(&mut self, key: &str) -> Option<T> {
        self.take(key).map(|at| at.value)
    }

    /// A list; one that nothing is known of when it was malformed.
    pub(crate) fn list<T: FromValue>(&mut self, key: &str) -> Listed<T> {
        self.value(key).unwrap_or_else(Listed::unknown)
    }

    /// Whether a key was absent, rather than malformed.
    pub(crate) fn is_absent(&self, key: &str) -> bool {
        !self.entries.iter().any(|(name, _)| *name == key)
    }
}

/// What a [`Value`] can become.
pub(crate) trait FromValue: Sized {
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($variant:ident => $type:ty),* $(,)?) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
        }
    )*};
}

from_value!(
    Flag => bool, Text => String, Integer => u64, Word => &'static str, Duration => Duration, Address => IpAddr,
    Network => IpNet, Mac => MacAddress, Endpoint => SocketAddr, Seed => [u8; 16], Object => Fields,
);

impl FromValue for u16 {
    fn from_value(value: Value) -> Option<Self> {
        u64::from_value(value).and_then(|number| number.try_into().ok())
    }
}

impl FromValue for usize {
    fn from_value(value: Value) -> Option<Self> {
        u64::from_value(value).and_then(|number| number.try_into().ok())
    }
}

/// `auto` is `None`.
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Option<Self> {
        if value == Value::Auto { Some(None) } else { T::from_value(value).map(Some) }
    }
}

impl<T: FromValue> FromValue for Listed<T> {
    fn from_value(value: Value) -> Option<Self> {
        let Value::List(Listed { items, mut whole }) = value else { return None };
        let read = |At { value, span }: At<Value>| T::from_value(value).map(|value| At { value, span });
        let known = items.len();
        let items: Vec<_> = items.into_iter().filter_map(read).collect();
        whole &= items.len() == known;
        Some(Self { items, whole })
    }
}

/// A value that was not written has the place of the object which should have had it.
pub(crate) fn nowhere(span: Span) -> Span {
    Span { start: span.start, end: span.start }
}

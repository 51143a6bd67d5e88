//! Values that know where they stand, and the word `auto`.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::mistake::Place;

/// A value of the file and its place.
#[derive(Clone, Debug, Default)]
pub(crate) enum Given<T> {
    /// The file does not say.
    #[default]
    Absent,
    /// What it says is wrong and was reported.
    Mistaken,
    /// What it says, where.
    At(Place, T),
}

/// A list, its place, and the places of its items.
pub(crate) type List<T> = Given<Vec<Given<T>>>;

impl<T> Given<T> {
    /// The value, when the file gives a sound one.
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Self::At(_, value) => Some(value),
            _ => None,
        }
    }

    /// The value and its place, when the file gives a sound one.
    pub(crate) fn at(&self) -> Option<(Place, &T)> {
        match self {
            Self::At(place, value) => Some((*place, value)),
            _ => None,
        }
    }

    /// The value, or `default` when the file is silent; `None` when it is mistaken, so that nothing follows from it.
    pub(crate) fn or(&self, default: T) -> Option<T>
    where
        T: Clone,
    {
        match self {
            Self::Absent => Some(default),
            Self::Mistaken => None,
            Self::At(_, value) => Some(value.clone()),
        }
    }

    pub(crate) fn is_mistaken(&self) -> bool {
        matches!(self, Self::Mistaken)
    }
}

impl<T> List<T> {
    /// The sound items and their places.
    pub(crate) fn items(&self) -> impl Iterator<Item = (Place, &T)> + Clone {
        self.value().into_iter().flatten().filter_map(Given::at)
    }

    /// Whether the list or one of its items is mistaken.
    pub(crate) fn is_partly_mistaken(&self) -> bool {
        self.is_mistaken() || self.value().into_iter().flatten().any(Given::is_mistaken)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // An Option, since a missing field is deserialised as one.
        deserializer.deserialize_option(Written(PhantomData))
    }
}

/// A value as `structure` writes it: `[place, value]`, or `false` for what is mistaken.
struct Written<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Written<T> {
    type Value = Given<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a place and a value")
    }

    fn visit_none<E>(self) -> Result<Given<T>, E> {
        Ok(Given::Absent)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given<T>, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Given<T>, E> {
        Ok(Given::Mistaken)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<Given<T>, A::Error> {
        let place = pair.next_element()?.ok_or_else(|| Error::invalid_length(0, &self))?;
        let value = pair.next_element()?.ok_or_else(|| Error::invalid_length(1, &self))?;
        Ok(Given::At(Place(place), value))
    }
}

impl<T: JsonSchema> JsonSchema for Given<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// `auto`, or a value.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Auto<T> {
    Word(AutoWord),
    Value(T),
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) enum AutoWord {
    #[serde(rename = "auto")]
    Auto,
}

impl<T> Auto<T> {
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Self::Word(_) => None,
            Self::Value(value) => Some(value),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Auto<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Auto_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, generator.subschema_for::<T>()] })
    }
}

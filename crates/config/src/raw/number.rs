//! Whole numbers whose range must hold inside `auto | N` too.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

macro_rules! numbers {
    ($($name:ident($inner:ty) = $min:literal to $max:literal;)*) => {$(
        #[derive(Clone, Copy, Debug, Deserialize)]
        pub(crate) struct $name(pub(crate) $inner);

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "minimum": $min, "maximum": $max })
            }
        }
    )*};
}

numbers! {
    Lcore(u16) = 0 to 1023;
    Mbufs(usize) = 256 to 134_217_728;
    Queues(u16) = 1 to 64;
    Slots(usize) = 128 to 16_777_216;
}

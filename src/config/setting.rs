//! What can stand under a key: one trait that reads it, writes it and describes it, and the macro
//! that declares a block of keys once, with its documentation, defaults and ranges.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::cursor::Reader;
use super::emit::Yaml;
use super::tree::{Node, Value};

/// A kind of setting that holds a `T`. Most types are their own kind; a `usize` that counts bytes
/// is read through the kind [`Size`](super::quantities::Size).
pub(crate) trait Setting<T = Self> {
    /// Reads the value, or reports everything that is wrong with it.
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<T>;

    /// The YAML that reads back as `value`.
    fn write(value: &T) -> Yaml;

    /// The JSON Schema of what may be written; blocks are put into the book and referred to.
    fn shape(book: &mut Book) -> Json;

    /// Whether the value is `off`, to which no range applies.
    fn is_off(_value: &T) -> bool {
        false
    }
}

/// A map with a fixed set of keys; implemented by [`block!`].
pub(crate) trait Block: Sized {
    /// The name of the type, which names the block in the JSON Schema.
    const NAME: &'static str;
    /// Every key, in the order of declaration.
    const KEYS: &'static [&'static str];
    /// What the block is for.
    const DOC: &'static [&'static str];

    fn read_block(node: &Node, reader: &mut Reader<'_>) -> Option<Self>;
    fn write_block(&self) -> Yaml;
    /// Documentation, default, range and shape of every key.
    fn describe(book: &mut Book) -> Vec<(Key, Json)>;
    /// The block with nothing written in it; `None` when a key must be given.
    fn defaults() -> Option<Self>;
}

/// What is said about one key, wherever it is said.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Key {
    pub(crate) block: &'static str,
    pub(crate) name: &'static str,
    /// Lines of documentation as written above the field.
    pub(crate) doc: &'static [&'static str],
    /// `None`: the key must be given.
    pub(crate) default: Option<Yaml>,
    pub(crate) range: Option<(Yaml, Yaml)>,
}

/// The blocks of the JSON Schema by name.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) blocks: BTreeMap<String, Json>,
}

impl Book {
    /// A reference to the block `B`, which is described on the first call.
    pub(crate) fn refer<B: Block>(&mut self) -> Json {
        if !self.blocks.contains_key(B::NAME) {
            // Held by an empty entry first, so that a block may contain itself.
            self.blocks.insert(B::NAME.to_owned(), Json::Null);
            let keys = B::describe(self);
            self.blocks
                .insert(B::NAME.to_owned(), super::json_schema::block(B::DOC, keys));
        }
        json!({ "$ref": format!("#/$defs/{}", B::NAME) })
    }
}

/// The range that a value must lie in, both ends included.
pub(crate) struct Limits<T> {
    pub(crate) low: Yaml,
    pub(crate) high: Yaml,
    range: RangeInclusive<T>,
    holds: fn(&RangeInclusive<T>, &T) -> bool,
}

impl<T: PartialOrd> Limits<T> {
    pub(crate) fn new<K: Setting<T>>(range: RangeInclusive<T>) -> Self {
        Self {
            low: K::write(range.start()),
            high: K::write(range.end()),
            range,
            holds: RangeInclusive::contains,
        }
    }
}

impl<T> Limits<T> {
    pub(crate) fn hold(&self, value: &T) -> bool {
        (self.holds)(&self.range, value)
    }
}

/// Declares a struct whose fields are the keys of a block:
/// `pub field ("key"): Type as Kind = default, in low..=high;`. The key is the field's name, the
/// kind the type itself, and without a default the key must be given.
macro_rules! block {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $(
                $(#[doc = $line:literal])*
                pub $field:ident $(($key:literal))? : $type:ty $(as $kind:ty)? $(= $default:expr $(, in $range:expr)?)?;
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $( $(#[doc = $line])* pub $field: $type, )*
        }

        impl $crate::config::setting::Block for $name {
            const NAME: &'static str = stringify!($name);
            const KEYS: &'static [&'static str] = &[$(block!(@key $field $($key)?)),*];
            const DOC: &'static [&'static str] = &[$($doc),*];

            fn read_block(
                node: &$crate::config::tree::Node,
                reader: &mut $crate::config::cursor::Reader<'_>,
            ) -> Option<Self> {
                reader.open(node, Self::KEYS)?;
                $(
                    let $field = reader.field::<block!(@kind $type $(, $kind)?), $type>(
                        node,
                        block!(@key $field $($key)?),
                        block!(@default $($default)?),
                        block!(@limits $type $(, $kind)?; $($($range)?)?),
                    );
                )*
                Some(Self { $($field: $field?),* })
            }

            fn write_block(&self) -> $crate::config::emit::Yaml {
                $crate::config::emit::Yaml::Block(vec![$((
                    block!(@describe $name, $type $(as $kind)?, block!(@key $field $($key)?), [$($line),*], [$($default)?], [$($($range)?)?]),
                    <block!(@kind $type $(, $kind)?) as $crate::config::setting::Setting<$type>>::write(&self.$field),
                )),*])
            }

            fn describe(
                book: &mut $crate::config::setting::Book,
            ) -> Vec<($crate::config::setting::Key, serde_json::Value)> {
                vec![$((
                    block!(@describe $name, $type $(as $kind)?, block!(@key $field $($key)?), [$($line),*], [$($default)?], [$($($range)?)?]),
                    <block!(@kind $type $(, $kind)?) as $crate::config::setting::Setting<$type>>::shape(book),
                )),*]
            }

            fn defaults() -> Option<Self> {
                Some(Self { $($field: block!(@default $($default)?)?),* })
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@kind $type:ty) => { $type };
    (@kind $type:ty, $kind:ty) => { $kind };
    (@default) => { None };
    (@default $default:expr) => { Some($default) };
    (@limits $type:ty $(, $kind:ty)?;) => { None };
    (@limits $type:ty $(, $kind:ty)?; $range:expr) => {
        Some($crate::config::setting::Limits::<$type>::new::<block!(@kind $type $(, $kind)?)>($range))
    };
    (@describe $name:ident, $type:ty $(as $kind:ty)?, $key:expr, [$($line:literal),*], [$($default:expr)?], [$($range:expr)?]) => {
        $crate::config::setting::Key {
            block: stringify!($name),
            name: $key,
            doc: &[$($line),*],
            default: $crate::config::setting::written::<block!(@kind $type $(, $kind)?), $type>(block!(@default $($default)?)),
            range: $crate::config::setting::ends::<$type>(block!(@limits $type $(, $kind)?; $($range)?)),
        }
    };
}
pub(crate) use block;

pub(crate) fn written<K: Setting<T>, T>(value: Option<T>) -> Option<Yaml> {
    value.as_ref().map(K::write)
}

pub(crate) fn ends<T>(limits: Option<Limits<T>>) -> Option<(Yaml, Yaml)> {
    limits.map(|limits| (limits.low, limits.high))
}

/// Makes blocks settings that are written as a plain map of their keys.
macro_rules! written_as_map {
    ($($name:ident),* $(,)?) => {$(
        impl $crate::config::setting::Setting for $name {
            fn read(
                node: &$crate::config::tree::Node,
                reader: &mut $crate::config::cursor::Reader<'_>,
            ) -> Option<Self> {
                <Self as $crate::config::setting::Block>::read_block(node, reader)
            }
            fn write(value: &Self) -> $crate::config::emit::Yaml {
                $crate::config::setting::Block::write_block(value)
            }
            fn shape(book: &mut $crate::config::setting::Book) -> serde_json::Value {
                book.refer::<Self>()
            }
        }
    )*};
}
pub(crate) use written_as_map;

/// Gives blocks whose every key has a default the trait `Default`.
macro_rules! with_default {
    ($($name:ident),* $(,)?) => {$(
        impl Default for $name {
            fn default() -> Self {
                <Self as $crate::config::setting::Block>::defaults().expect("every key of this block has a default")
            }
        }
    )*};
}
pub(crate) use with_default;

/// Declares an enum whose variants are names: `Variant = "name",`.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident, $what:literal {
            $( $(#[doc = $line:literal])* $variant:ident = $text:literal, )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $( $(#[doc = $line])* $variant, )*
        }

        impl $name {
            /// Every name with its meaning.
            pub(crate) const NAMES: &'static [(&'static str, &'static [&'static str])] = &[$(($text, &[$($line),*])),*];

            /// The name as it is written.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }
        }

        impl $crate::config::setting::Setting for $name {
            fn read(
                node: &$crate::config::tree::Node,
                reader: &mut $crate::config::cursor::Reader<'_>,
            ) -> Option<Self> {
                let index = reader.choice(node, $what, Self::NAMES)?;
                [$(Self::$variant),*].get(index).copied()
            }
            fn write(value: &Self) -> $crate::config::emit::Yaml {
                $crate::config::emit::Yaml::Text(value.name().to_owned())
            }
            fn shape(_: &mut $crate::config::setting::Book) -> serde_json::Value {
                $crate::config::json_schema::choice(Self::NAMES)
            }
        }
    };
}
pub(crate) use choice;

macro_rules! whole_numbers {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
                let number = reader.number(node)?;
                let small = Self::try_from(number).ok();
                if small.is_none() {
                    reader.error(node, format!("the number is too large; at most {}", Self::MAX));
                }
                small
            }
            fn write(value: &Self) -> Yaml {
                Yaml::Number(*value as u64)
            }
            fn shape(_: &mut Book) -> Json {
                super::json_schema::or_variable(json!({ "type": "integer", "minimum": 0 }))
            }
        }
    )*};
}
whole_numbers!(u8, u16, u32, u64, usize);

impl Setting for NonZeroUsize {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let number = Self::new(usize::read(node, reader)?);
        if number.is_none() {
            reader.error(node, "0 is not possible here; at least 1");
        }
        number
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Number(value.get() as u64)
    }
    fn shape(_: &mut Book) -> Json {
        super::json_schema::or_variable(json!({ "type": "integer", "minimum": 1 }))
    }
}

impl Setting for bool {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "`true` or `false`")?;
        match &*text.value {
            "true" if text.bare => Some(true),
            "false" if text.bare => Some(false),
            other => {
                let help = match other.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "true" | "y" | "1" => "write `true`, without quotes",
                    "no" | "off" | "false" | "n" | "0" => "write `false`, without quotes",
                    _ => "write `true` or `false`, without quotes",
                };
                reader.error_with_help(
                    node,
                    format!("expected `true` or `false`, found {text}"),
                    help,
                );
                None
            }
        }
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Bool(*value)
    }
    fn shape(_: &mut Book) -> Json {
        super::json_schema::or_variable(json!({ "type": "boolean" }))
    }
}

impl Setting for String {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        reader
            .text(node, "a text")
            .map(|text| text.value.into_owned())
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(value.clone())
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": ["string", "number", "boolean"] })
    }
}

impl Setting for PathBuf {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(node, "the path of a file")?;
        if text.value.is_empty() || text.value.contains('\0') {
            reader.error(node, "expected the path of a file, found none");
            return None;
        }
        Some(text.value.into_owned().into())
    }
    fn write(value: &Self) -> Yaml {
        Yaml::Text(value.display().to_string())
    }
    fn shape(_: &mut Book) -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// What can be switched off: `off`, or a value of the kind.
impl<T, K: Setting<T>> Setting<Option<T>> for Option<K> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Option<T>> {
        let off = matches!(&node.value, Value::Scalar { text, plain: true } if text == "off");
        if off {
            Some(None)
        } else {
            K::read(node, reader).map(Some)
        }
    }
    fn write(value: &Option<T>) -> Yaml {
        value.as_ref().map_or(Yaml::Off, K::write)
    }
    fn shape(book: &mut Book) -> Json {
        json!({ "anyOf": [{ "const": "off" }, K::shape(book)] })
    }
    fn is_off(value: &Option<T>) -> bool {
        value.as_ref().is_none_or(K::is_off)
    }
}

impl<T, K: Setting<T>> Setting<Vec<T>> for Vec<K> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<T>> {
        reader.list(node, K::read)
    }
    fn write(value: &Vec<T>) -> Yaml {
        Yaml::List(value.iter().map(K::write).collect())
    }
    fn shape(book: &mut Book) -> Json {
        json!({ "type": "array", "items": K::shape(book) })
    }
}

impl fmt::Debug for Book {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.blocks.keys()).finish()
    }
}

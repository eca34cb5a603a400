//! `[[expect]]` as it is written.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use toml::Spanned;

use super::{Day, Text};

/// One `[[expect]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpectFile {
    pub(crate) ip: Text,
    pub(crate) from: Text,
    pub(crate) rcpt: Option<Spanned<OneOrMore>>,
    pub(crate) helo: Text,
    pub(crate) tls: Option<Spanned<WordOrSwitch>>,
    pub(crate) service: Text,
    pub(crate) at: Day,
    pub(crate) result: Text,
    pub(crate) upstream: Text,
    pub(crate) entry: Text,
}

/// A text, or a list of texts that each know where they stand.
pub(crate) enum OneOrMore {
    One(Box<str>),
    More(Vec<Spanned<Box<str>>>),
}

/// A word, or `true` or `false`.
pub(crate) enum WordOrSwitch {
    Switch(bool),
    Word(Box<str>),
}

// By hand, because an untagged enum of serde loses the places.
impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore::One(text.into()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<OneOrMore, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMore::More)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for WordOrSwitch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = WordOrSwitch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, true or false")
            }

            fn visit_str<E>(self, text: &str) -> Result<WordOrSwitch, E> {
                Ok(WordOrSwitch::Word(text.into()))
            }

            fn visit_bool<E>(self, is_on: bool) -> Result<WordOrSwitch, E> {
                Ok(WordOrSwitch::Switch(is_on))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

//! # Purpose
//! The headers of a record in their four JSON forms: an object or a list of pairs, text or base64.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::limits::as_len;

use super::record_json::{Bytes, Context, Str};
use super::records::InputHeader;

/// Headers in one of their four forms, appended to `out`.
pub(super) struct Headers<'c, 'l, 'n, 'o, 'de> {
    pub(super) context: &'c Context<'l>,
    pub(super) name: &'n str,
    pub(super) out: &'o mut Vec<InputHeader<'de>>,
}

impl<'de> Headers<'_, '_, '_, '_, 'de> {
    /// Header names and values are bounded while they come, as each costs more in memory than on the wire.
    fn push<E: Error>(
        &mut self,
        len: &mut usize,
        name: Cow<'de, str>,
        value: Option<Cow<'de, [u8]>>,
    ) -> Result<(), E> {
        *len += InputHeader::charged(&name, value.as_deref());
        let max = self.context.limits.record_key_and_headers_bytes;
        if *len > as_len(max) {
            return Err(self.context.too_large("key and headers have", *len, max));
        }
        self.out.push(InputHeader { name, value });
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Headers<'_, '_, '_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.name.starts_with("headers_list") {
            deserializer.deserialize_seq(self)
        } else {
            deserializer.deserialize_map(self)
        }
    }
}

impl<'de> Visitor<'de> for Headers<'_, '_, '_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form =
            if self.name.starts_with("headers_list") { "a list of [name, string]" } else { "an object" };
        write!(f, "{form} in field `{}`", self.name)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut len = 0;
        while let Some(name) = map.next_key_seed(Str)? {
            let value = map.next_value_seed(Bytes::new(self.context, self.name))?;
            self.push(&mut len, name, value)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut len = 0;
        while let Some((name, value)) =
            list.next_element_seed(Pair { context: self.context, name: self.name })?
        {
            self.push(&mut len, name, value)?;
        }
        Ok(())
    }
}

/// `[name, value]`.
struct Pair<'c, 'l, 'n> {
    context: &'c Context<'l>,
    name: &'n str,
}

impl<'de> DeserializeSeed<'de> for Pair<'_, '_, '_> {
    type Value = (Cow<'de, str>, Option<Cow<'de, [u8]>>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_, '_, '_> {
    type Value = (Cow<'de, str>, Option<Cow<'de, [u8]>>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[name, string] in field `{}`", self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Some(name) = list.next_element_seed(Str)? else {
            return Err(A::Error::invalid_length(0, &self));
        };
        let Some(value) = list.next_element_seed(Bytes::new(self.context, self.name))? else {
            return Err(A::Error::invalid_length(1, &self));
        };
        // A third element is refused by the parser, which wants the list to end here.
        Ok((name, value))
    }
}

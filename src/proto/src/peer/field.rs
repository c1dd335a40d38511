//! Fields: little-endian numbers, identities, texts and lists, in the order of their structs.
//!
//! # Invariants
//! A list allocates only for elements that the bytes at hand can hold.

use crate::shown::beginning;

/// Why fields cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// A field or a list reaches beyond the message.
    #[error("a field is cut off, {at} bytes into the fields")]
    Cut {
        /// Where.
        at: usize,
    },
    /// A number that says which of several things follows is not one of those known.
    #[error("{what} {number} is not known, {at} bytes into the fields")]
    Unknown {
        /// Of what.
        what: &'static str,
        /// The number.
        number: u8,
        /// Where.
        at: usize,
    },
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8, {at} bytes into the fields")]
    Text {
        /// Where.
        at: usize,
    },
    /// Bytes behind the last field.
    #[error("bytes are left over, {at} bytes into the fields")]
    Trailing {
        /// Where.
        at: usize,
    },
}

/// Fields being read.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], FieldError> {
        let cut = FieldError::Cut { at: self.at };
        let end = self.at.checked_add(len).ok_or(cut)?;
        let taken = self.bytes.get(self.at..end).ok_or(cut)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FieldError> {
        let cut = FieldError::Cut { at: self.at };
        self.take(N)?.try_into().map_err(|_| cut)
    }

    /// That nothing is left.
    pub(super) fn finish(&self) -> Result<(), FieldError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(FieldError::Trailing { at: self.at }) }
    }

    /// A number that says which of several things follows.
    pub(super) fn unknown(&self, what: &'static str, number: u8) -> FieldError {
        FieldError::Unknown { what, number, at: self.at.saturating_sub(1) }
    }
}

/// Something that a message has as a field.
pub(super) trait Field: Sized {
    /// The fewest bytes that one of them takes: bounds what a list may announce.
    const LEAST: usize;

    fn put(&self, out: &mut Vec<u8>);

    fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            const LEAST: usize = size_of::<$number>();

            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
                fields.array().map(<$number>::from_le_bytes)
            }
        }
    )*};
}

numbers!(u8, u16, u32, u64);

impl Field for [u8; 16] {
    const LEAST: usize = 16;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        fields.array()
    }
}

impl Field for bool {
    const LEAST: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        match u8::take(fields)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(fields.unknown("a yes or no", other)),
        }
    }
}

/// At most 65,535 bytes of UTF-8; what is longer was cut by who wrote it.
impl Field for String {
    const LEAST: usize = 2;

    fn put(&self, out: &mut Vec<u8>) {
        let text = beginning(self, usize::from(u16::MAX));
        u16::try_from(text.len()).unwrap_or(u16::MAX).put(out);
        out.extend_from_slice(text.as_bytes());
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let len = u16::take(fields)?;
        let at = fields.at();
        let text = std::str::from_utf8(fields.take(usize::from(len))?);
        text.map(str::to_owned).map_err(|_| FieldError::Text { at })
    }
}

impl<T: Field> Field for Option<T> {
    const LEAST: usize = 1;

    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        if bool::take(fields)? { T::take(fields).map(Some) } else { Ok(None) }
    }
}

impl<T: Field> Field for Vec<T> {
    const LEAST: usize = 4;

    fn put(&self, out: &mut Vec<u8>) {
        // What is written here was bounded by the limits of a message.
        u32::try_from(self.len()).unwrap_or(u32::MAX).put(out);
        self.iter().for_each(|element| element.put(out));
    }

    fn take(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let count = u32::take(fields)?;
        let cut = FieldError::Cut { at: fields.at() };
        let room = (fields.bytes.len() - fields.at) / T::LEAST.max(1);
        let count = usize::try_from(count).ok().filter(|count| *count <= room).ok_or(cut)?;
        (0..count).map(|_| T::take(fields)).collect()
    }
}

/// A struct, and as a field of a message: its fields, in the order in which they stand.
macro_rules! fields {
    (
        $(#[$about:meta])*
        $seen:vis struct $name:ident {
            $($(#[$told:meta])* $shown:vis $field:ident: $kind:ty),* $(,)?
        }
    ) => {
        $(#[$about])*
        $seen struct $name {
            $($(#[$told])* $shown $field: $kind,)*
        }

        impl $crate::peer::field::Field for $name {
            const LEAST: usize = 0 $(+ <$kind as $crate::peer::field::Field>::LEAST)*;

            fn put(&self, out: &mut Vec<u8>) {
                $($crate::peer::field::Field::put(&self.$field, out);)*
            }

            fn take(fields: &mut $crate::peer::field::Fields<'_>) -> Result<Self, $crate::peer::field::FieldError> {
                Ok($name { $($field: <$kind as $crate::peer::field::Field>::take(fields)?),* })
            }
        }
    };
}

pub(super) use fields;

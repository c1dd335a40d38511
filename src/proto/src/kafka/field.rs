//! What a field of a message can be, and the form in which messages are declared.

use std::ops::Range;

use bytes::Bytes;

use super::wire::{Layout, Reader, WireError, WireFault, Writer};

/// A type that can stand in a message.
pub trait Field: Sized {
    /// Reads a value.
    ///
    /// # Errors
    /// When the bytes are not one.
    fn read(reader: &mut Reader<'_>, layout: Layout) -> Result<Self, WireError>;

    /// Writes the value.
    fn write(&self, writer: &mut Writer, layout: Layout);
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Field for $number {
            fn read(reader: &mut Reader<'_>, _: Layout) -> Result<Self, WireError> {
                reader.array().map(<$number>::from_be_bytes)
            }

            fn write(&self, writer: &mut Writer, _: Layout) {
                writer.put(&self.to_be_bytes());
            }
        }
    )*};
}
numbers!(i8, i16, i32, i64);

impl Field for bool {
    fn read(reader: &mut Reader<'_>, _: Layout) -> Result<Self, WireError> {
        Ok(reader.array()? != [0])
    }

    fn write(&self, writer: &mut Writer, _: Layout) {
        writer.put(&[u8::from(*self)]);
    }
}

/// A UUID.
impl Field for [u8; 16] {
    fn read(reader: &mut Reader<'_>, _: Layout) -> Result<Self, WireError> {
        reader.array()
    }

    fn write(&self, writer: &mut Writer, _: Layout) {
        writer.put(self);
    }
}

impl Field for Option<String> {
    fn read(reader: &mut Reader<'_>, layout: Layout) -> Result<Self, WireError> {
        Ok(reader.text(layout)?.map(str::to_owned))
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        writer.text(self.as_deref(), layout);
    }
}

impl Field for String {
    fn read(reader: &mut Reader<'_>, layout: Layout) -> Result<Self, WireError> {
        match reader.text(layout)? {
            Some(text) => Ok(text.to_owned()),
            None => Err(reader.error(WireFault::Null)),
        }
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        writer.text(Some(self), layout);
    }
}

impl Field for Bytes {
    fn read(reader: &mut Reader<'_>, layout: Layout) -> Result<Self, WireError> {
        match reader.bytes(layout)? {
            Some(range) => Ok(Bytes::copy_from_slice(reader.slice(range))),
            None => Err(reader.error(WireFault::Null)),
        }
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        writer.size(Some(self.len()), layout);
        writer.put(self);
    }
}

impl<T: Field> Field for Option<Vec<T>> {
    fn read(reader: &mut Reader<'_>, layout: Layout) -> Result<Self, WireError> {
        let Some(count) = reader.count(layout)? else { return Ok(None) };
        // Grows as it is read: what was announced may not be there.
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(T::read(reader, layout)?);
        }
        Ok(Some(all))
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        writer.size(self.as_ref().map(Vec::len), layout);
        self.iter().flatten().for_each(|one| one.write(writer, layout));
    }
}

impl<T: Field> Field for Vec<T> {
    fn read(reader: &mut Reader<'_>, layout: Layout) -> Result<Self, WireError> {
        Option::<Vec<T>>::read(reader, layout)?.ok_or_else(|| reader.error(WireFault::Null))
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        writer.size(Some(self.len()), layout);
        self.iter().for_each(|one| one.write(writer, layout));
    }
}

/// Record batches of a produce request: where they stand in the frame, so that they can be cut out of it without a
/// copy. `None` is null.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place(pub Option<Range<usize>>);

impl Field for Place {
    fn read(reader: &mut Reader<'_>, layout: Layout) -> Result<Self, WireError> {
        reader.bytes(layout).map(Place)
    }

    /// Only readers know places.
    fn write(&self, writer: &mut Writer, layout: Layout) {
        writer.size(None, layout);
    }
}

/// Record batches of a fetch response, one behind the other, passed on as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batches(pub Vec<Bytes>);

impl Batches {
    /// Bytes of all.
    pub fn len(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Bytes::is_empty)
    }
}

impl Field for Batches {
    fn read(reader: &mut Reader<'_>, layout: Layout) -> Result<Self, WireError> {
        let range = reader.bytes(layout)?.unwrap_or(0..0);
        Ok(Batches(vec![Bytes::copy_from_slice(reader.slice(range))]))
    }

    fn write(&self, writer: &mut Writer, layout: Layout) {
        writer.size(Some(self.len()), layout);
        self.0.iter().for_each(|bytes| writer.share(bytes.clone()));
    }
}

/// The value of a field in versions that lack it.
macro_rules! or_default {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

/// Declares messages. A field is `name: type [first version (to last version) (or value where it is absent)]`; fields
/// behind a semicolon are tagged, with their tag first. Names and versions are those of Kafka's message schemas
/// (<https://github.com/apache/kafka/tree/trunk/clients/src/main/resources/common/message>).
macro_rules! message {
    ($(
        $(#[$meta:meta])*
        struct $name:ident {
            $($field:ident: $type:ty [$from:literal $(to $to:literal)? $(or $default:expr)?],)*
            $(; $($tag:literal $tagged:ident: $tagged_type:ty [$tagged_from:literal],)*)?
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the fields of Kafka's message schemas, by their names")]
        pub struct $name {
            $(pub $field: $type,)*
            $($(pub $tagged: $tagged_type,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $crate::kafka::field::or_default!($($default)?),)*
                    $($($tagged: Default::default(),)*)?
                }
            }
        }

        impl $crate::kafka::field::Field for $name {
            fn read(
                reader: &mut $crate::kafka::wire::Reader<'_>,
                layout: $crate::kafka::wire::Layout,
            ) -> Result<Self, $crate::kafka::wire::WireError> {
                let mut message = Self::default();
                $(if layout.version >= $from $(&& layout.version <= $to)? {
                    message.$field = $crate::kafka::field::read_as(stringify!($field), reader, layout)?;
                })*
                if layout.flexible {
                    reader.tagged(|tag, _reader| {
                        match tag {
                            $($($tag if layout.version >= $tagged_from => {
                                message.$tagged = $crate::kafka::field::Field::read(_reader, layout)?;
                            })*)?
                            _ => {}
                        }
                        Ok(())
                    })?;
                }
                Ok(message)
            }

            fn write(&self, writer: &mut $crate::kafka::wire::Writer, layout: $crate::kafka::wire::Layout) {
                $(if layout.version >= $from $(&& layout.version <= $to)? {
                    self.$field.write(writer, layout);
                })*
                if layout.flexible {
                    #[allow(unused_mut, reason = "most messages have no tagged fields")]
                    let mut fields = Vec::new();
                    $($(if layout.version >= $tagged_from && self.$tagged != Default::default() {
                        let mut field = $crate::kafka::wire::Writer::new();
                        self.$tagged.write(&mut field, layout);
                        fields.push(($tag, field));
                    })*)?
                    writer.tagged(fields);
                }
            }
        }

        #[cfg(test)]
        impl $crate::kafka::differential::Sample for $name {
            fn sample(source: &mut $crate::kafka::differential::Source) -> Self {
                let mut message = Self::default();
                $(if source.layout.version >= $from $(&& source.layout.version <= $to)? {
                    message.$field = $crate::kafka::differential::Sample::sample(source);
                })*
                $($(if source.layout.flexible && source.layout.version >= $tagged_from {
                    message.$tagged = $crate::kafka::differential::Sample::sample(source);
                })*)?
                message
            }
        }
    )*};
}

/// Reads a field; an error names the innermost one.
pub(super) fn read_as<T: Field>(
    name: &'static str,
    reader: &mut Reader<'_>,
    layout: Layout,
) -> Result<T, WireError> {
    T::read(reader, layout).map_err(|mut error| {
        if error.field.is_empty() {
            error.field = name;
        }
        error
    })
}

pub(super) use {message, or_default};

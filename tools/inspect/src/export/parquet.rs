//! Parquet, a column for each field, in row groups of bounded size.

use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use tidelog_format::batch::Record;

use super::records::{Place, Sink};
use crate::error::InspectError;
use crate::record_json::headers_json;
use crate::target::NewFile;

/// Bytes of keys and values, and records, after which a row group is written.
const GROUP_BYTES: usize = 32 * 1024 * 1024;
const GROUP_RECORDS: usize = 256 * 1024;

/// Columns of a row group in the making.
#[derive(Default)]
struct Columns {
    topic: Vec<ByteArray>,
    partition: Vec<i64>,
    offset: Vec<i64>,
    timestamp: Vec<i64>,
    key: Nullable,
    value: Nullable,
    headers: Vec<ByteArray>,
    bytes: usize,
}

/// A column in which values may be missing.
#[derive(Default)]
struct Nullable {
    values: Vec<ByteArray>,
    defined: Vec<i16>,
}

impl Nullable {
    fn push(&mut self, bytes: Option<&[u8]>) {
        self.defined.push(i16::from(bytes.is_some()));
        self.values.extend(bytes.map(|bytes| ByteArray::from(bytes.to_vec())));
    }
}

pub(super) struct Parquet {
    writer: SerializedFileWriter<NewFile>,
    columns: Columns,
}

type Failed = parquet::errors::ParquetError;

fn failed(error: Failed) -> InspectError {
    InspectError::Output(std::io::Error::other(error))
}

fn schema() -> Result<Type, Failed> {
    let text = |name, repetition| {
        Type::primitive_type_builder(name, Physical::BYTE_ARRAY)
            .with_repetition(repetition)
            .with_logical_type(Some(LogicalType::String))
            .build()
    };
    let bytes = |name| {
        Type::primitive_type_builder(name, Physical::BYTE_ARRAY).with_repetition(Repetition::OPTIONAL).build()
    };
    let number = |name| {
        Type::primitive_type_builder(name, Physical::INT64).with_repetition(Repetition::REQUIRED).build()
    };
    let time = Type::primitive_type_builder("timestamp", Physical::INT64)
        .with_repetition(Repetition::REQUIRED)
        .with_logical_type(Some(LogicalType::timestamp(true, TimeUnit::MILLIS)))
        .build();
    let fields = [
        text("topic", Repetition::REQUIRED)?,
        number("partition")?,
        number("offset")?,
        time?,
        bytes("key")?,
        bytes("value")?,
        text("headers", Repetition::REQUIRED)?,
    ];
    Type::group_type_builder("record").with_fields(fields.into_iter().map(Arc::new).collect()).build()
}

impl Parquet {
    pub(super) fn new(file: NewFile) -> Result<Parquet, InspectError> {
        let properties = WriterProperties::builder().set_compression(Compression::UNCOMPRESSED).build();
        let schema = Arc::new(schema().map_err(failed)?);
        let writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(failed)?;
        Ok(Parquet { writer, columns: Columns::default() })
    }

    fn group(&mut self) -> Result<(), Failed> {
        let columns = std::mem::take(&mut self.columns);
        let mut group = self.writer.next_row_group()?;
        texts(&mut group, &columns.topic, None)?;
        for numbers in [&columns.partition, &columns.offset, &columns.timestamp] {
            if let Some(mut column) = group.next_column()? {
                column.typed::<Int64Type>().write_batch(numbers, None, None)?;
                column.close()?;
            }
        }
        for nullable in [&columns.key, &columns.value] {
            texts(&mut group, &nullable.values, Some(&nullable.defined))?;
        }
        texts(&mut group, &columns.headers, None)?;
        group.close().map(|_| ())
    }
}

fn texts(
    group: &mut SerializedRowGroupWriter<'_, NewFile>,
    values: &[ByteArray],
    defined: Option<&[i16]>,
) -> Result<(), Failed> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<ByteArrayType>().write_batch(values, defined, None)?;
        column.close()?;
    }
    Ok(())
}

impl Sink for Parquet {
    fn record(&mut self, place: &Place<'_>, record: &Record<'_>) -> Result<(), InspectError> {
        let columns = &mut self.columns;
        columns.topic.push(ByteArray::from(place.name.topic.as_str()));
        columns.partition.push(place.name.partition.cast_signed());
        columns.offset.push(place.offset.cast_signed());
        columns.timestamp.push(record.timestamp);
        columns.key.push(record.key);
        columns.value.push(record.value);
        let headers = headers_json(&record.headers)?;
        columns.headers.push(ByteArray::from(headers.as_str()));
        let content = [record.key, record.value].into_iter().flatten().map(<[u8]>::len).sum::<usize>();
        columns.bytes += content + headers.len();
        if columns.bytes >= GROUP_BYTES || columns.offset.len() >= GROUP_RECORDS {
            self.group().map_err(failed)?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), InspectError> {
        if !self.columns.offset.is_empty() {
            self.group().map_err(failed)?;
        }
        self.writer.into_inner().map_err(failed)?.finish().map(|_| ())
    }
}

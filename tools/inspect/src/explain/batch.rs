//! A RecordBatch and its records, field by field.
//!
//! Records of a compressed batch have no place in the file; they are told as a whole.

use tidelog_format::batch::{BATCH_HEADER_LEN, BatchHeader, BatchView, Codec, MAX_BATCH_LEN, varint};
use tidelog_format::time_text::time_text;

use super::field::{Field, Structure, Value, Verdict};
use super::layout::BATCH;
use super::{Sink, Wanted};
use crate::control::text_of;
use crate::error::InspectError;

/// Bytes of a key or value that are shown.
const SHOWN: usize = 256;

/// What the table says of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowSays {
    pub(crate) base_offset: u64,
    pub(crate) count: u64,
}

/// Explains the batch that is `bytes`, at `position` of the file.
pub(crate) fn explain(
    bytes: &[u8],
    position: u64,
    row: Option<RowSays>,
    wanted: &Wanted,
    sink: &mut Sink<'_>,
) -> Result<(), InspectError> {
    let parsed = BatchView::parse(bytes);
    let crc = bytes.get(21..).map(crc32c::crc32c).unwrap_or_default();
    let good = u64::from(crc) == BATCH.number(bytes, "crc") && bytes.len() >= BATCH_HEADER_LEN;
    let mut head = Structure::new(BATCH.name, position, BATCH_HEADER_LEN.min(bytes.len())).layout(
        &BATCH,
        bytes,
        &Verdict::covered(good),
    );
    head.judge("crc", Verdict::when(good, || format!("the bytes give {crc:08x}")));
    // Stamped by the leader: outside of the batch's own checksum, under the frame's.
    for stamped in ["base_offset", "length", "leader_epoch", "magic"] {
        head.judge(stamped, Verdict::Good);
    }
    judge_counts(&mut head, bytes, row);
    if let Err(error) = &parsed {
        head.verdict = Verdict::Bad(error.to_string());
    }
    let codec = parsed.as_ref().ok().and_then(|batch| batch.header().codec().ok());
    if let (Some(codec), Ok(batch)) = (codec, &parsed) {
        head.mean("attributes", codec.name());
        let header = batch.header();
        head.says = format!(
            "batch of {} records, offsets {}..{}, codec {codec}, {} bytes",
            header.count,
            header.base_offset,
            header.next_offset(),
            bytes.len()
        );
    }
    sink(head)?;
    let (Ok(batch), Some(codec)) = (parsed, codec) else { return Ok(()) };
    let from = position + BATCH_HEADER_LEN as u64;
    if codec == Codec::None {
        records(batch.header(), batch.body(), from, good, wanted, sink)
    } else if wanted.takes(from, from + batch.body().len() as u64) {
        sink(compressed(&batch, codec, from, good))
    } else {
        Ok(())
    }
}

fn judge_counts(head: &mut Structure, bytes: &[u8], row: Option<RowSays>) {
    let number = |name| BATCH.number(bytes, name);
    let len = number("length").saturating_add(12);
    let fits = len == bytes.len() as u64 && bytes.len() <= MAX_BATCH_LEN;
    head.judge("length", Verdict::when(fits, || format!("the batch has {} bytes", bytes.len())));
    head.judge("magic", Verdict::when(number("magic") == 2, || "must be 2".to_owned()));
    let dense = number("last_offset_delta").checked_add(1) == Some(number("count"));
    if !dense {
        head.judge("last_offset_delta", Verdict::Bad("must be the count less one".to_owned()));
    }
    if let Some(row) = row {
        let (offset, count) = (number("base_offset"), number("count"));
        let why = |must: u64| move || format!("its row says {must}");
        head.judge("base_offset", Verdict::when(offset == row.base_offset, why(row.base_offset)));
        if count != row.count {
            head.judge("count", Verdict::Bad(why(row.count)()));
        }
    }
}

fn compressed(batch: &BatchView<'_>, codec: Codec, from: u64, good: bool) -> Structure {
    let mut structure = Structure::new("records", from, batch.body().len());
    let mut scratch = Vec::new();
    let read = batch.records(&mut scratch).and_then(|records| {
        records.map(|record| record.map(|_| ())).try_fold(0u64, |sum, record| record.map(|()| sum + 1))
    });
    match read {
        Ok(count) => {
            structure.says = format!("{count} records, {} bytes once decompressed by {codec}", scratch.len());
        }
        Err(error) => structure.verdict = Verdict::Bad(error.to_string()),
    }
    structure.push(Field {
        field: "compressed",
        from,
        to: from + batch.body().len() as u64,
        value: Value::Text(codec.name().to_owned()),
        meaning: "all records of the batch; `dump --records` shows them".to_owned(),
        verdict: Verdict::covered(good),
        bytes: batch.body().iter().take(SHOWN).copied().collect(),
    });
    structure
}

/// Walks the records by their lengths; ends at the first that is not whole.
fn records(
    header: &BatchHeader,
    body: &[u8],
    position: u64,
    good: bool,
    wanted: &Wanted,
    sink: &mut Sink<'_>,
) -> Result<(), InspectError> {
    let mut at = 0;
    for index in 0..header.count {
        let rest = body.get(at..).unwrap_or_default();
        let length = varint::read_i32(rest).and_then(|(len, took)| Some((usize::try_from(len).ok()?, took)));
        let whole = length.and_then(|(len, took)| rest.get(..took.checked_add(len)?));
        let from = position + at as u64;
        let Some(bytes) = whole else {
            let bad = Structure::new("record", from, rest.len());
            return sink(bad.verdict(Verdict::Bad(format!("record {index} is not whole"))));
        };
        if wanted.takes(from, from + bytes.len() as u64) {
            sink(record(header, index, bytes, from, good))?;
        }
        at += bytes.len();
    }
    let rest = body.get(at..).unwrap_or_default();
    let from = position + at as u64;
    if !rest.is_empty() && wanted.takes(from, from + rest.len() as u64) {
        let text = "bytes behind the last record belong to nothing";
        sink(Structure::new("record", from, rest.len()).verdict(Verdict::Bad(text.to_owned())))?;
    }
    Ok(())
}

/// A place in a record, moving forward.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    from: u64,
    covered: Verdict,
    fields: Vec<Field>,
}

impl<'a> Reader<'a> {
    fn field(&mut self, field: &'static str, len: usize, value: Value, meaning: String) {
        let from = self.from + self.at as u64;
        let bytes = self.bytes.get(self.at..self.at + len).unwrap_or_default();
        let bytes = bytes.iter().take(SHOWN).copied().collect();
        let verdict = self.covered.clone();
        self.fields.push(Field { field, from, to: from + len as u64, value, meaning, verdict, bytes });
        self.at += len;
    }

    fn varint(&mut self, field: &'static str, meaning: impl FnOnce(i64) -> String) -> Option<i64> {
        let (value, len) = varint::read_i64(self.bytes.get(self.at..)?)?;
        self.field(field, len, Value::Signed(value), meaning(value));
        Some(value)
    }

    /// A length and so many bytes; -1 is null.
    fn text(&mut self, length: &'static str, field: &'static str) -> Option<()> {
        let len = self.varint(length, |len| if len < 0 { "null" } else { "bytes" }.to_owned())?;
        let Ok(len) = usize::try_from(len) else { return (len == -1).then_some(()) };
        let bytes: &'a [u8] = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        let shown = &bytes[..len.min(SHOWN)];
        self.field(field, len, Value::Text(text_of(shown)), "as the producer sent it".to_owned());
        Some(())
    }

    fn record(&mut self, header: &BatchHeader) -> Option<()> {
        self.varint("length", |_| "bytes of the record behind this field".to_owned())?;
        let attributes = u64::from(*self.bytes.get(self.at)?);
        self.field("attributes", 1, Value::Number(attributes), "none are defined".to_owned());
        let time = |delta: i64| time_text(header.base_timestamp.saturating_add(delta));
        self.varint("timestamp_delta", time)?;
        self.varint("offset_delta", |delta| {
            format!("offset {}", header.base_offset.saturating_add_signed(delta))
        })?;
        self.text("key_length", "key")?;
        self.text("value_length", "value")?;
        let headers = self.varint("headers", |_| "how many headers follow".to_owned())?;
        for _ in 0..headers {
            self.text("name_length", "name")?;
            self.text("header_value_length", "header_value")?;
        }
        (self.at == self.bytes.len()).then_some(())
    }
}

fn record(header: &BatchHeader, index: u32, bytes: &[u8], from: u64, good: bool) -> Structure {
    let covered = Verdict::covered(good);
    let mut reader = Reader { bytes, at: 0, from, covered, fields: Vec::new() };
    let whole = reader.record(header).is_some();
    let offset = header.base_offset.saturating_add(u64::from(index));
    let mut structure = Structure::new("record", from, bytes.len())
        .says(format!("record {index} of the batch, offset {offset}"))
        .verdict(super::header::covered_by(good, "the batch's crc"));
    let left = reader.at..bytes.len();
    structure.fields = reader.fields;
    if !whole {
        structure.verdict = Verdict::Bad("its fields do not fill its length".to_owned());
        structure.push(Field {
            field: "rest",
            from: from + left.start as u64,
            to: from + left.end as u64,
            value: Value::Null,
            meaning: "can't be read".to_owned(),
            verdict: Verdict::Doubtful,
            bytes: bytes.get(left).unwrap_or_default().iter().take(SHOWN).copied().collect(),
        });
    }
    structure
}

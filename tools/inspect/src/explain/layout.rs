//! Where the fields of each structure stand, as SPEC.md says it: data, not code.
//!
//! # Invariants
//! The fields of a layout follow each other without a gap, so that every byte of a structure has an owner. What a
//! field is worth is for the format crate's parser to say; a test compares the two field by field.

/// How a field's bytes are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// An unsigned number.
    Number,
    /// A signed number.
    Signed,
    /// Milliseconds since 1970, signed.
    Time,
    /// A number that means nothing to people: checksums and chain values.
    Sum,
    /// Bytes that identify something.
    Id,
    /// Must be zero.
    Zero,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) at: usize,
    pub(crate) len: usize,
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    pub(crate) meaning: &'static str,
}

/// A structure's fields in their order.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    pub(crate) len: usize,
    pub(crate) big_endian: bool,
    pub(crate) fields: &'static [Place],
}

impl Layout {
    /// The field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&'static Place> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The number in the field of that name; 0 where the bytes end before it.
    pub(crate) fn number(&self, bytes: &[u8], name: &str) -> u64 {
        let place = self.field(name);
        let bytes = place.and_then(|place| bytes.get(place.at..place.at + place.len));
        bytes.map_or(0, |bytes| unsigned(bytes, self.big_endian))
    }
}

/// Up to eight bytes as an unsigned number.
pub(crate) fn unsigned(bytes: &[u8], big_endian: bool) -> u64 {
    let fold = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
    if big_endian { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
}

/// Up to eight bytes as a signed number.
pub(crate) fn signed(bytes: &[u8], big_endian: bool) -> i64 {
    let unused = 64 - 8 * u32::try_from(bytes.len().min(8)).unwrap_or(8);
    (unsigned(bytes, big_endian) << unused).cast_signed() >> unused
}

const fn place(at: usize, len: usize, name: &'static str, form: Form, meaning: &'static str) -> Place {
    Place { at, len, name, form, meaning }
}

macro_rules! layout {
    ($(#[$doc:meta])* $id:ident = $name:literal, $len:literal, $big:literal,
     [$($at:literal $size:literal $field:literal $form:ident $meaning:literal,)+]) => {
        $(#[$doc])*
        pub(crate) const $id: Layout = Layout {
            name: $name,
            len: $len,
            big_endian: $big,
            fields: &[$(place($at, $size, $field, Form::$form, $meaning),)+],
        };
    };
}

layout! {
    /// What every header begins with.
    PRELUDE = "prelude", 32, false, [
        0 8 "magic" Id "every header begins with it; a text-mode transfer breaks it",
        8 4 "header_crc" Sum "CRC-32C of bytes 12 to 128",
        12 2 "header_len" Number "bytes of the header, always 128",
        14 1 "kind" Number "1 frame, 2 end block, 3 footer, 4 trailer, 5 superblock",
        15 1 "version" Number "major version of the format",
        16 16 "salt" Id "random identity of this segment's life in the file",
    ]
}

layout! {
    /// Behind the prelude of a frame.
    FRAME = "frame-header", 128, false, [
        32 8 "lsn" Number "dense number of the frame in its shard",
        40 8 "committed_lsn" Number "LSNs below it were committed when the frame was made",
        48 8 "chain" Sum "XXH3-64 of the header before: vouches for all frames before",
        56 8 "append_time" Time "the leader's clock",
        64 4 "epoch" Number "number of the span",
        68 4 "block_index" Number "place in the file, in blocks of 4096",
        72 4 "body_len" Number "bytes of bodies and table",
        76 4 "entries" Number "rows of the table",
        80 4 "table_crc" Sum "CRC-32C of the table, of each batch's first 21 bytes, of other entries",
        84 44 "zero" Zero "reserved",
    ]
}

layout! {
    /// A row of a frame's table.
    ROW = "row", 32, false, [
        0 8 "partition" Number "the partition's number, 0 where the kind has none",
        8 8 "base_offset" Number "offset of the batch's first record",
        16 4 "length" Number "bytes of the entry's body",
        20 4 "count" Number "records of the batch",
        24 1 "kind" Number "what the entry is",
        25 1 "flags" Zero "reserved",
        26 6 "reserved" Zero "reserved",
    ]
}

layout! {
    /// The body of a segment's first entry.
    OPENING = "opening", 120, false, [
        0 2 "minor_version" Number "minor version of the writer",
        2 6 "zero" Zero "reserved",
        8 8 "incompatible" Number "features that a reader must understand",
        16 8 "readonly_compatible" Number "features that a writer must understand",
        24 8 "compatible" Number "features that anyone may ignore",
        32 16 "cluster" Id "the cluster's identity",
        48 8 "shard" Number "the shard, 0 is the metadata's",
        56 8 "number" Number "dense number of the segment in its shard",
        64 8 "segment_bytes" Number "size for which the segment was planned",
        72 4 "predecessor_epoch" Number "epoch of the segment before",
        76 4 "predecessor_zero" Zero "reserved",
        80 8 "predecessor_number" Number "number of the segment before; all ones: none",
        88 8 "predecessor_last_lsn" Number "LSN of its last frame",
        96 8 "predecessor_chain" Sum "chain value behind its last frame",
        104 16 "next_salt" Id "salt of the next segment of the same span",
    ]
}

layout! {
    /// The body of a span start, before its holders.
    SPAN_START = "span-start", 32, false, [
        0 8 "base_chain" Sum "chain value that the span's first frame carries",
        8 8 "leader" Number "the node that frames",
        16 8 "incarnation" Number "in which of its process starts",
        24 4 "previous_epoch" Number "of the span before; 0: none",
        28 1 "quorum" Number "holders that make a frame durable before it is acknowledged",
        29 3 "zero" Zero "reserved",
    ]
}

layout! {
    /// A holder of a span.
    HOLDER = "holder", 24, false, [
        0 8 "node" Number "its node",
        8 16 "store" Id "the node's data directory",
    ]
}

layout! {
    /// Behind the prelude of an end block.
    END_BLOCK = "end-block", 4096, false, [
        32 8 "next_lsn" Number "LSN of the frame that will overwrite this block",
        40 8 "first_lsn" Number "first LSN of the write that this block ended",
        48 8 "chain" Sum "chain value that the next frame will carry",
        56 8 "zero" Zero "reserved",
        64 4 "epoch" Number "number of the span",
        68 4 "block_index" Number "place in the file, in blocks of 4096",
        72 4 "flags" Number "bit 0: the write is known to be durable; bit 1: clean stop",
        76 52 "zero_2" Zero "reserved",
        128 3968 "padding" Zero "checked: half of another write shows here",
    ]
}

layout! {
    /// Behind the prelude of a footer.
    FOOTER = "footer-header", 128, false, [
        32 8 "base_lsn" Number "LSN of the opening frame",
        40 8 "next_lsn" Number "LSN behind the last frame",
        48 8 "chain" Sum "chain value behind the last frame",
        56 8 "body_len" Number "bytes of the rows behind this header",
        64 4 "epoch" Number "number of the span",
        68 4 "block_index" Number "place in the file, in blocks of 4096",
        72 4 "body_crc" Sum "CRC-32C of the body",
        76 4 "partitions" Number "partition rows",
        80 4 "positions" Number "positions",
        84 4 "producers" Number "rows of the producer snapshot",
        88 8 "first_append_time" Time "append time of the first frame",
        96 8 "last_append_time" Time "append time of the last frame",
        104 4 "producer_batches" Number "batches of all producers' rows",
        108 20 "zero" Zero "reserved",
    ]
}

layout! {
    /// A partition in a footer.
    PARTITION = "footer-partition", 64, false, [
        0 8 "partition" Number "the partition's number",
        8 8 "log_start" Number "first offset still wanted",
        16 8 "first_offset" Number "first offset in this segment",
        24 8 "next_offset" Number "offset behind the last record",
        32 8 "min_timestamp" Time "smallest base timestamp of a batch",
        40 8 "max_timestamp" Time "largest timestamp",
        48 8 "bytes" Number "bytes of the partition's batches here",
        56 4 "positions" Number "how many positions are its",
        60 4 "zero" Zero "reserved",
    ]
}

layout! {
    /// A place of a partition in a footer.
    POSITION = "footer-position", 24, false, [
        0 8 "offset" Number "base offset of the batch that got the position",
        8 8 "max_timestamp" Time "largest timestamp from here to the next position",
        16 4 "block" Number "the frame's place in the file, in blocks of 4096",
        20 4 "zero" Zero "reserved",
    ]
}

layout! {
    /// What a producer wrote last to a partition, in a footer.
    PRODUCER = "footer-producer", 32, false, [
        0 8 "partition" Number "the partition's number",
        8 8 "producer_id" Signed "the idempotent producer",
        16 4 "run" Number "sequences up to the last that are known to be stored",
        20 4 "age" Number "blocks of frames since the last batch",
        24 2 "epoch" Signed "the producer's epoch",
        26 2 "batches" Number "how many batches are its",
        28 4 "zero" Zero "reserved",
    ]
}

layout! {
    /// One of the last batches of a producer, in a footer.
    PRODUCER_BATCH = "footer-producer-batch", 24, false, [
        0 8 "base_offset" Number "offset of its first record",
        8 8 "lsn" Number "of its frame",
        16 4 "first_sequence" Number "sequence number of its first record",
        20 4 "count" Number "records",
    ]
}

layout! {
    /// Behind the prelude of a trailer.
    TRAILER = "trailer", 4096, false, [
        32 8 "base_lsn" Number "LSN of the opening frame",
        40 8 "next_lsn" Number "LSN behind the last frame",
        48 8 "chain" Sum "chain value behind the last frame",
        56 8 "footer_len" Number "bytes of the footer before this block",
        64 4 "epoch" Number "number of the span",
        68 4 "block_index" Number "place in the file, in blocks of 4096",
        72 16 "digest" Id "XXH3-128 of all frames",
        88 4008 "padding" Zero "checked",
    ]
}

layout! {
    /// Behind the prelude of a superblock's copy.
    SUPERBLOCK = "superblock", 4096, false, [
        32 16 "cluster" Id "the cluster's identity",
        48 8 "node" Number "the node's number",
        56 8 "incarnation" Number "counts process starts",
        64 8 "generation" Number "counts writes of the superblock",
        72 4 "copy" Number "which of the two copies this is",
        76 2 "minor_version" Number "minor version of the writer",
        78 2 "zero" Zero "reserved",
        80 8 "incompatible" Number "features that a reader must understand",
        88 8 "readonly_compatible" Number "features that a writer must understand",
        96 8 "compatible" Number "features that anyone may ignore",
        104 8 "created" Time "when the directory was made",
        112 3984 "padding" Zero "reserved",
    ]
}

layout! {
    /// The header of a Kafka RecordBatch v2.
    BATCH = "batch-header", 61, true, [
        0 8 "base_offset" Number "offset of the first record, stamped by the leader",
        8 4 "length" Signed "bytes behind this field",
        12 4 "leader_epoch" Signed "stamped by the leader",
        16 1 "magic" Signed "version of the batch format, always 2",
        17 4 "crc" Sum "CRC-32C of everything from byte 21 on",
        21 2 "attributes" Number "bits 0 to 2: codec; 3 log-append time, 4 transactional, 5 control",
        23 4 "last_offset_delta" Signed "offset of the last record less that of the first",
        27 8 "base_timestamp" Time "the records' timestamps count from it",
        35 8 "max_timestamp" Time "largest timestamp of the records",
        43 8 "producer_id" Signed "idempotent producer, -1 for none",
        51 2 "producer_epoch" Signed "its epoch",
        53 4 "base_sequence" Signed "sequence number of the first record",
        57 4 "count" Signed "records",
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_every_layout_follow_each_other_without_a_gap() {
        for (layout, from) in [
            (PRELUDE, 0),
            (FRAME, 32),
            (ROW, 0),
            (OPENING, 0),
            (SPAN_START, 0),
            (HOLDER, 0),
            (END_BLOCK, 32),
            (FOOTER, 32),
            (PARTITION, 0),
            (POSITION, 0),
            (PRODUCER, 0),
            (PRODUCER_BATCH, 0),
            (TRAILER, 32),
            (SUPERBLOCK, 32),
            (BATCH, 0),
        ] {
            let mut at = from;
            for field in layout.fields {
                assert_eq!(field.at, at, "{} {}", layout.name, field.name);
                at += field.len;
            }
            assert_eq!(at, layout.len, "{}", layout.name);
        }
    }

    #[test]
    fn numbers_are_read_in_both_orders_and_with_their_sign() {
        assert_eq!(unsigned(&[1, 2], false), 0x0201);
        assert_eq!(unsigned(&[1, 2], true), 0x0102);
        assert_eq!(signed(&[0xFE, 0xFF], false), -2);
        assert_eq!(signed(&[0xFF; 8], true), -1);
        assert_eq!(signed(&[0x7F], true), 127);
    }
}

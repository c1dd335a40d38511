//! Makes the golden files, from nothing but constants.

use tidelog_format::BLOCK;
use tidelog_format::batch::Codec;
use tidelog_format::opening::{Opening, Predecessor};
use tidelog_format::partition_taken;
use tidelog_format::producers::{Numbered, Producers};
use tidelog_format::promise::Journal;
use tidelog_format::scan::Expect;
use tidelog_format::span_start::{Holder, SpanStart};
use tidelog_format::superblock::Superblock;

use crate::support::batches::{Laid, batch, coded, control, created, keyed, numbered};
use crate::support::writer::Writer;

/// A golden file.
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) golden: Golden,
    pub(crate) bytes: Vec<u8>,
}

/// What the file is.
#[derive(Clone, Copy)]
pub(crate) enum Golden {
    /// A segment, and what its reader knows beforehand.
    Segment(Expect),
    /// A superblock.
    Superblock,
    /// A RecordBatch.
    Batch,
}

/// The vector whose bytes depend on the codecs' libraries.
pub(crate) const CODECS: &str = "codecs.seg";
/// The same: what producers wrote last is compressed.
const TAKEN: &str = "partition-taken.seg";
/// Records of each of its batches.
pub(crate) const CODEC_RECORDS: usize = 20;

const EPOCH: u32 = 3;
const SEGMENT: usize = 64 * 1024;

fn writer_on(file: Vec<u8>) -> Writer {
    let mut opening = Opening::new(*b"a golden cluster", 1, 2, 64 * 1024);
    opening.predecessor =
        Some(Predecessor { epoch: EPOCH, number: 1, last_lsn: 99, chain: 0x1122_3344_5566_7788 });
    opening.next_salt = *b"the salt behind.";
    Writer::new(file, opening, *b"the golden salt.", EPOCH, 100)
}

fn first() -> Vec<Laid> {
    vec![created(7, "metrics/0"), created(8, "events/0"), batch(7, 0, 1_700_000_000_100, &[b"one", b"two"])]
}

fn second() -> Vec<Laid> {
    let long: Vec<u8> = (b'a'..=b'z').cycle().take(5000).collect();
    vec![
        batch(7, 2, 1_700_000_000_200, &[b"three", &long]),
        keyed(8, 0, 1_700_000_000_201, b"web-1", b"{\"status\":200}"),
    ]
}

fn third() -> Vec<Laid> {
    let long = [b'z'; 4200];
    vec![batch(8, 1, 1_700_000_000_300, &[&long, b"last"]), control(5, 7, 1, b"")]
}

/// Opening frame and three writes.
fn three_writes(file: Vec<u8>) -> Writer {
    let mut writer = writer_on(file);
    writer.write(&first()).write(&second()).write(&third());
    writer
}

/// A whole file of frames of an earlier life.
fn earlier_life() -> Vec<u8> {
    let mut writer = Writer::new(
        vec![0; SEGMENT],
        Opening::new(*b"a golden cluster", 1, 1, 64 * 1024),
        [0x0D; 16],
        EPOCH,
        50,
    );
    for lsn in 0..7u64 {
        writer.write(&[batch(7, lsn, 1_600_000_000_000, &[b"of an earlier life", &[b'o'; 3000]])]);
    }
    writer.file
}

fn open_file() -> Vec<u8> {
    vec![0; 12 * BLOCK]
}

fn segment(name: &'static str, what: &'static str, writer: Writer) -> Vector {
    Vector { name, what, golden: Golden::Segment(writer.expect()), bytes: writer.file }
}

/// Puts a header's checksum right.
fn resum(header: &mut [u8]) {
    let crc = crc32c::crc32c(&header[12..128]);
    header[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// Place of a frame in the file, by its number in the segment.
fn place(writer: &Writer, frame: usize) -> usize {
    writer.frames()[frame].at
}

pub(crate) fn all() -> Vec<Vector> {
    let mut out = clean();
    out.extend(torn());
    out.extend(rotten());
    out.extend(stale());
    out.extend(producers());
    out.extend(spans());
    out.push(taken());
    out.extend(newer());
    out.push(codecs_of(codecs()));
    out.extend(batches());
    out.extend(superblocks());
    out
}

fn clean() -> Vec<Vector> {
    let open = three_writes(open_file());
    let (mut sealed, mut stopped, mut virgin, mut footer) =
        (open.clone(), open.clone(), open.clone(), open.clone());
    sealed.seal();
    stopped.mark(true);
    let at = virgin.block * BLOCK;
    virgin.file[at..at + BLOCK].fill(0);
    footer.seal();
    footer.file[at + 64] ^= 1;
    vec![
        segment("clean-sealed.seg", "sealed: frames, footer, trailer", sealed),
        segment("clean-open.seg", "open: an end block names the next LSN", open),
        segment("clean-stop.seg", "the end block has the sync mark and the mark of a clean stop", stopped),
        segment("virgin-behind.seg", "the end block is gone, zeroes behind the last frame", virgin),
        segment("damaged-footer.seg", "one bit of the footer's header; the trailer names the end", footer),
    ]
}

/// The last write tears: `keep` says which of its 512-byte sectors reached the disk.
fn torn_last(file: Vec<u8>, keep: impl Fn(usize) -> bool) -> Writer {
    let mut writer = writer_on(file);
    writer.write(&first()).write(&second());
    let pending = writer.prepare(&third());
    for (index, sector) in pending.bytes.chunks(512).enumerate() {
        if keep(index) {
            let at = pending.at + index * 512;
            writer.file[at..at + 512].copy_from_slice(sector);
        }
    }
    writer
}

fn torn() -> Vec<Vector> {
    let missing_header = torn_last(open_file(), |sector| sector != 0);
    let missing_body = torn_last(open_file(), |sector| sector != 3);
    // Two blocks of frame, one of end block.
    let missing_end = torn_last(earlier_life(), |sector| sector < 16);
    vec![
        segment(
            "torn-header-missing.seg",
            "the last write's first sector did not reach the disk",
            missing_header,
        ),
        segment(
            "torn-body-missing.seg",
            "a sector of the last write's body did not reach the disk",
            missing_body,
        ),
        segment("torn-end-missing.seg", "the last write's end block did not reach the disk", missing_end),
    ]
}

fn rotten() -> Vec<Vector> {
    let open = three_writes(open_file());
    let (mut middle, mut marked, mut unmarked, mut alone, mut misdirected) =
        (open.clone(), open.clone(), open.clone(), open.clone(), open.clone());
    let (second, last) = (place(&open, 2), place(&open, 3));
    middle.file[second + 300] ^= 0x20;
    marked.mark(false).file[last + 300] ^= 0x20;
    unmarked.file[last + 300] ^= 0x20;
    alone.file[last + 20] ^= 0x20;
    alone.file[open.block * BLOCK + 20] ^= 0x20;
    misdirected.file.copy_within(place(&open, 1)..place(&open, 1) + BLOCK, second);
    vec![
        segment("rotten-middle.seg", "one bit of a batch in the middle; later writes are intact", middle),
        segment(
            "rotten-last-marked.seg",
            "one bit of the last frame; the sync mark says it was durable",
            marked,
        ),
        segment(
            "rotten-last-unmarked.seg",
            "one bit of the last frame; nothing says it was durable",
            unmarked,
        ),
        segment(
            "rotten-last-alone.seg",
            "one bit of the last frame's header and one of the end block's",
            alone,
        ),
        segment(
            "misdirected.seg",
            "a frame in the middle is overwritten by the block of another place",
            misdirected,
        ),
    ]
}

fn stale() -> Vec<Vector> {
    let recycled = three_writes(earlier_life());
    let mut newer = recycled.clone();
    let at = newer.block * BLOCK;
    let header = &mut newer.file[at..at + 128];
    header[15] = 2;
    header[16..32].fill(0x0E);
    resum(header);
    vec![
        segment("stale-recycled.seg", "recycled: an earlier life's frames behind the end block", recycled),
        segment("stale-newer-version.seg", "a header of a newer version and another salt is stale", newer),
    ]
}

/// A span's first segment, which says who leads and holds it; and a promise journal.
fn spans() -> Vec<Vector> {
    let holder = |node: u8| Holder { node: node.into(), store: [0xA0 + node; 16] };
    let start = SpanStart {
        base_lsn: 100,
        base_chain: 0x1122_3344_5566_7788,
        leader: 2,
        incarnation: 9,
        previous: Some(1),
        quorum: 2,
        holders: vec![holder(1), holder(2), holder(3)],
    };
    let (row, body) = start.encode();
    let mut first = writer_on(open_file());
    first.write(&[Laid { row, body }, created(7, "metrics/0")]).write(&third()[1..]);
    let (mut journal, mut file) = Journal::begin(*b"a golden cluster", [0x0B; 16], &[(1, 3), (2, 3)].into());
    for promise in [(1, 5), (2, 7)] {
        let write = journal.keep(&[promise].into()).unwrap();
        let at = usize::try_from(write.position).unwrap();
        file[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    file.truncate(8 * BLOCK);
    let known =
        Expect { block_index: 0, salt: Some([0x0B; 16]), epoch: Some(0), lsn: Some(1), chain: Some(0) };
    vec![
        segment(
            "span-start.seg",
            "the first segment of a span: its second frame says who leads and holds it",
            first,
        ),
        Vector {
            name: "promises.seg",
            what: "a promise journal: two shards, each promised twice",
            golden: Golden::Segment(known),
            bytes: file,
        },
    ]
}

/// Idempotent producers: 40 goes over the largest sequence and has more batches than are remembered, 41 begins a new
/// epoch, 42 goes with its partition.
fn producers() -> Vec<Vector> {
    let time = 1_700_000_000_100;
    let mut sealed = writer_on(open_file());
    sealed.write(&[
        created(7, "metrics/0"),
        created(8, "events/0"),
        created(9, "gone/0"),
        numbered(7, 0, time, (40, 0, i32::MAX - 1), &[b"a", b"b", b"c"]),
        numbered(8, 0, time, (41, 3, 17), &[b"d"]),
    ]);
    let one_each = (0..5u8)
        .map(|at| numbered(7, 3 + u64::from(at), time + 1, (40, 0, 1 + i32::from(at)), &[&[b'e' + at]]));
    let others = [numbered(9, 0, time + 1, (42, 0, 0), &[b"j"]), batch(7, 8, time + 1, &[b"of nobody"])];
    sealed.write(&one_each.chain(others).collect::<Vec<_>>());
    sealed.write(&[control(4, 9, 0, b""), numbered(8, 1, time + 2, (41, 4, 0), &[b"k", b"l"])]);
    let mut lying = sealed.clone();
    sealed.seal();
    // The two rows of the snapshot change places, and the checksums say so.
    let at = lying.block * BLOCK;
    lying.seal();
    let rows = at + 128 + 2 * 64 + 2 * 24;
    let (first, second) = lying.file[rows..rows + 64].split_at_mut(32);
    first.swap_with_slice(second);
    lying.file[rows + 64..rows + 64 + 6 * 24].rotate_left(5 * 24);
    let body_len =
        usize::try_from(u64::from_le_bytes(lying.file[at + 56..at + 64].try_into().unwrap())).unwrap();
    let crc = crc32c::crc32c(&lying.file[at + 128..at + 128 + body_len]);
    lying.file[at + 72..at + 76].copy_from_slice(&crc.to_le_bytes());
    resum(&mut lying.file[at..at + 128]);
    vec![
        segment(
            "producers-sealed.seg",
            "sealed: the footer holds what idempotent producers wrote last",
            sealed,
        ),
        segment("damaged-producers.seg", "the footer's snapshot of producers is not sorted", lying),
    ]
}

/// Partition 7 goes on at offset 50. Producer 40 has written its offsets 46 to 49 in another shard, goes on here, and its batch
/// over there is still known.
fn taken() -> Vector {
    let mut other = Producers::default();
    for (offset, first_sequence) in [(46, 8), (48, 10)] {
        other.note(7, &Numbered { producer_id: 40, epoch: 0, first_sequence, count: 2 }, offset, 900);
    }
    let body = partition_taken::encode(&other.of_partition(7)).expect("zstd compresses a few bytes");
    let mut sealed = writer_on(open_file());
    sealed.write(&[Laid { row: partition_taken::row(7, 50, &body), body }, created(8, "events/0")]);
    sealed.write(&[numbered(7, 50, 1_700_000_000_100, (40, 0, 12), &[b"a", b"b"])]);
    sealed.seal();
    segment(TAKEN, "sealed: a partition goes on here, with what its producers wrote in another shard", sealed)
}

fn newer() -> Vec<Vector> {
    let mut major = three_writes(open_file());
    for at in [0, place(&major, 1), place(&major, 2), place(&major, 3)] {
        major.file[at + 15] = 2;
        resum(&mut major.file[at..at + 128]);
    }
    let mut must = writer_on(open_file());
    must.write(&first());
    // This program's own scan refuses it, so the writer can't note it as returned.
    must.apply(&must.prepare(&[batch(7, 2, 1_700_000_000_200, &[b"three"]), control(127, 7, 0, b"must")]));
    let mut skip = writer_on(open_file());
    skip.write(&first()).write(&[control(128, 7, 0, b"may"), batch(7, 2, 1_700_000_000_200, &[b"three"])]);
    let mut feature = writer_on(open_file());
    feature.opening.incompatible = 1 << 40;
    feature.opening.compatible = 1;
    feature.write(&first());
    vec![
        segment("newer-major.seg", "major version 2", major),
        segment("unknown-entry-must.seg", "an entry of kind 127, which must be understood", must),
        segment("unknown-entry-skip.seg", "an entry of kind 128, which may be skipped", skip),
        segment("unknown-feature.seg", "incompatible feature bit 40 in the opening", feature),
    ]
}

fn codecs() -> Vec<u8> {
    let mut writer = writer_on(Vec::new());
    let line: &[u8] = b"2023-11-14T22:13:20Z GET /v1/topics 200 web-1 answered in 12 ms";
    let lines = [line; CODEC_RECORDS];
    let mut entries = vec![created(7, "metrics/0")];
    for (codec, offset) in Codec::ALL.into_iter().zip((0..).step_by(CODEC_RECORDS)) {
        entries.push(coded(codec, 7, offset, 1_700_000_000_000, &lines));
    }
    writer.write(&entries);
    writer.file
}

/// Names of the batches' files, in the order of the codecs.
const BATCHES: [&str; 5] =
    ["batch-none.bin", "batch-gzip.bin", "batch-snappy.bin", "batch-lz4.bin", "batch-zstd.bin"];

fn batches() -> Vec<Vector> {
    let entry = |codec| coded(codec, 7, 40, 1_700_000_000_000, &[b"web-1 answered in 12 ms".as_slice(); 9]);
    let vector = |(codec, name)| Vector {
        name,
        what: "a batch of nine records at offset 40",
        golden: Golden::Batch,
        bytes: entry(codec).body,
    };
    Codec::ALL.into_iter().zip(BATCHES).map(vector).collect()
}

/// Whether the bytes come from a codec's library, which may write others in a later version.
pub(crate) fn compressed(name: &str) -> bool {
    name == CODECS || name == TAKEN || BATCHES[1..].contains(&name)
}

/// The codecs' vector with these bytes.
pub(crate) fn codecs_of(bytes: Vec<u8>) -> Vector {
    let what = "one batch of each codec: none, gzip, snappy (xerial), lz4, zstd";
    Vector { name: CODECS, what, golden: Golden::Segment(writer_on(Vec::new()).expect()), bytes }
}

fn superblocks() -> Vec<Vector> {
    let file = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut out = vec![0; 2 * BLOCK];
        for generation in [7, 8] {
            let superblock = Superblock {
                cluster: *b"a golden cluster",
                store: *b"a golden store !",
                node: 1,
                incarnation: 4,
                generation,
                created: 1_700_000_000_000,
            };
            let mut block = [0; BLOCK];
            superblock.encode(&mut block);
            let at = usize::try_from(superblock.copy()).unwrap() * BLOCK;
            out[at..at + BLOCK].copy_from_slice(&block);
        }
        change(&mut out);
        out
    };
    let vector = |name, what, bytes| Vector { name, what, golden: Golden::Superblock, bytes };
    vec![
        vector("superblock.bin", "two copies, generations 8 and 7", file(&|_| {})),
        vector("superblock-damaged-copy.bin", "one bit of the newer copy", file(&|file| file[50] ^= 1)),
        vector(
            "superblock-damaged.bin",
            "both copies damaged",
            file(&|file| {
                file[50] ^= 1;
                file[BLOCK + 9] ^= 1;
            }),
        ),
        vector(
            "superblock-newer-major.bin",
            "the newer copy is of major version 2",
            file(&|file| {
                file[15] = 2;
                resum(&mut file[..128]);
            }),
        ),
        vector(
            "superblock-unknown-feature.bin",
            "incompatible feature bit 3 in the newer copy",
            file(&|file| {
                file[80] = 8;
                resum(&mut file[..128]);
            }),
        ),
    ]
}

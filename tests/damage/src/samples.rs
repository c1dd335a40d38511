//! The directories that are damaged: as small as they can be, and together every form that a directory has.

use tidelog_format::batch::Codec;
use tidelog_format::block::BLOCK;
use tidelog_format::name;
use tidelog_format::superblock::{SUPERBLOCK_LEN, Superblock};
use tidelog_wal::OpenError;

use crate::build::{Built, CLUSTER, Step, build};

const DATA: u64 = 1;
const METADATA: u64 = 0;
/// Nearly a block, so that a segment is full after a few.
const LARGE: usize = 11_000;

/// All samples' names.
pub fn names() -> &'static [&'static str] {
    &["open", "marked", "sealed", "several", "recycled", "producers", "metadata", "store"]
}

/// The sample of this name.
///
/// # Errors
/// When the write-ahead log does not open what it wrote itself.
pub fn sample(name: &str) -> Result<crate::Sweep, OpenError> {
    let one = |shard, steps: &[Step]| build(Built::default(), shard, 7, steps);
    let built = match name {
        "open" => one(DATA, &open())?,
        "marked" => one(DATA, &[open(), vec![Step::Mark]].concat())?,
        "sealed" => one(DATA, &[open(), vec![Step::Stop]].concat())?,
        "several" => one(DATA, &several())?,
        "recycled" => one(DATA, &recycled())?,
        "producers" => one(DATA, &producers())?,
        "metadata" => one(METADATA, &metadata())?,
        _ => store()?,
    };
    Ok(crate::Sweep::new(built))
}

fn append(partition: u64, records: u32, bytes: usize) -> Step {
    Step::Append { partition, records, bytes, codec: Codec::None }
}

/// Batches that share a block with nothing, one that fills several, two partitions.
fn open() -> Vec<Step> {
    vec![
        Step::Create(1),
        append(1, 1, 5),
        Step::Create(2),
        append(2, 3, 200),
        append(1, 2, 4500),
        append(2, 1, 10),
        append(1, 2, 30),
    ]
}

/// A life that crashed, one that was stopped, and one that filled a segment and is in the next.
fn several() -> Vec<Step> {
    let mut steps = open();
    steps.push(Step::Crash);
    steps.extend([append(1, 1, 20), append(2, 2, 20), Step::Trim { partition: 1, offset: 2 }, Step::Stop]);
    steps.extend((0..6).map(|n| append(1 + n % 2, 1, LARGE)));
    steps.extend([append(1, 2, 50), append(2, 1, 60)]);
    steps
}

/// A segment in a file of an earlier one, whose content still stands behind the end, and a spare.
fn recycled() -> Vec<Step> {
    let mut steps = vec![Step::Create(1)];
    steps.extend((0..17).map(|_| append(1, 1, LARGE)));
    steps.extend([Step::Trim { partition: 1, offset: 14 }, Step::Retain]);
    // Only now are the released files at hand.
    steps.extend((0..5).map(|_| append(1, 1, LARGE)));
    steps.extend([Step::Trim { partition: 1, offset: 18 }, Step::Retain]);
    steps.extend([append(1, 1, 30), append(1, 2, 40), append(1, 1, 50)]);
    steps
}

/// Every codec, numbered batches with resends, a trim, a partition that was deleted.
fn producers() -> Vec<Step> {
    let mut steps = vec![Step::Create(1), Step::Create(2), Step::Create(3)];
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        steps.push(Step::Append { partition: 1, records: 8, bytes: 60, codec });
        steps.push(Step::Produce { partition: 2, producer: 40 });
    }
    steps.extend([
        Step::Resend { partition: 2, producer: 40 },
        Step::Produce { partition: 3, producer: 41 },
        Step::Trim { partition: 2, offset: 3 },
        Step::Stop,
        Step::Produce { partition: 2, producer: 42 },
        Step::Delete(3),
        append(1, 2, 100),
        Step::Crash,
        append(2, 1, 10),
        append(1, 1, 10),
    ]);
    steps
}

fn command(text: &str) -> Step {
    Step::Command(text.to_owned())
}

/// Commands of four lives.
fn metadata() -> Vec<Step> {
    let class = r#"{"ms":null,"bytes":null}"#;
    vec![
        command(r#"{"bump_incarnation":{"incarnation":1}}"#),
        command(&format!(r#"{{"open_shard":{{"shard":1,"class":{class}}}}}"#)),
        command(&format!(
            r#"{{"create_topic":{{"name":"topic","id":"{}","retention":{class},"shards":[1,1,1]}}}}"#,
            "ab".repeat(16)
        )),
        Step::Crash,
        command(r#"{"bump_incarnation":{"incarnation":2}}"#),
        command(r#"{"alloc_producer_ids":{"first":1,"count":1000}}"#),
        Step::Stop,
        command(r#"{"bump_incarnation":{"incarnation":3}}"#),
        Step::Stop,
        command(r#"{"bump_incarnation":{"incarnation":4}}"#),
    ]
}

/// A whole directory: superblock, metadata, data.
fn store() -> Result<Built, OpenError> {
    let first = build(Built::default(), METADATA, 7, &metadata())?;
    let steps = [open(), vec![Step::Crash, append(1, 1, 9), Step::Stop, append(2, 1, 9)]].concat();
    // Both shards were opened in every life; which epoch is whose makes no difference here.
    let after = first.epoch;
    let mut built = build(Built { epoch: 1, ..first }, DATA, 7, &steps)?;
    built.epoch = built.epoch.max(after);
    let mut file = vec![0; SUPERBLOCK_LEN];
    for incarnation in 1..u64::from(built.epoch) {
        // As a start leaves it: the first one writes both copies.
        let superblock = Superblock {
            cluster: CLUSTER,
            store: [5; 16],
            node: 1,
            incarnation,
            generation: incarnation + 1,
            created: 1_700_000_000_000,
        };
        let mut copy = [0; BLOCK];
        superblock.encode(&mut copy);
        let at = superblock.copy() as usize * BLOCK;
        built.earlier.entry(name::SUPERBLOCK.to_owned()).or_default().push(file.clone().into());
        file[at..at + BLOCK].copy_from_slice(&copy);
    }
    built.directory.put(name::SUPERBLOCK, file);
    Ok(built)
}

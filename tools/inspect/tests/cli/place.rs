//! Small data directories, written through the format crate's encoders.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tidelog_format::BLOCK;
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::name;
use tidelog_format::opening::{Opening, Predecessor};
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::superblock::Superblock;
use tidelog_format::trailer::{Digest, Trailer};

use crate::support::batches::{batch, control, created, keyed};
use crate::support::writer::Writer;

pub(crate) const CLUSTER: [u8; 16] = [0xC1; 16];
pub(crate) const SEGMENT_BYTES: u64 = 64 * 1024;
pub(crate) const EPOCH: u32 = 3;

/// A data directory in a temporary place.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    /// Only a superblock.
    pub(crate) fn new() -> Place {
        let place = Place { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir_all(place.path().join("shards")).unwrap();
        std::fs::write(place.path().join(name::SUPERBLOCK), superblock()).unwrap();
        std::fs::write(place.path().join(name::LOCK), b"12345\n").unwrap();
        place
    }

    /// Metadata in shard 0; in shard 1 two sealed segments and an open one with two more frames.
    pub(crate) fn clean() -> Place {
        let place = Place::new();
        let mut meta = Shard::new(0);
        meta.writer.write(&[control(8, 0, 0, br#"{"create_topic":"metrics"}"#)]);
        meta.finish(&place);
        let mut shard = Shard::new(1);
        shard.writer.write(&[created(7, "metrics/0"), batch(7, 0, 1000, &[b"a", b"b"])]);
        shard.writer.write(&[
            batch(7, 2, 2000, &[b"c"]),
            created(9, "other/4"),
            keyed(9, 0, 2500, b"k", b"v"),
        ]);
        shard.roll();
        shard.writer.write(&[batch(7, 3, 3000, &[b"d"])]);
        shard.writer.write(&[batch(9, 1, 3500, &[b"e\x1b[31m", b"f"]), control(5, 7, 2, b"")]);
        shard.roll();
        shard.writer.write(&[batch(7, 4, 4000, &[b"g"])]);
        shard.writer.write(&[batch(7, 5, 5000, &[b"h", b"i"])]);
        shard.finish(&place);
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The file of a segment.
    pub(crate) fn segment(&self, shard: u64, number: u64) -> PathBuf {
        self.shard(shard).join(name::segment(EPOCH, number))
    }

    pub(crate) fn shard(&self, shard: u64) -> PathBuf {
        self.path().join("shards").join(shard.to_string())
    }

    /// Flips one bit.
    pub(crate) fn flip(&self, file: &Path, at: usize) {
        self.edit(file, |bytes| bytes[at] ^= 0x10);
    }

    /// Changes a file's bytes.
    pub(crate) fn edit(&self, file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(file).unwrap();
        change(&mut bytes);
        std::fs::write(file, bytes).unwrap();
    }
}

fn superblock() -> Vec<u8> {
    let mut file = Vec::new();
    for generation in [4, 5] {
        let mut block = [0; BLOCK];
        let superblock = Superblock {
            cluster: CLUSTER,
            store: [0x57; 16],
            node: 1,
            incarnation: EPOCH.into(),
            generation,
            created: 17,
        };
        superblock.encode(&mut block);
        file.extend(block);
    }
    file
}

/// Writes the segments of a shard one behind the other.
pub(crate) struct Shard {
    pub(crate) writer: Writer,
    index: SegmentIndex,
    sealed: Vec<(u64, Vec<u8>)>,
}

impl Shard {
    pub(crate) fn new(shard: u64) -> Shard {
        let mut opening = Opening::new(CLUSTER, shard, 1, SEGMENT_BYTES);
        opening.next_salt = salt(shard, 2);
        let writer = Writer::new(vec![0; 65536], opening, salt(shard, 1), EPOCH, 1);
        Shard { writer, index: SegmentIndex::default(), sealed: Vec::new() }
    }

    /// Seals the segment and opens the next one.
    pub(crate) fn roll(&mut self) {
        let writer = &mut self.writer;
        let number = writer.opening.number;
        let end = writer.block * BLOCK;
        for frame in writer.frames() {
            let place = Expect { block_index: u32::try_from(frame.at / BLOCK).unwrap(), ..Expect::default() };
            let Found::Frame(frame) = scan(&writer.file[frame.at..end], &place) else {
                panic!("just written")
            };
            self.index.note_frame(&frame);
        }
        let block_index = u32::try_from(writer.block).unwrap();
        let (salt_now, base_lsn, epoch) = (writer.salt, writer.base_lsn, writer.epoch);
        let (next_lsn, chain) = (writer.lsn, writer.chain);
        let id = SealedAs { salt: salt_now, base_lsn, next_lsn, chain, epoch, block_index };
        let footer = self.index.seal(&id).encode();
        let mut digest = Digest::default();
        digest.update(&writer.file[..end]);
        let mut trailer = [0; BLOCK];
        Trailer {
            salt: salt_now,
            base_lsn,
            next_lsn,
            chain,
            footer_len: u64::try_from(footer.len()).unwrap(),
            epoch,
            block_index: block_index + u32::try_from(footer.len() / BLOCK).unwrap(),
            digest: digest.value(),
        }
        .encode(&mut trailer);
        writer.file.truncate(end);
        writer.file.extend(footer);
        writer.file.extend(trailer);
        self.sealed.push((number, std::mem::take(&mut writer.file)));
        let shard = writer.opening.shard;
        let mut opening = Opening::new(CLUSTER, shard, number + 1, SEGMENT_BYTES);
        opening.predecessor = Some(Predecessor { epoch, number, last_lsn: next_lsn - 1, chain });
        opening.next_salt = salt(shard, number + 2);
        self.writer = Writer::new(vec![0; 65536], opening, salt(shard, number + 1), epoch, next_lsn);
    }

    /// Puts all segments into their folder.
    pub(crate) fn finish(mut self, place: &Place) {
        let folder = place.shard(self.writer.opening.shard);
        std::fs::create_dir_all(&folder).unwrap();
        self.sealed.push((self.writer.opening.number, self.writer.file));
        for (number, bytes) in self.sealed {
            std::fs::write(folder.join(name::segment(EPOCH, number)), bytes).unwrap();
        }
    }
}

fn salt(shard: u64, number: u64) -> [u8; 16] {
    let mut salt = [0xA5; 16];
    salt[0] = u8::try_from(shard).unwrap();
    salt[1] = u8::try_from(number).unwrap();
    salt
}

/// What the command came to.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs `tidelog-inspect` with these arguments.
pub(crate) fn run(args: &[&str], path: &Path) -> Ran {
    let Output { status, stdout, stderr } = command(args).arg(path).output().unwrap();
    Ran {
        code: status.code().unwrap(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelog-inspect"));
    command.args(args).env("NO_COLOR", "1");
    command
}

/// The findings of a JSON verification that are worse than notes.
pub(crate) fn problems(path: &Path) -> (i32, Vec<serde_json::Value>) {
    let ran = run(&["verify", "--output", "json"], path);
    let report: serde_json::Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}{}", ran.out, ran.err));
    let findings = report["findings"].as_array().unwrap().iter();
    (ran.code, findings.filter(|finding| finding["severity"] != "note").cloned().collect())
}

//! Writes segments anew: entries into frames that follow each other, each segment with its seal.

use tidelog_format::block::{BLOCK, BLOCK_U64, Salt};
use tidelog_format::entry::{EntryKind, ROW_LEN, Row};
use tidelog_format::frame::{FrameBuilder, MAX_BODY, Stamp};
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::name;
use tidelog_format::opening::{MAX_SEGMENT, MIN_SEGMENT, Opening, Predecessor};
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::trailer::{Digest, Trailer};
use tidelog_io::random;

use crate::error::InspectError;
use crate::target::{Folder, NewFile};

/// An entry to be written.
#[derive(Debug, Clone)]
pub(super) struct Laid {
    pub(super) row: Row,
    pub(super) body: Vec<u8>,
}

impl Laid {
    /// A control entry without a body.
    pub(super) fn control(kind: u8, partition: u64, base_offset: u64, count: u32) -> Laid {
        Laid { row: Row { partition, base_offset, length: 0, count, kind }, body: Vec::new() }
    }
}

/// What the segments before leave behind.
#[derive(Debug)]
pub(super) struct Past {
    /// Epoch and number of the last one.
    pub(super) before: Option<(u32, u64)>,
    pub(super) next_lsn: u64,
    pub(super) chain: u64,
    pub(super) next_salt: Option<Salt>,
    pub(super) index: SegmentIndex,
    pub(super) cluster: [u8; 16],
}

impl Default for Past {
    fn default() -> Past {
        let (index, cluster) = (SegmentIndex::default(), [0; 16]);
        Past { before: None, next_lsn: 1, chain: 0, next_salt: None, index, cluster }
    }
}

/// A segment that is being written.
#[derive(Debug)]
struct Open {
    file: NewFile,
    salt: Salt,
    next_salt: Salt,
    epoch: u32,
    number: u64,
    base_lsn: u64,
    digest: Digest,
}

/// Writes the segments of one shard.
#[derive(Debug)]
pub(super) struct Rewriter<'a> {
    place: &'a Folder,
    past: Past,
    shard: u64,
    epoch: u32,
    segment_bytes: u64,
    time: i64,
    open: Option<Open>,
    begun: bool,
}

impl<'a> Rewriter<'a> {
    pub(super) fn new(place: &'a Folder, past: Past) -> Rewriter<'a> {
        let epoch = past.before.map_or(0, |(epoch, _)| epoch);
        let segment_bytes = MIN_SEGMENT;
        Rewriter { place, past, shard: 0, epoch, segment_bytes, time: i64::MIN, open: None, begun: false }
    }

    /// Whether something was written.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Notes what the source says of itself.
    pub(super) fn note(&mut self, epoch: u32, opening: Option<&Opening>, shard: Option<u64>) {
        self.epoch = self.epoch.max(epoch);
        if let Some(opening) = opening {
            self.shard = opening.shard;
            self.past.cluster = opening.cluster;
            self.segment_bytes = self.segment_bytes.max(opening.segment_bytes).min(MAX_SEGMENT);
        }
        self.shard = shard.unwrap_or(self.shard);
    }

    /// Lays entries into one frame, or into more where they do not fit.
    pub(super) fn frames(&mut self, entries: Vec<Laid>, append_time: i64) -> Result<(), InspectError> {
        if self.open.is_none() {
            self.begin(append_time)?;
        }
        let (mut group, mut bytes) = (Vec::new(), 0);
        for entry in entries {
            let more = entry.body.len() + ROW_LEN;
            if bytes + more > MAX_BODY {
                self.frame(&std::mem::take(&mut group), append_time)?;
                bytes = 0;
            }
            bytes += more;
            group.push(entry);
        }
        if group.is_empty() { Ok(()) } else { self.frame(&group, append_time) }
    }

    fn begin(&mut self, append_time: i64) -> Result<(), InspectError> {
        let past = &self.past;
        let number = past.before.map_or(1, |(_, number)| number.saturating_add(1));
        let same_span = past.before.is_some_and(|(epoch, _)| epoch == self.epoch);
        let salt = past.next_salt.filter(|_| same_span).unwrap_or_else(random::salt);
        let next_salt = random::salt();
        let mut opening = Opening::new(past.cluster, self.shard, number, self.segment_bytes);
        opening.next_salt = next_salt;
        opening.predecessor = past.before.map(|(epoch, number)| Predecessor {
            epoch,
            number,
            last_lsn: past.next_lsn.saturating_sub(1),
            chain: past.chain,
        });
        let file = self.place.create(&name::segment(self.epoch, number))?;
        let (epoch, base_lsn, digest) = (self.epoch, past.next_lsn, Digest::default());
        self.open = Some(Open { file, salt, next_salt, epoch, number, base_lsn, digest });
        self.begun = true;
        let body = opening.encode().to_vec();
        let length = u32::try_from(body.len()).unwrap_or(0);
        let kind = EntryKind::Opening as u8;
        self.frame(
            &[Laid { row: Row { partition: 0, base_offset: 0, length, count: 0, kind }, body }],
            append_time,
        )
    }

    fn frame(&mut self, entries: &[Laid], append_time: i64) -> Result<(), InspectError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        self.time = self.time.max(append_time);
        let mut builder = FrameBuilder::default();
        let bodies: usize = entries.iter().map(|entry| entry.body.len() + ROW_LEN).sum();
        let mut buffer = vec![0; tidelog_format::block::round_up(bodies + 128) + BLOCK];
        for entry in entries {
            builder.push(&mut buffer, entry.row, &entry.body);
        }
        let block_index = u32::try_from(open.file.len() / BLOCK_U64).unwrap_or(u32::MAX);
        let closed = builder.close(
            &mut buffer,
            &Stamp {
                salt: open.salt,
                lsn: self.past.next_lsn,
                committed_lsn: self.past.next_lsn,
                chain: self.past.chain,
                append_time: self.time,
                epoch: open.epoch,
                block_index,
            },
        );
        let frame = &buffer[..closed.len];
        // What is written must be what a reader takes.
        let expect = Expect { block_index, ..Expect::default() };
        let Found::Frame(read) = scan(frame, &expect) else { return Err(InspectError::Rewrite) };
        self.past.index.note_frame(&read);
        open.digest.update(frame);
        open.file.write(frame)?;
        self.past.chain = closed.next_chain;
        self.past.next_lsn = self.past.next_lsn.saturating_add(1);
        Ok(())
    }

    /// Ends the segment, if there is one; gives its length.
    pub(super) fn seal(&mut self) -> Result<Option<u64>, InspectError> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        let block_index = u32::try_from(open.file.len() / BLOCK_U64).unwrap_or(u32::MAX);
        let Open { salt, base_lsn, epoch, .. } = open;
        let (next_lsn, chain) = (self.past.next_lsn, self.past.chain);
        let id = SealedAs { salt, base_lsn, next_lsn, chain, epoch, block_index };
        let footer = self.past.index.seal(&id).encode();
        let blocks = u32::try_from(footer.len() / BLOCK).unwrap_or(u32::MAX);
        let mut trailer = [0; BLOCK];
        Trailer {
            salt,
            base_lsn,
            next_lsn,
            chain,
            footer_len: footer.len() as u64,
            epoch,
            block_index: block_index.saturating_add(blocks),
            digest: open.digest.value(),
        }
        .encode(&mut trailer);
        open.file.write(&footer)?;
        open.file.write(&trailer)?;
        self.past.before = Some((epoch, open.number));
        self.past.next_salt = Some(open.next_salt);
        open.file.finish().map(Some)
    }
}

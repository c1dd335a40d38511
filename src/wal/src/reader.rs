//! Reads by offset and by timestamp: from memory at the tail, else from segments through their index.

use std::sync::Arc;

use bytes::Bytes;
use tidelog_format::Damage;
use tidelog_format::Salt;
use tidelog_format::batch::BatchView;
use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::entry::{EntryKind, Row};
use tidelog_format::footer::{Footer, PartitionIndex, Position};
use tidelog_format::index::SegmentIndex;
use tidelog_format::trailer::Trailer;

use crate::cursors::Cursor;
use crate::error::ReadError;
use crate::frames::{Frames, Seen};
use crate::identity;
use crate::read_buffers::CHUNK;
use crate::reads::read_bytes;
use crate::segments::{Segment, SegmentId};
use crate::shared::Shared;
use crate::stats::Stats;
use crate::wal::Wal;

/// Batches of a partition, and its watermarks at the time of the read.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Whole stored batches in order, unchanged. The first one may begin below the offset asked for.
    pub batches: Vec<Bytes>,
    /// First wanted offset.
    pub log_start: u64,
    /// Offset behind the last durable record.
    pub next_offset: u64,
}

/// Where a partition's batches are in one segment.
struct Place {
    id: SegmentId,
    salt: Salt,
    /// Bytes of frames.
    until: u64,
    next_offset: u64,
    position: Position,
}

impl Place {
    fn of_row(id: SegmentId, salt: Salt, until: u64, row: &PartitionIndex, position: Position) -> Place {
        Place { id, salt, until, next_offset: row.next_offset, position }
    }
}

enum Here {
    Answer(Fetched),
    Place(Place),
    /// In an older segment.
    Older,
}

impl Wal {
    /// Reads whole batches from the one that holds `offset` on: at least one if there is one, then as many as fit
    /// into `max_bytes`. None at the end of the partition.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] below the first wanted or above the next offset; damage is reported, never
    /// skipped or repaired.
    pub async fn read(&self, partition: u64, offset: u64, max_bytes: usize) -> Result<Fetched, ReadError> {
        // A segment may be released between looking it up and reading it; then the offset is out of range now.
        let mut failed = None;
        for _ in 0..3 {
            let located = match self.locate(partition, offset, max_bytes)? {
                Here::Answer(fetched) => return Ok(fetched),
                Here::Place(place) => Some(place),
                Here::Older => None,
            };
            let mut cursor = match self.resume(partition, offset) {
                Some(cursor) => cursor,
                None => {
                    let place = match located {
                        Some(place) => Ok(place),
                        None => self.locate_older(partition, offset).await,
                    };
                    match place {
                        Ok(place) => self.cursor_at(partition, offset, max_bytes, &place),
                        Err(error) => {
                            failed = Some(error);
                            continue;
                        }
                    }
                }
            };
            Stats::add(&self.shared.stats.tail_misses, 1);
            match collect(&self.shared, &mut cursor, max_bytes).await {
                Ok(batches) => {
                    let here = self.partition(partition).ok_or(ReadError::UnknownPartition(partition))?;
                    if cursor.next < cursor.next_offset {
                        self.shared.cursors.keep(cursor);
                    }
                    return Ok(Fetched { batches, log_start: here.log_start, next_offset: here.next_offset });
                }
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or(ReadError::Closed))
    }

    fn cursor_at(&self, partition: u64, offset: u64, max_bytes: usize, place: &Place) -> Cursor {
        let block = place.position.block;
        let frames = Frames::new(place.id, Some(place.salt), block, place.until);
        let (id, next_offset) = (place.id, place.next_offset);
        Cursor { partition, next: offset, id, next_offset, frames: frames.wanting(max_bytes) }
    }

    /// The place where a reader stood that now asks for what follows, unless the index knows a better one.
    fn resume(&self, partition: u64, offset: u64) -> Option<Cursor> {
        let mut cursor = self.shared.cursors.take(partition, offset)?;
        let state = self.shared.state();
        let active = state.active.filter(|active| active.id == cursor.id);
        let row = match &active {
            Some(_) => state.index.partition(partition)?,
            None => state.segments.get(cursor.id.number)?.footer.as_ref()?.partition(partition)?,
        };
        let far = u64::from(row.position_of(offset)?.block) * BLOCK_U64;
        if far > cursor.frames.position() + CHUNK as u64 {
            return None;
        }
        let until = active.map_or(0, |active| active.end);
        cursor.next_offset = cursor.next_offset.max(if active.is_some() { row.next_offset } else { 0 });
        drop(state);
        cursor.frames.go_on(&self.shared, until);
        Some(cursor)
    }

    fn locate(&self, partition: u64, offset: u64, max_bytes: usize) -> Result<Here, ReadError> {
        let state = self.shared.state();
        let here = state.partition(partition).ok_or(ReadError::UnknownPartition(partition))?;
        let (log_start, next_offset) = (here.log_start, here.next_offset);
        if offset < log_start || offset > next_offset {
            return Err(ReadError::OutOfRange { log_start, next_offset });
        }
        if offset == next_offset {
            return Ok(Here::Answer(Fetched { batches: Vec::new(), log_start, next_offset }));
        }
        if let Some(batches) = state.tail.read(partition, offset, max_bytes) {
            Stats::add(&self.shared.stats.tail_hits, 1);
            return Ok(Here::Answer(Fetched { batches, log_start, next_offset }));
        }
        let row = state.index.partition(partition).filter(|row| row.first_offset <= offset);
        match (row, state.active) {
            (Some(row), Some(active)) => match row.position_of(offset) {
                Some(position) => {
                    Ok(Here::Place(Place::of_row(active.id, active.salt, active.end, row, position)))
                }
                None => Ok(Here::Older),
            },
            _ => Ok(Here::Older),
        }
    }

    /// Binary search over the segments' footers: the first whose next offset is behind `offset`.
    async fn locate_older(&self, partition: u64, offset: u64) -> Result<Place, ReadError> {
        let numbers = self.shared.state().segments.numbers();
        let (mut low, mut high) = (0, numbers.len());
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let (segment, footer) = self.footer(numbers[middle]).await?;
            let next = footer.partition(partition).map_or(0, |row| row.next_offset);
            if next > offset {
                found = Some((segment, footer));
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        let missing = |to| ReadError::Missing { dir: self.shared.dir.clone(), partition, from: offset, to };
        let (segment, footer) = found.ok_or(missing(offset + 1))?;
        let row = footer.partition(partition).ok_or(missing(offset + 1))?;
        if row.first_offset > offset {
            return Err(missing(row.first_offset));
        }
        let position = row.position_of(offset).ok_or(missing(row.next_offset))?;
        Ok(Place::of_row(segment.id, footer.salt, frames_end(&footer), row, position))
    }

    /// A segment's index: from memory, its footer, or (damaged) rebuilt in memory from its frames.
    pub(crate) async fn footer(&self, number: u64) -> Result<(Segment, Arc<Footer>), ReadError> {
        let segment = self.shared.state().segments.get(number).cloned().ok_or(ReadError::Closed)?;
        if let Some(footer) = segment.footer.clone() {
            return Ok((segment, footer));
        }
        identity::check_sealed(&self.shared, &segment).await?;
        let footer = match self.load_footer(&segment).await? {
            Some(footer) => footer,
            None => {
                let file = segment.id.path(&self.shared.dir);
                tracing::warn!(shard = self.shared.shard, file = %file.display(), "footer damaged: index rebuilt in memory");
                self.rebuild_footer(&segment).await?
            }
        };
        let footer = Arc::new(Footer { producers: Vec::new(), ..footer });
        self.shared.state_mut().segments.loaded(number, Arc::clone(&footer));
        Ok((segment, footer))
    }

    async fn load_footer(&self, segment: &Segment) -> Result<Option<Footer>, ReadError> {
        let Some(last) = segment.len.checked_sub(BLOCK_U64) else { return Ok(None) };
        let (buf, read) = read_bytes(&self.shared, segment.id, last, BLOCK).await?;
        let Some(block) = buf.first_chunk::<BLOCK>().filter(|_| read >= BLOCK) else { return Ok(None) };
        let index = u32::try_from(last / BLOCK_U64).unwrap_or(u32::MAX);
        let Some(trailer) = Trailer::of_last_block(block, index) else { return Ok(None) };
        let len = usize::try_from(trailer.footer_len).unwrap_or(usize::MAX);
        let (buf, read) = read_bytes(&self.shared, segment.id, trailer.footer_position(), len).await?;
        Ok(buf.get(..read.min(len)).and_then(|bytes| Footer::decode(bytes).ok()).filter(|footer| {
            footer.salt == trailer.salt
                && footer.next_lsn == trailer.next_lsn
                && footer.chain == trailer.chain
        }))
    }

    /// Rebuilds an index from the frames, behind the index of the segment before.
    async fn rebuild_footer(&self, segment: &Segment) -> Result<Footer, ReadError> {
        let before = self.shared.state().segments.before(segment.id.number).map(|before| before.id.number);
        let mut index = match before {
            Some(number) => SegmentIndex::behind(&Box::pin(self.footer(number)).await?.1),
            None => SegmentIndex::default(),
        };
        let mut frames = Frames::new(segment.id, None, 0, segment.len);
        let mut id = None;
        loop {
            let more = frames.next(&self.shared, |frame, _| {
                index.note_frame(frame);
                let sealed = id.get_or_insert(tidelog_format::index::SealedAs {
                    salt: frame.header.salt,
                    base_lsn: frame.header.lsn,
                    next_lsn: 0,
                    chain: 0,
                    epoch: frame.header.epoch,
                    block_index: 0,
                });
                sealed.next_lsn = frame.header.lsn + 1;
                sealed.chain = frame.next_chain();
                sealed.block_index =
                    u32::try_from(frame.header.end_position() / BLOCK_U64).unwrap_or(u32::MAX);
                Ok(Seen::Whole)
            });
            match more.await {
                Ok(true) => {}
                // Footer and trailer stand behind the last frame; without them the frames simply end.
                Ok(false) | Err(ReadError::Corrupt { .. }) => break,
                Err(error) => return Err(error),
            }
        }
        let missing =
            || ReadError::Corrupt { file: frames.file(&self.shared), position: 0, damage: Damage::Magic };
        Ok(index.seal(&id.ok_or_else(missing)?))
    }

    /// The first record of the partition, in offset order, whose timestamp is at least `timestamp` (ms), with its
    /// own; `None` when there is none.
    ///
    /// # Errors
    /// As [`Wal::read`].
    pub async fn offset_at(&self, partition: u64, timestamp: i64) -> Result<Option<(u64, i64)>, ReadError> {
        for number in self.segment_numbers() {
            let (segment, footer) = self.footer(number).await?;
            let Some(row) = footer.partition(partition).filter(|row| row.max_timestamp >= timestamp) else {
                continue;
            };
            let (id, salt, until) = (segment.id, footer.salt, frames_end(&footer));
            if let Some(found) = self.seek_time(partition, timestamp, id, salt, until, row).await? {
                return Ok(Some(found));
            }
        }
        let (active, row) = {
            let state = self.shared.state();
            (state.active, state.index.partition(partition).cloned())
        };
        let row = row.ok_or(ReadError::UnknownPartition(partition))?;
        match active.filter(|_| row.max_timestamp >= timestamp) {
            Some(active) => {
                self.seek_time(partition, timestamp, active.id, active.salt, active.end, &row).await
            }
            None => Ok(None),
        }
    }

    /// The largest timestamp of the partition's stored records, ms; `None` without records.
    ///
    /// # Errors
    /// As [`Wal::read`].
    pub async fn max_timestamp(&self, partition: u64) -> Result<Option<i64>, ReadError> {
        let mut largest = None;
        for number in self.segment_numbers() {
            let (_, footer) = self.footer(number).await?;
            largest = largest.max(footer.partition(partition).map(|row| row.max_timestamp));
        }
        let here = self.shared.state().index.partition(partition).cloned();
        let here = here.ok_or(ReadError::UnknownPartition(partition))?;
        // Without records it is the least number there is.
        Ok(largest.max(Some(here.max_timestamp)).filter(|timestamp| *timestamp != i64::MIN))
    }

    async fn seek_time(
        &self,
        partition: u64,
        timestamp: i64,
        id: SegmentId,
        salt: Salt,
        until: u64,
        row: &PartitionIndex,
    ) -> Result<Option<(u64, i64)>, ReadError> {
        let log_start = self.partition(partition).ok_or(ReadError::UnknownPartition(partition))?.log_start;
        let from = row.positions.iter().find(|position| position.max_timestamp >= timestamp);
        let Some(from) = from else { return Ok(None) };
        let mut frames = Frames::new(id, Some(salt), from.block, until);
        let mut found = None;
        while found.is_none() {
            let more = frames.next(&self.shared, |frame, _| {
                for (index, entry) in (0u32..).zip(frame.entries()) {
                    if found.is_none() && is_batch_of(&entry.row, partition) {
                        verify(entry.body, index)?;
                        found = first_at(entry.body, timestamp, log_start)
                            .map_err(|_| Damage::BatchCrc { entry: index })?;
                    }
                }
                Ok(Seen::Whole)
            });
            if !more.await? {
                break;
            }
        }
        Ok(found)
    }

    /// Gives every control entry of the shard, in order, to `each`: (LSN, kind, row, body). Reads the whole shard,
    /// so it is for small ones: the metadata's.
    ///
    /// # Errors
    /// As [`Wal::read`].
    pub async fn scan_controls(
        &self,
        mut each: impl FnMut(u64, EntryKind, &Row, &[u8]),
    ) -> Result<(), ReadError> {
        let (mut places, mut next_lsn) = (Vec::new(), None);
        for number in self.segment_numbers() {
            let (segment, footer) = self.footer(number).await?;
            if let Some(expected) = next_lsn.filter(|expected| *expected != footer.base_lsn) {
                let what =
                    format!("begins with LSN {}, the file before ends before {expected}", footer.base_lsn);
                return Err(ReadError::Misplaced { file: segment.id.path(&self.shared.dir), what });
            }
            next_lsn = Some(footer.next_lsn);
            places.push((segment.id, footer.salt, frames_end(&footer)));
        }
        if let Some(active) = self.shared.state().active {
            places.push((active.id, active.salt, active.end));
        }
        for (id, salt, until) in places {
            let mut frames = Frames::new(id, Some(salt), 0, until);
            loop {
                let more = frames.next(&self.shared, |frame, _| {
                    for entry in frame.entries() {
                        if let Some(kind) = entry.kind().filter(|kind| *kind != EntryKind::Batch) {
                            each(frame.header.lsn, kind, &entry.row, entry.body);
                        }
                    }
                    Ok(Seen::Whole)
                });
                if !more.await? {
                    break;
                }
            }
        }
        Ok(())
    }
}

/// Collects the partition's batches from a segment, from where the cursor stands.
async fn collect(shared: &Shared, cursor: &mut Cursor, max_bytes: usize) -> Result<Vec<Bytes>, ReadError> {
    let (mut out, mut bytes, mut full) = (Vec::new(), 0, false);
    let (partition, mut next) = (cursor.partition, cursor.next);
    while !full && next < cursor.next_offset {
        let more = cursor.frames.next(shared, |frame, memory| {
            for (index, entry) in (0u32..).zip(frame.entries()) {
                let end = entry.row.base_offset.saturating_add(u64::from(entry.row.count));
                if !is_batch_of(&entry.row, partition) || end <= next {
                    continue;
                }
                bytes += entry.body.len();
                if bytes > max_bytes && !out.is_empty() {
                    full = true;
                    return Ok(Seen::Part);
                }
                verify(entry.body, index)?;
                out.push(cut(entry.body, memory));
                next = end;
            }
            Ok(Seen::Whole)
        });
        if !more.await? {
            break;
        }
    }
    cursor.next = next;
    Ok(out)
}

/// A batch for its reader. A large one stays in the memory that it was read into; a small one is copied, so that it does
/// not hold many times its size.
fn cut(body: &[u8], memory: &Bytes) -> Bytes {
    const AT_MOST: usize = 8;
    if body.len() >= CHUNK / AT_MOST { memory.slice_ref(body) } else { Bytes::copy_from_slice(body) }
}

fn frames_end(footer: &Footer) -> u64 {
    u64::from(footer.block_index) * BLOCK_U64
}

fn is_batch_of(row: &Row, partition: u64) -> bool {
    row.kind == EntryKind::Batch as u8 && row.partition == partition
}

fn verify(body: &[u8], entry: u32) -> Result<(), Damage> {
    let sound = BatchView::parse(body).and_then(|batch| batch.verify_crc());
    sound.map_err(|_| Damage::BatchCrc { entry })
}

fn first_at(
    body: &[u8],
    timestamp: i64,
    log_start: u64,
) -> Result<Option<(u64, i64)>, tidelog_format::batch::BatchError> {
    let batch = BatchView::parse(body)?;
    if batch.header().max_timestamp < timestamp || batch.header().next_offset() <= log_start {
        return Ok(None);
    }
    let mut scratch = Vec::new();
    for record in batch.records(&mut scratch)? {
        let (offset, record) = record?;
        if record.timestamp >= timestamp && offset >= log_start {
            return Ok(Some((offset, record.timestamp)));
        }
    }
    Ok(None)
}

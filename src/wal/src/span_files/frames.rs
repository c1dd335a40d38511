//! Frames by LSN: for holders that lag, and for coordinators. What is damaged is left out, what is intact behind it is found:
//! each block may begin a frame.

use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::frame::Frame;
use tidelog_format::scan::{Expect, Found, scan, scan_unverified};
use tidelog_io::{Buf, Disk, DiskFile, IoError};

use crate::following::ReadyFrame;
use crate::recovery::{SegmentFile, SpanEnd};
use crate::span_files::{SpanFiles, block_of, open_if_there};
use crate::window::WindowReader;

/// Places that are remembered: one for each follower that may be catching up, and some for coordinators.
const STANDS: usize = 8;

/// What a disk gives of a range of a span's frames.
#[derive(Debug, Clone, Default)]
pub struct IntactFrames {
    /// The intact frames, in their order.
    pub frames: Vec<ReadyFrame>,
    /// Behind the range: less than was asked for when that would have been too many bytes.
    pub to: u64,
    /// Where the first frame stands that is missing or damaged, as far as the frames before it tell.
    pub breaks_at: Option<SpanEnd>,
    /// Behind the last intact frame that was seen; 0 without any.
    pub reach: u64,
}

/// The place of a frame, and where it is in the files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stand {
    number: u64,
    position: u64,
    at: SpanEnd,
}

impl<D: Disk> SpanFiles<D> {
    /// The intact frames from `from` to below `to`, those behind damage too; at least one, if there is one, then as many as
    /// fit into `most_bytes`. Where a frame of the range is missing all of the files behind it is read: ask for no more
    /// than was known to be there.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn frames(&mut self, from: u64, to: u64, most_bytes: usize) -> Result<IntactFrames, IoError> {
        self.search(Search::new(self.epoch, from, to, Some(most_bytes))).await
    }

    /// How far intact frames go from `from` on, behind damage too: all of the files is read.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn reach(&mut self, from: u64) -> Result<IntactFrames, IoError> {
        self.search(Search::new(self.epoch, from, u64::MAX, None)).await
    }

    async fn search(&mut self, mut search: Search) -> Result<IntactFrames, IoError> {
        let files = self.list().await?;
        let (first, mut position) = self.begin(&files, &mut search).await?;
        let mut last = None;
        for file in &files[first..] {
            if search.is_over() {
                break;
            }
            position = self.search_file(file, position, &mut search).await?;
            last = Some((file.id.number, position));
            position = 0;
        }
        if let (Some((number, position)), Some(at)) = (last, search.next) {
            self.stands.retain(|stand| stand.number != number || stand.at.lsn != search.from);
            if self.stands.len() >= STANDS {
                self.stands.pop_front();
            }
            self.stands.push_back(Stand { number, position, at });
        }
        search.break_here();
        Ok(search.found)
    }

    /// The file and the position in it from which on frames are looked at: the nearest known place before the range.
    async fn begin(&mut self, files: &[SegmentFile], search: &mut Search) -> Result<(usize, u64), IoError> {
        let mut first = 0;
        for (at, file) in files.iter().enumerate().rev() {
            if self.base(file).await?.is_some_and(|base| base <= search.from) {
                first = at;
                break;
            }
        }
        let Some(number) = files.get(first).map(|file| file.id.number) else { return Ok((0, 0)) };
        let near = |stand: &&Stand| stand.number == number && stand.at.lsn <= search.from;
        match self.stands.iter().filter(near).max_by_key(|stand| stand.at.lsn) {
            Some(stand) => {
                (search.next, search.behind) = (Some(stand.at), stand.at.lsn);
                Ok((first, stand.position))
            }
            None => Ok((first, 0)),
        }
    }

    /// LSN of a segment's opening frame; `None` where that is damaged.
    async fn base(&mut self, file: &SegmentFile) -> Result<Option<u64>, IoError> {
        if let Some(base) = self.bases.get(&file.id.number) {
            return Ok(Some(*base));
        }
        let Some(handle) = open_if_there(&self.disk, &file.id.path(&self.dir)).await? else {
            return Ok(None);
        };
        let (read, buf) = handle.read_at(Buf::heap(BLOCK), BLOCK, 0).await;
        let expect = Expect { epoch: Some(self.epoch), ..Expect::default() };
        let Found::Frame(frame) = scan_unverified(&buf[..read?.min(BLOCK)], &expect) else { return Ok(None) };
        self.bases.insert(file.id.number, frame.header.lsn);
        Ok(Some(frame.header.lsn))
    }

    /// Looks at a file from `position` on; gives where it stopped.
    async fn search_file(
        &self,
        file: &SegmentFile,
        mut position: u64,
        search: &mut Search,
    ) -> Result<u64, IoError> {
        // Released or replaced meanwhile.
        let Some(handle) = open_if_there(&self.disk, &file.id.path(&self.dir)).await? else {
            return Ok(position);
        };
        let mut reader = WindowReader::new(file.len);
        let mut needed = BLOCK;
        while position < file.len && !search.is_over() {
            let (bytes, to_end) = reader.window::<D>(&handle, position, needed).await?;
            match scan(bytes, &search.expect(position)) {
                Found::Frame(frame) if search.takes(&frame) => {
                    if search.full {
                        break;
                    }
                    position += frame.bytes().len() as u64;
                    needed = BLOCK;
                }
                Found::Need(more) if !to_end => needed = more,
                Found::End(_) | Found::Footer(_) if search.next.is_some() => break,
                _ => {
                    search.break_here();
                    position += BLOCK_U64;
                    needed = BLOCK;
                }
            }
        }
        Ok(position)
    }
}

/// What is looked for, and what was found of it.
struct Search {
    epoch: u32,
    from: u64,
    to: u64,
    /// Frames are collected up to so many bytes; `None`: only seen.
    most_bytes: Option<usize>,
    bytes: usize,
    /// The place of the next frame, where the one before was intact.
    next: Option<SpanEnd>,
    /// Behind the last intact frame: what stands behind it has a higher LSN, or is of the file's life before.
    behind: u64,
    full: bool,
    found: IntactFrames,
}

impl Search {
    fn new(epoch: u32, from: u64, to: u64, most_bytes: Option<usize>) -> Search {
        let found = IntactFrames { to, ..IntactFrames::default() };
        Search { epoch, from, to, most_bytes, bytes: 0, next: None, behind: 0, full: false, found }
    }

    fn is_over(&self) -> bool {
        self.full || self.behind >= self.to
    }

    fn expect(&self, position: u64) -> Expect {
        Expect {
            epoch: Some(self.epoch),
            block_index: block_of(position),
            lsn: self.next.map(|next| next.lsn),
            chain: self.next.map(|next| next.chain),
            ..Expect::default()
        }
    }

    /// Takes an intact frame, if there is room for it; false when it is none of those that are looked for.
    fn takes(&mut self, frame: &Frame<'_>) -> bool {
        let lsn = frame.header.lsn;
        if lsn < self.behind {
            return false;
        }
        if let Some(most) = self.most_bytes.filter(|_| (self.from..self.to).contains(&lsn)) {
            let len = frame.bytes().len();
            if self.bytes + len > most && self.bytes > 0 {
                (self.full, self.found.to) = (true, lsn);
                return true;
            }
            self.bytes += len;
            self.found.frames.push(ReadyFrame::read(frame));
        }
        self.behind = lsn.saturating_add(1);
        self.next = Some(SpanEnd { lsn: self.behind, chain: frame.next_chain() });
        self.found.reach = self.behind;
        true
    }

    /// The next frame is not there, or damaged.
    fn break_here(&mut self) {
        let wanted = self.next.take().filter(|next| (next.lsn < self.to) && !self.full);
        if self.found.breaks_at.is_none() {
            self.found.breaks_at = wanted;
        }
    }
}

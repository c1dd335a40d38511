//! Recovery: finds where a shard ends and judges it by the verdict table. It writes nothing: what follows from its
//! verdicts is done by [`crate::ending`], once somebody has decided about the span.
//!
//! Only the segments behind the newest sealed one are read. Sealing goes in order, so all before it are sealed.

mod holes;
mod shared_span;
mod unbegun;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tidelog_format::Salt;
use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::footer::Footer;
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::name;
use tidelog_format::opening::{Opening, Predecessor};
use tidelog_format::scan::Expect;
use tidelog_format::trailer::Trailer;
use tidelog_format::verdict::{Grade, Verdict};
use tidelog_format::walk::{Cause, Outcome, Step, Walk};
use tidelog_io::{Access, Buf, Disk, DiskFile, IoError};

use crate::ending::ToEnd;
use crate::engine::ShardSpec;
use crate::error::{Hole, OpenError};
use crate::following::ReadyFrame;
use crate::identity;
use crate::options::Options;
use crate::seal::read_seal;
use crate::segments::{Segment, SegmentId, Segments};
use crate::window::{WINDOW, WindowReader};
use crate::writing::Continuation;

pub use shared_span::SpanEnd;
pub(crate) use shared_span::{Purpose, Resumed};

/// Windows that are read at the same time behind the frames.
const AHEAD: usize = 8;

/// What recovery found and did.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Frames read.
    pub frames_scanned: u64,
    /// Bytes read.
    pub bytes_scanned: u64,
    /// How each open segment ended.
    pub verdicts: Vec<SegmentVerdict>,
    /// What was cut off.
    pub cut: Vec<Cut>,
    /// How long it took.
    pub took: Duration,
}

/// How an open segment ended.
#[derive(Debug, Clone)]
pub struct SegmentVerdict {
    /// The file.
    pub file: PathBuf,
    /// Where its frames end, bytes.
    pub position: u64,
    /// LSN that would stand there.
    pub lsn: u64,
    /// What it means.
    pub verdict: Verdict,
    /// What stands there.
    pub cause: Cause,
}

/// Bytes that were cut off and put aside.
#[derive(Debug, Clone)]
pub struct Cut {
    /// The segment's file.
    pub file: PathBuf,
    /// First byte.
    pub from: u64,
    /// Behind the last byte.
    pub to: u64,
    /// Where they are now.
    pub kept_in: PathBuf,
}

/// Where the span that is not sealed begins, by the metadata: what stands on the disk is held against it.
#[derive(Debug, Clone, Copy)]
pub struct SpanBase {
    /// Epoch of the span. Files of higher epochs there are none; those of lower ones are of the spans before.
    pub epoch: u32,
    /// LSN of its first frame. With [`FIRST_LSN`] it is the shard's first span, and files of lower epochs are its own.
    pub lsn: u64,
    /// Chain value of that frame.
    pub chain: u64,
    /// Salt of its first segment.
    pub salt: Salt,
}

/// LSN of a shard's first frame.
pub const FIRST_LSN: u64 = 1;

/// How far the frames of a shard go on this disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// LSN behind the last frame.
    pub lsn: u64,
    /// Chain value there.
    pub chain: u64,
    /// How the last segment ended; proved where all are sealed.
    pub verdict: Verdict,
    /// The highest committed LSN that a frame tells.
    pub committed: u64,
}

pub(crate) struct Found<F> {
    pub(crate) index: SegmentIndex,
    pub(crate) segments: Segments,
    pub(crate) from: Continuation,
    pub(crate) next_number: u64,
    pub(crate) hole: Option<Arc<Hole>>,
    pub(crate) committed: u64,
    pub(crate) report: Recovered,
    /// What has become of the files that were open, in their order.
    pub(crate) to_end: Vec<ToEnd<F>>,
    /// The segment that stays open.
    pub(crate) resumed: Option<Resumed<F>>,
    /// Frames in it that are not known to be committed, and so not in the index.
    pub(crate) uncommitted: VecDeque<ReadyFrame>,
}

struct Recovery<'a, D: Disk> {
    disk: &'a D,
    spec: &'a ShardSpec,
    base: Option<SpanBase>,
    purpose: Purpose,
    /// The segment that is walked stays open.
    resumes: bool,
    options: &'a Options,
    index: SegmentIndex,
    segments: Segments,
    from: Continuation,
    /// Identities of all files, by their names, in order.
    names: Vec<SegmentId>,
    /// Number of the newest segment that has frames here.
    last_number: Option<u64>,
    /// Number of the file before the next one to be judged, begun or not.
    seen: Option<u64>,
    /// Files of the span that [`SpanBase`] tells of that are not begun.
    unbegun_of_span: usize,
    /// Epoch of the last segment that was walked, and the salt it announced for the next one of its span.
    announced: Option<(u32, Salt)>,
    /// The segment before lost its end: the next one need not follow it.
    lost: bool,
    hole: Option<Arc<Hole>>,
    committed: u64,
    report: Recovered,
    to_end: Vec<ToEnd<D::File>>,
    resumed: Option<Resumed<D::File>>,
    uncommitted: VecDeque<ReadyFrame>,
}

/// Looks at a shard's folder.
pub(crate) async fn recover<D: Disk>(
    disk: &D,
    spec: &ShardSpec,
    base: Option<SpanBase>,
    purpose: Purpose,
    options: &Options,
) -> Result<Found<D::File>, OpenError> {
    let begun = Instant::now();
    let mut recovery = Recovery {
        disk,
        spec,
        base: base.filter(|base| base.lsn > FIRST_LSN),
        purpose,
        resumes: false,
        options,
        index: SegmentIndex::default(),
        segments: Segments::default(),
        from: Continuation { next_lsn: FIRST_LSN, chain: 0, predecessor: None, last_append_time: 0 },
        names: Vec::new(),
        last_number: None,
        seen: None,
        unbegun_of_span: 0,
        announced: None,
        lost: false,
        hole: None,
        committed: 0,
        report: Recovered::default(),
        to_end: Vec::new(),
        resumed: None,
        uncommitted: VecDeque::new(),
    };
    // A span that is still to be opened has no files yet.
    let newest = if purpose == Purpose::Judge { spec.epoch.saturating_sub(1) } else { spec.epoch };
    let mut files = list(disk, spec, newest).await?;
    recovery.names = files.iter().map(|file| file.id).collect();
    let open = recovery.take_sealed(&mut files).await?;
    let knows_salt =
        base.filter(|base| recovery.segments.newest().is_none_or(|last| last.id.epoch < base.epoch));
    recovery.announced = knows_salt.map(|base| (base.epoch, base.salt)).or(recovery.announced);
    let last_begun = recovery.last_begun(&open).await?;
    for (at, file) in open.iter().enumerate() {
        recovery.resumes = Some(at) == last_begun;
        if recovery.hole.is_some() {
            // Behind a hole nothing is served; the files stay as they are.
            break;
        }
        recovery.judge(file, open.get(at + 1)).await?;
    }
    let of_span = |base: &SpanBase| recovery.names.iter().filter(|id| id.epoch >= base.epoch).count();
    let untouched = recovery.base.filter(|base| of_span(base) == recovery.unbegun_of_span);
    match (untouched, purpose) {
        // What this disk lacks of the spans before is copied from others.
        (Some(base), Purpose::Follow | Purpose::End(_)) => recovery.begin_at(&base),
        (Some(base), Purpose::Judge) if recovery.hole.is_none() => recovery.meet(&base),
        _ => {}
    }
    recovery.report.took = begun.elapsed();
    Ok(Found {
        index: recovery.index,
        segments: recovery.segments,
        from: recovery.from,
        next_number: recovery.last_number.map_or(1, |last| last + 1),
        hole: recovery.hole,
        committed: recovery.committed,
        report: recovery.report,
        to_end: recovery.to_end,
        resumed: recovery.resumed,
        uncommitted: recovery.uncommitted,
    })
}

impl<F> Found<F> {
    /// How far the frames go.
    pub(crate) fn ended(&self) -> Ended {
        let last = self.report.verdicts.last().map(|last| last.verdict);
        let verdict = match (&self.hole, last) {
            (Some(_), _) => Verdict::Corrupt,
            (None, Some(last)) => last,
            (None, None) => Verdict::End(Grade::Proved),
        };
        Ended { lsn: self.from.next_lsn, chain: self.from.chain, verdict, committed: self.committed }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentFile {
    pub(crate) id: SegmentId,
    pub(crate) len: u64,
}

async fn list<D: Disk>(disk: &D, spec: &ShardSpec, newest: u32) -> Result<Vec<SegmentFile>, OpenError> {
    let mut files = Vec::new();
    for entry in disk.list(&spec.dir).await? {
        match name::parse_segment(&entry.name) {
            Some((epoch, number)) => {
                files.push(SegmentFile { id: SegmentId { number, epoch }, len: entry.len })
            }
            None if entry.is_dir => {}
            None => {
                tracing::warn!(shard = spec.shard, file = entry.name, "not a file of Tidelog: left alone")
            }
        }
    }
    files.sort_by_key(|file| file.id);
    let ids: Vec<_> = files.iter().map(|file| file.id).collect();
    identity::check_names(&ids, spec, newest)?;
    Ok(files)
}

impl<D: Disk> Recovery<'_, D> {
    /// Takes over the sealed segments and gives the open ones behind them.
    async fn take_sealed(&mut self, files: &mut Vec<SegmentFile>) -> Result<Vec<SegmentFile>, OpenError> {
        let mut first_open = files.len();
        while first_open > 0 {
            let file = &files[first_open - 1];
            if let Some((trailer, footer)) = self.read_seal(file).await? {
                let opening = self.read_opening(file).await?;
                self.check_identity(opening.as_ref(), file)?;
                if opening.is_none() {
                    self.check_place(file, trailer.base_lsn, files[..first_open - 1].last()).await?;
                }
                self.announced = opening.map(|opening| (file.id.epoch, opening.next_salt));
                self.take_newest(file, &trailer, footer);
                break;
            }
            first_open -= 1;
        }
        let open = files.split_off(first_open);
        for file in files.drain(..) {
            let loaded = self.segments.get(file.id.number).is_some();
            if !loaded {
                self.segments.insert(Segment { id: file.id, len: file.len, footer: None, sealed: true });
            }
        }
        Ok(open)
    }

    fn take_newest(&mut self, file: &SegmentFile, trailer: &Trailer, mut footer: Footer) {
        // What is sealed was committed.
        self.committed = trailer.next_lsn;
        self.index = SegmentIndex::behind(&footer);
        footer.producers = Vec::new();
        self.from = Continuation {
            next_lsn: trailer.next_lsn,
            chain: trailer.chain,
            predecessor: Some(Predecessor {
                epoch: file.id.epoch,
                number: file.id.number,
                last_lsn: trailer.next_lsn.saturating_sub(1),
                chain: trailer.chain,
            }),
            last_append_time: footer.last_append_time,
        };
        (self.last_number, self.seen) = (Some(file.id.number), Some(file.id.number));
        let footer = Some(Arc::new(footer));
        self.segments.insert(Segment { id: file.id, len: file.len, footer, sealed: true });
    }

    /// Trailer and footer of a sealed segment; `None` when it is not sealed or its footer is damaged: then it is
    /// scanned like an open one and sealed anew, since a footer can always be rebuilt.
    async fn read_seal(&self, file: &SegmentFile) -> Result<Option<(Trailer, Footer)>, IoError> {
        let found = read_seal(self.disk, &file.id.path(&self.spec.dir), file.len).await?;
        Ok(found.filter(|(trailer, _)| trailer.epoch == file.id.epoch))
    }

    /// Walks an open segment, judges its end and acts on it.
    async fn judge(&mut self, file: &SegmentFile, successor: Option<&SegmentFile>) -> Result<(), OpenError> {
        let path = file.id.path(&self.spec.dir);
        if self.is_behind_end(file) {
            return self.drop_behind_end(file, path).await;
        }
        let before = (self.from.next_lsn, self.from.chain);
        if let Some(base) = self.base.filter(|_| self.begins_span(file)) {
            // Where the files before end otherwise, they were seen so, and the loss accepted, before this one was begun.
            (self.from.next_lsn, self.from.chain) = (base.lsn, base.chain);
        }
        let missing = match self.seen {
            // A follower may hold a span and not yet the one before.
            Some(_) if self.purpose != Purpose::Judge && self.begins_span(file) => false,
            Some(last) => last + 1 != file.id.number,
            // The newest sealed segment is never given back: without one a shard begins with its first segment, or
            // where a span begins that is here without those before.
            None => file.id.number != 1 && self.base.is_none_or(|base| file.id.epoch < base.epoch),
        };
        if missing && !self.options.accept_loss {
            self.stop_at_gap(file);
            return Ok(());
        }
        let follows = !missing && !self.lost;
        let handle = self.disk.open(&path, Access::Durable).await?;
        let mut walk = Walk::new(Expect {
            epoch: Some(file.id.epoch),
            salt: self.announced.filter(|(epoch, _)| *epoch == file.id.epoch).map(|(_, salt)| salt),
            lsn: follows.then_some(self.from.next_lsn),
            chain: follows.then_some(self.from.chain),
            ..Expect::default()
        });
        let resumes = self.resumes;
        self.walk(&handle, file.len, &mut walk).await?;
        self.check_identity(walk.opening(), file)?;
        let base_lsn = walk.base_lsn().unwrap_or(self.from.next_lsn);
        let (digest, last_time) = (walk.digest(), walk.last_append_time());
        let opened = walk.opening().is_some();
        self.announced = walk.opening().map(|opening| (file.id.epoch, opening.next_salt));
        // Behind the last file of the spans before stands what the metadata has decided.
        let is_last = successor.is_none_or(|next| self.base.is_some_and(|base| next.id.epoch >= base.epoch));
        let decided = self.base.filter(|base| is_last && file.id.epoch < base.epoch).map(|base| base.lsn);
        let said = match successor {
            Some(successor) => self.predecessor_said_by(successor, file).await?.or(decided),
            None => decided,
        };
        let (resumable, salt) =
            (resumes.then(|| walk.clone()), walk.opening().map(|opening| opening.next_salt));
        let is_decided = self.ends_at(&walk);
        let outcome = if is_decided { walk.end_here() } else { walk.finish(said) };
        self.report.verdicts.push(SegmentVerdict {
            file: path.clone(),
            position: outcome.position,
            lsn: outcome.expect.lsn.unwrap_or_default(),
            verdict: outcome.verdict,
            cause: outcome.cause,
        });
        if let Cause::Unsupported(source) = outcome.cause {
            return Err(OpenError::Unsupported { file: path, source });
        }
        // Damage that its own frames or the next file prove is told as such.
        if !opened && outcome.verdict != Verdict::Corrupt {
            self.check_unbegun(&handle, file, is_decided).await?;
        }
        self.from.last_append_time = last_time.unwrap_or(self.from.last_append_time);
        if outcome.verdict == Verdict::Corrupt && !self.options.accept_loss {
            self.stop_at_hole(file, path, base_lsn, &outcome, opened);
            return Ok(());
        }
        self.lost = outcome.verdict == Verdict::Corrupt;
        if let (Some(walk), Some(next_salt), false) = (resumable, salt, self.lost) {
            self.resume(file, handle, walk, next_salt, &outcome).await?;
            return Ok(());
        }
        let footer = opened.then(|| self.follow(file, base_lsn, &outcome));
        if !opened {
            self.pass_over(file, before);
        }
        self.to_end.push(ToEnd { file: *file, path, handle, outcome, footer, digest });
        Ok(())
    }

    /// Reads the whole file: frames first, then what stands behind them. Where the span has an end, not further than that.
    async fn walk(&mut self, handle: &D::File, len: u64, walk: &mut Walk) -> Result<(), OpenError> {
        let mut reader = WindowReader::new(len);
        let mut needed = BLOCK;
        loop {
            if self.ends_at(walk) {
                self.report.bytes_scanned += reader.bytes_read;
                return Ok(());
            }
            let position = walk.position();
            let (bytes, to_end) = reader.window::<D>(handle, position, needed).await?;
            match walk.step(bytes, to_end) {
                Step::Frame(frame) => {
                    self.note(&frame);
                    needed = BLOCK;
                }
                Step::Need(more) => needed = more,
                Step::Stopped => break,
            }
        }
        self.report.bytes_scanned += reader.bytes_read;
        self.look_behind(handle, len, walk).await
    }

    /// Reads what stands behind the frames, several pieces at a time: in a segment that has just begun this is nearly
    /// all of the file, and most of what a restart waits for.
    async fn look_behind(
        &mut self,
        handle: &D::File,
        mut len: u64,
        walk: &mut Walk,
    ) -> Result<(), OpenError> {
        let mut next = walk.position();
        let mut reads = FuturesOrdered::new();
        for _ in 0..AHEAD {
            if next < len {
                reads.push_back(read_piece::<D>(handle, Buf::heap(WINDOW), next, len));
                next += WINDOW as u64;
            }
        }
        while let Some((position, read, buf)) = reads.next().await {
            let read = read?;
            self.report.bytes_scanned += read as u64;
            let whole = read / BLOCK * BLOCK;
            walk.look_behind(&buf[..whole], u32::try_from(position / BLOCK_U64).unwrap_or(u32::MAX));
            if whole < WINDOW {
                // The end, or shorter than it was when it was listed.
                len = len.min(position + whole as u64);
            }
            if next < len {
                reads.push_back(read_piece::<D>(handle, buf, next, len));
                next += WINDOW as u64;
            }
        }
        Ok(())
    }

    fn check_identity(&self, opening: Option<&Opening>, file: &SegmentFile) -> Result<(), OpenError> {
        opening.map_or(Ok(()), |opening| identity::check(opening, file.id, self.spec))
    }

    async fn read_opening(&self, file: &SegmentFile) -> Result<Option<Opening>, IoError> {
        let handle = self.disk.open(&file.id.path(&self.spec.dir), Access::Read).await?;
        let (read, buf) = handle.read_at(Buf::heap(BLOCK), BLOCK, 0).await;
        Ok(identity::opening(&buf[..read?.min(BLOCK)], file.id))
    }

    /// Where the successor's opening says that this segment ends: the LSN behind its last frame.
    async fn predecessor_said_by(
        &self,
        successor: &SegmentFile,
        file: &SegmentFile,
    ) -> Result<Option<u64>, IoError> {
        let opening = self.read_opening(successor).await?;
        let said = opening.filter(|opening| identity::check(opening, successor.id, self.spec).is_ok());
        let before = said.and_then(|opening| opening.predecessor);
        Ok(before.filter(|before| before.number == file.id.number).map(|before| before.last_lsn + 1))
    }

    /// Goes on behind a segment: gives its footer.
    fn follow(&mut self, file: &SegmentFile, base_lsn: u64, outcome: &Outcome) -> Footer {
        let footer = self.index.seal(&sealed_as(base_lsn, outcome));
        self.from.next_lsn = footer.next_lsn;
        self.from.chain = footer.chain;
        self.from.predecessor = Some(Predecessor {
            epoch: file.id.epoch,
            number: file.id.number,
            last_lsn: footer.next_lsn - 1,
            chain: footer.chain,
        });
        (self.last_number, self.seen) = (Some(file.id.number), Some(file.id.number));
        let known = Some(Arc::new(Footer { producers: Vec::new(), ..footer.clone() }));
        self.segments.insert(Segment { id: file.id, len: file.len, footer: known, sealed: false });
        footer
    }
}

/// Reads a window at `position` of a file of `len` bytes, or what there is of it.
async fn read_piece<D: Disk>(
    handle: &D::File,
    buf: Buf,
    position: u64,
    len: u64,
) -> (u64, Result<usize, IoError>, Buf) {
    let rest = usize::try_from(len - position).unwrap_or(WINDOW).min(WINDOW);
    let (read, buf) = handle.read_at(buf, rest.div_ceil(BLOCK) * BLOCK, position).await;
    (position, read, buf)
}

fn sealed_as(base_lsn: u64, outcome: &Outcome) -> SealedAs {
    SealedAs {
        salt: outcome.expect.salt.unwrap_or_default(),
        base_lsn,
        next_lsn: outcome.expect.lsn.unwrap_or_default(),
        chain: outcome.expect.chain.unwrap_or_default(),
        epoch: outcome.expect.epoch.unwrap_or_default(),
        block_index: outcome.expect.block_index,
    }
}

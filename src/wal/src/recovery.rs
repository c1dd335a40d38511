//! Recovery: finds where a shard ends, judges it by the verdict table, cuts what is torn, seals what is open.
//!
//! Only the segments behind the newest sealed one are read. Sealing goes in order, so all before it are sealed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidelog_format::Salt;
use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::footer::Footer;
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::name;
use tidelog_format::opening::Predecessor;
use tidelog_format::scan::Expect;
use tidelog_format::trailer::Trailer;
use tidelog_format::verdict::Verdict;
use tidelog_format::walk::{Cause, Outcome, Step, Walk};
use tidelog_io::{Access, Buf, Disk, DiskFile, IoError};

use crate::engine::ShardSpec;
use crate::error::{Hole, OpenError};
use crate::options::Options;
use crate::seal::seal;
use crate::segments::{Segment, SegmentId, Segments};
use crate::window::{WINDOW, WindowReader};
use crate::writing::Continuation;

/// Numbers of spares that were prepared segments begin here.
const PUT_AWAY: u64 = 1 << 62;
/// Most bytes of a cut that are copied: the largest frame, its end block and the block it starts in.
const CUT: u64 = 18 * 1024 * 1024;

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

pub(crate) struct Found {
    pub(crate) index: SegmentIndex,
    pub(crate) segments: Segments,
    pub(crate) from: Continuation,
    pub(crate) next_number: u64,
    pub(crate) hole: Option<Arc<Hole>>,
    pub(crate) report: Recovered,
}

struct Recovery<'a, D: Disk> {
    disk: &'a D,
    spec: &'a ShardSpec,
    options: &'a Options,
    index: SegmentIndex,
    segments: Segments,
    from: Continuation,
    /// Number of the segment before the next one to be judged, if there is one.
    last_number: Option<u64>,
    /// Epoch of the last segment that was walked, and the salt it announced for the next one of its span.
    announced: Option<(u32, Salt)>,
    /// The segment before lost its end: the next one need not follow it.
    lost: bool,
    hole: Option<Arc<Hole>>,
    report: Recovered,
}

/// Recovers a shard's folder.
pub(crate) async fn recover<D: Disk>(
    disk: &D,
    spec: &ShardSpec,
    options: &Options,
) -> Result<Found, OpenError> {
    let begun = Instant::now();
    let mut recovery = Recovery {
        disk,
        spec,
        options,
        index: SegmentIndex::default(),
        segments: Segments::default(),
        from: Continuation { next_lsn: 1, chain: 0, predecessor: None, last_append_time: 0 },
        last_number: None,
        announced: None,
        lost: false,
        hole: None,
        report: Recovered::default(),
    };
    let mut files = list(disk, spec).await?;
    let open = recovery.take_sealed(&mut files).await?;
    for (at, file) in open.iter().enumerate() {
        if recovery.hole.is_some() {
            // Behind a hole nothing is served; the files stay as they are.
            break;
        }
        recovery.judge(file, open.get(at + 1)).await?;
    }
    recovery.report.took = begun.elapsed();
    Ok(Found {
        index: recovery.index,
        segments: recovery.segments,
        from: recovery.from,
        next_number: recovery.last_number.map_or(1, |last| last + 1),
        hole: recovery.hole,
        report: recovery.report,
    })
}

struct SegmentFile {
    id: SegmentId,
    len: u64,
}

async fn list<D: Disk>(disk: &D, spec: &ShardSpec) -> Result<Vec<SegmentFile>, OpenError> {
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
    if let Some(newer) = files.iter().find(|file| file.id.epoch >= spec.epoch) {
        return Err(OpenError::Foreign {
            file: newer.id.path(&spec.dir),
            what: "place (its epoch is newer than the node's)",
        });
    }
    Ok(files)
}

impl<D: Disk> Recovery<'_, D> {
    /// Takes over the sealed segments and gives the open ones behind them.
    async fn take_sealed(&mut self, files: &mut Vec<SegmentFile>) -> Result<Vec<SegmentFile>, OpenError> {
        let mut first_open = files.len();
        while first_open > 0 {
            let file = &files[first_open - 1];
            if let Some((trailer, footer)) = self.read_seal(file).await? {
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
        self.last_number = Some(file.id.number);
        let footer = Some(Arc::new(footer));
        self.segments.insert(Segment { id: file.id, len: file.len, footer, sealed: true });
    }

    /// Trailer and footer of a sealed segment; `None` when it is not sealed or its footer is damaged: then it is
    /// scanned like an open one and sealed anew, since a footer can always be rebuilt.
    async fn read_seal(&self, file: &SegmentFile) -> Result<Option<(Trailer, Footer)>, IoError> {
        let Some(last) = file.len.checked_sub(BLOCK_U64).filter(|last| last % BLOCK_U64 == 0) else {
            return Ok(None);
        };
        let handle = self.disk.open(&file.id.path(&self.spec.dir), Access::Read).await?;
        let (read, buf) = handle.read_at(Buf::heap(BLOCK), BLOCK, last).await;
        read?;
        let index = u32::try_from(last / BLOCK_U64).unwrap_or(u32::MAX);
        let trailer = buf.first_chunk::<BLOCK>().and_then(|block| Trailer::of_last_block(block, index));
        let Some(trailer) = trailer.filter(|trailer| trailer.epoch == file.id.epoch) else { return Ok(None) };
        let len = usize::try_from(trailer.footer_len).unwrap_or(usize::MAX);
        let (read, buf) = handle.read_at(Buf::heap(len), len, trailer.footer_position()).await;
        let footer = buf.get(..read?.min(len)).and_then(|bytes| Footer::decode(bytes).ok());
        Ok(footer.filter(|footer| footer.next_lsn == trailer.next_lsn).map(|footer| (trailer, footer)))
    }

    /// Walks an open segment, judges its end and acts on it.
    async fn judge(&mut self, file: &SegmentFile, successor: Option<&SegmentFile>) -> Result<(), OpenError> {
        let path = file.id.path(&self.spec.dir);
        let missing = self.last_number.is_some_and(|last| last + 1 != file.id.number);
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
        self.walk(&handle, file.len, &mut walk).await?;
        self.check_identity(&walk, file)?;
        let base_lsn = walk.base_lsn().unwrap_or(self.from.next_lsn);
        let (digest, last_time) = (walk.digest(), walk.last_append_time());
        let opened = walk.opening().is_some();
        self.announced = walk.opening().map(|opening| (file.id.epoch, opening.next_salt));
        let said = match successor {
            Some(successor) => self.predecessor_said_by(successor, file).await?,
            None => None,
        };
        let outcome = walk.finish(said);
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
        self.from.last_append_time = last_time.unwrap_or(self.from.last_append_time);
        if outcome.verdict == Verdict::Corrupt && !self.options.accept_loss {
            self.stop_at_hole(file, path, base_lsn, &outcome, opened);
            return Ok(());
        }
        self.lost = outcome.verdict == Verdict::Corrupt;
        self.end_here(file, path, handle, base_lsn, digest, &outcome, opened).await
    }

    /// Reads the whole file: frames first, then what stands behind them.
    async fn walk(&mut self, handle: &D::File, len: u64, walk: &mut Walk) -> Result<(), OpenError> {
        let mut reader = WindowReader::new(len);
        let mut needed = BLOCK;
        loop {
            let position = walk.position();
            let (bytes, to_end) = reader.window::<D>(handle, position, needed).await?;
            match walk.step(bytes, to_end) {
                Step::Frame(frame) => {
                    self.index.note_frame(&frame);
                    self.report.frames_scanned += 1;
                    needed = BLOCK;
                }
                Step::Need(more) => needed = more,
                Step::Stopped => break,
            }
        }
        let mut position = walk.position();
        while position < len {
            let (bytes, _) = reader.window::<D>(handle, position, BLOCK).await?;
            let whole = bytes.len() / BLOCK * BLOCK;
            if whole == 0 {
                break;
            }
            walk.look_behind(&bytes[..whole], u32::try_from(position / BLOCK_U64).unwrap_or(u32::MAX));
            position += whole as u64;
        }
        self.report.bytes_scanned += reader.bytes_read;
        Ok(())
    }

    fn check_identity(&self, walk: &Walk, file: &SegmentFile) -> Result<(), OpenError> {
        let Some(opening) = walk.opening() else { return Ok(()) };
        let foreign = |what| Err(OpenError::Foreign { file: file.id.path(&self.spec.dir), what });
        if opening.cluster != self.spec.cluster {
            return foreign("cluster");
        }
        if opening.shard != self.spec.shard {
            return foreign("shard");
        }
        if opening.number != file.id.number {
            return foreign("place");
        }
        Ok(())
    }

    /// Where the successor's opening says that this segment ends: the LSN behind its last frame.
    async fn predecessor_said_by(
        &self,
        successor: &SegmentFile,
        file: &SegmentFile,
    ) -> Result<Option<u64>, IoError> {
        let handle = self.disk.open(&successor.id.path(&self.spec.dir), Access::Read).await?;
        let (read, buf) = handle.read_at(Buf::heap(BLOCK), BLOCK, 0).await;
        let bytes = &buf[..read?.min(BLOCK)];
        let mut walk = Walk::new(Expect { epoch: Some(successor.id.epoch), ..Expect::default() });
        walk.step(bytes, true);
        let said = walk.opening().filter(|opening| opening.number == successor.id.number);
        let before = said.and_then(|opening| opening.predecessor);
        Ok(before.filter(|before| before.number == file.id.number).map(|before| before.last_lsn + 1))
    }

    /// A segment is missing: what is before it can be read, nothing is changed.
    fn stop_at_gap(&mut self, file: &SegmentFile) {
        let last = self.last_number.unwrap_or_default();
        let what =
            format!("segments {} to {} of the shard are missing", last + 1, file.id.number.saturating_sub(1));
        let hole =
            Arc::new(Hole { file: file.id.path(&self.spec.dir), from: 0, lsn: self.from.next_lsn, what });
        tracing::error!(shard = self.spec.shard, lsn = self.from.next_lsn, %hole, "shard is read-only");
        self.hole = Some(hole);
    }

    /// Damaged acknowledged data: what is before it can be read, nothing is changed.
    fn stop_at_hole(
        &mut self,
        file: &SegmentFile,
        path: PathBuf,
        base_lsn: u64,
        outcome: &Outcome,
        opened: bool,
    ) {
        let lsn = outcome.expect.lsn.unwrap_or_default();
        let what = format!("{:?}: {:?}", outcome.at, outcome.cause);
        let hole = Arc::new(Hole { file: path, from: outcome.position, lsn, what });
        tracing::error!(shard = self.spec.shard, lsn, %hole, "shard is read-only");
        self.hole = Some(hole);
        if opened {
            let footer = Some(Arc::new(self.index.seal(&sealed_as(base_lsn, outcome))));
            self.segments.insert(Segment { id: file.id, len: file.len, footer, sealed: false });
        }
    }

    /// Cuts the segment at its end and seals it; a file without a frame is put away.
    #[expect(clippy::too_many_arguments, reason = "the parts of one judged segment, used here only")]
    async fn end_here(
        &mut self,
        file: &SegmentFile,
        path: PathBuf,
        handle: D::File,
        base_lsn: u64,
        digest: [u8; 16],
        outcome: &Outcome,
        opened: bool,
    ) -> Result<(), OpenError> {
        let clean =
            matches!(outcome.verdict, Verdict::End(grade) if grade != tidelog_format::verdict::Grade::Weak);
        if !clean {
            self.keep_cut(&path, &handle, file, outcome).await?;
        }
        if !opened {
            drop(handle);
            return Ok(self.put_away(file, &path).await?);
        }
        let mut footer = self.index.seal(&sealed_as(base_lsn, outcome));
        let len = seal(&handle, &footer, digest).await?;
        footer.producers = Vec::new();
        tracing::info!(
            shard = self.spec.shard, file = %path.display(), lsn = footer.next_lsn, verdict = ?outcome.verdict,
            "open segment sealed"
        );
        self.from.next_lsn = footer.next_lsn;
        self.from.chain = footer.chain;
        self.from.predecessor = Some(Predecessor {
            epoch: file.id.epoch,
            number: file.id.number,
            last_lsn: footer.next_lsn - 1,
            chain: footer.chain,
        });
        self.last_number = Some(file.id.number);
        self.segments.insert(Segment { id: file.id, len, footer: Some(Arc::new(footer)), sealed: true });
        Ok(())
    }

    /// A file that was prepared and never written to becomes a spare, so that numbers stay dense.
    async fn put_away(&mut self, file: &SegmentFile, path: &std::path::Path) -> Result<(), IoError> {
        let spare_dir = self.spec.dir.join(name::SPARE);
        self.disk.create_dir_all(&spare_dir).await?;
        // One file at most is prepared in an epoch, and spares count from 1: the name is free.
        let spare = spare_dir.join(name::spare(PUT_AWAY | u64::from(file.id.epoch)));
        tracing::debug!(shard = self.spec.shard, file = %path.display(), "prepared file was never used");
        self.disk.rename(path, &spare).await?;
        self.disk.sync_dir(&self.spec.dir).await?;
        self.disk.sync_dir(&spare_dir).await
    }

    /// Copies what is cut off to lost+found before it is cut.
    async fn keep_cut(
        &mut self,
        path: &std::path::Path,
        handle: &D::File,
        file: &SegmentFile,
        outcome: &Outcome,
    ) -> Result<(), IoError> {
        let whole = outcome.verdict == Verdict::Corrupt;
        let end = if whole { file.len } else { file.len.min(outcome.position + CUT) };
        let dir = &self.spec.lost_and_found;
        self.disk.create_dir_all(dir).await?;
        let (epoch, shard) = (self.spec.epoch, self.spec.shard);
        let kept_in = dir.join(format!("{shard}-{epoch}-{}-{}.bytes", file.id.number, outcome.position));
        let copy = self.disk.create(&kept_in, Access::Bulk).await?;
        let (mut at, mut buf) = (outcome.position, Buf::heap(WINDOW));
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(WINDOW).min(WINDOW);
            let len = len.div_ceil(BLOCK) * BLOCK;
            let (read, mut back) = handle.read_at(buf, len, at).await;
            let read = read?;
            if read == 0 {
                break;
            }
            let blocks = read.div_ceil(BLOCK) * BLOCK;
            back[read..blocks].fill(0);
            let (result, back) = copy.write_at(back, blocks, at - outcome.position).await;
            result?;
            buf = back;
            at += read as u64;
        }
        copy.sync().await?;
        self.disk.sync_dir(dir).await?;
        tracing::warn!(
            shard, lsn = outcome.expect.lsn, file = %path.display(), from = outcome.position, to = at,
            kept_in = %kept_in.display(), verdict = ?outcome.verdict, "bytes cut off"
        );
        self.report.cut.push(Cut { file: path.to_owned(), from: outcome.position, to: at, kept_in });
        Ok(())
    }
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

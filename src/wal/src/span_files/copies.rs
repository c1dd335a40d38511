//! A sealed span that is copied from other holders: its files stand in a folder aside until all of them are verified, then
//! they take their places.
//!
//! # Durability
//! [`CopyFiles::adopt`] returns when the files are in their places with all their names durable. What is there before goes
//! only after what replaces it has come: it may be one of the last copies of its frames.
//!
//! # Verifying
//! Bytes that are stored in order are walked as they come, as a follower does with what it appends: what is synced after is
//! what was verified. What is there from before a restart, and what came otherwise, is read from the disk.
//!
//! # Recovery
//! What a crash leaves aside is found again by [`CopyFiles::open`]; a span that was being put together frame by frame is
//! begun anew. Files that were to be replaced stay aside until an adoption is through.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::footer::Footer;
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::name;
use tidelog_format::opening::Opening;
use tidelog_format::scan::Expect;
use tidelog_format::walk::{Cause, Step, Walk};
use tidelog_io::{Access, Buf, Disk, DiskFile, IoError};

use crate::ending::free_name;
use crate::engine::ShardSpec;
use crate::following::ReadyFrame;
use crate::identity;
use crate::recovery::{SegmentFile, SpanBase, SpanEnd};
use crate::seal::{read_seal, read_trailer, seal};
use crate::segments::SegmentId;
use crate::span_files::{SealedFile, open_if_there, segments_in};
use crate::window::WindowReader;

/// What was found in the files aside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Where the frames end, when every frame, footer and digest is right and the files follow each other from the span's
    /// base on.
    pub end: Option<SpanEnd>,
    /// The files that are right.
    pub files: Vec<SealedFile>,
}

/// The files of a copy that is being made.
pub struct CopyFiles<D: Disk> {
    disk: D,
    /// The shard; the epoch is the span's.
    spec: ShardSpec,
    base: SpanBase,
    dir: PathBuf,
    parts: BTreeMap<u64, Part<D::File>>,
    /// The segment whose frames come next.
    mended: Option<u64>,
}

struct Part<F> {
    path: PathBuf,
    file: F,
    len: u64,
    /// As its holder listed it.
    listed: Option<SealedFile>,
    /// Its frames, as far as they were verified while they were stored.
    walked: Option<Walked>,
}

/// A walk over a file that is being stored.
struct Walked {
    /// What it began with.
    from: Expect,
    walk: Walk,
    /// Bytes that were stored.
    end: u64,
    /// Those of them from the walk's position on: less than a frame.
    rest: Vec<u8>,
    is_over: bool,
}

impl Walked {
    fn new(from: Expect) -> Walked {
        Walked { walk: Walk::new(from), from, end: 0, rest: Vec::new(), is_over: false }
    }

    /// Goes on with the bytes that follow; `to_end` says that there are no more of them.
    fn take(&mut self, bytes: &[u8], to_end: bool) {
        self.end += bytes.len() as u64;
        if self.is_over {
            return;
        }
        self.rest.extend_from_slice(bytes);
        let begin = self.walk.position();
        while !self.is_over {
            let walked = usize::try_from(self.walk.position() - begin).unwrap_or(usize::MAX);
            match self.walk.step(self.rest.get(walked..).unwrap_or_default(), to_end) {
                Step::Frame(_) => {}
                Step::Need(_) => break,
                Step::Stopped => self.is_over = true,
            }
        }
        let walked = usize::try_from(self.walk.position() - begin).unwrap_or(usize::MAX);
        self.rest.drain(..walked.min(self.rest.len()));
    }

    /// What the first frame of the next file must be, where the span's first one must be `first`.
    fn next(&self, first: Expect) -> Option<Expect> {
        let (salt, end) = (Some(self.walk.opening()?.next_salt), self.walk.expect());
        self.is_over.then_some(Expect { salt, lsn: end.lsn, chain: end.chain, ..first })
    }
}

impl<D: Disk> CopyFiles<D> {
    /// Finds what is aside of a span: `spec.epoch` is its epoch. Gives it as it was listed, with how much of it there is.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn open(
        disk: D,
        spec: ShardSpec,
        base: SpanBase,
    ) -> Result<(CopyFiles<D>, Vec<(SealedFile, u64)>), IoError> {
        let dir = spec.dir.join(name::COPIES);
        disk.create_dir_all(&dir).await?;
        let mut copy = CopyFiles { disk, spec, base, dir, parts: BTreeMap::new(), mended: None };
        for entry in copy.disk.list(&copy.dir).await? {
            let path = copy.dir.join(&entry.name);
            if name::parse_mend(&entry.name).is_some_and(|(epoch, _)| epoch == copy.spec.epoch) {
                copy.disk.remove(&path).await?;
                continue;
            }
            let Some((epoch, number, len, digest)) = name::parse_part(&entry.name) else { continue };
            if epoch != copy.spec.epoch {
                continue;
            }
            // Of two lists that a file was in one is old; whether the other is right is seen when it is listed again.
            copy.remove_part(number).await?;
            let file = copy.disk.open(&path, Access::Bulk).await?;
            let listed = Some(SealedFile { number, len, digest });
            copy.parts.insert(
                number,
                Part { path, file, len: entry.len / BLOCK_U64 * BLOCK_U64, listed, walked: None },
            );
        }
        let found = copy.parts.values().filter_map(|part| Some((part.listed?, part.len))).collect();
        Ok((copy, found))
    }

    /// Puts bytes of a listed file where they belong; at 0 the file begins anew.
    ///
    /// # Errors
    /// A failing disk; bytes that are not whole blocks.
    pub async fn store(&mut self, listed: SealedFile, at: u64, bytes: &[u8]) -> Result<(), IoError> {
        let same = self.parts.get(&listed.number).is_some_and(|part| part.listed == Some(listed));
        if at == 0 || !same {
            let name = name::part(self.spec.epoch, listed.number, listed.len, &listed.digest);
            self.begin_part(listed.number, &name, Some(listed)).await?;
            let from = self.expect_of(listed.number);
            if let Some(part) = self.parts.get_mut(&listed.number) {
                part.walked = from.map(Walked::new);
            }
        }
        let Some(part) = self.parts.get_mut(&listed.number) else { return Ok(()) };
        part.write(at, bytes).await?;
        match &mut part.walked {
            Some(walked) if walked.end == at => walked.take(bytes, at + bytes.len() as u64 >= listed.len),
            walked => *walked = None,
        }
        Ok(())
    }

    /// Puts consecutive frames into files: an opening frame begins one, the others follow it. The span's first frame begins
    /// all anew.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn mend(&mut self, frames: &[ReadyFrame]) -> Result<(), IoError> {
        for frame in frames {
            if frame.header.lsn == self.base.lsn {
                self.remove_parts().await?;
            }
            if let Some(number) = opened_by(frame) {
                self.begin_part(number, &name::mend(self.spec.epoch, number), None).await?;
                self.mended = Some(number);
            }
            let part = self.mended.and_then(|number| self.parts.get_mut(&number));
            let Some(part) = part else { continue };
            part.write(u64::from(frame.header.block_index) * BLOCK_U64, &frame.bytes).await?;
        }
        Ok(())
    }

    /// Gives files that were put together their footers, as at a seal.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn finish(&mut self) -> Result<(), IoError> {
        let mut index = match self.footer_before().await? {
            Some(footer) => SegmentIndex::behind(&footer),
            None => SegmentIndex::default(),
        };
        for part in self.parts.values_mut() {
            let mut walk = Walk::new(Expect { epoch: Some(self.spec.epoch), ..Expect::default() });
            walk_file::<D>(&part.file, part.len, &mut walk, |frame| index.note_frame(frame)).await?;
            let expect = walk.expect();
            let footer = index.seal(&SealedAs {
                salt: expect.salt.unwrap_or_default(),
                base_lsn: walk.base_lsn().unwrap_or_default(),
                next_lsn: expect.lsn.unwrap_or_default(),
                chain: expect.chain.unwrap_or_default(),
                epoch: self.spec.epoch,
                block_index: expect.block_index,
            });
            part.len = seal(&part.file, &footer, walk.digest()).await?;
        }
        Ok(())
    }

    /// What the span's first frame must be.
    fn first(&self) -> Expect {
        Expect {
            epoch: Some(self.spec.epoch),
            salt: Some(self.base.salt),
            lsn: Some(self.base.lsn),
            chain: Some(self.base.chain),
            ..Expect::default()
        }
    }

    /// What the first frame of a file must be, if the one before it was walked to its end, or it is the first.
    fn expect_of(&self, number: u64) -> Option<Expect> {
        match self.parts.range(..number).next_back() {
            None => Some(self.first()),
            Some((_, before)) => before.walked.as_ref()?.next(self.first()),
        }
    }

    /// Verifies all that is aside, from the span's base on.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn verify(&self) -> Result<Copied, IoError> {
        let mut copied = Copied::default();
        let mut expect = self.first();
        let mut before = None;
        for (number, part) in &self.parts {
            let follows = before.is_none_or(|before: u64| before.checked_add(1) == Some(*number));
            let Some(verified) = self.verify_part(*number, part, expect).await?.filter(|_| follows) else {
                copied.end = None;
                return Ok(copied);
            };
            copied.files.push(verified.file);
            copied.end = Some(verified.end);
            (expect.salt, before) = (verified.next_salt, Some(*number));
            (expect.lsn, expect.chain) = (Some(verified.end.lsn), Some(verified.end.chain));
        }
        Ok(copied)
    }

    async fn verify_part(
        &self,
        number: u64,
        part: &Part<D::File>,
        expect: Expect,
    ) -> Result<Option<Verified>, IoError> {
        let walk = match &part.walked {
            Some(walked) if walked.is_over && walked.from == expect && walked.end == part.len => {
                walked.walk.clone()
            }
            _ => {
                let mut walk = Walk::new(expect);
                walk_file::<D>(&part.file, part.len, &mut walk, |_| {}).await?;
                walk
            }
        };
        let id = SegmentId { number, epoch: self.spec.epoch };
        let ours = walk.opening().is_some_and(|opening| identity::check(opening, id, &self.spec).is_ok());
        let (digest, next_salt) = (walk.digest(), walk.opening().map(|opening| opening.next_salt));
        let base_lsn = walk.base_lsn();
        let outcome = walk.finish(None);
        let Some((trailer, footer)) = read_seal(&self.disk, &part.path, part.len).await? else {
            return Ok(None);
        };
        let end = SpanEnd { lsn: trailer.next_lsn, chain: trailer.chain };
        let right = ours
            && matches!(outcome.cause, Cause::Footer(_))
            && (outcome.expect.lsn, outcome.expect.chain) == (Some(end.lsn), Some(end.chain))
            && outcome.position == trailer.footer_position()
            && Some(trailer.base_lsn) == base_lsn
            && (trailer.epoch, trailer.digest) == (self.spec.epoch, digest)
            && (Some(footer.base_lsn), footer.chain, footer.salt) == (base_lsn, end.chain, trailer.salt);
        let file = SealedFile { number, len: part.len, digest };
        Ok(right.then_some(Verified { file, end, next_salt }))
    }

    /// Puts all files in their places, then removes what the span had here otherwise; files that were sealed and are
    /// replaced go to lost+found. Gives what is in place now.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn adopt(&mut self) -> Result<Vec<SealedFile>, IoError> {
        let mut files = Vec::new();
        for (number, part) in &self.parts {
            part.file.sync().await?;
            if let Some(trailer) = read_trailer(&self.disk, &part.path, part.len).await? {
                files.push(SealedFile { number: *number, len: part.len, digest: trailer.digest });
            }
        }
        self.disk.sync_dir(&self.dir).await?;
        for (number, part) in std::mem::take(&mut self.parts) {
            let id = SegmentId { number, epoch: self.spec.epoch };
            put_aside(&self.disk, &self.spec, id).await?;
            drop(part.file);
            self.disk.rename(&part.path, &id.path(&self.spec.dir)).await?;
        }
        self.sync_dirs().await?;
        let kept = |number: u64| files.iter().any(|file| file.number == number);
        for SegmentFile { id, .. } in segments_in(&self.disk, &self.spec.dir, self.spec.epoch).await? {
            if !kept(id.number) {
                put_aside(&self.disk, &self.spec, id).await?;
            }
        }
        self.sync_dirs().await?;
        for SegmentFile { id, .. } in segments_in(&self.disk, &self.dir, self.spec.epoch).await? {
            give_up(&self.disk, &self.spec, &id.path(&self.dir), id).await?;
        }
        self.disk.sync_dir(&self.dir).await?;
        Ok(files)
    }

    /// Removes what is aside.
    ///
    /// # Errors
    /// A failing disk.
    pub async fn discard(&mut self) -> Result<(), IoError> {
        self.remove_parts().await?;
        self.disk.sync_dir(&self.dir).await
    }

    async fn sync_dirs(&self) -> Result<(), IoError> {
        self.disk.sync_dir(&self.spec.dir).await?;
        self.disk.sync_dir(&self.dir).await
    }

    async fn begin_part(
        &mut self,
        number: u64,
        name: &str,
        listed: Option<SealedFile>,
    ) -> Result<(), IoError> {
        self.remove_part(number).await?;
        let path = self.dir.join(name);
        let file = self.disk.create(&path, Access::Bulk).await?;
        self.parts.insert(number, Part { path, file, len: 0, listed, walked: None });
        Ok(())
    }

    async fn remove_part(&mut self, number: u64) -> Result<(), IoError> {
        match self.parts.remove(&number) {
            Some(part) => {
                drop(part.file);
                self.disk.remove(&part.path).await
            }
            None => Ok(()),
        }
    }

    async fn remove_parts(&mut self) -> Result<(), IoError> {
        self.mended = None;
        let numbers: Vec<u64> = self.parts.keys().copied().collect();
        for number in numbers {
            self.remove_part(number).await?;
        }
        Ok(())
    }

    /// Footer of the newest sealed segment of the spans before, if there is one here.
    async fn footer_before(&self) -> Result<Option<Footer>, IoError> {
        let mut newest = None;
        for entry in self.disk.list(&self.spec.dir).await? {
            let id = name::parse_segment(&entry.name).filter(|(epoch, _)| *epoch < self.spec.epoch);
            newest = newest.max(id.map(|(epoch, number)| (number, epoch, entry.len)));
        }
        let Some((number, epoch, len)) = newest else { return Ok(None) };
        let path = SegmentId { number, epoch }.path(&self.spec.dir);
        Ok(read_seal(&self.disk, &path, len).await?.map(|(_, footer)| footer))
    }
}

impl<D: Disk> std::fmt::Debug for CopyFiles<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "CopyFiles(shard {}, span {}, {} files)",
            self.spec.shard,
            self.spec.epoch,
            self.parts.len()
        )
    }
}

/// A file that is right.
struct Verified {
    file: SealedFile,
    end: SpanEnd,
    /// Salt of the file behind it.
    next_salt: Option<tidelog_format::Salt>,
}

impl<F: DiskFile> Part<F> {
    async fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), IoError> {
        let mut buf = Buf::heap(bytes.len());
        buf[..bytes.len()].copy_from_slice(bytes);
        self.file.write_at(buf, bytes.len(), at).await.0?;
        self.len = self.len.max(at + bytes.len() as u64);
        Ok(())
    }
}

/// Moves the files of a span that has ended elsewhere than here out of the way of the next one; a copy replaces them. All of
/// a span that is not to be believed goes the same way.
///
/// # Errors
/// A failing disk.
pub async fn put_span_aside<D: Disk>(disk: &D, spec: &ShardSpec) -> Result<(), IoError> {
    let dir = spec.dir.join(name::COPIES);
    disk.create_dir_all(&dir).await?;
    // The last one first: what a crash leaves in place is the beginning of the span.
    for SegmentFile { id, .. } in segments_in(disk, &spec.dir, spec.epoch).await?.into_iter().rev() {
        put_aside(disk, spec, id).await?;
    }
    disk.sync_dir(&spec.dir).await?;
    disk.sync_dir(&dir).await
}

/// Removes what was put aside of a span, and what was being copied of it: nobody wants it any more.
///
/// # Errors
/// A failing disk.
pub async fn remove_span_aside<D: Disk>(disk: &D, spec: &ShardSpec) -> Result<(), IoError> {
    let dir = spec.dir.join(name::COPIES);
    disk.create_dir_all(&dir).await?;
    for entry in disk.list(&dir).await? {
        let epoch = name::parse_segment(&entry.name).map(|(epoch, _)| epoch);
        let epoch = epoch.or(name::parse_mend(&entry.name).map(|(epoch, _)| epoch));
        let epoch = epoch.or(name::parse_part(&entry.name).map(|(epoch, ..)| epoch));
        if epoch == Some(spec.epoch) {
            disk.remove(&dir.join(&entry.name)).await?;
        }
    }
    disk.sync_dir(&dir).await
}

/// Moves a segment aside, if it is there.
async fn put_aside<D: Disk>(disk: &D, spec: &ShardSpec, id: SegmentId) -> Result<(), IoError> {
    let aside = id.path(&spec.dir.join(name::COPIES));
    if open_if_there(disk, &id.path(&spec.dir)).await?.is_none() {
        return Ok(());
    }
    if open_if_there(disk, &aside).await?.is_some() {
        give_up(disk, spec, &aside, id).await?;
    }
    disk.rename(&id.path(&spec.dir), &aside).await
}

/// A file aside is not needed any more: one that was sealed is kept for people, because it rotted.
async fn give_up<D: Disk>(disk: &D, spec: &ShardSpec, path: &Path, id: SegmentId) -> Result<(), IoError> {
    let len = disk.open(path, Access::Read).await?.len().await?;
    if read_trailer(disk, path, len).await?.is_none() {
        return disk.remove(path).await;
    }
    disk.create_dir_all(&spec.lost_and_found).await?;
    let place = format!("{}-{}-{}-replaced", spec.shard, id.epoch, id.number);
    let kept_in = free_name(disk, &spec.lost_and_found, &place).await?;
    tracing::warn!(
        shard = spec.shard, epoch = id.epoch, number = id.number, kept_in = %kept_in.display(),
        "a sealed segment was replaced by another holder's copy"
    );
    disk.rename(path, &kept_in).await?;
    disk.sync_dir(&spec.lost_and_found).await
}

/// The segment that a frame opens.
fn opened_by(frame: &ReadyFrame) -> Option<u64> {
    let view = frame.view().filter(|frame| frame.header.block_index == 0)?;
    Some(Opening::decode(view.entries().next()?.body).ok()?.number)
}

/// Walks a file up to its last frame.
async fn walk_file<D: Disk>(
    file: &D::File,
    len: u64,
    walk: &mut Walk,
    mut visit: impl FnMut(&tidelog_format::frame::Frame<'_>),
) -> Result<(), IoError> {
    let mut reader = WindowReader::new(len);
    let mut needed = BLOCK;
    loop {
        let (bytes, to_end) = reader.window::<D>(file, walk.position(), needed).await?;
        match walk.step(bytes, to_end) {
            Step::Frame(frame) => {
                visit(&frame);
                needed = BLOCK;
            }
            Step::Need(more) => needed = more,
            Step::Stopped => return Ok(()),
        }
    }
}

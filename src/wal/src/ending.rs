//! Ends the segments that a start finds open, as recovery has judged them: what nothing proves is copied aside and cut,
//! footers are written, files without a frame become spares.

use std::path::{Path, PathBuf};

use tidelog_format::block::{BLOCK, BLOCK_U64};
use tidelog_format::footer::Footer;
use tidelog_format::name;
use tidelog_format::verdict::{Grade, Verdict};
use tidelog_format::walk::Outcome;
use tidelog_io::{Access, Buf, Disk, DiskFile, IoError};

use crate::engine::ShardSpec;
use crate::recovery::{Cut, Recovered, SegmentFile};
use crate::seal::seal;
use crate::segments::Segments;
use crate::spares::number_put_away;
use crate::window::WINDOW;

/// Most bytes of a cut that are copied: the largest frame, its end block and the block it starts in.
const CUT: u64 = 18 * 1024 * 1024;

/// A file that is open, and what recovery concluded.
pub(crate) struct ToEnd<F> {
    pub(crate) file: SegmentFile,
    pub(crate) path: PathBuf,
    pub(crate) handle: F,
    pub(crate) outcome: Outcome,
    /// Its index; `None` in a file without a frame.
    pub(crate) footer: Option<Footer>,
    pub(crate) digest: [u8; 16],
}

/// Ends them in their order, so that all before a sealed one are sealed.
pub(crate) async fn end_all<D: Disk>(
    disk: &D,
    spec: &ShardSpec,
    to_end: Vec<ToEnd<D::File>>,
    segments: &mut Segments,
    report: &mut Recovered,
) -> Result<(), IoError> {
    for one in to_end {
        // Files grow by whole blocks: one that ends within a block was cut from outside.
        let whole = one.file.len.is_multiple_of(BLOCK_U64);
        let clean = whole && matches!(one.outcome.verdict, Verdict::End(grade) if grade != Grade::Weak);
        if !clean {
            report.cut.push(keep_cut(disk, spec, &one).await?);
        }
        let ToEnd { file, path, handle, outcome, footer, digest } = one;
        let Some(footer) = footer else {
            drop(handle);
            put_away(disk, spec, &file, &path).await?;
            continue;
        };
        let len = seal(&handle, &footer, digest).await?;
        tracing::info!(
            shard = spec.shard, file = %path.display(), lsn = footer.next_lsn, verdict = ?outcome.verdict,
            "open segment sealed"
        );
        segments.sealed(file.id.number, len);
    }
    Ok(())
}

/// A file that was prepared and never written to becomes a spare, so that numbers stay dense.
async fn put_away<D: Disk>(
    disk: &D,
    spec: &ShardSpec,
    file: &SegmentFile,
    path: &Path,
) -> Result<(), IoError> {
    let spare_dir = spec.dir.join(name::SPARE);
    disk.create_dir_all(&spare_dir).await?;
    let spare = spare_dir.join(name::spare(number_put_away(file.id)));
    tracing::debug!(shard = spec.shard, file = %path.display(), "prepared file was never used");
    disk.rename(path, &spare).await?;
    disk.sync_dir(&spec.dir).await?;
    disk.sync_dir(&spare_dir).await
}

/// A free name for what is cut at a place. A follower may cut at the same place of a span more than once.
pub(crate) async fn free_name<D: Disk>(disk: &D, dir: &Path, place: &str) -> Result<PathBuf, IoError> {
    let cut_here = |name: &str| name.starts_with(place) && !name[place.len()..].starts_with(char::is_numeric);
    let again = disk.list(dir).await?.iter().filter(|entry| cut_here(&entry.name)).count();
    Ok(dir.join(match again {
        0 => format!("{place}.bytes"),
        again => format!("{place}-{again}.bytes"),
    }))
}

/// Copies what is cut off to lost+found before it is cut.
async fn keep_cut<D: Disk>(disk: &D, spec: &ShardSpec, one: &ToEnd<D::File>) -> Result<Cut, IoError> {
    let ToEnd { file, path, handle, outcome, .. } = one;
    let whole = outcome.verdict == Verdict::Corrupt;
    let end = if whole { file.len } else { file.len.min(outcome.position + CUT) };
    let dir = &spec.lost_and_found;
    disk.create_dir_all(dir).await?;
    let (epoch, shard) = (spec.epoch, spec.shard);
    let place = format!("{shard}-{epoch}-{}-{}", file.id.number, outcome.position);
    let kept_in = free_name(disk, dir, &place).await?;
    let copy = disk.create(&kept_in, Access::Bulk).await?;
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
    disk.sync_dir(dir).await?;
    tracing::warn!(
        shard, lsn = outcome.expect.lsn, file = %path.display(), from = outcome.position, to = at,
        kept_in = %kept_in.display(), verdict = ?outcome.verdict, "bytes cut off"
    );
    Ok(Cut { file: path.clone(), from: outcome.position, to: at, kept_in })
}

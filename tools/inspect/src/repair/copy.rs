//! What is intact goes over byte for byte.

use std::path::Path;

use tidelog_format::name;
use tidelog_format::superblock::SUPERBLOCK_LEN;
use tidelog_io::Fault;

use super::RepairReport;
use crate::chain::Chain;
use crate::checker::Checker;
use crate::error::InspectError;
use crate::read::read_segment;
use crate::target::{Folder, Target};
use crate::tree::{SegmentFile, shown};
use crate::window::Window;

/// Bytes of one read.
const PIECE: usize = 1024 * 1024;

/// The superblock, if one of its copies is good. Both are copied: which one counts is for its reader to say.
pub(super) fn superblock(
    path: &Path,
    target: &Target,
    report: &mut RepairReport,
) -> Result<(), InspectError> {
    let (identity, _) = crate::identity::read(path);
    if identity.is_none() {
        report
            .notes
            .push("the superblock is lost: the copy has none, and no node takes it for its own".to_owned());
        return Ok(());
    }
    let bytes = Window::open(path)?.piece(0, SUPERBLOCK_LEN)?;
    let mut file = target.folder(&[])?.create(name::SUPERBLOCK)?;
    file.write(&bytes)?;
    report.bytes += file.finish()?;
    Ok(())
}

/// The promise journal beside the superblock, as it is: what the store has promised holds for its copy too, and a reader
/// judges it by itself.
pub(super) fn promises(
    superblock: &Path,
    target: &Target,
    report: &mut RepairReport,
) -> Result<(), InspectError> {
    let path = superblock.with_file_name(name::PROMISES);
    let bytes = match Window::open(&path) {
        Ok(window) => window.piece(0, usize::try_from(window.len()).unwrap_or(PIECE))?,
        Err(error) if error.kind() == Fault::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut file = target.folder(&[])?.create(name::PROMISES)?;
    file.write(&bytes)?;
    report.bytes += file.finish()?;
    Ok(())
}

/// A segment: up to its trailer when it is sealed, else all of it.
pub(super) fn segment(
    file: &SegmentFile,
    place: &Folder,
    report: &mut RepairReport,
) -> Result<(), InspectError> {
    let mut counter = Checker::new(shown(&file.path), None);
    let read = read_segment(&mut Chain::default(), file, None, &mut counter)?;
    let len = read.seal.as_ref().map_or(read.len, |seal| seal.content_len());
    let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut copy = place.create(&name)?;
    while copy.len() < len {
        let left = usize::try_from(len - copy.len()).unwrap_or(PIECE);
        let piece = read.window.piece(copy.len(), PIECE.min(left))?;
        if piece.is_empty() {
            break;
        }
        copy.write(&piece)?;
    }
    report.bytes += copy.finish()?;
    report.copied += 1;
    report.frames += counter.frames;
    report.batches += counter.batches;
    report.records += counter.records;
    Ok(())
}

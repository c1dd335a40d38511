//! `explain`: who owns each byte of a file, and what it is worth.
//!
//! # Purpose
//! Without a place it prints a map: every range of bytes with its owner. With `--at` it shows the structures
//! around one byte, field by field. With `--fields` it shows every field of the file. Where frames end and what is
//! damaged is found by the same pass as in `verify`; the layouts are SPEC.md's, as data ([`layout`]).
//!
//! # Invariants
//! Every byte of a file belongs to exactly one innermost structure, and so to one line of the map.

mod batch;
mod field;
mod frame;
mod header;
mod layout;
mod place;
mod seal;
mod show;

use serde::Serialize;
use tidelog_format::batch::BatchView;
use tidelog_format::frame::Frame;
use tidelog_format::scan::Expect;
use tidelog_io::file::ReadFile;

use crate::args::{ExplainArgs, Output};
use crate::chain::Chain;
use crate::error::InspectError;
use crate::finding::Status;
use crate::output::Screen;
use crate::pass::{Hole, Visitor};
use crate::read::read_segment;
use crate::tree::{Tree, shown};
use field::Structure;
pub(crate) use frame::position_of;

/// Takes structures as they are found.
pub(crate) type Sink<'a> = dyn FnMut(Structure) -> Result<(), InspectError> + 'a;

/// Most bytes of a file that is a single batch.
const MAX_BATCH_FILE: u64 = tidelog_format::batch::MAX_BATCH_LEN as u64;

/// Which bytes are asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted(Option<u64>);

impl Wanted {
    /// Whether something in these bytes is asked for.
    pub(crate) fn takes(&self, from: u64, to: u64) -> bool {
        self.0.is_none_or(|at| (from..to).contains(&at))
    }

    /// Whether all is asked for.
    pub(crate) fn is_open(&self) -> bool {
        self.0.is_none()
    }
}

/// A range of the file and who owns it: a line of the map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Region {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) owner: &'static str,
    pub(crate) lsn: Option<u64>,
    /// The recovery table's word, or of the same kind.
    pub(crate) verdict: &'static str,
    pub(crate) says: String,
}

/// Explains a file.
pub(crate) fn explain(screen: &mut Screen<'_>, args: &ExplainArgs) -> Result<Status, InspectError> {
    let path = &args.common.path;
    let file = ReadFile::open(path)?;
    let len = file.len()?;
    if let Some(at) = args.at.filter(|at| *at >= len) {
        return Err(InspectError::Behind { at, len });
    }
    let mut head = vec![0; 2 * tidelog_format::BLOCK];
    let read = file.read_at(&mut head, 0)?;
    head.truncate(read);
    let wanted = Wanted(args.at);
    let mut page = show::Page::new(screen, args, shown(path));
    if seal::is_superblock(len, &head) {
        for (index, block) in (0u64..).zip(head.chunks(tidelog_format::BLOCK)) {
            let from = index * tidelog_format::block::BLOCK_U64;
            place::superblock(block, from, &wanted, &mut page)?;
        }
        return page.finish(Status::Ok);
    }
    if let Some(batch) = whole_batch(&file, len, &head)? {
        place::lone_batch(&batch, &wanted, &mut page)?;
        return page.finish(Status::Ok);
    }
    let status = segment(args, &wanted, &mut page)?;
    page.finish(status)
}

/// The file's bytes, if it is one batch and nothing else, as `export` writes them.
fn whole_batch(file: &ReadFile, len: u64, head: &[u8]) -> Result<Option<Vec<u8>>, InspectError> {
    if head.starts_with(b"\x89TLG") || len > MAX_BATCH_FILE {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    let whole = BatchView::parse(&bytes).is_ok_and(|batch| batch.bytes().len() == bytes.len());
    Ok(whole.then_some(bytes))
}

/// Explains the frames that are intact as they come, and notes where they and the holes are.
struct Frames<'p, 'a, 's> {
    page: &'p mut show::Page<'a, 's>,
    wanted: Wanted,
    holes: Vec<Hole>,
}

impl Visitor for Frames<'_, '_, '_> {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError> {
        let header = &frame.header;
        let (from, to) = (frame::position_of(header.block_index), header.end_position());
        let verdict = if frame.padding_is_zero() { "good" } else { "padding" };
        let says = format!("{} entries, {} bytes of body", header.entries, header.body_len);
        self.page.region(Region { from, to, owner: "frame", lsn: Some(header.lsn), verdict, says })?;
        if !self.wanted.takes(from, to) || !self.page.wants_fields() {
            return Ok(());
        }
        let expect = Expect {
            block_index: header.block_index,
            salt: Some(header.salt),
            epoch: Some(header.epoch),
            lsn: Some(header.lsn),
            chain: Some(header.chain),
        };
        let page = &mut *self.page;
        frame::explain(frame.bytes(), from, &expect, &self.wanted, &mut |found| page.structure(found))
    }

    fn hole(&mut self, hole: &Hole) -> Result<(), InspectError> {
        self.holes.push(hole.clone());
        Ok(())
    }
}

fn segment(
    args: &ExplainArgs,
    wanted: &Wanted,
    page: &mut show::Page<'_, '_>,
) -> Result<Status, InspectError> {
    let tree = Tree::find(&args.common.path)?;
    let file = tree.lone.then(|| tree.shards.first().and_then(|folder| folder.segments.first())).flatten();
    let file = file.ok_or_else(|| InspectError::NotAFile(args.common.path.clone()))?;
    let mut frames = Frames { page, wanted: *wanted, holes: Vec::new() };
    let mut read = read_segment(&mut Chain::default(), file, None, &mut frames)?;
    let holes = std::mem::take(&mut frames.holes);
    let end = read.passed.end;
    for hole in &holes {
        place::hole(&mut read.window, hole, &end, wanted, page)?;
    }
    let behind = holes.iter().map(|hole| hole.to).max().unwrap_or(0).max(read.passed.end_position());
    place::behind(&mut read.window, behind, &read.passed, wanted, page)?;
    Ok(Status::of(&read.findings))
}

/// What stands at a byte of a frame, in words; `bytes` are the whole frame.
pub(crate) fn field_at(bytes: &[u8], from: u64, byte: u64) -> Result<String, InspectError> {
    let block_index = u32::try_from(from / tidelog_format::block::BLOCK_U64).unwrap_or(u32::MAX);
    let expect = Expect { block_index, ..Expect::default() };
    let mut found = String::from("no field");
    frame::explain(bytes, from, &expect, &Wanted(Some(byte)), &mut |structure| {
        if let Some(field) = structure.fields.iter().find(|field| (field.from..field.to).contains(&byte)) {
            found = format!("{} of {}", field.field, structure.structure);
        }
        Ok(())
    })?;
    Ok(found)
}

/// For `Output` in one place.
fn is_json(args: &ExplainArgs) -> bool {
    args.common.output == Output::Json
}

#[cfg(test)]
mod tests;

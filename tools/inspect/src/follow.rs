//! `dump --follow`: what a running node writes, as it writes it.
//!
//! A frame is shown when it is whole. That it is durable is for the node to know: the inspector sees a frame as soon
//! as the kernel shows it.

use std::time::Duration;

use tidelog_format::BLOCK;
use tidelog_format::scan::{Expect, Found, scan};

use crate::chain::first_frame;
use crate::dump::Dump;
use crate::error::InspectError;
use crate::pass::position;
use crate::tree::{SegmentFile, ShardFolder, Tree, shown};
use crate::window::Window;

/// How long it waits before it looks again.
const PAUSE: Duration = Duration::from_millis(100);

/// Where one shard was read to.
#[derive(Debug, Clone)]
pub(crate) struct Cursor {
    pub(crate) shard: Option<u64>,
    /// The segment that is being read, and what must come next in it. `None` before the first.
    pub(crate) at: Option<(SegmentFile, Expect)>,
}

/// Shows what comes, until `dump` has had enough or the user stops it.
pub(crate) fn follow(
    dump: &mut dyn Dump,
    path: &std::path::Path,
    cursors: &mut Vec<Cursor>,
) -> Result<(), InspectError> {
    while !dump.is_done() {
        dump.flush()?;
        std::thread::sleep(PAUSE);
        for folder in &Tree::find(path)?.shards {
            let known = cursors.iter().position(|cursor| cursor.shard == folder.shard);
            let index = known.unwrap_or_else(|| {
                cursors.push(Cursor { shard: folder.shard, at: None });
                cursors.len() - 1
            });
            if let Some(cursor) = cursors.get_mut(index) {
                catch_up(dump, folder, cursor)?;
            }
        }
    }
    Ok(())
}

/// Shows all that stands behind the cursor now.
fn catch_up(dump: &mut dyn Dump, folder: &ShardFolder, cursor: &mut Cursor) -> Result<(), InspectError> {
    loop {
        if let Some((file, expect)) = &mut cursor.at {
            read_on(dump, file, expect)?;
        }
        let Some(next) = next_segment(folder, cursor) else { return Ok(()) };
        let expect = Expect { epoch: next.id.map(|(epoch, _)| epoch), ..Expect::default() };
        dump.file(&shown(&next.path))?;
        cursor.at = Some((next, expect));
    }
}

/// Shows the frames that follow in one file. What is not whole yet is looked at again later.
fn read_on(dump: &mut dyn Dump, file: &SegmentFile, expect: &mut Expect) -> Result<(), InspectError> {
    let mut window = match Window::open(&file.path).map_err(InspectError::from) {
        // Retention has taken it: what comes next is in the next one.
        Err(error) if error.is_not_found() => return Ok(()),
        window => window?,
    };
    let mut need = BLOCK;
    while !dump.is_done() {
        let view = window.view(position(expect), need)?;
        match scan(view.bytes, expect) {
            Found::Frame(frame) => {
                dump.frame(&frame)?;
                *expect = Expect::after(&frame);
                need = BLOCK;
            }
            Found::Need(more) if !view.to_end => need = more,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// The segment to go on with, when the one that was read is known to end where reading stopped.
fn next_segment(folder: &ShardFolder, cursor: &Cursor) -> Option<SegmentFile> {
    let Some((file, expect)) = &cursor.at else { return folder.segments.first().cloned() };
    let next = folder.segments.iter().find(|next| next.id > file.id)?;
    if next.id == file.id {
        return None;
    }
    let gone = !folder.segments.contains(file);
    let first = first_frame(next)?;
    (gone || expect.lsn.is_none_or(|lsn| lsn <= first.lsn)).then(|| next.clone())
}

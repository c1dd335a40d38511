//! A file read from front to back in large pieces, with memory bounded by the largest frame.

use std::path::Path;

use tidelog_format::BLOCK;
use tidelog_format::block::BLOCK_U64;
use tidelog_format::frame::MAX_BODY;
use tidelog_format::opening::MAX_SEGMENT;
use tidelog_io::file::{DirectFile, ReadFile};
use tidelog_io::{Buf, IoError};

/// Bytes of one read.
const PIECE: usize = 4 * 1024 * 1024;
/// The same where little is wanted.
const SMALL_PIECE: usize = 64 * 1024;
/// Longest footer that is read, bytes: room for a million partitions.
pub(crate) const MAX_FOOTER: u64 = 128 * 1024 * 1024;
/// Most bytes of a file that are looked at: no segment is longer, and a hostile file may claim any length.
const MAX_FILE: u64 = MAX_SEGMENT + MAX_FOOTER + 1024 * 1024;

/// Bytes from a position on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) bytes: &'a [u8],
    /// They reach the file's end.
    pub(crate) to_end: bool,
}

/// A window that moves over a file. It reads around the page cache: a file is looked at once, and what the node has
/// in memory shall stay there.
#[derive(Debug)]
pub(crate) struct Window {
    file: ReadFile,
    stream: DirectFile,
    len: u64,
    too_long: bool,
    buffer: Buf,
    /// Bytes of the buffer that hold the file's.
    held: usize,
    /// Position of the first byte held, on a block boundary.
    start: u64,
    piece: usize,
}

impl Window {
    /// Opens a file that will be read to its end.
    pub(crate) fn open(path: &Path) -> Result<Window, IoError> {
        Window::open_with(path, PIECE)
    }

    /// Opens a file of which only the beginning is wanted.
    pub(crate) fn open_small(path: &Path) -> Result<Window, IoError> {
        Window::open_with(path, SMALL_PIECE)
    }

    fn open_with(path: &Path, piece: usize) -> Result<Window, IoError> {
        let (file, stream) = (ReadFile::open(path)?, DirectFile::open(path)?);
        let buffer = Buf::heap(BLOCK);
        let mut window = Window { file, stream, len: 0, too_long: false, buffer, held: 0, start: 0, piece };
        window.refresh()?;
        Ok(window)
    }

    /// Bytes of the file when it was opened or last refreshed, as far as they are looked at.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file is longer than any segment.
    pub(crate) fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// Forgets what was read, so that the file is read anew.
    pub(crate) fn refresh(&mut self) -> Result<(), IoError> {
        let len = self.file.len()?;
        self.too_long = len > MAX_FILE;
        self.len = len.min(MAX_FILE);
        self.held = 0;
        self.start = 0;
        Ok(())
    }

    /// Gives the memory back; it comes again when the file is read on.
    pub(crate) fn let_go(&mut self) {
        self.buffer = Buf::heap(BLOCK);
        self.held = 0;
    }

    /// The bytes from `position`, at least `need` of them unless the file ends before.
    pub(crate) fn view(&mut self, position: u64, need: usize) -> Result<View<'_>, IoError> {
        let need = need.min(MAX_BODY + 2 * BLOCK);
        let at = self.offset_of(position);
        let held = at.map_or(0, |at| self.held - at);
        let reaches = position.saturating_add(held as u64) >= self.len;
        if held < need && !reaches {
            self.fill(position, need)?;
        }
        let at = self.offset_of(position).unwrap_or(self.held);
        let bytes = &self.buffer[at..self.held];
        Ok(View { bytes, to_end: position.saturating_add(bytes.len() as u64) >= self.len })
    }

    /// Where `position` stands in the bytes held, if it does.
    fn offset_of(&self, position: u64) -> Option<usize> {
        let at = usize::try_from(position.checked_sub(self.start)?).ok()?;
        (at <= self.held).then_some(at)
    }

    /// Reads on so that `need` bytes from `position` are held. Reads begin and end on block boundaries.
    fn fill(&mut self, position: u64, need: usize) -> Result<(), IoError> {
        let first = position - position % BLOCK_U64;
        let need = need + usize::try_from(position - first).unwrap_or(0);
        match self.offset_of(first) {
            Some(at) => {
                self.buffer.copy_within(at..self.held, 0);
                self.held -= at;
                // The file ended within a block when that was read; it may have grown.
                self.held -= self.held % BLOCK;
            }
            None => self.held = 0,
        }
        self.start = first;
        let behind = first.saturating_add(self.held as u64);
        let left = usize::try_from(self.len.saturating_sub(behind)).unwrap_or(usize::MAX);
        let wanted = need.saturating_sub(self.held).max(self.piece).min(left).next_multiple_of(BLOCK);
        self.make_room(self.held + wanted);
        let read = self.stream.read_blocks(&mut self.buffer[self.held..self.held + wanted], behind)?;
        if read < wanted.min(left) {
            // The file was cut while it was read: it ends here now.
            self.len = behind.saturating_add(read as u64);
        }
        self.held += read.min(left);
        Ok(())
    }

    fn make_room(&mut self, bytes: usize) {
        if self.buffer.capacity() < bytes {
            let mut larger = Buf::heap(bytes);
            larger[..self.held].copy_from_slice(&self.buffer[..self.held]);
            self.buffer = larger;
        }
    }

    /// One block at `position`, read anew; `None` when the file has none there.
    pub(crate) fn block(&self, position: u64) -> Result<Option<[u8; BLOCK]>, IoError> {
        let mut block = [0; BLOCK];
        let read = self.file.read_at(&mut block, position)?;
        Ok((read == BLOCK).then_some(block))
    }

    /// `len` bytes at `position`, read anew; fewer when the file ends. The caller bounds `len`.
    pub(crate) fn piece(&self, position: u64, len: usize) -> Result<Vec<u8>, IoError> {
        let left = usize::try_from(self.len.saturating_sub(position)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len.min(left)];
        let read = self.file.read_at(&mut bytes, position)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_holds_what_was_asked_for_or_reaches_the_end() {
        let bytes: Vec<u8> = (0..3 * PIECE + 77).map(|at| (at % 251) as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let mut window = Window::open(file.path()).unwrap();
        for (position, need) in
            [(0, 1), (5, BLOCK), (PIECE - 1, 2 * PIECE), (40, 10), (3 * PIECE, 4096), (bytes.len(), 1)]
        {
            let view = window.view(position as u64, need).unwrap();
            assert!(view.bytes.len() >= need || view.to_end, "{position} {need}");
            assert_eq!(view.to_end, position + view.bytes.len() == bytes.len());
            assert_eq!(view.bytes, &bytes[position..position + view.bytes.len()]);
        }
        assert!(window.view(u64::MAX, 1).unwrap().bytes.is_empty());
    }

    #[test]
    fn a_file_that_is_cut_while_it_is_read_ends_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![1; 2 * PIECE]).unwrap();
        let mut window = Window::open(file.path()).unwrap();
        std::fs::write(file.path(), vec![1; 10]).unwrap();
        let view = window.view(0, BLOCK).unwrap();
        assert_eq!((view.bytes.len(), view.to_end), (10, true));
    }
}

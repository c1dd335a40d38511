//! A window over a file that is read forward.

use tidelog_io::{BLOCK, Buf, Disk, DiskFile, IoError};

/// Bytes of a read.
pub(crate) const WINDOW: usize = 1024 * 1024;

/// Reads a file forward through a window that grows to the frame at hand.
pub(crate) struct WindowReader {
    at: u64,
    filled: usize,
    buf: Buf,
    len: u64,
    pub(crate) bytes_read: u64,
}

impl WindowReader {
    /// A reader of a file that was `len` bytes long when it was listed.
    pub(crate) fn new(len: u64) -> WindowReader {
        WindowReader { at: 0, filled: 0, buf: Buf::heap(WINDOW), len, bytes_read: 0 }
    }

    /// At least `needed` bytes from `position`, or all up to the file's end (then `true`).
    pub(crate) async fn window<D: Disk>(
        &mut self,
        file: &D::File,
        position: u64,
        needed: usize,
    ) -> Result<(&[u8], bool), IoError> {
        let have = usize::try_from(position.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let held = self.filled.saturating_sub(have);
        let ends = self.at + self.filled as u64 >= self.len;
        if position < self.at || (held < needed && !ends) {
            let len = needed.max(WINDOW).div_ceil(BLOCK) * BLOCK;
            let buf = if len > self.buf.capacity() {
                Buf::heap(len)
            } else {
                std::mem::replace(&mut self.buf, Buf::heap(0))
            };
            let (read, buf) = file.read_at(buf, len.min(buf_len(self.len, position, len)), position).await;
            (self.buf, self.filled, self.at) = (buf, read?, position);
            self.bytes_read += self.filled as u64;
            if (self.filled) < len {
                // Shorter than it was when it was listed: it ends here.
                self.len = self.at + self.filled as u64;
            }
        }
        let have = usize::try_from(position - self.at).unwrap_or(usize::MAX).min(self.filled);
        Ok((&self.buf[have..self.filled], self.at + self.filled as u64 >= self.len))
    }
}

/// Bytes to read at `position` of a file of `len`: whole blocks, at least one, at most `wanted`.
fn buf_len(len: u64, position: u64, wanted: usize) -> usize {
    let rest = usize::try_from(len.saturating_sub(position)).unwrap_or(usize::MAX);
    wanted.min(rest.div_ceil(BLOCK).max(1).saturating_mul(BLOCK))
}

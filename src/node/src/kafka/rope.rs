//! A response in pieces, written without putting them together.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Pieces of a response, none of them empty.
#[derive(Debug)]
pub(super) struct Rope(VecDeque<Bytes>);

impl Rope {
    pub(super) fn new(pieces: Vec<Bytes>) -> Rope {
        Rope(pieces.into_iter().filter(|piece| !piece.is_empty()).collect())
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = slices.iter_mut().zip(&self.0).map(|(slice, piece)| *slice = IoSlice::new(piece));
        filled.count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.0.front_mut().filter(|_| count > 0) {
            let step = count.min(piece.len());
            piece.advance(step);
            count -= step;
            if piece.is_empty() {
                self.0.pop_front();
            }
        }
        assert!(count == 0, "advanced beyond the end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_advances_over_its_pieces_and_shows_all_that_are_left() {
        let mut rope = Rope::new(vec!["ab".into(), Bytes::new(), "cde".into(), "f".into()]);
        assert_eq!((rope.remaining(), rope.chunk()), (6, &b"ab"[..]));
        rope.advance(3);
        assert_eq!((rope.remaining(), rope.chunk()), (3, &b"de"[..]));
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(rope.chunks_vectored(&mut slices), 2);
        assert_eq!(&*slices[1], b"f");
        rope.advance(3);
        assert!(!rope.has_remaining());
    }
}

//! Small segments of each form.

use tidelog_format::BLOCK;
use tidelog_format::opening::{Opening, Predecessor};

use crate::support::batches::{batch, control, created, keyed};
use crate::support::random::Random;
use crate::support::writer::Writer;

pub(crate) const EPOCH: u32 = 3;
pub(crate) const BASE_LSN: u64 = 40;

/// A writer with a predecessor, on a file of this content.
pub(crate) fn writer(file: Vec<u8>) -> Writer {
    let mut opening = Opening::new([0xC1; 16], 2, 5, 64 * 1024);
    opening.predecessor =
        Some(Predecessor { epoch: EPOCH, number: 4, last_lsn: BASE_LSN - 1, chain: 0x0123_4567_89AB_CDEF });
    opening.next_salt = [0x5B; 16];
    Writer::new(file, opening, [0x5A; 16], EPOCH, BASE_LSN)
}

/// Opening and three writes: one block, two blocks, one block.
pub(crate) fn written(file: Vec<u8>) -> Writer {
    let mut writer = writer(file);
    writer.write(&[created(7, "metrics/0"), batch(7, 0, 1000, &[b"first", b"second"])]);
    let long = vec![b'x'; 5000];
    writer.write(&[batch(7, 2, 1010, &[&long]), keyed(9, 0, 1020, b"k", b"v")]);
    writer.write(&[control(200, 1, 2, b"some later version's remark"), batch(7, 3, 1030, &[b"last"])]);
    writer
}

/// Never used before, not sealed: frames, an end block, a zero block.
pub(crate) fn open() -> Writer {
    written(vec![0; 7 * BLOCK])
}

/// As [`open`] and with the sync mark.
pub(crate) fn marked() -> Writer {
    let mut writer = open();
    writer.mark(false);
    writer
}

/// Frames, footer, trailer.
pub(crate) fn sealed() -> Writer {
    let mut writer = open();
    writer.seal();
    writer
}

/// In a file with a whole earlier life of the same shard and epoch behind it.
pub(crate) fn recycled() -> Writer {
    written(earlier_life(7, EPOCH, 9))
}

/// A file full of frames of an earlier life, end blocks between them.
pub(crate) fn earlier_life(blocks: usize, epoch: u32, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut writer = Writer::new(
        vec![0; blocks * BLOCK],
        Opening::new([0xC1; 16], 2, 1, 64 * 1024),
        random.id(),
        epoch,
        1,
    );
    let mut offset = 0;
    loop {
        let value = random.bytes(1 + 500 * random.clone().below(14));
        let pending = writer.prepare(&[batch(7, offset, 900, &[&value])]);
        if pending.at + pending.bytes.len() > blocks * BLOCK {
            return writer.file;
        }
        writer.apply(&pending);
        writer.took(&pending);
        offset += 1;
    }
}

//! Bodies of the fuzz targets for the small structures: names, openings, promise journals, texts, compressed bytes.

use crate::batch::MAX_BATCH_LEN;
use crate::compression::{Codec, compress, decompress};
use crate::name;
use crate::opening::Opening;
use crate::promise;
use crate::record_format::RecordFormat;
use crate::time_text::parse_time;
use crate::verdict::{Grade, Verdict};

/// Reads the bytes as each of the small structures. Panics only when an invariant is broken.
pub fn fuzz_parts(data: &[u8]) {
    if let Ok(opening) = Opening::decode(data) {
        assert_eq!(Opening::decode(&opening.encode()), Ok(opening));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Some((epoch, number)) = name::parse_segment(text) {
            assert_eq!(name::segment(epoch, number), text, "a segment has one name");
        }
        if let Some(number) = name::parse_spare(text) {
            assert_eq!(name::spare(number), text, "a spare has one name");
        }
        let _ = (RecordFormat::parse(text), parse_time(text));
    }
    journal(data);
}

/// A promise journal that reads to a proved end is gone on with, and keeps what it had.
fn journal(file: &[u8]) {
    let promise::Read { promises, outcome, mut journal, .. } = promise::read(file);
    if outcome.verdict != Verdict::End(Grade::Proved) {
        return;
    }
    let Some(write) = journal.keep(&promises) else { return };
    let mut longer = file.to_vec();
    let at = usize::try_from(write.position).unwrap_or(usize::MAX);
    if let Some(here) = longer.get_mut(at..at.saturating_add(write.bytes.len())) {
        here.copy_from_slice(&write.bytes);
        assert_eq!(promise::read(&longer).promises, promises);
    }
}

/// Decompresses the bytes by the codec that the first one names, within a small bound, and packs them with each.
pub fn fuzz_compression(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let codec = Codec::ALL[usize::from(*first) % Codec::ALL.len()];
    let limit = 1 << (first >> 4);
    let mut plain = Vec::new();
    let done = decompress(codec, bytes, &mut plain, limit * 64);
    assert!(plain.len() <= limit * 64, "{codec} goes beyond its bound");
    let known = if done.is_ok() { plain.as_slice() } else { bytes };
    if known.len() > MAX_BATCH_LEN {
        return;
    }
    let (mut packed, mut again) = (Vec::new(), Vec::new());
    let both = compress(codec, known, &mut packed)
        .and_then(|()| decompress(codec, &packed, &mut again, known.len()));
    assert!(both.is_ok() && again == known, "{codec} does not give back what it took");
}

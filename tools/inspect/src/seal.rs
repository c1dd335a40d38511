//! Trailer and footer of a sealed segment: read, and compared with what the frames say.

use tidelog_format::BLOCK;
use tidelog_format::block::BLOCK_U64;
use tidelog_format::footer::{Footer, PartitionIndex};
use tidelog_format::index::{SealedAs, SegmentIndex};
use tidelog_format::producers::ProducerRow;
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::trailer::Trailer;
use tidelog_io::IoError;

use crate::finding::{Finding, Severity, Subject};
use crate::pass::Passed;
use crate::window::{MAX_FOOTER, Window};

/// What stands behind the frames of a sealed segment.
#[derive(Debug)]
pub(crate) struct Seal {
    pub(crate) trailer: Trailer,
    /// The footer, or why there is none.
    pub(crate) footer: Result<Footer, String>,
    /// The bytes behind the footer's body that must be zero and are not.
    padding: Option<(u64, u64)>,
}

/// Whether a block is the end block of the frames that a trailer counts.
fn is_end(block: &[u8; BLOCK], trailer: &Trailer) -> bool {
    let place = Expect {
        block_index: u32::try_from(trailer.footer_position() / BLOCK_U64).unwrap_or(u32::MAX),
        salt: Some(trailer.salt),
        epoch: Some(trailer.epoch),
        lsn: Some(trailer.next_lsn),
        chain: Some(trailer.chain),
    };
    matches!(scan(block, &place), Found::End(_))
}

impl Seal {
    /// Reads the seal if the last block of the file is a trailer, of whatever life of the file.
    pub(crate) fn read(window: &Window) -> Result<Option<Seal>, IoError> {
        let Some(position) = window.len().checked_sub(BLOCK_U64).filter(|at| at % BLOCK_U64 == 0) else {
            return Ok(None);
        };
        Seal::read_at(window, position)
    }

    /// Reads the seal whose trailer stands at `position`. There is none while the end block stands where the footer's first
    /// block goes, which is written last: the writer was interrupted, and the segment is open.
    pub(crate) fn read_at(window: &Window, position: u64) -> Result<Option<Seal>, IoError> {
        let block_index = u32::try_from(position / BLOCK_U64).unwrap_or(u32::MAX);
        let trailer = window.block(position)?.and_then(|block| Trailer::of_last_block(&block, block_index));
        let Some(trailer) = trailer else {
            return Ok(None);
        };
        let start = trailer.footer_position();
        if window.block(start)?.is_some_and(|block| is_end(&block, &trailer)) {
            return Ok(None);
        }
        if trailer.footer_len > MAX_FOOTER {
            let footer = Err(format!("{} bytes are more than any footer has", trailer.footer_len));
            return Ok(Some(Seal { trailer, footer, padding: None }));
        }
        let bytes = window.piece(start, usize::try_from(trailer.footer_len).unwrap_or(0))?;
        let footer = Footer::decode(&bytes).map_err(|damage| damage.to_string());
        let padding = footer.as_ref().ok().and_then(|footer| {
            // Encoding a footer that was decoded gives its bytes again, but for padding and reserved fields.
            let again = footer.encode();
            let (body, behind) = bytes.split_at(again.len().min(bytes.len()));
            let differs = again != body || behind.iter().any(|byte| *byte != 0);
            differs.then(|| (start, start + trailer.footer_len))
        });
        Ok(Some(Seal { trailer, footer, padding }))
    }

    /// Bytes of frames, footer and trailer.
    pub(crate) fn content_len(&self) -> u64 {
        (u64::from(self.trailer.block_index) + 1) * BLOCK_U64
    }

    /// Compares the seal with the frames. `index` is what they give, when all of them are intact and what
    /// lived before them is known.
    pub(crate) fn check(&self, file: &str, passed: &Passed, index: Option<&SegmentIndex>) -> Vec<Finding> {
        let mut found = Vec::new();
        let trailer = &self.trailer;
        let place = (trailer.footer_position(), trailer.footer_position() + trailer.footer_len);
        let whole = passed.holes.is_empty();
        let finding = |subject, (from, to): (u64, u64), text: String| {
            let finding = Finding::new(Severity::Corrupt, subject, file, text).bytes(from, to);
            finding.lsns(Some(trailer.base_lsn), trailer.next_lsn.checked_sub(1))
        };
        if let Some(text) = whole.then(|| self.trailer_differs(passed)).flatten() {
            found.push(finding(Subject::Trailer, (place.1, place.1 + BLOCK_U64), text));
        }
        match &self.footer {
            Err(damage) => {
                let text = format!("footer: {damage}; the frames are unharmed by it and give it anew");
                found.push(finding(Subject::Footer, place, text));
            }
            Ok(footer) => {
                let rebuilt = whole.then_some(index).flatten().map(|index| self.rebuilt(index));
                if let Some(text) = rebuilt.and_then(|rebuilt| footer_differs(footer, &rebuilt)) {
                    found.push(finding(Subject::Footer, place, text));
                }
            }
        }
        if let Some(padding) = self.padding {
            let text = "bytes of the footer that must be zero are not".to_owned();
            found.push(finding(Subject::Padding, padding, text));
        }
        found
    }

    /// The footer that the frames give; `index` is theirs.
    pub(crate) fn rebuilt(&self, index: &SegmentIndex) -> Footer {
        let trailer = &self.trailer;
        let mut rebuilt = index.clone().seal(&SealedAs {
            salt: trailer.salt,
            base_lsn: trailer.base_lsn,
            next_lsn: trailer.next_lsn,
            chain: trailer.chain,
            epoch: trailer.epoch,
            block_index: u32::try_from(trailer.footer_position() / BLOCK_U64).unwrap_or(u32::MAX),
        });
        if let Ok(stored) = &self.footer
            && !index.knows_producers()
        {
            rebuilt.producers.clone_from(&stored.producers);
        }
        rebuilt
    }

    /// Whether the digest is that of the frames, if that can be said.
    pub(crate) fn digest_differs(&self, passed: &Passed) -> bool {
        passed.digest.is_some_and(|digest| digest != self.trailer.digest)
    }

    fn trailer_differs(&self, passed: &Passed) -> Option<String> {
        let trailer = &self.trailer;
        let base_lsn = passed.base.map(|(lsn, _)| lsn);
        let pairs = [
            ("base LSN", Some(trailer.base_lsn), base_lsn),
            ("next LSN", Some(trailer.next_lsn), passed.end.lsn),
            ("chain", Some(trailer.chain), passed.end.chain),
            ("epoch", Some(trailer.epoch.into()), passed.end.epoch.map(u64::from)),
            ("end of frames", Some(trailer.footer_position()), Some(passed.end_position())),
        ];
        let (name, says, frames) = pairs.into_iter().find(|(_, says, frames)| says != frames)?;
        Some(format!("the trailer says {name} {}, the frames {}", number(says), number(frames)))
    }
}

fn number(value: Option<u64>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// How the footer differs from the one that the frames give.
pub(crate) fn footer_differs(footer: &Footer, rebuilt: &Footer) -> Option<String> {
    if footer == rebuilt {
        return None;
    }
    let rows = rows_differ(&footer.partitions, &rebuilt.partitions);
    if let Some(text) = rows.or_else(|| producers_differ(&footer.producers, &rebuilt.producers)) {
        return Some(text);
    }
    Some("the footer's header differs from what trailer and frames say".to_owned())
}

fn rows_differ(footer: &[PartitionIndex], frames: &[PartitionIndex]) -> Option<String> {
    let find = |rows: &[PartitionIndex], id| rows.binary_search_by_key(&id, |row| row.partition).ok();
    for row in footer {
        match find(frames, row.partition).and_then(|at| frames.get(at)) {
            None => {
                return Some(format!("the footer lists partition {}, which does not live", row.partition));
            }
            Some(rebuilt) if rebuilt != row => return Some(row_differs(row, rebuilt)),
            Some(_) => {}
        }
    }
    let missing = frames.iter().find(|row| find(footer, row.partition).is_none())?;
    Some(format!("the footer lacks partition {}", missing.partition))
}

fn producers_differ(footer: &[ProducerRow], frames: &[ProducerRow]) -> Option<String> {
    let key = |row: &ProducerRow| (row.partition, row.producer_id);
    let find = |rows: &[ProducerRow], row| rows.binary_search_by_key(&key(row), key).ok();
    let of = |row: &ProducerRow| format!("producer {} in partition {}", row.producer_id, row.partition);
    for row in footer {
        match find(frames, row).and_then(|at| frames.get(at)) {
            None => return Some(format!("the footer remembers {}, the frames don't", of(row))),
            Some(rebuilt) if rebuilt != row => {
                return Some(format!("what the footer remembers of {} is not what the frames say", of(row)));
            }
            Some(_) => {}
        }
    }
    let missing = frames.iter().find(|row| find(footer, row).is_none())?;
    Some(format!("the footer does not remember {}", of(missing)))
}

fn row_differs(footer: &PartitionIndex, frames: &PartitionIndex) -> String {
    let fields: [(&str, i128, i128); 6] = [
        ("start offset", footer.log_start.into(), frames.log_start.into()),
        ("first offset", footer.first_offset.into(), frames.first_offset.into()),
        ("next offset", footer.next_offset.into(), frames.next_offset.into()),
        ("smallest timestamp", footer.min_timestamp.into(), frames.min_timestamp.into()),
        ("largest timestamp", footer.max_timestamp.into(), frames.max_timestamp.into()),
        ("bytes", footer.bytes.into(), frames.bytes.into()),
    ];
    let partition = footer.partition;
    match fields.into_iter().find(|(_, says, rebuilt)| says != rebuilt) {
        Some((name, says, rebuilt)) => {
            format!("the footer says {name} {says} for partition {partition}, the frames {rebuilt}")
        }
        None => format!("the footer's positions of partition {partition} are not those of the frames"),
    }
}

/// An index to begin with when what lived before the segment is unknown: the footer's own word for it.
pub(crate) fn index_by(footer: &Footer) -> SegmentIndex {
    let mut before = footer.clone();
    for row in &mut before.partitions {
        *row = PartitionIndex::empty(row.partition, row.log_start, row.first_offset);
    }
    let mut index = SegmentIndex::behind(&before);
    index.lose_producers();
    index
}

/// Where the trailer stands behind a footer that begins at `footer` with this many bytes of body.
pub(crate) fn trailer_position(footer: u64, body_len: u64) -> Option<u64> {
    let bytes = body_len.checked_add(128)?.checked_next_multiple_of(BLOCK as u64)?;
    footer.checked_add(bytes)
}

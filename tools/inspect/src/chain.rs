//! How a shard's segments follow each other: what each must be by those before, and where each ends by the next.

use std::path::Path;

use tidelog_format::BLOCK;
use tidelog_format::block::Salt;
use tidelog_format::first_block::FirstBlock;
use tidelog_format::footer::Footer;
use tidelog_format::opening::Opening;
use tidelog_format::scan::Expect;
use tidelog_format::verdict::{Grade, Verdict};
use tidelog_format::walk::{Step, Walk};

use crate::finding::{Finding, Severity, Subject};
use crate::pass::{Known, Passed};
use crate::tree::SegmentFile;
use crate::window::Window;

/// The first frame of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FirstFrame {
    pub(crate) opening: Opening,
    pub(crate) lsn: u64,
    pub(crate) chain: u64,
    pub(crate) salt: Salt,
}

/// The segment before.
#[derive(Debug, Clone, Copy)]
struct Before {
    id: (u32, u64),
    /// Behind its last intact frame.
    next_lsn: u64,
    chain: u64,
    next_salt: Salt,
    cluster: [u8; 16],
    /// Its end is not open to doubt.
    ends: bool,
}

/// What is known while a shard is read in order.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chain {
    before: Option<Before>,
    /// A segment was read.
    begun: bool,
}

/// How a segment comes behind the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// None was read before.
    First,
    /// Directly, and the end of the one before is beyond doubt: what lived there lives on here.
    Follows,
    /// Segments are missing between them.
    Gap,
    /// The end of the one before is open to doubt.
    Unknown,
}

impl Chain {
    /// The chain behind a sealed segment, by what its seal says. `None` for a file of another name.
    pub(crate) fn behind(file: &SegmentFile, footer: &Footer, opening: &Opening) -> Option<Chain> {
        let before = Before {
            id: file.id?,
            next_lsn: footer.next_lsn,
            chain: footer.chain,
            next_salt: opening.next_salt,
            cluster: opening.cluster,
            ends: true,
        };
        Some(Chain { before: Some(before), begun: true })
    }

    /// What is known of `file` before it is read; `next` is the file behind it.
    pub(crate) fn known(&self, file: &SegmentFile, next: Option<&SegmentFile>) -> Known {
        let mut expect = Expect { epoch: file.id.map(|(epoch, _)| epoch), ..Expect::default() };
        if let (Some(before), Some((epoch, number))) = (self.before, file.id)
            && before.id.1.checked_add(1) == Some(number)
        {
            if before.ends {
                (expect.lsn, expect.chain) = (Some(before.next_lsn), Some(before.chain));
            }
            expect.salt = (before.id.0 == epoch).then_some(before.next_salt);
        } else if !self.begun && file.id.is_some_and(|(_, number)| number == 1) {
            // Where every shard begins.
            (expect.lsn, expect.chain) = (Some(1), Some(0));
        }
        if let Some(first) = first_frame(file)
            && expect.salt.is_none_or(|salt| salt == first.salt)
            && (expect.lsn.is_some_and(|lsn| lsn != first.lsn)
                || expect.chain.is_some_and(|chain| chain != first.chain))
        {
            // Intact in itself: it is read as it stands, and `check` tells that it does not follow.
            (expect.lsn, expect.chain) = (None, None);
        }
        Known { expect, ends_at: next.and_then(|next| ends_at(file, next)), trailer: None }
    }

    /// Goes on behind `file`.
    pub(crate) fn advance(&mut self, file: &SegmentFile, known: &Known, passed: &Passed) {
        let ends = match known.ends_at {
            Some(end) => passed.end.lsn == Some(end),
            None => passed.outcome.verdict == Verdict::End(Grade::Proved),
        };
        self.begun = true;
        self.before = match (file.id, passed.opening, passed.end.lsn.zip(passed.end.chain)) {
            (Some(id), Some(opening), Some((next_lsn, chain))) => Some(Before {
                id,
                next_lsn,
                chain,
                next_salt: opening.next_salt,
                cluster: opening.cluster,
                ends,
            }),
            _ => None,
        };
    }

    /// How `file` comes behind the segment before.
    pub(crate) fn link(&self, file: &SegmentFile) -> Link {
        let Some(before) = self.before else {
            return if self.begun { Link::Unknown } else { Link::First };
        };
        match file.id.map(|(_, number)| before.id.1.checked_add(1) == Some(number)) {
            Some(true) if before.ends => Link::Follows,
            Some(false) => Link::Gap,
            _ => Link::Unknown,
        }
    }

    /// Forgets what came before.
    pub(crate) fn forget(&mut self) {
        self.begun = true;
        self.before = None;
    }

    /// Whether `first`, the first frame of `file`, follows what came before.
    pub(crate) fn check(&self, path: &str, file: &SegmentFile, first: &FirstFrame) -> Vec<Finding> {
        let Some((epoch, number)) = file.id else {
            return Vec::new();
        };
        let wrong = |subject, text: String| {
            vec![Finding::new(Severity::Corrupt, subject, path, text).bytes(0, BLOCK as u64).lsn(first.lsn)]
        };
        let opening = &first.opening;
        if opening.number != number {
            let text = format!("the file's name says segment {number}, its opening frame {}", opening.number);
            return wrong(Subject::Identity, text);
        }
        let Some(before) = self.before else {
            return Vec::new();
        };
        if opening.cluster != before.cluster {
            return wrong(
                Subject::Identity,
                "it belongs to another cluster than the segment before".to_owned(),
            );
        }
        if before.id.1.checked_add(1) != Some(number) {
            return self.missing(path, before.id.1, (epoch, number), first);
        }
        let says = opening.predecessor.map(|before| (before.epoch, before.number));
        if says != Some(before.id) {
            let text = format!("it names {} as its predecessor, not {}", shown(says), shown(Some(before.id)));
            return wrong(Subject::Chain, text);
        }
        let last = opening.predecessor.and_then(|before| before.last_lsn.checked_add(1));
        if before.ends && last != Some(first.lsn) {
            return wrong(
                Subject::Chain,
                "its predecessor field and its own LSN do not fit together".to_owned(),
            );
        }
        if before.ends && first.lsn != before.next_lsn {
            let text = format!(
                "it begins with LSN {}, the segment before ends before {}",
                first.lsn, before.next_lsn
            );
            return wrong(Subject::Chain, text);
        }
        let names = opening.predecessor.map(|before| before.chain);
        if before.ends && (first.chain != before.chain || names != Some(before.chain)) {
            let text = "its chain value is not that of the last frame of the segment before".to_owned();
            return wrong(Subject::Chain, text);
        }
        Vec::new()
    }

    fn missing(&self, path: &str, last: u64, (_, number): (u32, u64), first: &FirstFrame) -> Vec<Finding> {
        let text = match number.checked_sub(1).filter(|gone| *gone > last) {
            Some(gone) if gone == last + 1 => format!("segment {gone} before this one is missing"),
            Some(gone) => format!("segments {} to {gone} before this one are missing", last + 1),
            None => format!("segment {number} follows segment {last}"),
        };
        let from = self.before.map(|before| before.next_lsn);
        let found = Finding::new(Severity::Corrupt, Subject::MissingSegment, path, text);
        vec![found.lsns(from, first.lsn.checked_sub(1))]
    }
}

fn shown(id: Option<(u32, u64)>) -> String {
    id.map_or_else(|| "no segment".to_owned(), |(epoch, number)| format!("segment {number} of epoch {epoch}"))
}

/// Where `file` ends by the opening frame of `next`, if that follows it and can be read.
fn ends_at(file: &SegmentFile, next: &SegmentFile) -> Option<u64> {
    let first = first_frame(next)?;
    let before = first.opening.predecessor?;
    let follows = Some((before.epoch, before.number)) == file.id;
    (follows && first.opening.number == next.id?.1).then(|| before.last_lsn.checked_add(1)).flatten()
}

/// Whose opening frame stands in a file's first block.
pub(crate) fn first_block(path: &Path) -> Option<FirstBlock> {
    let mut window = Window::open_small(path).ok()?;
    FirstBlock::read(window.view(0, BLOCK).ok()?.bytes)
}

/// The first frame of a file, if it is intact. Whatever keeps it from being read is told when its turn comes.
pub(crate) fn first_frame(file: &SegmentFile) -> Option<FirstFrame> {
    let mut window = Window::open_small(&file.path).ok()?;
    let mut walk = Walk::new(Expect { epoch: file.id.map(|(epoch, _)| epoch), ..Expect::default() });
    let mut need = BLOCK;
    loop {
        let view = window.view(0, need).ok()?;
        match walk.step(view.bytes, view.to_end) {
            Step::Need(more) => need = more,
            Step::Stopped => return None,
            Step::Frame(frame) => {
                let (lsn, chain) = (frame.header.lsn, frame.header.chain);
                let salt = frame.header.salt;
                return walk.opening().map(|opening| FirstFrame { opening: *opening, lsn, chain, salt });
            }
        }
    }
}

//! Reads one segment of a shard with all that is known of it: the way in for every command.

use tidelog_format::block::BLOCK_U64;
use tidelog_format::opening::Opening;
use tidelog_io::IoError;

use crate::chain::{Chain, FirstFrame, Link};
use crate::error::InspectError;
use crate::finding::{Finding, Severity, Subject};
use crate::pass::{Known, Passed, Visitor, pass};
use crate::seal::Seal;
use crate::tail;
use crate::tree::{SegmentFile, shown};
use crate::window::Window;

/// A segment that was read.
#[derive(Debug)]
pub(crate) struct ReadSegment {
    /// Path, escaped.
    pub(crate) name: String,
    pub(crate) len: u64,
    pub(crate) passed: Passed,
    /// The seal, if the file's last block is a trailer of this life of the file.
    pub(crate) seal: Option<Seal>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) window: Window,
    /// The file was made ready for its segment and still holds an older one.
    pub(crate) is_earlier_life: bool,
}

impl ReadSegment {
    /// Whether the segment is sealed.
    pub(crate) fn state(&self) -> &'static str {
        match (&self.seal, self.passed.is_unbegun()) {
            (Some(_), _) => "sealed",
            (None, true) => "unused",
            (None, false) => "open",
        }
    }
}

/// The seal of a file of whatever life, for those who need it before the frames.
pub(crate) fn seal_of(file: &SegmentFile) -> Result<Option<Seal>, IoError> {
    Seal::read(&Window::open(&file.path)?)
}

/// A file as it was read, not yet judged by what came before it.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) window: Window,
    pub(crate) seal: Option<Seal>,
    /// By what it was read.
    pub(crate) known: Known,
    pub(crate) passed: Passed,
}

/// What is known of `file` before it is read.
pub(crate) fn known_of(
    chain: &Chain,
    file: &SegmentFile,
    next: Option<&SegmentFile>,
    seal: Option<&Seal>,
) -> Known {
    Known { trailer: seal.map(|seal| seal.trailer), ..chain.known(file, next) }
}

/// Reads `file` and hands its frames and holes to `visitor`; `next` is the segment behind it. The chain goes on
/// behind it.
pub(crate) fn read_segment(
    chain: &mut Chain,
    file: &SegmentFile,
    next: Option<&SegmentFile>,
    visitor: &mut dyn Visitor,
) -> Result<ReadSegment, InspectError> {
    let mut window = Window::open(&file.path)?;
    let seal = Seal::read(&window)?;
    let known = known_of(chain, file, next, seal.as_ref());
    let passed = pass(&mut window, &known, visitor)?;
    Ok(judge(chain, file, next, Raw { window, seal, known, passed }))
}

/// Judges what was read of `file`. The chain goes on behind it.
pub(crate) fn judge(
    chain: &mut Chain,
    file: &SegmentFile,
    next: Option<&SegmentFile>,
    raw: Raw,
) -> ReadSegment {
    let Raw { window, seal, known, passed } = raw;
    let name = shown(&file.path);
    let len = window.len();
    let mut findings = of_length(&name, &window);
    let mut is_earlier_life = false;
    if let (Some(opening), Some((lsn, first_chain)), Some(salt)) =
        (passed.opening, passed.base, passed.end.salt)
    {
        let first = FirstFrame { opening, lsn, chain: first_chain, salt };
        let may_be_prepared = next.is_none() && chain.link(file) != Link::Gap;
        is_earlier_life = may_be_prepared && file.id.is_some_and(|(_, number)| opening.number < number);
        if is_earlier_life {
            findings.push(of_earlier_life(&name, &opening));
        } else {
            findings.extend(chain.check(&name, file, &first));
        }
    }
    findings.extend(tail::findings(&name, len, &passed));
    chain.advance(file, &known, &passed);
    let seal = seal.filter(|_| passed.trailer.is_some());
    ReadSegment { name, len, passed, seal, findings, window, is_earlier_life }
}

fn of_length(name: &str, window: &Window) -> Vec<Finding> {
    let warning = |text| Finding::new(Severity::Warning, Subject::File, name, text);
    let mut found = Vec::new();
    if window.is_too_long() {
        found.push(
            warning("the file is longer than any segment; only its beginning was read")
                .bytes(0, window.len()),
        );
    } else if !window.len().is_multiple_of(BLOCK_U64) {
        found.push(
            warning("the file's length is not a multiple of 4096: something has cut it")
                .bytes(0, window.len()),
        );
    }
    found
}

/// A recycled file whose first write in its new life is still to come. Without the segment before it, whose
/// opening names its salt, only the number tells.
fn of_earlier_life(name: &str, opening: &Opening) -> Finding {
    let text = format!("prepared, nothing was written to it yet; it still holds segment {}", opening.number);
    Finding::new(Severity::Note, Subject::Tail, name, text)
}

/// What to tell of a segment that can't be read: gone is no harm in a directory of a running node.
pub(crate) fn unreadable(file: &SegmentFile, error: &InspectError) -> Finding {
    let name = shown(&file.path);
    if error.is_not_found() {
        let text = "it was deleted or recycled by a running node while the directory was read";
        Finding::new(Severity::Note, Subject::File, &name, text)
    } else {
        let text = tidelog_format::record_format::escaped(error.to_string().as_bytes());
        Finding::new(Severity::Error, Subject::File, &name, text)
    }
}

//! `diff`: two copies of the same shards, frame by frame and to the byte.
//!
//! What is compared is what replicas must share: all frames, and footer and trailer of sealed segments. End blocks,
//! leftovers behind the end and the superblock belong to one store and are left out.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use tidelog_format::frame::Frame;

use crate::args::Output;
use crate::chain::Chain;
use crate::error::InspectError;
use crate::explain::field_at;
use crate::finding::{Finding, Status, Subject};
use crate::output::{Screen, hex, tell};
use crate::pass::Visitor;
use crate::read::{ReadSegment, read_segment, unreadable};
use crate::tree::{SegmentFile, ShardFolder, Tree, shown};

/// Most differences that are named.
const MAX_NAMED: usize = 1000;
/// Bytes that are shown from the first that differs.
const SHOWN: usize = 16;

/// The result, as printed in JSON.
#[derive(Debug, Default, Serialize)]
pub(crate) struct DiffReport {
    pub(crate) a: String,
    pub(crate) b: String,
    pub(crate) same: bool,
    pub(crate) segments: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    pub(crate) differences: Vec<Difference>,
    /// Differences that are too many to be named.
    pub(crate) more: u64,
    #[serde(skip)]
    pub(crate) findings: Vec<Finding>,
}

/// One thing in which the two differ.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    pub(crate) shard: Option<u64>,
    pub(crate) segment: Option<String>,
    pub(crate) lsn: Option<u64>,
    /// First byte that differs, in each of the files.
    pub(crate) byte: Option<u64>,
    pub(crate) a: Option<String>,
    pub(crate) b: Option<String>,
    pub(crate) text: String,
}

/// A frame's place in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    from: u64,
    to: u64,
}

#[derive(Debug, Default)]
struct Marks(BTreeMap<u64, Mark>);

impl Visitor for Marks {
    fn frame(&mut self, frame: &Frame<'_>) -> Result<(), InspectError> {
        let from = crate::explain::position_of(frame.header.block_index);
        self.0.insert(frame.header.lsn, Mark { from, to: frame.header.end_position() });
        Ok(())
    }
}

/// One side of the comparison: a segment that was read.
struct Side {
    read: ReadSegment,
    marks: BTreeMap<u64, Mark>,
}

/// Compares two paths.
pub(crate) fn diff(
    screen: &mut Screen<'_>,
    output: Output,
    a: &Path,
    b: &Path,
) -> Result<Status, InspectError> {
    let trees = [Tree::find(a)?, Tree::find(b)?];
    let mut report = DiffReport { a: shown(a), b: shown(b), ..DiffReport::default() };
    let single = trees.iter().all(|tree| tree.shards.len() == 1 && tree.superblock.is_none());
    let [one, two] = &trees;
    if single {
        // Folders and files of any name.
        shards(&mut report, one.shards.first(), two.shards.first(), one.lone || two.lone)?;
    } else {
        let numbers = trees.iter().flat_map(|tree| &tree.shards).map(|folder| folder.shard);
        let mut numbers: Vec<Option<u64>> = numbers.collect();
        numbers.sort_unstable();
        numbers.dedup();
        for number in numbers {
            let of = |tree: &'_ Tree| tree.shards.iter().position(|folder| folder.shard == number);
            let pair = (of(one).and_then(|at| one.shards.get(at)), of(two).and_then(|at| two.shards.get(at)));
            shards(&mut report, pair.0, pair.1, false)?;
        }
    }
    report.same = report.differences.is_empty();
    print(screen, output, &report)?;
    Ok(if report.same { Status::of(&report.findings) } else { Status::Error })
}

fn shards(
    report: &mut DiffReport,
    a: Option<&ShardFolder>,
    b: Option<&ShardFolder>,
    by_order: bool,
) -> Result<(), InspectError> {
    let (Some(one), Some(two)) = (a, b) else {
        let (folder, which) = a.map(|folder| (folder, "A")).or(b.map(|folder| (folder, "B"))).unzip();
        let text = format!("the shard is only in {}", which.unwrap_or("neither"));
        report.note(folder.and_then(|folder| folder.shard), None, text);
        return Ok(());
    };
    let mut chains = [Chain::default(), Chain::default()];
    for (a, b) in pairs(&one.segments, &two.segments, by_order) {
        let shard = one.shard.or(two.shard);
        let name = a.or(b).map(|file| name_of(&file.path));
        let sides = [side(report, &mut chains[0], a)?, side(report, &mut chains[1], b)?];
        match sides {
            [Some(a), Some(b)] => segments(report, shard, name, &a, &b)?,
            [None, None] => {}
            [Some(_), None] => report.note(shard, name, "the segment is only in A".to_owned()),
            [None, Some(_)] => report.note(shard, name, "the segment is only in B".to_owned()),
        }
    }
    Ok(())
}

type Pair<'a> = (Option<&'a SegmentFile>, Option<&'a SegmentFile>);

/// Segments of the same epoch and number side by side.
fn pairs<'a>(a: &'a [SegmentFile], b: &'a [SegmentFile], by_order: bool) -> Vec<Pair<'a>> {
    if by_order {
        let len = a.len().max(b.len());
        return (0..len).map(|at| (a.get(at), b.get(at))).collect();
    }
    let mut found: BTreeMap<Option<(u32, u64)>, Pair<'a>> = BTreeMap::new();
    for file in a {
        found.entry(file.id).or_default().0 = Some(file);
    }
    for file in b {
        found.entry(file.id).or_default().1 = Some(file);
    }
    found.into_values().collect()
}

fn name_of(path: &Path) -> String {
    let name = shown(path);
    name.rsplit('/').next().unwrap_or(&name).to_owned()
}

fn side(
    report: &mut DiffReport,
    chain: &mut Chain,
    file: Option<&SegmentFile>,
) -> Result<Option<Side>, InspectError> {
    let Some(file) = file else { return Ok(None) };
    let mut marks = Marks::default();
    match read_segment(chain, file, None, &mut marks) {
        Ok(mut read) => {
            let missing = |finding: &Finding| finding.subject != Subject::MissingSegment;
            report.findings.extend(std::mem::take(&mut read.findings).into_iter().filter(missing));
            // A file that waits for its first write has no frames of its segment.
            let waits = read.is_earlier_life || read.passed.is_unbegun();
            Ok((!waits).then_some(Side { read, marks: marks.0 }))
        }
        Err(error @ InspectError::Output(_)) => Err(error),
        Err(error) => {
            chain.forget();
            report.findings.push(unreadable(file, &error));
            Ok(None)
        }
    }
}

fn segments(
    report: &mut DiffReport,
    shard: Option<u64>,
    name: Option<String>,
    a: &Side,
    b: &Side,
) -> Result<(), InspectError> {
    report.segments += 1;
    let shard = shard.or(a.read.passed.opening.map(|opening| opening.shard));
    let mut lsns: Vec<u64> = a.marks.keys().chain(b.marks.keys()).copied().collect();
    lsns.sort_unstable();
    lsns.dedup();
    let mut missing: Vec<(u64, u64, &str)> = Vec::new();
    for lsn in lsns {
        let place = (shard, name.clone(), lsn);
        match (a.marks.get(&lsn), b.marks.get(&lsn)) {
            (Some(one), Some(two)) => frames(report, place, (a, one), (b, two))?,
            (one, _) => {
                let only = if one.is_some() { "A" } else { "B" };
                match missing.last_mut() {
                    Some(last) if last.2 == only && last.1.checked_add(1) == Some(lsn) => last.1 = lsn,
                    _ => missing.push((lsn, lsn, only)),
                }
            }
        }
    }
    for (first, last, only) in missing {
        let text = if first == last {
            format!("only {only} has the frame of LSN {first}")
        } else {
            format!("only {only} has the frames of LSN {first} to {last}")
        };
        report.push(Difference { lsn: Some(first), ..difference(shard, name.clone(), text) });
    }
    seals(report, shard, name, a, b)
}

fn frames(
    report: &mut DiffReport,
    (shard, name, lsn): (Option<u64>, Option<String>, u64),
    (a, one): (&Side, &Mark),
    (b, two): (&Side, &Mark),
) -> Result<(), InspectError> {
    report.frames += 1;
    report.bytes += one.to - one.from;
    let bytes = [piece(a, one)?, piece(b, two)?];
    if one != two {
        let text = format!("stands at {}..{} in A and at {}..{} in B", one.from, one.to, two.from, two.to);
        report.push(Difference { lsn: Some(lsn), ..difference(shard, name, text) });
        return Ok(());
    }
    let Some((at, shown)) = first_differing(&bytes) else { return Ok(()) };
    let byte = one.from + at as u64;
    let field = field_at(&bytes[0], one.from, byte)?;
    let text = format!("the frames differ from byte {byte} on, in {field}");
    let [hex_a, hex_b] = shown;
    let found = Difference { lsn: Some(lsn), byte: Some(byte), ..difference(shard, name, text) };
    report.push(Difference { a: Some(hex_a), b: Some(hex_b), ..found });
    Ok(())
}

fn piece(side: &Side, mark: &Mark) -> Result<Vec<u8>, InspectError> {
    let len = usize::try_from(mark.to - mark.from).unwrap_or(0);
    Ok(side.read.window.piece(mark.from, len)?)
}

/// The first byte in which the two differ, and what stands there.
fn first_differing(bytes: &[Vec<u8>; 2]) -> Option<(usize, [String; 2])> {
    let [a, b] = bytes;
    let at = a.iter().zip(b).position(|(a, b)| a != b);
    let at = at.or_else(|| (a.len() != b.len()).then(|| a.len().min(b.len())))?;
    let show = |bytes: &[u8]| hex(&bytes[at..bytes.len().min(at + SHOWN)]);
    Some((at, [show(a), show(b)]))
}

/// Footer and trailer, where both have them. A replica may seal later: that alone is no difference.
fn seals(
    report: &mut DiffReport,
    shard: Option<u64>,
    name: Option<String>,
    a: &Side,
    b: &Side,
) -> Result<(), InspectError> {
    let (Some(one), Some(two)) = (&a.read.seal, &b.read.seal) else { return Ok(()) };
    let mark =
        |seal: &crate::seal::Seal| Mark { from: seal.trailer.footer_position(), to: seal.content_len() };
    let marks = [mark(one), mark(two)];
    report.bytes += marks[0].to - marks[0].from;
    let bytes = [piece(a, &marks[0])?, piece(b, &marks[1])?];
    if let Some((at, [hex_a, hex_b])) = first_differing(&bytes) {
        let byte = marks[0].from + at as u64;
        let text = format!("footer or trailer differ from byte {byte} on");
        let found = Difference { byte: Some(byte), ..difference(shard, name, text) };
        report.push(Difference { a: Some(hex_a), b: Some(hex_b), ..found });
    }
    Ok(())
}

fn difference(shard: Option<u64>, segment: Option<String>, text: String) -> Difference {
    Difference { shard, segment, lsn: None, byte: None, a: None, b: None, text }
}

impl DiffReport {
    fn note(&mut self, shard: Option<u64>, segment: Option<String>, text: String) {
        self.push(difference(shard, segment, text));
    }

    fn push(&mut self, difference: Difference) {
        if self.differences.len() < MAX_NAMED {
            self.differences.push(difference);
        } else {
            self.more += 1;
        }
    }
}

fn print(screen: &mut Screen<'_>, output: Output, report: &DiffReport) -> Result<(), InspectError> {
    if output == Output::Json {
        return Ok(screen.json(report)?);
    }
    for found in &report.differences {
        let shard = found.shard.map_or_else(String::new, |shard| format!("shard {shard} "));
        let segment = found.segment.clone().unwrap_or_default();
        let lsn = found.lsn.map_or_else(String::new, |lsn| format!(" LSN {lsn}"));
        writeln!(screen.out, "{shard}{segment}{lsn}: {}", found.text)?;
        if let (Some(a), Some(b)) = (&found.a, &found.b) {
            writeln!(screen.out, "  A {a}\n  B {b}")?;
        }
    }
    let DiffReport { segments, frames, bytes, .. } = report;
    let compared = format!("{segments} segments, {frames} frames, {bytes} bytes compared");
    if report.same {
        writeln!(screen.out, "same: {compared}")?;
    } else {
        let count = report.differences.len() as u64 + report.more;
        writeln!(screen.out, "DIFFERENT: {count} differences, {compared}")?;
    }
    screen.out.flush()?;
    let loud = |found: &&Finding| Status::of([*found]) != Status::Ok;
    tell(&report.findings.iter().filter(loud).cloned().collect::<Vec<_>>());
    Ok(())
}

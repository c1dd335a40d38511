//! What may be lost although it was acknowledged, and what may be said by the node alone: one rule for each, with its proof.
//! Whatever no rule excuses is a broken promise.
//!
//! # Invariants
//! The rules look at bytes by SPEC.md alone ([`crate::heads`], [`crate::region`]), so that a mistake of the readers is not
//! excused by itself.

use std::collections::BTreeMap;

use tidelog_format::BLOCK;
use tidelog_format::name;

use crate::build::{Built, CLUSTER};
use crate::directory::{Directory, segment, u32_at, u64_at};
use crate::heads::{Head, heads};
use crate::region::Regions;

/// Why a loss can't be called damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// It was cut, said so and kept aside: nothing shows that its write had returned.
    ///
    /// Proof: a crash in the middle of that write leaves the same headers, for in both nothing behind the first gone frame
    /// vouches for it (SPEC 13). Whoever called that damage would call every torn write damage.
    Told,
    /// It is gone, and nobody says so: nothing is left that tells of it.
    ///
    /// Proof: at the first gone frame stands what stood there before its write - nothing, zeroes, an end block or footer that
    /// ends there, another life of the file - and no header behind it, and no later file, tells of the write or of any
    /// behind it. So the shard's folder reads as it did before that write; only the metadata or another node can know.
    Untold,
}

/// A shard of a damaged directory.
pub(crate) struct Shard<'a> {
    intact: &'a Directory,
    damaged: &'a Directory,
    number: u64,
    /// Its segments with frames, by number: epoch, path, regions.
    begun: BTreeMap<u64, (u32, &'a String, &'a Regions)>,
}

/// The first frame that is not as it was, of those that recovery walks through.
struct Gone<'a> {
    path: &'a String,
    segment: u64,
    epoch: u32,
    lsn: u64,
    /// Where it stood, in blocks.
    block: usize,
}

impl<'a> Shard<'a> {
    pub(crate) fn new(
        built: &'a Built,
        regions: &'a BTreeMap<String, Regions>,
        damaged: &'a Directory,
        number: u64,
    ) -> Shard<'a> {
        let intact = &built.directory;
        let of_shard = regions.iter().filter_map(|(path, regions)| {
            let (shard, epoch, segment) = segment(path)?;
            let begun = shard == number && regions.frames().next().is_some();
            begun.then_some((segment, (epoch, path, regions)))
        });
        Shard { intact, damaged, number, begun: of_shard.collect() }
    }

    /// Whether a loss from this LSN on is excused; `cut` are paths and places at which recovery has cut.
    pub(crate) fn excuses(&self, lost: u64, cut: &[(String, u64)]) -> Option<Excuse> {
        let gone = self.first_gone().filter(|gone| gone.lsn <= lost)?;
        let at_cut = |(path, from): &(String, u64)| path == gone.path && *from == (gone.block * BLOCK) as u64;
        if cut.iter().any(at_cut) {
            return (!self.is_vouched_for(&gone)).then_some(Excuse::Told);
        }
        self.is_without_a_trace(&gone).then_some(Excuse::Untold)
    }

    fn bytes(&self, path: &str) -> Option<&'a [u8]> {
        self.damaged.files.get(path).map(|bytes| bytes.as_slice())
    }

    /// Recovery walks through the files behind the newest one that is sealed.
    fn first_gone(&self) -> Option<Gone<'a>> {
        let names = self.damaged.files.keys().filter_map(|path| Some((segment(path)?, path)));
        let sealed = names.filter(|((shard, epoch, _), path)| {
            *shard == self.number && self.bytes(path).is_some_and(|file| is_sealed(file, *epoch))
        });
        let sealed = sealed.map(|((.., number), _)| number).max().unwrap_or(0);
        for (segment, (epoch, path, regions)) in self.begun.range(sealed + 1..) {
            let (before, now) = (&self.intact.files[*path], self.bytes(path).unwrap_or_default());
            // A frame is read in whole blocks; its padding may hold anything.
            let differs = |(_, range): &(u64, std::ops::Range<usize>)| {
                now.len() < range.end.next_multiple_of(BLOCK) || now[range.clone()] != before[range.clone()]
            };
            if let Some((lsn, range)) = regions.frames().find(differs) {
                let block = range.start / BLOCK;
                return Some(Gone { path, segment: *segment, epoch: *epoch, lsn, block });
            }
        }
        None
    }

    /// Intact headers of the gone frame's segment from its place on. Where its opening frame is gone nobody need know the
    /// segment's salt, and only what stands in its own place counts (SPEC 13).
    fn behind(&self, gone: &Gone<'a>) -> impl Iterator<Item = Head<'a>> {
        let salt = &self.intact.files[gone.path][16..32];
        let (from, salt_is_known) = (gone.block, gone.block > 0);
        let heads = heads(self.bytes(gone.path).unwrap_or_default());
        heads.filter(move |head| {
            let here = if head.block == from { !head.is_in_place() } else { head.block > from };
            here && head.salt() == salt && (salt_is_known || head.is_in_place())
        })
    }

    fn is_vouched_for(&self, gone: &Gone<'a>) -> bool {
        self.behind(gone).any(|head| head.vouches_for(gone.lsn, gone.block == 0)) || self.goes_on(gone)
    }

    /// Whether a later file has frames of its own.
    fn goes_on(&self, gone: &Gone<'a>) -> bool {
        self.begun.range(gone.segment + 1..).any(|(_, (_, path, _))| {
            let salt = &self.intact.files[*path][16..32];
            let own = |head: Head<'_>| head.salt() == salt && head.is_in_place();
            heads(self.bytes(path).unwrap_or_default()).any(own)
        })
    }

    fn is_without_a_trace(&self, gone: &Gone<'a>) -> bool {
        let told = self.behind(gone).any(|head| head.tells_of(gone.lsn));
        !told && !self.goes_on(gone) && self.is_as_before(gone)
    }

    /// Whether at the gone frame's place stands what may stand there before it is written.
    fn is_as_before(&self, gone: &Gone<'a>) -> bool {
        let Some(now) = self.bytes(gone.path) else {
            // Files get their names in the order of their numbers.
            return !self.names().any(|(_, number)| number > gone.segment);
        };
        let Some(block) = now.get(gone.block * BLOCK..(gone.block + 1) * BLOCK) else { return false };
        if block.iter().all(|byte| *byte == 0) {
            return true;
        }
        let Some(head) = Head::at(now, gone.block) else { return false };
        if head.salt() == &self.intact.files[gone.path][16..32] {
            return gone.block > 0 && head.is_in_place() && head.ends_before(gone.lsn);
        }
        gone.block > 0 || self.may_be_recycled(gone, &head)
    }

    /// Whether a file may hold this in its first block because it was recycled: files are, within their shard and forward
    /// only, and then have their former name no more.
    fn may_be_recycled(&self, gone: &Gone<'a>, head: &Head<'_>) -> bool {
        let Some(opens) = head.opens() else { return true };
        let own = opens.cluster == CLUSTER && opens.shard == self.number;
        let earlier = (opens.epoch, opens.number) < (u64::from(gone.epoch), gone.segment);
        own && earlier && !self.names().any(|name| name == (opens.epoch, opens.number))
    }

    /// Epoch and number of all files of the shard.
    fn names(&self) -> impl Iterator<Item = (u64, u64)> {
        let segments = self.damaged.files.keys().filter_map(|path| segment(path));
        segments
            .filter(|(shard, ..)| *shard == self.number)
            .map(|(_, epoch, number)| (u64::from(epoch), number))
    }
}

/// Whether a file ends with an intact trailer of its epoch and has its footer where that says. The trailer's block is zero
/// behind its header (SPEC 8).
fn is_sealed(file: &[u8], epoch: u32) -> bool {
    let Some(last) = (file.len() / BLOCK).checked_sub(1).filter(|_| file.len().is_multiple_of(BLOCK)) else {
        return false;
    };
    let at =
        |block: usize, kind: u8| Head::at(file, block).filter(|head| head.is_in_place() && head.is_of(kind));
    let own = |trailer: &Head<'_>| trailer.epoch() == u64::from(epoch) && trailer.is_zero_behind();
    let Some(trailer) = at(last, 4).filter(own) else { return false };
    let footer_len = u64_at(&file[trailer.block * BLOCK..], 56);
    let Some(first) = (last as u64).checked_sub(footer_len / BLOCK as u64) else { return false };
    let Some(footer) = at(usize::try_from(first).unwrap_or(usize::MAX), 3) else { return false };
    let bytes = &file[footer.block * BLOCK..];
    let len = usize::try_from(u64_at(bytes, 56)).unwrap_or(usize::MAX);
    let body = bytes.get(128..).and_then(|rest| rest.get(..len));
    body.is_some_and(|body| u64::from(crc32c::crc32c(body)) == u32_at(bytes, 72))
}

/// Whether a file reads as one whose process was killed before the last write of its seal: its trailer stands, the first block
/// of its footer does not, and no file follows.
///
/// Proof: a seal writes the footer's first block last, and the next file is begun behind it. So a kill leaves this, too, and
/// what stands there of the seal counts for nothing: the next start seals the segment again, from its frames.
pub(crate) fn is_half_sealed(damaged: &Directory, path: &str) -> bool {
    let Some((shard, epoch, number)) = segment(path) else { return false };
    let Some(file) = damaged.files.get(path) else { return false };
    let follows = |other: &String| segment(other).is_some_and(|(of, _, later)| of == shard && later > number);
    let trailer = (file.len() / BLOCK).checked_sub(1).and_then(|last| Head::at(file, last));
    let stands = trailer.is_some_and(|trailer| {
        trailer.is_of(4) && trailer.is_in_place() && trailer.epoch() == u64::from(epoch)
    });
    stands && !is_sealed(file, epoch) && !damaged.files.keys().any(follows)
}

/// Whether the superblock is intact and of an earlier time, and no file of the metadata is of a later one.
///
/// Proof: then the node alone knows it, by a data segment whose epoch no start that the superblock has counted can have.
/// Epochs are the cluster's, so the inspector does not know which start had which; it goes by the names of the metadata's
/// files, whose epochs are the directory's own starts.
pub(crate) fn only_the_node_knows_the_epochs(intact: &Directory, damaged: &Directory) -> bool {
    let file = |directory: &'_ Directory| directory.files.get(name::SUPERBLOCK).cloned().unwrap_or_default();
    let (before, now) = (file(intact), file(damaged));
    let copies: Vec<_> = heads(&now).filter(|head| head.is_of(5)).collect();
    let starts = copies.iter().map(|copy| u64_at(&now[copy.block * BLOCK..], 56)).max().unwrap_or(0);
    let written_later = damaged.files.keys().filter_map(|path| segment(path));
    let written_later =
        written_later.filter(|(shard, epoch, _)| *shard == name::META_SHARD && u64::from(*epoch) > starts);
    now != before && copies.len() == 2 && written_later.count() == 0
}

//! What the real recovery makes of a shard, and whether everything that it serves is the truth.

use std::path::PathBuf;

use tidelog_format::entry::EntryKind;
use tidelog_format::name;
use tidelog_io::sim::Sim;
use tidelog_wal::{Cut, ReadError, Recovered, Status, Wal};

use crate::build::{options, spec, with_shard};
use crate::directory::below_root;
use crate::truth::{Partition, Shard};

/// Bytes asked for in one read: several frames, and less than a segment.
const PIECE: usize = 24 * 1024;

/// What came of one shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Recovery {
    /// Everything acknowledged is served as it was written, and nothing is said.
    Sound,
    /// Everything is served, and what was cut off or rebuilt was said.
    Told(String),
    /// What was acknowledged was cut off, said so and kept, and that is excused.
    Cut(String),
    /// What was acknowledged is gone, nothing is said of it, and that is excused.
    Untold(String),
    /// Something is wrong and is named; what is served is the truth.
    Named(String),
    /// What was acknowledged is not served, and no read names it: a broken promise, if there is no excuse.
    Lost {
        /// The lowest LSN of it.
        lsn: u64,
        what: String,
        /// Files that were cut, and where.
        cut: Vec<(String, u64)>,
    },
    /// A promise was broken.
    Wrong(String),
}

/// Recovers the shard on `sim` in a new epoch and reads everything.
pub(crate) fn recover(sim: &Sim, shard: u64, epoch: u32, truth: &Shard) -> Recovery {
    let found = segments(sim);
    let opened = with_shard(sim, spec(shard, epoch), options(), async |wal, recovered| {
        match not_kept(sim, &found, &recovered.cut) {
            Some(wrong) => Recovery::Wrong(wrong),
            None => judge(sim, &wal, &recovered, truth).await,
        }
    });
    match opened {
        Ok(recovery) => recovery,
        Err(error) => Recovery::Named(error.to_string()),
    }
}

/// What was noticed on the way.
#[derive(Default)]
struct Seen {
    named: Option<String>,
    wrong: Option<String>,
    /// The lowest LSN of what is acknowledged, not served, and not named by a read.
    lost: Option<(u64, String)>,
}

impl Seen {
    fn lose(&mut self, lsn: u64, what: String) {
        if self.lost.as_ref().is_none_or(|(lowest, _)| lsn < *lowest) {
            self.lost = Some((lsn, what));
        }
    }

    fn wrong(&mut self, what: String) {
        self.wrong.get_or_insert(what);
    }
}

/// Bytes that were cut off and are not where the report says.
fn not_kept(sim: &Sim, found: &[(PathBuf, Vec<u8>)], cuts: &[Cut]) -> Option<String> {
    let is_kept = |cut: &&Cut| {
        let (Some((_, before)), Ok(kept)) =
            (found.iter().find(|(path, _)| *path == cut.file), sim.read_file(&cut.kept_in))
        else {
            return false;
        };
        let (from, to) = (cut.from.min(before.len() as u64), cut.to.min(before.len() as u64));
        kept.starts_with(&before[from as usize..to as usize])
    };
    let lost = cuts.iter().find(|cut| !is_kept(cut))?;
    Some(format!(
        "{} was cut at {}, and that is not in {}",
        lost.file.display(),
        lost.from,
        lost.kept_in.display()
    ))
}

async fn judge(sim: &Sim, wal: &Wal, recovered: &Recovered, truth: &Shard) -> Recovery {
    let before = segments(sim);
    let mut seen = Seen::default();
    for (id, partition) in &truth.partitions {
        read(wal, *id, partition, &mut seen).await;
    }
    strangers(wal, truth, &mut seen);
    commands(wal, truth, &mut seen).await;
    if let Some((path, _)) =
        before.iter().find(|(path, bytes)| sim.read_file(path).ok().as_ref() != Some(bytes))
    {
        seen.wrong(format!("reading changed {}", path.display()));
    }
    conclude(wal, recovered, seen)
}

/// All segments; the engine may fill spares meanwhile.
fn segments(sim: &Sim) -> Vec<(PathBuf, Vec<u8>)> {
    let all =
        sim.files().into_iter().filter(|path| !path.components().any(|part| part.as_os_str() == name::SPARE));
    all.map(|path| (path.clone(), sim.read_file(&path).unwrap_or_default())).collect()
}

fn conclude(wal: &Wal, recovered: &Recovered, seen: Seen) -> Recovery {
    if let Some(wrong) = seen.wrong {
        return Recovery::Wrong(wrong);
    }
    if let Status::ReadOnly(hole) = wal.status() {
        return Recovery::Named(hole.to_string());
    }
    let cut: Vec<_> = recovered.cut.iter().map(|cut| (below_root(&cut.file), cut.from)).collect();
    match (seen.lost, seen.named, cut.first()) {
        (Some((lsn, what)), ..) => Recovery::Lost { lsn, what, cut },
        (None, Some(named), _) => Recovery::Named(named),
        (None, None, Some((file, from))) => Recovery::Told(format!("{file}: cut at {from}")),
        (None, None, None) => Recovery::Sound,
    }
}

/// Reads a partition from its first wanted record to its end.
async fn read(wal: &Wal, id: u64, truth: &Partition, seen: &mut Seen) {
    let mut offset = truth.log_start;
    if let Some(here) = wal.partition(id) {
        if here.next_offset > truth.next_offset {
            seen.wrong(format!("partition {id} ends at {}, must at {}", here.next_offset, truth.next_offset));
        }
        if here.log_start != truth.log_start {
            seen.lose(truth.changed, format!("partition {id} begins at {}", here.log_start));
        }
        offset = offset.max(here.log_start);
    } else {
        seen.lose(truth.changed, format!("partition {id} does not live"));
    }
    while let Some((base, stored)) =
        truth.batches.range(..=offset).next_back().filter(|at| offset < at.1.next)
    {
        match wal.read(id, offset, PIECE).await {
            Ok(fetched) if fetched.batches.is_empty() => {
                if offset < fetched.next_offset {
                    seen.wrong(format!("partition {id}: nothing is read at {offset}, which is no end"));
                }
                return seen.lose(stored.lsn, format!("partition {id} ends at {offset}"));
            }
            Ok(fetched) => {
                for batch in fetched.batches {
                    let expected = truth.batches.range(..=offset).next_back().map(|(_, stored)| stored);
                    match expected.filter(|stored| stored.bytes == batch && offset < stored.next) {
                        Some(stored) => offset = stored.next,
                        None => return seen.wrong(format!("partition {id}: a false batch at {offset}")),
                    }
                }
            }
            Err(ReadError::OutOfRange { .. } | ReadError::UnknownPartition(_)) => {
                return seen.lose(stored.lsn, format!("partition {id}: offset {offset} is out of range"));
            }
            Err(ReadError::Closed) => return seen.wrong("the shard is closed: its engine died".to_owned()),
            Err(error) => {
                seen.named.get_or_insert(format!("partition {id} from {base}: {error}"));
                offset = stored.next;
            }
        }
    }
}

/// Partitions that live and must not.
fn strangers(wal: &Wal, truth: &Shard, seen: &mut Seen) {
    for (id, _) in wal.partitions() {
        match truth.deleted.get(&id) {
            Some(lsn) => seen.lose(*lsn, format!("partition {id} lives again")),
            None if !truth.partitions.contains_key(&id) => seen.wrong(format!("partition {id} never was")),
            None => {}
        }
    }
}

async fn commands(wal: &Wal, truth: &Shard, seen: &mut Seen) {
    if truth.commands.is_empty() {
        return;
    }
    let (mut found, mut first) = (Vec::new(), None);
    let scanned = wal.scan_controls(|lsn, kind, _, body| {
        first.get_or_insert(lsn);
        if kind == EntryKind::Command {
            found.push((lsn, body.to_vec()));
        }
    });
    if let Err(error) = scanned.await {
        // Whoever reads commands takes all or none of them.
        seen.named.get_or_insert(error.to_string());
        return;
    }
    if first.is_some_and(|lsn| lsn != 1) {
        // What reads commands takes all or none of them, and asks for the first one.
        seen.named.get_or_insert("the first commands are missing".to_owned());
        return;
    }
    let mut expected = truth.commands.iter();
    for (lsn, body) in found {
        if expected.next() != Some((&lsn, &body)) {
            return seen.wrong(format!("LSN {lsn}: a false command"));
        }
    }
    if let Some((lsn, _)) = expected.next() {
        seen.lose(*lsn, "a command is gone".to_owned());
    }
}

/// Recovers twice, with a loss of power between: the second start finds what the first one made of it.
pub(crate) fn recover_twice(sim: &Sim, shard: u64, epoch: u32) -> Result<(), String> {
    let state = |sim: &Sim, epoch| {
        with_shard(sim, spec(shard, epoch), options(), async |wal, _| {
            let mut state: Vec<_> = wal.partitions();
            state.sort_by_key(|(id, _)| *id);
            let marks =
                state.iter().map(|(id, here)| (*id, here.log_start, here.next_offset)).collect::<Vec<_>>();
            (marks, matches!(wal.status(), Status::ReadOnly(_)))
        })
    };
    let Ok(first) = state(sim, epoch) else { return Ok(()) };
    let later = sim.crash(u64::from(epoch));
    match state(&later, epoch + 1) {
        Ok(second) if second == first => Ok(()),
        Ok(second) => Err(format!("a second start finds {second:?}, the first one left {first:?}")),
        Err(error) => Err(format!("a second start fails, the first one did not: {error}")),
    }
}

//! The superblock: both copies, each judged by itself.

use std::path::Path;

use serde::Serialize;
use tidelog_format::block::{BLOCK_U64, Damage, HEADER_LEN};
use tidelog_format::superblock::{SUPERBLOCK_LEN, Superblock, SuperblockError};
use tidelog_format::{BLOCK, Unsupported};

use crate::error::InspectError;
use crate::finding::{Finding, Severity, Subject};
use crate::output::hex;
use crate::tree::shown;
use crate::window::Window;

/// Identity of a data directory.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Identity {
    pub(crate) cluster: String,
    pub(crate) store: String,
    pub(crate) node: u64,
    pub(crate) incarnation: u64,
    pub(crate) generation: u64,
    pub(crate) created: i64,
    #[serde(skip)]
    pub(crate) cluster_id: [u8; 16],
}

impl Identity {
    fn of(superblock: &Superblock) -> Identity {
        Identity {
            cluster: hex(&superblock.cluster),
            store: hex(&superblock.store),
            node: superblock.node,
            incarnation: superblock.incarnation,
            generation: superblock.generation,
            created: superblock.created,
            cluster_id: superblock.cluster,
        }
    }
}

/// Reads the superblock's file.
pub(crate) fn read(path: &Path) -> (Option<Identity>, Vec<Finding>) {
    let name = shown(path);
    match read_file(path) {
        Ok(bytes) => {
            let (first, findings) = judge(&name, &bytes);
            if findings.is_empty() {
                return (first, findings);
            }
            // A running node rewrites it: look again before saying anything.
            read_file(path).map_or((first, findings), |bytes| judge(&name, &bytes))
        }
        Err(error) if error.is_not_found() => {
            let text = "the superblock is missing: the directory's identity is lost";
            (None, vec![Finding::new(Severity::Corrupt, Subject::MissingFile, &name, text)])
        }
        Err(error) => {
            (None, vec![Finding::new(Severity::Error, Subject::Superblock, &name, error.to_string())])
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, InspectError> {
    Ok(Window::open(path)?.piece(0, SUPERBLOCK_LEN)?)
}

/// One copy: what it says, or why it says nothing.
fn copy(file: &[u8], index: usize) -> Result<Result<Superblock, Damage>, Unsupported> {
    let mut alone = vec![0; SUPERBLOCK_LEN];
    let short = Damage::Truncated { needed: SUPERBLOCK_LEN as u64 };
    let Some(bytes) = file.get(index * BLOCK..(index + 1) * BLOCK) else {
        return Ok(Err(short));
    };
    alone[index * BLOCK..(index + 1) * BLOCK].copy_from_slice(bytes);
    match Superblock::decode(&alone) {
        Ok(superblock) => Ok(Ok(superblock)),
        Err(SuperblockError::Damaged { first, second }) => Ok(Err(if index == 0 { first } else { second })),
        Err(SuperblockError::Unsupported(newer)) => Err(newer),
    }
}

fn judge(name: &str, file: &[u8]) -> (Option<Identity>, Vec<Finding>) {
    let place = |index: u64, severity, subject, text: String| {
        Finding::new(severity, subject, name, text).bytes(index * BLOCK_U64, (index + 1) * BLOCK_U64)
    };
    let mut found = Vec::new();
    let mut copies = Vec::new();
    let mut damaged = Vec::new();
    for (number, index) in (0u64..2).zip(0usize..) {
        match copy(file, index) {
            Ok(Ok(superblock)) => copies.push(superblock),
            Ok(Err(damage)) => damaged.push((number, index, damage)),
            Err(newer) => {
                found.push(place(number, Severity::Unsupported, Subject::Version, newer.to_string()));
            }
        }
    }
    found.extend((0u64..2).zip(0usize..).filter_map(|(number, index)| {
        let rest = file.get(index * BLOCK + HEADER_LEN..(index + 1) * BLOCK)?;
        let text = format!("copy {number}: bytes behind the header must be zero and are not");
        let dirty =
            rest.iter().any(|byte| *byte != 0) && damaged.iter().all(|(damaged, ..)| *damaged != number);
        dirty.then(|| place(number, Severity::Warning, Subject::Superblock, text).verdict("padding"))
    }));
    if let [one, other] = copies[..]
        && one.generation.abs_diff(other.generation) != 1
    {
        let text = format!(
            "the copies hold generations {} and {}, and each write goes to the older one: a write was lost",
            one.generation, other.generation
        );
        found.push(Finding::new(Severity::Warning, Subject::Superblock, name, text).verdict("damaged copy"));
    }
    let newest = copies.iter().max_by_key(|superblock| superblock.generation);
    for (number, index, damage) in damaged {
        let virgin =
            file.get(index * BLOCK..(index + 1) * BLOCK).is_some_and(|bytes| bytes.iter().all(|b| *b == 0));
        let never_written = virgin && newest.is_some_and(|newest| newest.generation <= 1);
        if !never_written {
            let newer = found.iter().any(|finding| finding.severity == Severity::Unsupported);
            let (severity, left) = match newest {
                Some(_) => (Severity::Warning, "the other copy is good"),
                None if newer => (Severity::Warning, "the other copy is newer than this program"),
                None => (Severity::Corrupt, "no good copy is left"),
            };
            let finding =
                place(number, severity, Subject::Superblock, format!("copy {number}: {damage}; {left}"));
            found.push(finding.verdict("damaged copy"));
        }
    }
    (newest.map(Identity::of), found)
}

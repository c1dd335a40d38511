//! Recognises that a damaged directory is read like one that was judged before, so that every single bit can be tried.
//!
//! # Purpose
//! What a reader makes of a file follows from what the one parser says of its blocks, and of ten million flipped bits nearly
//! all make it say what some other bit did: here a frame whose table fails, there a block that is not zero any more. So each
//! case is parsed - every flipped bit meets the real checksums - and only the first of all cases of which the parser says
//! the same is judged through both readers.
//!
//! # Invariants
//! Told apart are each block's header, byte for byte where it is intact; what the parser says there and of what stands behind
//! it; whether the rest of its block and its padding are zero; the file's length in blocks, and whether it ends within one. That
//! readers go by nothing else is an assumption, so one in [`CHECKED`] of the cases that are alike is judged all the same, and
//! must come to the same.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::mem::discriminant;
use std::sync::Arc;

use tidelog_format::footer::Footer;
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::{BLOCK, Damage};

use crate::directory::Directory;
use crate::heads::Head;
use crate::sweep::Outcome;

/// One in so many is judged although it is alike: a prime, so that it meets every bit of a byte and every kind of field.
const CHECKED: u64 = 61;

/// What was judged so far.
pub(crate) struct Alike {
    /// What is said of the intact files, by where their bytes lie.
    intact: HashMap<*const Vec<u8>, u64>,
    known: HashMap<u64, Outcome>,
    met: u64,
}

/// A case that is to be judged, or one whose outcome is known.
pub(crate) enum Met {
    /// What it will be known by, and what another one came to.
    ToJudge(u64, Option<Outcome>),
    /// Another one came to this.
    Known(Outcome),
}

impl Alike {
    pub(crate) fn new(intact: &Directory) -> Alike {
        let of = |bytes: &Arc<Vec<u8>>| (Arc::as_ptr(bytes), said_of(bytes));
        Alike { intact: intact.files.values().map(of).collect(), known: HashMap::new(), met: 0 }
    }

    pub(crate) fn meet(&mut self, damaged: &Directory) -> Met {
        let mut hasher = DefaultHasher::new();
        for (name, bytes) in &damaged.files {
            // The intact files outlive the sweep, so nothing else lies where they do.
            let known = self.intact.get(&Arc::as_ptr(bytes)).copied();
            (name, known.unwrap_or_else(|| said_of(bytes))).hash(&mut hasher);
        }
        let key = hasher.finish();
        self.met += 1;
        match self.known.get(&key) {
            Some(outcome) if !self.met.is_multiple_of(CHECKED) => Met::Known(outcome.clone()),
            known => Met::ToJudge(key, known.cloned()),
        }
    }

    /// Notes what a case came to; a promise that was broken is told each time.
    pub(crate) fn note(&mut self, key: u64, outcome: &Outcome) {
        if !matches!(outcome, Outcome::Wrong(_)) {
            self.known.insert(key, outcome.clone());
        }
    }
}

/// All that is said of a file.
fn said_of(file: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (file.len() / BLOCK, !file.len().is_multiple_of(BLOCK)).hash(&mut hasher);
    for block in 0..file.len() / BLOCK {
        say(file, block, &mut hasher);
    }
    hasher.finish()
}

fn say(file: &[u8], block: usize, hasher: &mut DefaultHasher) {
    let bytes = &file[block * BLOCK..];
    let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if Head::at(file, block).is_some() {
        (&bytes[..128], is_zero(&bytes[128..BLOCK])).hash(hasher);
    }
    let expect = Expect { block_index: u32::try_from(block).unwrap_or(u32::MAX), ..Expect::default() };
    let found = scan(bytes, &expect);
    discriminant(&found).hash(hasher);
    match found {
        Found::Frame(frame) => frame.padding_is_zero().hash(hasher),
        Found::Footer(_) => {
            let footer = Footer::decode(bytes).map(|footer| footer.encode().len());
            let padding =
                footer.as_ref().ok().and_then(|len| bytes.get(len - BLOCK..*len)).map(<[u8]>::to_vec);
            (footer.is_ok(), padding).hash(hasher);
        }
        Found::DamagedHeader(damage) => of_damage(&damage, hasher),
        Found::DamagedBody(_, damage) => of_damage(&damage, hasher),
        Found::End(_)
        | Found::Trailer(_)
        | Found::Need(_)
        | Found::Virgin
        | Found::Stale(_)
        | Found::Unsupported(_) => {}
    }
}

fn of_damage(damage: &Damage, hasher: &mut DefaultHasher) {
    discriminant(damage).hash(hasher);
    if let Damage::BatchCrc { entry } = damage {
        entry.hash(hasher);
    }
}

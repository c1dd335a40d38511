//! Copies a sealed span from its holders, file by file, and makes this store one of them.
//!
//! # Purpose
//! A holder that is short of a sealed span, one whose copy rotted, and a node that takes the place of a lost one all do
//! the same: sealed files are the same bytes on every holder, so any of them will do, and pieces from several fit together.
//!
//! # States
//! ```text
//!  Listing -> Fetching -> Verifying -> Adopting -> Telling -> Over
//!     ^          |            |  ^                    |
//!     +----------+            v  |                    +--> Over (dropped, or somebody was faster)
//!     |  next holder        Mending: what came is not the span, or nobody has it whole
//!     +-----------------------+
//!        a frame is on no holder
//! ```
//!
//! # Invariants
//! - Nothing that was copied is used before all of it is verified: every frame, every footer, the digest, and that it
//!   ends where the metadata says, with that chain value (I2).
//! - It is adopted, synced with its names, before anybody is told (I9); a node that is not yet a holder tells the metadata
//!   and is a holder when the metadata says so.
//! - When the metadata drops the span, or needs this copy no more, the copy is discarded: nobody was told of it (I10).

mod mending;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tidelog_format::trailer::Digest;

use crate::frame::Frame;
use crate::span::{Place, Replica, Span};

use mending::Mended;

/// What did not come is asked for again, from the next holder, after this time.
const AGAIN: Duration = Duration::from_millis(500);
/// Most bytes of a piece.
pub const PIECE: u64 = 1024 * 1024;
/// So many pieces are asked for before the first of them has come: the holder reads the next ones meanwhile.
pub const PIECES: usize = 4;
/// So often each holder is asked for the span before it is put together from what several have.
const ROUNDS: usize = 2;

/// A sealed file, as its holder lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedFile {
    /// The segment's number.
    pub number: u64,
    /// Bytes, from the first to the trailer's last.
    pub len: u64,
    /// The trailer's digest.
    pub digest: [u8; 16],
}

/// What the metadata is told of a copy: a digest over its list of files. Two holders of a span have the same.
pub fn manifest(files: &[SealedFile]) -> [u8; 16] {
    let mut digest = Digest::default();
    for file in files {
        digest.update(&file.number.to_le_bytes());
        digest.update(&file.len.to_le_bytes());
        digest.update(&file.digest);
    }
    digest.value()
}

/// What happens to a copy.
#[derive(Clone, Debug)]
pub enum Event {
    /// A restart has found files aside, each with so many of its bytes: the copy goes on there, if its holder lists the
    /// same file. What a crash made of the bytes is seen when all of them are verified.
    Found {
        /// As they were listed then, and how much there is.
        files: Vec<(SealedFile, u64)>,
    },
    /// A holder lists its files of the span.
    Listed {
        /// The holder.
        node: u64,
        /// All of them, in order.
        files: Vec<SealedFile>,
    },
    /// A holder gives bytes of a file.
    Piece {
        /// The segment's number.
        number: u64,
        /// Where they stand.
        at: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// A holder gives the frames that [`Effect::Gather`] asked for: all that are intact there, in order.
    Gathered {
        /// The holder.
        node: u64,
        /// From where it was asked.
        from: u64,
        /// The frames.
        frames: Vec<Frame>,
    },
    /// [`Effect::Verify`] or [`Effect::Finish`] is done.
    Verified {
        /// Where the files end, if they are intact and follow each other from the span's base on.
        end: Option<Place>,
        /// The list of them, from their bytes.
        files: Vec<SealedFile>,
    },
    /// [`Effect::Adopt`] is done and durable.
    Adopted,
    /// The metadata shows the span so; `None` when it was dropped. `lost` are holders that count no more.
    Viewed {
        /// The span.
        span: Option<Span>,
        /// Those of its holders that count no more.
        lost: Vec<Replica>,
    },
    /// Time has passed.
    Tick,
}

/// What the executor is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask a holder for its list.
    List {
        /// The holder.
        node: u64,
    },
    /// Ask a holder for bytes.
    Fetch {
        /// The holder.
        node: u64,
        /// The segment's number.
        number: u64,
        /// From where.
        at: u64,
        /// How many at most.
        len: u64,
    },
    /// Put bytes behind those that are there already, in a file aside.
    Store {
        /// The segment's number.
        number: u64,
        /// Where they stand; 0 begins the file anew.
        at: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// Verify the files aside, then give [`Event::Verified`].
    Verify,
    /// Ask a holder, maybe this one, for the intact frames that it has of a range, those behind damage too.
    Gather {
        /// The holder.
        node: u64,
        /// First LSN.
        from: u64,
        /// Behind the last.
        to: u64,
    },
    /// Put frames into the files aside: an opening frame begins its file anew, the others follow it, each at its block.
    Mend {
        /// Consecutive frames.
        frames: Vec<Frame>,
    },
    /// All frames are aside: give the files their footers, as at a seal, then verify them, then give [`Event::Verified`].
    Finish,
    /// No holder has this frame intact. People should know; it goes on to be looked for.
    Lacks {
        /// The frame.
        lsn: u64,
    },
    /// Sync the files aside and put each in the place of its namesake, then remove what the list does not have, then give
    /// [`Event::Adopted`]. In this order: what is there may be one of the last copies of its frames.
    Adopt,
    /// Have the metadata name this store as a holder.
    Swap {
        /// In whose place; `None`: as one more.
        old: Option<Replica>,
        /// Digest of the list of files.
        manifest: [u8; 16],
    },
    /// The span is whole here, and the metadata names this store as a holder: tell its follower.
    Copied {
        /// Its end.
        end: Place,
    },
    /// The copy is not wanted: remove what was stored.
    Discard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Listing,
    Fetching,
    Verifying,
    Mending,
    Adopting,
    Telling,
    Over,
}

/// A copy that is being made.
#[derive(Debug)]
pub struct Copier {
    me: Replica,
    span: Span,
    end: Place,
    lost: Vec<Replica>,
    /// A holder that counts and is to hold the span no longer.
    leaving: Option<Replica>,
    /// So many holders the span may have.
    holders: usize,
    phase: Phase,
    /// Which holder is asked.
    turn: usize,
    /// So many holders in a row gave nothing.
    silent: usize,
    mended: Mended,
    wanted: Vec<SealedFile>,
    /// Bytes that are aside, by segment.
    stored: BTreeMap<u64, u64>,
    /// Pieces that were asked for and have not come: segment, place, bytes. In order, [`PIECES`] at most.
    asked: Vec<(u64, u64, u64)>,
    /// Bytes that a holder gives at a time.
    piece: u64,
    /// Of the files that were verified.
    manifest: [u8; 16],
    moved: Option<Duration>,
    out: Vec<Effect>,
}

impl Copier {
    /// Copies a sealed span to this store, which becomes a holder in a lost one's place, or one more where there are fewer
    /// than `holders`; `turn` spreads the load over the holders. `None`: it has no end yet.
    pub fn new(me: Replica, span: Span, lost: Vec<Replica>, holders: usize, turn: usize) -> Option<Copier> {
        let end = span.end()?;
        let (phase, moved) = (Phase::Listing, None);
        let (wanted, out) = (Vec::new(), Vec::new());
        let (stored, asked, piece) = (BTreeMap::new(), Vec::new(), PIECE);
        let (silent, mended, manifest) = (0, Mended::from(span.base), [0; 16]);
        Some(Copier {
            me,
            span,
            end,
            lost,
            leaving: None,
            holders,
            phase,
            turn,
            silent,
            mended,
            wanted,
            stored,
            asked,
            piece,
            manifest,
            moved,
            out,
        })
    }

    /// This store takes the place of a holder from which it may still copy.
    pub fn in_the_place_of(self, leaving: Option<Replica>) -> Copier {
        Copier { leaving, ..self }
    }

    /// Takes an event; says what is to be done.
    pub fn step(&mut self, now: Duration, event: Event) -> Vec<Effect> {
        match event {
            Event::Listed { node, files } => self.listed(now, node, files),
            Event::Piece { number, at, bytes } => self.piece(now, number, at, bytes),
            Event::Gathered { node, from, frames } => self.gathered(now, node, from, frames),
            Event::Verified { end, files } => self.verified(now, end, &files),
            Event::Found { files } => self.found(&files),
            Event::Adopted if self.phase == Phase::Adopting => {
                (self.phase, self.moved) = (Phase::Telling, None);
                self.tell(now);
            }
            Event::Adopted => {}
            Event::Viewed { span, lost } => self.viewed(now, span, lost),
            Event::Tick => self.tick(now),
        }
        std::mem::take(&mut self.out)
    }

    /// Whether there is nothing more to do.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The other holders.
    fn sources(&self) -> Vec<u64> {
        let counts = |replica: &&Replica| **replica != self.me && !self.lost.contains(replica);
        self.span.replicas.iter().filter(counts).map(|replica| replica.node).collect()
    }

    fn source(&self) -> Option<u64> {
        let sources = self.sources();
        sources.get(self.turn.checked_rem(sources.len())?).copied()
    }

    fn tick(&mut self, now: Duration) {
        if self.moved.is_some_and(|moved| now < moved + AGAIN) {
            return;
        }
        match self.phase {
            Phase::Listing | Phase::Fetching => {
                if self.moved.is_some() {
                    self.turn = self.turn.wrapping_add(1);
                    self.silent += 1;
                }
                if self.silent > ROUNDS * self.sources().len() { self.mend(now) } else { self.list(now) }
            }
            Phase::Mending => self.pass(now),
            Phase::Telling => self.tell(now),
            Phase::Verifying | Phase::Adopting | Phase::Over => {}
        }
    }

    fn list(&mut self, now: Duration) {
        self.phase = Phase::Listing;
        self.moved = Some(now);
        if let Some(node) = self.source() {
            self.out.push(Effect::List { node });
        }
    }

    /// From the beginning; a little later, from the next holder.
    fn list_anew(&mut self, now: Duration) {
        self.stored.clear();
        self.wanted.clear();
        self.silent = 0;
        self.mended = Mended::from(self.span.base);
        (self.phase, self.moved) = (Phase::Listing, Some(now));
    }

    /// What is aside of a file that the list has too is kept: the copy goes on where it stopped.
    fn listed(&mut self, now: Duration, node: u64, files: Vec<SealedFile>) {
        if self.phase != Phase::Listing || self.source() != Some(node) {
            return;
        }
        let before = std::mem::replace(&mut self.wanted, files);
        let wanted = &self.wanted;
        self.stored.retain(|number, _| {
            let of = |files: &[SealedFile]| files.iter().find(|file| file.number == *number).copied();
            of(wanted).is_some() && of(wanted) == of(&before)
        });
        // What another holder was asked for may never come.
        self.asked.clear();
        (self.phase, self.piece) = (Phase::Fetching, PIECE);
        self.fetch(now);
    }

    /// Asks for what comes next, and for some pieces behind it, in order.
    fn fetch(&mut self, now: Duration) {
        self.moved = Some(now);
        let Some(node) = self.source() else { return };
        let stored = |file: &SealedFile| self.stored.get(&file.number).copied().unwrap_or(0);
        for file in &self.wanted {
            let asked = self.asked.iter().rfind(|(number, ..)| *number == file.number);
            let mut at = asked.map_or(stored(file), |(_, at, len)| at + len);
            while at < file.len && self.asked.len() < PIECES {
                let len = self.piece.min(file.len - at);
                self.out.push(Effect::Fetch { node, number: file.number, at, len });
                self.asked.push((file.number, at, len));
                at += len;
            }
        }
        if self.wanted.iter().all(|file| stored(file) >= file.len) {
            self.phase = Phase::Verifying;
            self.out.push(Effect::Verify);
        }
    }

    fn piece(&mut self, now: Duration, number: u64, at: u64, bytes: Bytes) {
        let file = self.wanted.iter().find(|file| file.number == number);
        let Some(file) = file.filter(|_| self.phase == Phase::Fetching) else { return };
        let (len, stored) = (bytes.len() as u64, self.stored.entry(number).or_insert(0));
        let fits = at == *stored && !bytes.is_empty() && at + len <= file.len;
        if !fits {
            return;
        }
        *stored += len;
        if len < self.piece.min(file.len - at) {
            // No more is given at a time: what was asked for behind it does not follow what came.
            self.piece = len;
            self.asked.clear();
        }
        self.asked.retain(|(of, at, _)| *of != number || at >= stored);
        self.silent = 0;
        self.out.push(Effect::Store { number, at, bytes });
        self.fetch(now);
    }

    fn found(&mut self, files: &[(SealedFile, u64)]) {
        if self.phase == Phase::Listing && self.wanted.is_empty() {
            self.wanted = files.iter().map(|(file, _)| *file).collect();
            self.stored = files.iter().map(|(file, stored)| (file.number, (*stored).min(file.len))).collect();
        }
    }

    fn verified(&mut self, now: Duration, end: Option<Place>, files: &[SealedFile]) {
        if self.phase != Phase::Verifying {
            return;
        }
        let empty = self.wanted.is_empty() && self.end == self.span.base;
        if end == Some(self.end) || empty {
            self.phase = Phase::Adopting;
            self.manifest = manifest(files);
            self.out.push(Effect::Adopt);
            return;
        }
        // Not the span: that holder's copy is damaged, or what came is. Frame by frame it shows what is right of it; if
        // that was done already, then what is aside is damaged.
        if self.is_mended() { self.list_anew(now) } else { self.mend(now) }
    }

    fn viewed(&mut self, now: Duration, span: Option<Span>, lost: Vec<Replica>) {
        self.lost = lost;
        match span {
            Some(span) => self.span = span,
            // While it is put in place it can't be taken back; the next view does it.
            None if self.phase == Phase::Adopting || self.phase == Phase::Over => {}
            None => self.discard(),
        }
        if self.phase == Phase::Telling {
            self.tell(now);
        }
    }

    /// The copy is in place. It counts once the metadata names this store.
    fn tell(&mut self, now: Duration) {
        if self.span.is_held_by(&self.me) {
            self.phase = Phase::Over;
            self.out.push(Effect::Copied { end: self.end });
            return;
        }
        let replicas = &self.span.replicas;
        let lost = replicas.iter().find(|replica| self.lost.contains(replica)).copied();
        match lost.or(self.leaving.filter(|leaving| replicas.contains(leaving))) {
            None if self.span.replicas.len() >= self.holders => self.discard(),
            old if self.moved.is_none_or(|moved| now >= moved + AGAIN) => {
                self.moved = Some(now);
                self.out.push(Effect::Swap { old, manifest: self.manifest });
            }
            _ => {}
        }
    }

    fn discard(&mut self) {
        self.phase = Phase::Over;
        self.out.push(Effect::Discard);
    }
}

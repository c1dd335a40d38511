//! The recovery table: what was observed where a segment's frames end, and what it means.
//!
//! It exists once, as data, and is used by recovery and by the inspector alike. `docs/recovery.md` shows the
//! same table to people; a test keeps them equal.

/// What stands at `s`, the first place that is not the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// An end block that names `s`.
    EndBlock,
    /// A footer that names `s` as the segment's end.
    Footer,
    /// Zeroes.
    Virgin,
    /// An earlier life of the file.
    Stale,
    /// No intact header that belongs here.
    DamagedHeader,
    /// An intact header, a damaged body.
    DamagedBody,
    /// The file ends.
    FileEnd,
    /// Intact, and newer than the program.
    Unsupported,
}

impl At {
    /// All of them, in the table's order.
    pub const ALL: [At; 8] = [
        At::EndBlock,
        At::Footer,
        At::Virgin,
        At::Stale,
        At::DamagedHeader,
        At::DamagedBody,
        At::FileEnd,
        At::Unsupported,
    ];
}

/// The strongest evidence about `s` from anywhere else: the rest of the file, the successor, a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Evidence {
    /// Nothing speaks about `s`.
    Nothing,
    /// Parts of the write that held `s` stand behind it: it was begun, and nothing says that it returned.
    WriteBegun,
    /// A trailer or a successor names `s` as the end.
    EndsHere,
    /// Something shows that `s` was durable: a later write, a synced or clean end block behind it, a trailer
    /// or successor with a higher LSN, a peer.
    WasDurable,
}

impl Evidence {
    /// All of them, in the table's order.
    pub const ALL: [Evidence; 4] =
        [Evidence::Nothing, Evidence::WriteBegun, Evidence::EndsHere, Evidence::WasDurable];
}

/// How sure an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grade {
    /// Something intact says so.
    Proved,
    /// Nothing was ever written behind it, by all that can be seen.
    Strong,
    /// Damaged bytes stand there; on this disk alone it can't be told from a torn last write.
    Weak,
}

/// What the observation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The segment ends here. Go on behind it.
    End(Grade),
    /// Nothing shows that the last write returned before the crash. Copy the rest to lost+found, cut here.
    Torn,
    /// Something durable is damaged or gone. Never cut; say what is missing; fetch it from a peer.
    Corrupt,
    /// Refuse with a sentence; never treat as damage.
    Unsupported,
}

/// The table: a row for each [`At`], a column for each [`Evidence`], in their order.
const TABLE: [[Verdict; 4]; 8] = {
    use Grade::{Proved, Strong, Weak};
    use Verdict::{Corrupt, End, Torn, Unsupported};
    [
        // A begun write that left its end block and not its first block: a disk that loses writes may have
        // returned it, so the old end block proves nothing any more.
        /* EndBlock      */
        [End(Proved), Torn, End(Proved), Corrupt],
        /* Footer        */ [End(Proved), End(Proved), End(Proved), Corrupt],
        /* Virgin        */ [End(Strong), Torn, End(Proved), Corrupt],
        /* Stale         */ [End(Strong), Torn, End(Proved), Corrupt],
        /* DamagedHeader */ [End(Weak), Torn, End(Proved), Corrupt],
        /* DamagedBody   */ [End(Weak), Torn, End(Proved), Corrupt],
        /* FileEnd       */ [End(Weak), Torn, End(Proved), Corrupt],
        /* Unsupported   */ [Unsupported, Unsupported, Unsupported, Unsupported],
    ]
};

/// Looks the verdict up.
pub fn verdict(at: At, evidence: Evidence) -> Verdict {
    TABLE[at as usize][evidence as usize]
}

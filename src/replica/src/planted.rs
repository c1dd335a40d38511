//! Bugs planted on purpose, so that the simulator can show that it finds them.
//!
//! # Invariants
//! Without the feature `planted` every question is answered by the constant `false`, and nothing of this is left in the
//! program. With it, a bug is chosen for the current thread.

/// A mistake that somebody made somewhere, or could make here. `docs/replication.md` tells what each would cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names and the list below say it")]
pub enum Bug {
    SmallFence,
    UnfencedLength,
    ShortestEnd,
    CommittedEnd,
    VolatilePromise,
    AckBeforeSync,
    EmptyDiskVotes,
    ReadLocalEnd,
    ResumedLeader,
    NoTailRepair,
    AckWhileClosing,
    WeakQuorum,
    RepairCounts,
    FirstBadIsEnd,
    RotIsTorn,
    ForgottenProducers,
    SelfAuthorised,
    DeletesUnknown,
    RolledBackRejoins,
    BelievesClose,
    ClosesAtItsEnd,
    PrefixOnly,
    SubstituteVotes,
}

impl Bug {
    /// All of them, each with its name on the command line and what it does.
    pub const ALL: [(Bug, &'static str, &'static str); 23] = [
        (Bug::SmallFence, "small-fence", "the coordinator waits for one replica fewer than it must"),
        (Bug::UnfencedLength, "unfenced-length", "a replica tells its length without promising anything"),
        (Bug::ShortestEnd, "shortest-end", "the shortest fenced replica decides the end"),
        (Bug::CommittedEnd, "committed-end", "what replicas know as committed decides the end"),
        (Bug::VolatilePromise, "volatile-promise", "a promise is answered before it is on the disk"),
        (Bug::AckBeforeSync, "ack-before-sync", "an append is answered before its write has returned"),
        (Bug::EmptyDiskVotes, "empty-disk-votes", "a replica is known by its node: an empty disk may vote"),
        (Bug::ReadLocalEnd, "read-local-end", "readers see what is on the disk, committed or not"),
        (Bug::ResumedLeader, "resumed-leader", "after a restart the leader goes on in its span"),
        (
            Bug::NoTailRepair,
            "no-tail-repair",
            "the end is committed before enough replicas hold what is below it",
        ),
        (
            Bug::AckWhileClosing,
            "ack-while-closing",
            "the leader goes on to acknowledge after it asked to close",
        ),
        (Bug::WeakQuorum, "weak-quorum", "one durable copy fewer than the quorum acknowledges"),
        (
            Bug::RepairCounts,
            "repair-counts",
            "repair ignores the promise, and what it wrote is acknowledged to the old leader",
        ),
        (
            Bug::FirstBadIsEnd,
            "first-bad-is-end",
            "after a crash the first bad frame is believed to be the end",
        ),
        (Bug::RotIsTorn, "rot-is-torn", "damage below the last write is cut like a torn write"),
        (
            Bug::ForgottenProducers,
            "forgotten-producers",
            "a new leader starts with an empty table of producers",
        ),
        (
            Bug::SelfAuthorised,
            "self-authorised",
            "an append to an unknown span creates it, and deletion forgets the promise",
        ),
        (Bug::DeletesUnknown, "deletes-unknown", "what the metadata at hand does not list is deleted"),
        (
            Bug::RolledBackRejoins,
            "rolled-back-rejoins",
            "a directory that went back in time keeps its identity",
        ),
        (
            Bug::BelievesClose,
            "believes-close",
            "a refused close is taken for done, and acknowledging goes on",
        ),
        (Bug::ClosesAtItsEnd, "closes-at-its-end", "the leader closes at the end of its own disk"),
        (Bug::PrefixOnly, "prefix-only", "of a damaged replica only the frames before the damage are used"),
        (
            Bug::SubstituteVotes,
            "substitute-votes",
            "a substitute for a lost replica is asked for the end, and counted",
        ),
    ];
}

#[cfg(feature = "planted")]
mod chosen {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static CHOSEN: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Chooses the bug of this thread.
    pub fn plant(bug: Option<Bug>) {
        CHOSEN.set(bug);
    }

    /// Whether this thread has the bug.
    pub fn has(bug: Bug) -> bool {
        CHOSEN.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted"))]
mod chosen {
    use super::Bug;

    /// Never: this build has no planted bugs.
    #[inline(always)]
    pub const fn has(_: Bug) -> bool {
        false
    }
}

pub use chosen::*;

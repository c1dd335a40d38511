//! Rules planted wrong, one by one, to see that the model would notice.

macro_rules! bugs {
    ($($name:ident $label:literal $text:literal)*) => {
        /// A rule left out or turned round. The names are those of `src/replica/src/planted.rs` where it has the same bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug { $(#[doc = $text] $name,)* }

        impl Bug {
            /// Every bug there is.
            pub const ALL: &[Bug] = &[$(Bug::$name,)*];

            /// Those that show at a restart with no write in flight.
            pub const NEEDS_RESTARTS: [Bug; 3] = [Bug::VolatilePromise, Bug::ResumedLeader, Bug::ForgottenDoubt];

            /// Its name on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Bug::$name => $label,)* }
            }

            /// What is wrong, in one sentence.
            pub fn says(self) -> &'static str {
                match self { $(Bug::$name => $text,)* }
            }
        }
    };
}

bugs! {
    SmallFence "small-fence" "the coordinator waits for one replica fewer than it must"
    UnfencedLength "unfenced-length" "a replica tells its length without promising anything"
    ShortestEnd "shortest-end" "the shortest fenced replica decides the end"
    CommittedEnd "committed-end" "what replicas know as committed decides the end"
    VolatilePromise "volatile-promise" "a promise is answered before it is on the disk"
    AckBeforeSync "ack-before-sync" "an append is answered before its write has returned"
    EmptyDiskVotes "empty-disk-votes" "a replica is known by its node: an empty disk may vote"
    RolledBackRejoins "rolled-back-rejoins" "a directory that went back in time keeps its identity"
    UnconditionalSeal "unconditional-seal" "the end is committed without asking for the newest attempt"
    ReadLocalEnd "read-local-end" "readers see what is on the disk, committed or not"
    ResumedLeader "resumed-leader" "after a restart the leader goes on in its span"
    NoTailRepair "no-tail-repair" "the end is committed before enough replicas hold what is below it"
    AckWhileClosing "ack-while-closing" "the leader goes on to acknowledge after it asked to close"
    BelievesClose "believes-close" "a close that is refused, because it was done before, lets the leader go on"
    ClosesAtItsEnd "closes-at-its-end" "the leader closes at the end of its own frames"
    WeakQuorum "weak-quorum" "one durable copy fewer than the quorum acknowledges: Q = 1 with F = 2"
    UnfencedAppend "unfenced-append" "a replica takes an old leader's appends in spite of its promise"
    RepairAcked "repair-acked" "what a repair wrote is acknowledged to the old leader"
    RepairUnfenced "repair-unfenced" "a replica takes repairs of an attempt that is below its promise"
    FirstBadIsEnd "first-bad-is-end" "after a crash the first bad frame is believed to be the end"
    RotIsTorn "rot-is-torn" "damage below the last write is cut like a torn write"
    ForgottenDoubt "forgotten-doubt" "a second restart forgets that the first could not prove the end"
    ShortDoubt "short-doubt" "a second cut forgets how far the first one had doubted"
    PrefixOnly "prefix-only" "of a damaged replica only the frames before the damage are used"
    SubstituteVotes "substitute-votes" "a substitute for a lost replica is asked for the end, and counted"
}

/// A set of bugs: some do harm only together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs(u32);

impl Bugs {
    /// The rules as they are.
    pub const NONE: Bugs = Bugs(0);

    /// These bugs and no other.
    pub fn of(bugs: &[Bug]) -> Self {
        Bugs(bugs.iter().fold(0, |set, &bug| set | 1 << bug as u32))
    }

    /// Whether `bug` is planted.
    pub fn has(self, bug: Bug) -> bool {
        self.0 & 1 << bug as u32 != 0
    }
}

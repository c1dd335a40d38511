//! What a group is told, and what it answers.

use bytes::Bytes;

use super::error::GroupError;

/// Names a waiting request; the driver gives them out and never twice.
pub(crate) type Ticket = u64;

/// One thing that happens to a group.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    /// A member joins, or joins again. May be answered later.
    Join(Ticket, Join),
    /// A member asks for its assignment; the leader brings all of them. May be answered later.
    Sync(Ticket, Sync),
    /// A member says that it lives.
    Heartbeat(Ticket, Caller),
    /// Members leave, or are put out by an administrator.
    Leave(Ticket, Vec<Leaver>),
    /// Whether this caller may commit offsets now.
    Commit(Ticket, Caller),
    /// Nobody waits for the answer any more.
    Abandon(Ticket),
    /// The group is to end; possible only when it is empty.
    Delete(Ticket),
    /// Time has passed.
    Tick,
}

/// A protocol that a member could follow, and what it says about itself in it. The machine never looks inside, except
/// to tell whether a static member that came back wants other topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) metadata: Bytes,
}

/// A request to join.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    /// Empty for one that has none yet.
    pub(crate) member_id: String,
    /// Set for static members.
    pub(crate) instance_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_ms: i32,
    /// How long the others wait for this one in a rebalance.
    pub(crate) rebalance_ms: i32,
    pub(crate) protocol_type: String,
    /// In the order of preference.
    pub(crate) protocols: Vec<Protocol>,
    /// The client knows MEMBER_ID_REQUIRED (version 4 and later).
    pub(crate) id_round_trip: bool,
    /// The client knows that a leader may have nothing to assign (version 9 and later).
    pub(crate) skips_assignment: bool,
    /// The id that a new member gets; never used before.
    pub(crate) new_id: String,
}

/// Who sends, and of which generation it believes to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) generation: i32,
}

/// A request for an assignment.
#[derive(Debug, Clone)]
pub(crate) struct Sync {
    pub(crate) caller: Caller,
    /// Checked when given (version 5 and later).
    pub(crate) protocol_type: Option<String>,
    pub(crate) protocol: Option<String>,
    /// By member id; only the leader has any.
    pub(crate) assignments: Vec<(String, Bytes)>,
}

/// One that leaves; with an empty member id the instance alone says who.
#[derive(Debug, Clone)]
pub(crate) struct Leaver {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Answer a request; each ticket is answered once, unless it was abandoned.
    Answer(Ticket, Answer),
    /// A new generation began, to be counted.
    Rebalanced { generation: i32, members: usize },
    /// A member was taken out because it was silent, to be told to people.
    Expired { member_id: String },
}

/// An answer to one kind of request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// To a join. Boxed: it is far larger than the others.
    Join(Result<Box<Joined>, JoinRefused>),
    /// To a sync.
    Sync(Result<Synced, GroupError>),
    /// To a leave, one for each that was named.
    Leave(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To a heartbeat, a commit's question or a delete.
    Done(Result<(), GroupError>),
}

/// A member's place in a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) generation: i32,
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) leader: String,
    pub(crate) skip_assignment: bool,
    pub(crate) member_id: String,
    /// All members with what they say about themselves; only for the leader.
    pub(crate) members: Vec<JoinedMember>,
}

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinedMember {
    pub(crate) member_id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) metadata: Bytes,
}

/// A join that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JoinRefused {
    pub(crate) error: GroupError,
    /// The id to come back with (MEMBER_ID_REQUIRED), else the one that was sent.
    pub(crate) member_id: String,
}

/// A member's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) protocol_type: String,
    pub(crate) protocol: String,
    pub(crate) assignment: Bytes,
}

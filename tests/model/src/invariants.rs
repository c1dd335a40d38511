//! What must hold in every state, by the numbers of docs/replication.md, and what must have been seen.

use stateright::Property;

use crate::config::Config;
use crate::frames::{Frames, Lsn};
use crate::message::{Message, Node, SpanNumber};
use crate::metadata::SpanState;
use crate::state::State;
use crate::step::World;

/// One writer for each LSN of a span.
pub const I1: &str = "I1 an LSN of a span is written by one leader incarnation only";
/// Replicas differ in length only.
pub const I2: &str = "I2 replicas hold prefixes, and equal LSNs are equal bytes";
/// What an acknowledgement means.
pub const I3: &str = "I3 what is acknowledged is durable on Q replicas";
/// What a promise means.
pub const I4: &str = "I4 a promise that was answered is kept";
/// What a seal means.
pub const I5: &str = "I5 a sealed span was fenced on F replicas and is durable on Q";
/// Seals are final.
pub const I6: &str = "I6 a committed end never changes, and the next span begins there";
/// The one that all others are for.
pub const I7: &str = "I7 nothing acknowledged is lost or changed";
/// What readers may see.
pub const I8: &str = "I8 nobody reads what is not committed";
/// Who counts.
pub const I9: &str = "I9 a replica without its proven past does not count";

/// Behaviours that must occur, or the space is not the one that was meant.
pub mod seen {
    /// A seal that keeps an acknowledged frame.
    pub const ACKED: &str = "seen: a coordinator seals a span with an acknowledged frame";
    /// A seal that lets an unacknowledged tail surface.
    pub const SURFACED: &str = "seen: a sealed span holds a frame that was never acknowledged";
    /// A race that is lost.
    pub const RACE: &str = "seen: an attempt to seal is refused because of another";
    /// A seal that does not have to wait for a disk that is lost.
    pub const SUBSTITUTE: &str = "seen: a span is sealed with a new store in place of a lost one";
    /// A leader that goes on after the fence.
    pub const ZOMBIE: &str = "seen: the old leader frames on while its span is sealed";
}

/// All properties: invariants first, then what must be seen.
pub fn all() -> Vec<Property<World>> {
    let always = Property::<World>::always;
    let sometimes = Property::<World>::sometimes;
    vec![
        always(I1, |_, state| state.spans().all(|span| one_writer(state, span))),
        always(I2, |world, state| state.spans().all(|span| equal_bytes(&world.0, state, span))),
        always(I3, |world, state| state.spans().all(|span| acked_is_durable(&world.0, state, span))),
        always(I4, |_, state| promises_are_kept(state)),
        always(I5, |world, state| state.spans().all(|span| seal_is_founded(&world.0, state, span))),
        always(I6, |_, state| state.spans().all(|span| seal_is_final(state, span))),
        always(I7, |world, state| state.spans().all(|span| acked_is_kept(&world.0, state, span))),
        always(I8, |_, state| state.spans().all(|span| read_is_committed(state, span))),
        always(I9, |_, state| answers_are_of_members(state)),
        sometimes(seen::ACKED, |_, state| sealed(state, 0).is_some() && told(state, 0).acked.end() > 0),
        sometimes(seen::SURFACED, |_, state| {
            sealed(state, 0).is_some_and(|frames| frames.end() > told(state, 0).acked.end())
        }),
        sometimes(seen::RACE, |_, state| state.sealers.contains(&crate::sealer::Sealer::Lost)),
        sometimes(seen::SUBSTITUTE, |_, state| {
            sealed(state, 0).is_some() && state.metadata.span(0).replicas.iter().any(|&store| store > 0)
        }),
        sometimes(seen::ZOMBIE, |_, state| {
            sealed(state, 0).is_some_and(|frames| state.leader(0).frames.end() > frames.end())
        }),
    ]
}

fn told(state: &State, span: SpanNumber) -> &crate::state::Told {
    &state.told[usize::from(span)]
}

fn sealed(state: &State, span: SpanNumber) -> Option<Frames> {
    match state.metadata.span(span).state {
        SpanState::Sealed { frames, .. } => Some(frames),
        _ => None,
    }
}

fn nodes(config: &Config) -> impl Iterator<Item = Node> + use<> {
    0..config.nodes
}

/// Copies of a frame on members' disks, and those that the world destroyed.
fn copies(config: &Config, state: &State, span: SpanNumber, lsn: Lsn) -> u8 {
    let held = nodes(config).filter(|&node| state.holds(span, node, lsn)).map(|_| 1).sum::<u8>();
    held + told(state, span).hurt[usize::from(lsn)]
}

fn one_writer(state: &State, span: SpanNumber) -> bool {
    let mut writers = [None; crate::frames::MOST_FRAMES];
    state.network.iter().all(|message| match message {
        Message::Append { span: of, prev, frame } if of == span => {
            *writers[usize::from(prev.end())].get_or_insert(frame) == frame
        }
        _ => true,
    })
}

fn equal_bytes(config: &Config, state: &State, span: SpanNumber) -> bool {
    let mut bytes = [None; crate::frames::MOST_FRAMES];
    nodes(config).all(|node| {
        let frames = state.follower(node).tail(span).frames;
        let intact = (0..frames.end()).filter_map(|lsn| Some((lsn, frames.at(lsn)?)));
        intact.into_iter().all(|(lsn, frame)| *bytes[usize::from(lsn)].get_or_insert(frame) == frame)
    })
}

fn acked_is_durable(config: &Config, state: &State, span: SpanNumber) -> bool {
    (0..told(state, span).acked.end()).all(|lsn| copies(config, state, span, lsn) >= config.ack_quorum)
}

fn promises_are_kept(state: &State) -> bool {
    state.network.iter().all(|message| match message {
        Message::Fenced { attempt, from, .. } | Message::Repaired { attempt, from, .. } => {
            let follower = state.follower(from.node);
            follower.store != from.store || follower.promised >= attempt
        }
        _ => true,
    })
}

fn seal_is_founded(config: &Config, state: &State, span: SpanNumber) -> bool {
    let SpanState::Sealed { frames, attempt } = state.metadata.span(span).state else { return true };
    let fenced = |&node: &Node| {
        let promised = attempt.is_none_or(|attempt| state.follower(node).promised >= attempt);
        promised || !state.is_held_by(span, node)
    };
    let meant = usize::from(config.nodes - config.ack_quorum + 1);
    let fences = nodes(config).filter(fenced).count();
    fences >= meant && (0..frames.end()).all(|lsn| copies(config, state, span, lsn) >= config.ack_quorum)
}

fn seal_is_final(state: &State, span: SpanNumber) -> bool {
    let unchanged = told(state, span).sealed.is_none_or(|first| sealed(state, span) == Some(first));
    let follows = span == 0 || told(state, span - 1).sealed == Some(state.metadata.span(span).base);
    unchanged && follows
}

/// What was acknowledged is in the sealed span, and somebody has it.
fn acked_is_kept(config: &Config, state: &State, span: SpanNumber) -> bool {
    let acked = told(state, span).acked;
    let kept = sealed(state, span).is_none_or(|frames| acked.begins(&frames));
    let somebody_has = |lsn| {
        nodes(config).any(|node| {
            let tail = state.follower(node).tail(span);
            lsn < tail.end && tail.frames.at(lsn) == acked.at(lsn)
        })
    };
    kept && (0..acked.end()).all(somebody_has)
}

fn read_is_committed(state: &State, span: SpanNumber) -> bool {
    let (read, acked) = (told(state, span).read, told(state, span).acked);
    read.begins(&acked) || sealed(state, span).is_some_and(|frames| read.begins(&frames))
}

/// Every answer that may be counted comes from a store that was a member when it answered.
fn answers_are_of_members(state: &State) -> bool {
    state.network.iter().all(|message| match message {
        // A substitute is a holder from the seal on, and has no part in what was acknowledged before.
        Message::Appended { span, from, .. } => from.store <= state.metadata.store_of(span, from.node),
        _ => true,
    })
}

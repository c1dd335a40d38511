//! Any commands in any order: what holds must go on to hold.

use proptest::prelude::*;

use crate::cluster_tests::{info, replica, store};
use crate::span::{Manifest, NewSpan, SpanState, Substitute};
use crate::{Carried, Command, Leader, NodeState, Retention, State};

const NODES: [NodeState; 5] =
    [NodeState::ReadWrite, NodeState::ReadOnly, NodeState::Draining, NodeState::DataLoss, NodeState::Gone];

/// A kind of command and numbers to fill it with: half of the time what is legal, else something near it.
type Step = (u8, [u8; 8]);

fn class(dice: u8) -> Retention {
    Retention { max_age_ms: dice.is_multiple_of(3).then_some(5), max_bytes: None }
}

fn topic(dice: u8) -> (String, String) {
    (format!("t{}", dice % 4), format!("{:032x}", dice / 64))
}

fn shards(state: &State, dice: u8) -> Vec<u64> {
    let class = class(dice);
    let fitting = state.shards.iter().filter(|(_, served)| **served == class).map(|(shard, _)| *shard);
    fitting.chain([u64::from(dice % 5)]).take(1 + usize::from(dice % 2)).collect()
}

fn span(state: &State, dice: [u8; 8]) -> NewSpan {
    let n = usize::from(dice[0] % 4);
    let alive = state.nodes.iter().filter(|(_, node)| node.state == NodeState::ReadWrite);
    let mut replicas: Vec<_> =
        alive.map(|(node, _)| replica(*node)).skip(usize::from(dice[1] % 3)).take(n).collect();
    if dice[2].is_multiple_of(16) {
        replicas.push(replica(u64::from(dice[3] % 8)));
    }
    let node = replicas.get(usize::from(dice[4] % 4)).or(replicas.first()).map_or(1, |one| one.node);
    let incarnation = state.nodes.get(&node).map_or(1, |node| node.incarnation);
    let quorum = (replicas.len() / 2 + 1) as u8 + u8::from(dice[5].is_multiple_of(16));
    // Every version has its own, as good randomness does; sometimes an old one comes again.
    let salt = (state.version + u64::from(!dice[6].is_multiple_of(8))) as u128;
    NewSpan { replicas, quorum, leader: Leader { node, incarnation }, salt: salt.to_be_bytes() }
}

fn command(state: &State, (kind, dice): Step) -> Command {
    let [a, b, c, d, ..] = dice;
    let shard = u64::from(a % 3) + 1;
    let last = state.last_span(shard);
    let epoch = last.map_or(1, |span| span.epoch).wrapping_sub(u32::from(b % 8 == 0));
    let end = last.map_or(0, |span| span.base) + u64::from(c % 4);
    let chain = if c % 4 == 0 { last.map_or(0, |span| span.base_chain) } else { u64::from(d) };
    let (name, id) = topic(b);
    let node = u64::from(c % 6) + 1;
    let known = state.nodes.get(&node);
    match kind % 20 {
        0 => Command::RegisterNode {
            node: state.next_node(),
            store: store(state.next_node().min(7)),
            incarnation: 1,
            generation: 1,
            info: info(""),
        },
        1 => Command::StartNode {
            node,
            store: store(node),
            incarnation: known.map_or(1, |node| node.incarnation) + u64::from(a % 4 > 0),
            generation: known.map_or(1, |node| node.generation) + u64::from(b % 4 > 0),
            info: info("r"),
        },
        2 => Command::SetNodeState {
            node,
            was: known.map_or(NodeState::Gone, |node| node.state),
            state: NODES[usize::from(if a < 160 { 0 } else { a % 5 })],
        },
        3 => Command::OpenShard { shard: state.next_shard.min(4), class: class(a) },
        4 => Command::CreateTopic { name, id, retention: class(a), shards: shards(state, a) },
        5 => Command::AddPartitions { name, id, shards: shards(state, a) },
        6 => Command::DeleteTopic { name, id },
        7 => Command::OpenFirstSpan { shard, span: span(state, dice), base: 1 },
        8 => Command::OpenNextSpan { shard, after: epoch, span: span(state, dice) },
        9 | 10 => Command::BeginSeal { shard, epoch, token: u64::from(c) },
        11 | 12 => {
            let attempt = match last.map(|span| span.state) {
                Some(SpanState::Sealing { attempt, .. }) => attempt - u32::from(d % 8 == 0),
                _ => u32::from(d),
            };
            let next = (a % 4 > 0).then(|| span(state, dice));
            let old = last.and_then(|span| span.replicas.get(usize::from(b % 4))).copied();
            let substitutes = old.filter(|_| d % 3 == 0).map(|old| Substitute { old, new: replica(node) });
            let substitutes = substitutes.into_iter().collect();
            Command::CommitSeal { shard, epoch, attempt, end, chain, substitutes, next }
        }
        13 => {
            let leader = last.map_or(Leader { node: 1, incarnation: 1 }, |span| span.leader);
            Command::LeaderClose { shard, epoch, leader, end, chain, next: span(state, dice) }
        }
        14 => {
            let spans = state.chains.get(&shard).map_or(&[][..], |chain| &chain.spans);
            let span = spans.get(usize::from(b) % spans.len().max(1));
            let old = span.and_then(|span| span.replicas.get(usize::from(d % 4))).copied();
            let epoch = span.map_or(1, |span| span.epoch);
            Command::SwapReplica { shard, epoch, old, new: replica(node), manifest: Manifest([d; 16]) }
        }
        15 => {
            let first = state.chains.get(&shard).and_then(|chain| chain.spans.first());
            let partitions = state.partitions();
            let ends = partitions.map(|one| (one.id, one.start() + u64::from(d % 8 == 0))).collect();
            Command::DropSpan { shard, epoch: first.map_or(epoch, |span| span.epoch), ends }
        }
        16 => Command::Trim { name, id, partition: u32::from(c % 2), offset: u64::from(d) },
        17 => {
            let (name, id, partition) = existing(state, b, (name, id), |one| one.handed().is_some());
            let shard = state.partition(&name, partition).map_or(shard, |one| one.shard());
            Command::TakePartition { name, id, partition, shard }
        }
        _ => {
            let (name, id, partition) = existing(state, b, (name, id), |one| one.handed().is_none());
            let moved = state.partition(&name, partition);
            let from = moved.map_or(1, |one| one.shard());
            let epoch = state.last_span(from).map_or(1, |span| span.epoch) - u32::from(b % 8 == 0);
            let first = moved.and_then(|one| one.placed().last()).map_or(0, |placed| placed.from);
            let at = first.max(moved.map_or(0, |one| one.start())) + u64::from(d % 4);
            let newest =
                state.shards.keys().max_by_key(|shard| state.last_span(**shard).map(|span| span.epoch));
            let to = newest.copied().filter(|_| c % 4 > 0).unwrap_or(shard);
            let (start, producers) = (at.saturating_sub(100), Carried::from(vec![d; usize::from(d)]));
            Command::MovePartition { name, id, partition, from, epoch, to, at, start, producers }
        }
    }
}

/// A partition like that, if there is one; sometimes any other.
fn existing(
    state: &State,
    dice: u8,
    (name, id): (String, String),
    like: impl Fn(&crate::Partition) -> bool,
) -> (String, String, u32) {
    for (name, topic) in state.topics.iter().filter(|_| !dice.is_multiple_of(8)) {
        if let Some((number, _)) = (0..).zip(&topic.partitions).find(|(_, one)| like(one)) {
            return (name.clone(), topic.id.clone(), number);
        }
    }
    (name, id, u32::from(dice % 2))
}

proptest! {
    #[test]
    fn whatever_is_asked_for_nothing_is_contradicted_or_taken_back(
        steps in prop::collection::vec(any::<Step>(), 1..160),
    ) {
        let mut state = State::default();
        let mut commands = Vec::new();
        // So that most of what follows finds something to work on.
        let start = [0, 0, 0, 0, 3, 3, 4, 7].map(|kind| (kind, [1, 0, 1, 0, 1, 1, 1, 1]));
        for step in start.into_iter().chain(steps) {
            let command = command(&state, step);
            let before = state.clone();
            match state.apply(&command) {
                Ok(_) => prop_assert_eq!(state.version, before.version + 1),
                Err(_) => prop_assert_eq!(&state, &before),
            }
            prop_assert_eq!(state.verify(), Ok(()), "{:?}", command);
            prop_assert_eq!(state.verify_since(&before), Ok(()), "{:?}", command);
            commands.push(command);
        }
        let json = serde_json::to_vec(&state).unwrap();
        let read: State = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(&read, &state);
        prop_assert_eq!(read.hash(), state.hash());
        // As they come back from a journal, the same commands give the same state.
        let mut again = State::default();
        for command in commands {
            let _ = again.apply(&Command::decode(&command.encode()).unwrap());
        }
        prop_assert_eq!(again.hash(), state.hash());
    }
}

#[test]
fn the_random_commands_do_most_things_that_can_be_done() {
    let mut seen = std::collections::BTreeMap::new();
    let entropy = tidelog_io::random::Entropy::seeded(3);
    for _ in 0..250 {
        let mut state = State::default();
        for _ in 0..160 {
            let command = command(&state, (entropy.u64() as u8, entropy.u64().to_le_bytes()));
            let name = String::from_utf8(command.encode()).unwrap();
            let name = name.split('"').nth(1).unwrap().to_owned();
            let done: &mut (u32, u32) = seen.entry(name).or_default();
            match state.apply(&command) {
                Ok(_) => done.0 += 1,
                Err(_) => done.1 += 1,
            }
        }
    }
    assert_eq!(seen.len(), 17, "{seen:?}");
    for (name, (legal, illegal)) in seen {
        assert!(legal >= 10 && illegal >= 10, "{name}: {legal} legal, {illegal} illegal");
    }
}

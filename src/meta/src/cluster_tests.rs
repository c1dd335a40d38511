//! The commands of a cluster, one after the other: what each allows and what it refuses.

use std::collections::BTreeMap;

use crate::span::{Manifest, NewSpan, Span, SpanState, Substitute};
use crate::{
    Applied, Carried, Command, Illegal, Leader, MAX_CARRIED, NodeInfo, NodeState, Replica, Retention, State,
    StoreId,
};

const TOPIC: &str = "00112233445566778899aabbccddeeff";

pub(crate) fn store(node: u64) -> StoreId {
    StoreId([node as u8; 16])
}

pub(crate) fn replica(node: u64) -> Replica {
    Replica { node, store: store(node) }
}

pub(crate) fn info(rack: &str) -> NodeInfo {
    NodeInfo { address: "host:1".into(), rack: rack.into(), ..NodeInfo::default() }
}

pub(crate) fn register(node: u64, rack: &str) -> Command {
    Command::RegisterNode { node, store: store(node), incarnation: 1, generation: 1, info: info(rack) }
}

/// A span on these nodes, led by the first.
pub(crate) fn span_on(nodes: &[u64], salt: u8) -> NewSpan {
    NewSpan {
        replicas: nodes.iter().map(|node| replica(*node)).collect(),
        quorum: (nodes.len() / 2 + 1) as u8,
        leader: Leader { node: nodes[0], incarnation: 1 },
        salt: [salt; 16],
    }
}

/// Five nodes, and a shard whose first span is on the first three.
pub(crate) fn cluster() -> State {
    let mut state = State::default();
    for node in 1..=5 {
        state.apply(&register(node, "")).unwrap();
    }
    state.apply(&Command::OpenShard { shard: 1, class: Retention::default() }).unwrap();
    let opened = state.apply(&Command::OpenFirstSpan { shard: 1, span: span_on(&[1, 2, 3], 1), base: 0 });
    assert_eq!(opened, Ok(Applied::Opened(1)));
    state
}

fn refused(state: &mut State, command: &Command) -> Illegal {
    let before = state.clone();
    let why = state.apply(command).unwrap_err();
    assert_eq!(*state, before, "{command:?}");
    why
}

fn begin(state: &mut State, epoch: u32) -> u32 {
    match state.apply(&Command::BeginSeal { shard: 1, epoch, token: 7 }).unwrap() {
        Applied::Attempt(attempt) => attempt,
        other => panic!("{other:?}"),
    }
}

fn commit(epoch: u32, attempt: u32, end: u64, next: Option<NewSpan>) -> Command {
    let substitutes = Vec::new();
    Command::CommitSeal { shard: 1, epoch, attempt, end, chain: end * 10, substitutes, next }
}

fn close(epoch: u32, node: u64, end: u64, next: NewSpan) -> Command {
    let leader = Leader { node, incarnation: 1 };
    Command::LeaderClose { shard: 1, epoch, leader, end, chain: end * 10, next }
}

fn set(state: &mut State, node: u64, was: NodeState, to: NodeState) {
    state.apply(&Command::SetNodeState { node, was, state: to }).unwrap();
}

#[test]
fn only_the_newest_attempt_says_where_a_span_ends_and_it_says_so_once() {
    let mut state = cluster();
    let first = begin(&mut state, 1);
    let second = begin(&mut state, 1);
    assert!(1 < first && first < second);
    let late = commit(1, first, 5, None);
    assert_eq!(refused(&mut state, &late), Illegal::NotTheAttempt { shard: 1, epoch: 1, attempt: first });
    let next = Some(span_on(&[2, 3, 4], 2));
    assert_eq!(state.apply(&commit(1, second, 8, next.clone())), Ok(Applied::Opened(second)));
    assert_eq!(state.span(1, 1).and_then(Span::sealed), Some((8, 80)));
    let follower = state.last_span(1).unwrap();
    assert_eq!((follower.epoch, follower.base, follower.base_chain), (second, 8, 80));
    assert_eq!(refused(&mut state, &commit(1, second, 9, next)), Illegal::Sealed { shard: 1, epoch: 1 });
    let again = Command::BeginSeal { shard: 1, epoch: 1, token: 8 };
    assert_eq!(refused(&mut state, &again), Illegal::Sealed { shard: 1, epoch: 1 });
    state.verify().unwrap();
}

#[test]
fn an_end_needs_an_attempt_and_lies_behind_the_base() {
    let mut state = cluster();
    assert_eq!(
        refused(&mut state, &commit(1, 2, 5, None)),
        Illegal::NotTheAttempt { shard: 1, epoch: 1, attempt: 2 }
    );
    let attempt = begin(&mut state, 1);
    state.apply(&commit(1, attempt, 5, Some(span_on(&[1, 2, 3], 2)))).unwrap();
    let second = begin(&mut state, attempt);
    let short = commit(attempt, second, 4, None);
    assert_eq!(refused(&mut state, &short), Illegal::End { shard: 1, epoch: attempt, base: 5, end: 4 });
    let empty_with_a_chain_of_its_own = Command::CommitSeal {
        shard: 1,
        epoch: attempt,
        attempt: second,
        end: 5,
        chain: 51,
        substitutes: vec![],
        next: None,
    };
    assert!(matches!(refused(&mut state, &empty_with_a_chain_of_its_own), Illegal::End { .. }));
    state.apply(&commit(attempt, second, 5, None)).unwrap();
}

#[test]
fn a_leader_closes_its_own_span_until_somebody_begins_to_seal_it() {
    let mut state = cluster();
    let next = span_on(&[2, 1, 3], 2);
    assert_eq!(
        refused(&mut state, &close(1, 2, 5, next.clone())),
        Illegal::NotTheLeader { shard: 1, epoch: 1 }
    );
    let mut sealing = state.clone();
    begin(&mut sealing, 1);
    assert_eq!(
        refused(&mut sealing, &close(1, 1, 5, next.clone())),
        Illegal::BeingSealed { shard: 1, epoch: 1 }
    );
    assert_eq!(state.apply(&close(1, 1, 5, next.clone())), Ok(Applied::Opened(2)));
    assert_eq!(state.last_span(1).unwrap().leader.node, 2);
    assert_eq!(refused(&mut state, &close(1, 1, 6, next)), Illegal::Sealed { shard: 1, epoch: 1 });
}

#[test]
fn a_leader_of_a_former_life_opens_and_closes_nothing() {
    let mut state = cluster();
    let start = |node, incarnation, generation| Command::StartNode {
        node,
        store: store(node),
        incarnation,
        generation,
        info: info(""),
    };
    state.apply(&start(2, 2, 2)).unwrap();
    let unfit = Illegal::LeaderUnfit { node: 2, incarnation: 1 };
    assert_eq!(refused(&mut state, &close(1, 1, 5, span_on(&[2, 1, 3], 2))), unfit);
    state.apply(&start(1, 2, 2)).unwrap();
    let new_life = Command::LeaderClose {
        shard: 1,
        epoch: 1,
        leader: Leader { node: 1, incarnation: 2 },
        end: 5,
        chain: 50,
        next: span_on(&[3, 4], 2),
    };
    assert_eq!(refused(&mut state, &new_life), Illegal::NotTheLeader { shard: 1, epoch: 1 });
}

#[test]
fn a_span_needs_living_holders_a_quorum_of_them_and_a_fresh_salt() {
    let mut state = cluster();
    let open = |nodes: &[u64], change: fn(&mut NewSpan)| {
        let mut span = span_on(nodes, 9);
        change(&mut span);
        close(1, 1, 5, span)
    };
    set(&mut state, 5, NodeState::ReadWrite, NodeState::ReadOnly);
    let cases = [
        (open(&[1, 1], |_| {}), Illegal::Replicas),
        (open(&[1, 2, 3], |span| span.replicas.clear()), Illegal::Replicas),
        (open(&[1, 2, 3], |span| span.quorum = 1), Illegal::Quorum { quorum: 1, replicas: 3 }),
        (open(&[1, 2, 3], |span| span.quorum = 4), Illegal::Quorum { quorum: 4, replicas: 3 }),
        (open(&[1, 2], |span| span.quorum = 1), Illegal::Quorum { quorum: 1, replicas: 2 }),
        (open(&[1], |_| {}), Illegal::Narrow(1)),
        (open(&[1, 9], |_| {}), Illegal::NoNode(9)),
        (open(&[1, 2], |span| span.replicas[1].store = store(7)), Illegal::OtherStore(2)),
        (open(&[1, 5], |_| {}), Illegal::NodeState { node: 5, state: NodeState::ReadOnly }),
        (open(&[1, 2], |span| span.leader.node = 3), Illegal::LeaderUnfit { node: 3, incarnation: 1 }),
        (open(&[1, 2], |span| span.salt = [1; 16]), Illegal::Salt(1)),
        (open(&[1, 2], |span| span.salt = [0; 16]), Illegal::Salt(1)),
    ];
    for (command, why) in cases {
        assert_eq!(refused(&mut state, &command), why, "{command:?}");
    }
    state.apply(&open(&[1, 2], |_| {})).unwrap();
}

#[test]
fn a_shard_opens_its_first_span_once_and_goes_on_behind_a_sealed_one() {
    let mut state = cluster();
    let first = Command::OpenFirstSpan { shard: 1, span: span_on(&[1, 2, 3], 2), base: 0 };
    assert_eq!(refused(&mut state, &first), Illegal::HasSpans(1));
    let nowhere = Command::OpenFirstSpan { shard: 2, span: span_on(&[1, 2, 3], 2), base: 0 };
    assert_eq!(refused(&mut state, &nowhere), Illegal::NoShard(2));
    let next = Command::OpenNextSpan { shard: 1, after: 1, span: span_on(&[1, 2, 3], 2) };
    assert_eq!(refused(&mut state, &next), Illegal::NotSealed { shard: 1, epoch: 1 });
    let attempt = begin(&mut state, 1);
    state.apply(&commit(1, attempt, 3, None)).unwrap();
    assert_eq!(state.apply(&next), Ok(Applied::Opened(attempt + 1)));
    assert_eq!(refused(&mut state, &next), Illegal::NotLast { shard: 1, epoch: 1, last: attempt + 1 });
}

#[test]
fn only_sealed_spans_get_other_holders_and_only_ones_that_may_hold() {
    let mut state = cluster();
    let swap = |old: Option<u64>, new: u64| Command::SwapReplica {
        shard: 1,
        epoch: 1,
        old: old.map(replica),
        new: replica(new),
        manifest: Manifest([3; 16]),
    };
    assert_eq!(refused(&mut state, &swap(Some(3), 4)), Illegal::NotSealed { shard: 1, epoch: 1 });
    state.apply(&close(1, 1, 5, span_on(&[1, 2, 4], 2))).unwrap();
    set(&mut state, 5, NodeState::ReadWrite, NodeState::Draining);
    let cases = [
        (swap(Some(4), 5), Illegal::NotAReplica { shard: 1, epoch: 1, node: 4 }),
        (swap(Some(3), 2), Illegal::Replicas),
        (swap(Some(3), 5), Illegal::NodeState { node: 5, state: NodeState::Draining }),
        (swap(Some(3), 6), Illegal::NoNode(6)),
    ];
    for (command, why) in cases {
        assert_eq!(refused(&mut state, &command), why, "{command:?}");
    }
    state.apply(&swap(Some(1), 4)).unwrap();
    let held = |state: &State| -> Vec<u64> {
        state.span(1, 1).unwrap().replicas.iter().map(|replica| replica.node).collect()
    };
    assert_eq!(held(&state), [2, 3, 4]);
    state.apply(&swap(None, 1)).unwrap();
    assert_eq!(held(&state), [1, 2, 3, 4]);
    state.verify().unwrap();
}

#[test]
fn a_span_is_dropped_only_when_every_partition_is_shown_to_be_past_it() {
    let mut state = cluster();
    let create = Command::CreateTopic {
        name: "t".into(),
        id: TOPIC.into(),
        retention: Retention::default(),
        shards: vec![1, 1],
    };
    state.apply(&create).unwrap();
    let drop = |epoch, ends: &[(u64, u64)]| Command::DropSpan { shard: 1, epoch, ends: ends.to_vec() };
    assert_eq!(refused(&mut state, &drop(1, &[])), Illegal::LastSpan { shard: 1, epoch: 1 });
    state.apply(&close(1, 1, 5, span_on(&[1, 2, 3], 2))).unwrap();
    let wanted = |partition| Illegal::Wanted { shard: 1, epoch: 1, partition };
    assert_eq!(refused(&mut state, &drop(1, &[])), wanted(1));
    assert_eq!(refused(&mut state, &drop(1, &[(1, 10), (2, 0)])), wanted(1));
    let trim = |offset| Command::Trim { name: "t".into(), id: TOPIC.into(), partition: 0, offset };
    state.apply(&trim(9)).unwrap();
    assert_eq!(refused(&mut state, &trim(9)), Illegal::Trimmed { given: 9, start: 9 });
    assert_eq!(refused(&mut state, &drop(1, &[(1, 10), (2, 0)])), wanted(1));
    state.apply(&trim(10)).unwrap();
    assert_eq!(refused(&mut state, &drop(1, &[(1, 10)])), wanted(2));
    let all = drop(1, &[(1, 10), (2, 0)]);
    assert_eq!(refused(&mut state, &all), Illegal::Tells { shard: 1, epoch: 1 }, "the last one is open");
    // An opening frame alone, or nothing, tells nothing.
    state.apply(&close(2, 1, 6, span_on(&[1, 2, 3], 3))).unwrap();
    assert_eq!(refused(&mut state, &all), Illegal::Tells { shard: 1, epoch: 1 });
    state.apply(&close(3, 1, 8, span_on(&[1, 2, 3], 4))).unwrap();
    state.apply(&all).unwrap();
    assert_eq!(state.span(1, 1), None);
    state.apply(&drop(2, &[(1, 10), (2, 0)])).unwrap();
    assert_eq!(refused(&mut state, &drop(3, &[(1, 10), (2, 0)])), Illegal::Tells { shard: 1, epoch: 3 });
    state.verify().unwrap();
}

#[test]
fn what_is_proposed_to_drop_the_oldest_span_drops_it() {
    let mut state = cluster();
    state.apply(&Command::OpenShard { shard: 2, class: Retention::default() }).unwrap();
    for (name, id) in [("t", TOPIC), ("u", "ffeeddccbbaa99887766554433221100")] {
        let (name, id, retention) = (name.into(), id.into(), Retention::default());
        state.apply(&Command::CreateTopic { name, id, retention, shards: vec![1, 2] }).unwrap();
    }
    let partition = state.topics["t"].partitions[0].id;
    let ends = BTreeMap::from([(partition, 10), (state.topics["t"].partitions[1].id, 99)]);
    let past = |_| Some(10);
    assert_eq!(state.to_drop_oldest(1, &ends, past), [], "it is the last one");
    state.apply(&close(1, 1, 5, span_on(&[1, 2, 3], 2))).unwrap();
    assert_eq!(state.to_drop_oldest(1, &ends, past), [], "none behind it tells");
    state.apply(&close(2, 1, 8, span_on(&[1, 2, 3], 3))).unwrap();
    assert_eq!(state.to_drop_oldest(1, &ends, |_| Some(9)), [], "a record is wanted");
    assert_eq!(state.to_drop_oldest(1, &ends, |_| None), [], "the leader has not heard of it");
    let commands = state.to_drop_oldest(1, &ends, |one| (one == partition).then_some(10));
    assert_eq!(commands.len(), 2, "one partition of the shard has records there: {commands:?}");
    for command in &commands {
        state.apply(command).unwrap();
    }
    assert_eq!((state.span(1, 1), state.topics["t"].partitions[0].start()), (None, 10));
    assert_eq!(state.topics["t"].partitions[1].start(), 0, "of another shard");
    assert_eq!(state.to_drop_oldest(1, &ends, past), [], "what is behind it is the only one that tells");
    state.verify().unwrap();
}

#[test]
fn a_seal_may_put_other_holders_in_the_place_of_those_that_have_no_copy() {
    let mut state = cluster();
    set(&mut state, 5, NodeState::ReadWrite, NodeState::Draining);
    let attempt = begin(&mut state, 1);
    let seal = |substitutes: &[(u64, u64)]| Command::CommitSeal {
        shard: 1,
        epoch: 1,
        attempt,
        end: 5,
        chain: 50,
        substitutes: substitutes
            .iter()
            .map(|(old, new)| Substitute { old: replica(*old), new: replica(*new) })
            .collect(),
        next: None,
    };
    let cases = [
        (seal(&[(4, 5)]), Illegal::NotAReplica { shard: 1, epoch: 1, node: 4 }),
        (seal(&[(3, 2)]), Illegal::Replicas),
        (seal(&[(3, 4), (2, 4)]), Illegal::Replicas),
        (seal(&[(3, 4), (3, 4)]), Illegal::NotAReplica { shard: 1, epoch: 1, node: 3 }),
        (seal(&[(3, 5)]), Illegal::NodeState { node: 5, state: NodeState::Draining }),
        (seal(&[(3, 6)]), Illegal::NoNode(6)),
    ];
    for (command, why) in cases {
        assert_eq!(refused(&mut state, &command), why, "{command:?}");
    }
    state.apply(&seal(&[(3, 4)])).unwrap();
    let span = state.span(1, 1).unwrap();
    assert_eq!(span.replicas, [replica(1), replica(2), replica(4)]);
    state.verify().unwrap();
}

#[test]
fn a_new_or_rolled_back_directory_is_never_taken_for_the_old_one() {
    let mut state = cluster();
    let mut other = register(6, "");
    if let Command::RegisterNode { store: given, .. } = &mut other {
        *given = store(2);
    }
    assert!(matches!(refused(&mut state, &other), Illegal::StoreInUse { node: 2, .. }));
    assert_eq!(refused(&mut state, &register(9, "")), Illegal::NodeNumber { given: 9, next: 6 });
    let raise = |store, generation| Command::RaiseGeneration { node: 2, store, generation };
    state.apply(&raise(store(2), 50)).unwrap();
    assert_eq!(refused(&mut state, &raise(store(7), 60)), Illegal::OtherStore(2));
    let start = |generation| Command::StartNode {
        node: 2,
        store: store(2),
        incarnation: 2,
        generation,
        info: info(""),
    };
    assert_eq!(
        refused(&mut state, &start(49)),
        Illegal::Generation { node: 2, given: 49, last: 50 },
        "its superblock went back in time"
    );
    state.apply(&start(51)).unwrap();
    set(&mut state, 2, NodeState::ReadWrite, NodeState::DataLoss);
    let lost = Illegal::NodeState { node: 2, state: NodeState::DataLoss };
    assert_eq!(refused(&mut state, &raise(store(2), 60)), lost, "it does not come back");
}

#[test]
fn a_node_leaves_only_when_it_holds_nothing_and_never_comes_back() {
    let mut state = cluster();
    let to = |node, was, state| Command::SetNodeState { node, was, state };
    assert_eq!(
        refused(&mut state, &to(1, NodeState::ReadOnly, NodeState::Draining)),
        Illegal::NodeChanged { node: 1, was: NodeState::ReadOnly, is: NodeState::ReadWrite }
    );
    set(&mut state, 1, NodeState::ReadWrite, NodeState::Draining);
    assert_eq!(
        refused(&mut state, &to(1, NodeState::Draining, NodeState::Gone)),
        Illegal::NodeHolds { node: 1, shard: 1, epoch: 1 }
    );
    set(&mut state, 4, NodeState::ReadWrite, NodeState::Draining);
    set(&mut state, 4, NodeState::Draining, NodeState::Gone);
    for back in [NodeState::ReadWrite, NodeState::ReadOnly, NodeState::Draining, NodeState::DataLoss] {
        assert!(matches!(refused(&mut state, &to(4, NodeState::Gone, back)), Illegal::NodeTransition { .. }));
    }
    assert_eq!(state.next_node(), 6, "its number is not used again");
}

#[test]
fn the_feature_level_rises_to_what_every_node_knows_and_older_programs_stay_out() {
    let mut state = State::default();
    for node in [1, 2] {
        let mut command = register(node, "");
        if let Command::RegisterNode { info, .. } = &mut command {
            info.features = node as u32;
        }
        state.apply(&command).unwrap();
    }
    let raise = |was, level| Command::SetFeatureLevel { was, level };
    let known = |is, to| Illegal::FeatureLevel { is, to, known: 1 };
    assert_eq!(refused(&mut state, &raise(0, 2)), known(0, 2));
    state.apply(&raise(0, 1)).unwrap();
    assert_eq!(refused(&mut state, &raise(1, 0)), known(1, 0));
    assert_eq!(refused(&mut state, &raise(0, 1)), known(1, 1));
    assert_eq!(refused(&mut state, &register(3, "")), Illegal::TooOld { node: 3, knows: 0, level: 1 });
}

#[test]
fn a_partition_moves_where_its_class_is_served_and_its_offsets_end() {
    let mut state = cluster();
    let class = Retention::default();
    for shard in [2, 3] {
        let class = if shard == 2 { class } else { Retention { max_age_ms: Some(1), max_bytes: None } };
        state.apply(&Command::OpenShard { shard, class }).unwrap();
        let span = span_on(&[1, 2, 3], 10 + shard as u8);
        state.apply(&Command::OpenFirstSpan { shard, span, base: 1 }).unwrap();
    }
    let (name, id) = (String::from("t"), String::from(TOPIC));
    let create =
        Command::CreateTopic { name: name.clone(), id: id.clone(), retention: class, shards: vec![1] };
    state.apply(&create).unwrap();
    assert_eq!(refused(&mut state, &go(2, 2, 1, 5)), Illegal::NotPlaced { given: 2, is: 1 });
    assert_eq!(refused(&mut state, &go(1, 1, 3, 5)), Illegal::OtherClass(3));
    assert_eq!(refused(&mut state, &go(1, 1, 1, 5)), Illegal::Move { to: 1, at: 5 });
    state.apply(&go(1, 1, 2, 5)).unwrap();
    let under_way = Illegal::UnderWay { topic: "t".into(), partition: 0, to: 2 };
    assert_eq!(refused(&mut state, &go(2, 2, 1, 5)), under_way);
    assert_eq!(state.partition("t", 0).unwrap().handed().map(|handed| handed.at), Some(5));
    let elsewhere = Illegal::NotUnderWay { topic: "t".into(), partition: 0, to: 1 };
    assert_eq!(refused(&mut state, &take(1)), elsewhere);
    state.apply(&take(2)).unwrap();
    assert!(matches!(refused(&mut state, &take(2)), Illegal::NotUnderWay { .. }));
    assert_eq!(refused(&mut state, &go(2, 2, 1, 4)), Illegal::Move { to: 1, at: 4 });
    assert_eq!(state.partition("t", 0).unwrap().placed().len(), 2);
    let change = Command::SetTopicConfig {
        name: name.clone(),
        id: id.clone(),
        was: class,
        retention: state.shards[&3],
    };
    state.apply(&change).unwrap();
    assert_eq!(refused(&mut state, &change), Illegal::TopicConfig("t".into()));
    state.apply(&go(2, 2, 3, 9)).unwrap();
}

/// The topic's partition leaves shard `from`, whose leader has closed it in its span of this epoch.
fn go(from: u64, epoch: u32, to: u64, at: u64) -> Command {
    let (name, id, producers) = ("t".into(), TOPIC.into(), Carried::default());
    Command::MovePartition { name, id, partition: 0, from, epoch, to, at, start: 0, producers }
}

fn take(shard: u64) -> Command {
    Command::TakePartition { name: "t".into(), id: TOPIC.into(), partition: 0, shard }
}

/// A partition in shard 1, whose span is of epoch 1; shard 2 has one of epoch 2.
fn with_a_partition() -> State {
    let mut state = cluster();
    state.apply(&Command::OpenShard { shard: 2, class: Retention::default() }).unwrap();
    state.apply(&Command::OpenFirstSpan { shard: 2, span: span_on(&[2, 3, 4], 20), base: 1 }).unwrap();
    let (name, id, retention) = ("t".into(), TOPIC.into(), Retention::default());
    state.apply(&Command::CreateTopic { name, id, retention, shards: vec![1] }).unwrap();
    state
}

#[test]
fn a_move_that_was_asked_for_before_a_failover_is_too_late_behind_it() {
    let late = go(1, 1, 2, 100);
    let placed = |state: &State| state.partition("t", 0).unwrap().placed().len();
    // Somebody finds out where the span ends: the next leader may take records from 100 on.
    let mut state = with_a_partition();
    let attempt = begin(&mut state, 1);
    assert_eq!(refused(&mut state, &late), Illegal::BeingSealed { shard: 1, epoch: 1 });
    state.apply(&commit(1, attempt, 5, Some(span_on(&[2, 3, 4], 2)))).unwrap();
    let last = Illegal::NotLast { shard: 1, epoch: 1, last: attempt };
    assert_eq!(refused(&mut state, &late), last);
    // Sealed, and nobody leads what follows yet.
    let mut state = with_a_partition();
    let attempt = begin(&mut state, 1);
    state.apply(&commit(1, attempt, 5, None)).unwrap();
    assert_eq!(refused(&mut state, &late), Illegal::Sealed { shard: 1, epoch: 1 });
    // Its own leader ended the span.
    let mut state = with_a_partition();
    state.apply(&close(1, 1, 5, span_on(&[1, 2, 3], 2))).unwrap();
    assert!(matches!(refused(&mut state, &late), Illegal::NotLast { .. }));
    // The other way round the next leader is told before it leads.
    let mut state = with_a_partition();
    state.apply(&late).unwrap();
    let attempt = begin(&mut state, 1);
    state.apply(&commit(1, attempt, 5, Some(span_on(&[2, 3, 4], 2)))).unwrap();
    assert_eq!((placed(&state), state.partition("t", 0).unwrap().shard()), (2, 2));
}

#[test]
fn the_leader_epoch_of_a_partition_never_falls() {
    let mut state = with_a_partition();
    state.apply(&go(1, 1, 2, 100)).unwrap();
    state.apply(&take(2)).unwrap();
    let falls = Illegal::EpochFalls { to: 1, epoch: 1, from: 2 };
    assert_eq!(refused(&mut state, &go(2, 2, 1, 150)), falls);
    // Once the leader of shard 1 has begun a new span, it may come back.
    state.apply(&close(1, 1, 5, span_on(&[1, 2, 3], 2))).unwrap();
    state.apply(&go(2, 2, 1, 150)).unwrap();
    let places: Vec<(u64, u64)> =
        state.partition("t", 0).unwrap().placed().iter().map(|one| (one.from, one.shard)).collect();
    assert_eq!(places, [(0, 1), (100, 2), (150, 1)]);
    state.verify().unwrap();
}

#[test]
fn a_partition_is_not_moved_to_where_nobody_leads_and_not_with_more_than_the_metadata_carries() {
    let mut state = with_a_partition();
    let attempt = match state.apply(&Command::BeginSeal { shard: 2, epoch: 2, token: 1 }) {
        Ok(Applied::Attempt(attempt)) => attempt,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&mut state, &go(1, 1, 2, 100)), Illegal::BeingSealed { shard: 2, epoch: 2 });
    let next = Some(span_on(&[3, 4, 5], 21));
    let (end, chain, substitutes) = (1, 0, Vec::new());
    state.apply(&Command::CommitSeal { shard: 2, epoch: 2, attempt, end, chain, substitutes, next }).unwrap();
    let mut large = go(1, 1, 2, 100);
    if let Command::MovePartition { producers, .. } = &mut large {
        *producers = Carried::from(vec![7; MAX_CARRIED + 1]);
    }
    let over = Illegal::Carried { len: MAX_CARRIED + 1, max: MAX_CARRIED };
    assert_eq!(refused(&mut state, &large), over);
    state.apply(&go(1, 1, 2, 100)).unwrap();
}

#[test]
fn epochs_end_where_kafka_s_leader_epochs_end() {
    let mut state = cluster();
    state.last_epoch = crate::MAX_EPOCH - 1;
    assert_eq!(begin(&mut state, 1), crate::MAX_EPOCH);
    let again = Command::BeginSeal { shard: 1, epoch: 1, token: 1 };
    assert_eq!(refused(&mut state, &again), Illegal::NoEpoch);
    state.apply(&commit(1, crate::MAX_EPOCH, 5, Some(span_on(&[1, 2, 3], 2)))).unwrap();
    assert!(matches!(state.last_span(1).unwrap().state, SpanState::Open));
}

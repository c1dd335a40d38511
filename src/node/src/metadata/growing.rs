//! What a member does all the time: it tells the others that it lives and how much room it has, tells its connections who is
//! who, and, while it leads, decides who votes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidelog_meta::raft::{Standing, voter_id};
use tidelog_meta::{NodeState, State, StoreId};
use tidelog_proto::peer::{Load, Message, Process};

use super::member::Member;
use crate::node::Node;

/// A node says that it lives this often.
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);
/// Voters of a group that is not one node: one may be lost.
const VOTERS: usize = 3;
/// A node that lacks more entries than this gets them before it gets a vote.
const NEAR: u64 = 1000;

/// Runs until the node stops; does nothing on a node that is alone.
pub(crate) async fn run(node: Arc<Node>) {
    let Some(member) = node.metadata.member().cloned() else { return };
    let learning = learn(&member);
    let beating = async {
        let mut told = None;
        loop {
            tokio::time::sleep(HEARTBEAT).await;
            beat(&node, &member).await;
            let standing = member.standing();
            tell(&standing, &member.recent(), &mut told);
            if let Some(why) = &standing.broken {
                member.peers.leave(why);
            }
            grow(&member, &standing).await;
        }
    };
    tokio::select! {
        () = learning => {}
        () = beating => {}
        () = node.until_stopping() => {}
    }
}

/// Keeps the connections' view of who is who up to date.
async fn learn(member: &Member) {
    let mut versions = member.watch();
    loop {
        versions.borrow_and_update();
        member.peers.learn(member.recent());
        if versions.changed().await.is_err() {
            return;
        }
    }
}

async fn beat(node: &Node, member: &Member) {
    let free_bytes = node.beside.free().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the disk does not say how much room it has");
        0
    });
    let load = Load { free_bytes, ..Load::default() };
    let (me, state) = (node.me, member.recent());
    member.hears(me.node, load);
    let from = Process { node: me.node, incarnation: me.incarnation };
    let message = Message::Heartbeat { from, version: state.version, load };
    // Whoever ends a span chooses who holds the next one, so all of them hear how much room there is.
    let others = state.nodes.iter().filter(|(other, known)| **other != me.node && known.state.counts());
    for (other, known) in others {
        // One that is lost is followed by the next.
        if let Err(error) = member.peers.tell(known.store, &known.info.address, &message) {
            tracing::debug!(other, %error, "a heartbeat was not sent");
        }
    }
}

/// What was told last: who leads in which term, whether a quorum answers, whether this member has stopped.
type Told = Option<(Option<u64>, u64, bool, bool)>;

/// Says when the group's standing changes.
fn tell(standing: &Standing, state: &State, told: &mut Told) {
    let leader = standing.leader.as_ref().and_then(|leader| state.node_of(leader.store));
    let (term, quorum) = (standing.term, standing.has_quorum);
    let now = Some((leader, term, quorum, standing.broken.is_some()));
    if *told == now {
        return;
    }
    *told = now;
    match &standing.broken {
        Some(why) => {
            tracing::error!(why, "this node's member of the metadata's group has stopped: restart the node")
        }
        None if quorum => tracing::info!(leader, term, "a quorum of the metadata's group answers"),
        None => tracing::warn!(
            leader,
            term,
            "no quorum of the metadata's group answers: records go on, changes wait"
        ),
    }
}

/// On the leader: brings the group to three voters once so many nodes are near enough, and gives the vote of one that was
/// given up to another.
async fn grow(member: &Member, standing: &Standing) {
    if !standing.leads || !standing.has_quorum {
        return;
    }
    let state = member.recent();
    for lost in given_up(standing, &state) {
        match member.group.let_go(lost).await {
            Ok(()) => tracing::info!(store = %lost, "a node that has left gets the metadata no more"),
            Err(error) => tracing::info!(%error, "a node that has left could not be let go yet"),
        }
    }
    let Some(wanted) = voters_wanted(standing, &state) else { return };
    let voters = wanted.iter().copied().map(voter_id).collect();
    match member.group.set_voters(voters).await {
        Ok(()) => tracing::info!(voters = ?wanted, "the metadata's group has other voters"),
        // Another change is under way, or this member leads no more: the next turn sees.
        Err(error) => tracing::info!(%error, "the metadata's voters could not be changed yet"),
    }
}

/// Members without a vote that the cluster has given up.
fn given_up(standing: &Standing, state: &State) -> Vec<StoreId> {
    let node = |store: StoreId| state.node_of(store).and_then(|number| state.nodes.get(&number));
    let lost = |store: &StoreId| node(*store).is_some_and(|node| !node.state.counts());
    standing.learners.iter().map(|voter| voter.store).filter(lost).collect()
}

/// The directories that should vote, if they are others than those that do. Nodes that are to be emptied vote only where
/// nobody else can.
fn voters_wanted(standing: &Standing, state: &State) -> Option<BTreeSet<StoreId>> {
    let now: BTreeSet<StoreId> = standing.voters.iter().map(|voter| voter.store).collect();
    let near = |store: StoreId| standing.lag(store).is_some_and(|lag| lag <= NEAR);
    let mut wanted: BTreeSet<StoreId> = BTreeSet::new();
    for fit in [NodeState::stays, NodeState::counts] {
        // In the order in which they joined, those first who vote already.
        let fit = state.nodes.values().filter(|node| fit(node.state)).map(|node| node.store);
        let (vote, others): (Vec<StoreId>, Vec<StoreId>) = fit.partition(|store| now.contains(store));
        let joins = others.into_iter().filter(|store| standing.is_member(*store) && near(*store));
        for store in vote.into_iter().chain(joins) {
            if wanted.len() < VOTERS {
                wanted.insert(store);
            }
        }
    }
    (wanted.len() == VOTERS && wanted != now).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_meta::raft::Voter;
    use tidelog_meta::{Command, NodeInfo};

    fn store(node: u8) -> StoreId {
        StoreId([node; 16])
    }

    fn state(nodes: u8) -> State {
        let mut state = State::default();
        for node in 1..=nodes {
            let info = NodeInfo { address: format!("n{node}:1"), ..NodeInfo::default() };
            let (number, store) = (node.into(), store(node));
            let register = Command::RegisterNode { node: number, store, incarnation: 1, generation: 1, info };
            state.apply(&register).unwrap();
        }
        state
    }

    fn standing(voters: &[u8], learners: &[u8], lags: &[(u8, u64)]) -> Standing {
        let voter = |node: &u8| Voter { address: format!("n{node}:1"), store: store(*node) };
        Standing {
            leader: voters.first().map(voter),
            leads: true,
            votes: true,
            has_quorum: true,
            term: 1,
            last: 10_000,
            applied: 10_000,
            voters: voters.iter().map(voter).collect(),
            learners: learners.iter().map(voter).collect(),
            matched: lags.iter().map(|(node, lag)| (store(*node), 10_000 - lag)).collect(),
            broken: None,
        }
    }

    fn wanted(standing: &Standing, state: &State) -> Option<Vec<u8>> {
        voters_wanted(standing, state).map(|stores| stores.iter().map(|store| store.0[0]).collect())
    }

    #[test]
    fn one_voter_becomes_three_and_never_two() {
        assert_eq!(wanted(&standing(&[1], &[], &[]), &state(1)), None);
        assert_eq!(
            wanted(&standing(&[1], &[2], &[(2, 0)]), &state(2)),
            None,
            "two stop at the loss of either"
        );
        assert_eq!(wanted(&standing(&[1], &[2, 3], &[(2, 0), (3, 0)]), &state(3)), Some(vec![1, 2, 3]));
        assert_eq!(wanted(&standing(&[1, 2, 3], &[4], &[(4, 0)]), &state(4)), None);
    }

    #[test]
    fn nobody_votes_who_is_far_behind_or_not_a_node_yet() {
        assert_eq!(wanted(&standing(&[1], &[2, 3], &[(2, 0), (3, 1001)]), &state(3)), None);
        assert_eq!(wanted(&standing(&[1], &[2, 3], &[(2, 0), (3, 0)]), &state(2)), None);
        assert_eq!(wanted(&standing(&[1], &[2], &[(2, 0)]), &state(3)), None, "it was not let in yet");
    }

    #[test]
    fn the_vote_of_a_node_that_was_given_up_goes_to_another_one() {
        let mut state = state(4);
        let lost = Command::SetNodeState { node: 2, was: NodeState::ReadWrite, state: NodeState::DataLoss };
        state.apply(&lost).unwrap();
        assert_eq!(wanted(&standing(&[1, 2, 3], &[], &[]), &state), None, "there is nobody else");
        assert_eq!(wanted(&standing(&[1, 2, 3], &[4], &[(4, 9)]), &state), Some(vec![1, 3, 4]));
    }

    #[test]
    fn a_node_that_is_to_be_emptied_gives_its_vote_to_another_one_and_keeps_it_where_there_is_none() {
        let mut state = state(4);
        let drain = Command::SetNodeState { node: 1, was: NodeState::ReadWrite, state: NodeState::Draining };
        state.apply(&drain).unwrap();
        let four = standing(&[1, 2, 3], &[4], &[(4, 9)]);
        assert_eq!(wanted(&four, &state), Some(vec![2, 3, 4]));
        assert_eq!(
            wanted(&standing(&[1, 2, 3], &[4], &[(4, 1001)]), &state),
            None,
            "the other one is not near yet"
        );
        assert_eq!(wanted(&standing(&[2, 3, 4], &[1], &[(1, 0)]), &state), None, "and it does not come back");
        assert_eq!(given_up(&four, &state), []);
        let gone = Command::SetNodeState { node: 1, was: NodeState::Draining, state: NodeState::Gone };
        state.apply(&gone).unwrap();
        assert_eq!(given_up(&standing(&[2, 3, 4], &[1], &[]), &state), [store(1)]);
    }
}

//! Members in one process, over a network that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::Raft;

use super::{Begin, Carrier, Group, GroupError, Settings, Types, Voter, links, voter_id};
use crate::cluster_tests::store;
use crate::local::Metadata;
use crate::test_wal::TestWal;
use crate::{Command, EVERY, MetaStore, Outcome, Retention, State, Unavailable};

/// Who can be reached.
#[derive(Clone, Default)]
struct Net {
    members: Arc<Mutex<BTreeMap<u64, Raft<Types>>>>,
    cut_off: Arc<Mutex<BTreeSet<u64>>>,
}

impl Net {
    fn cut(&self, id: u64) {
        self.cut_off.lock().unwrap().insert(id);
    }

    fn heal(&self) {
        self.cut_off.lock().unwrap().clear();
    }

    fn reach(&self, from: u64, to: u64) -> io::Result<Raft<Types>> {
        let cut_off = self.cut_off.lock().unwrap();
        let nobody = io::Error::other("cut off");
        if cut_off.contains(&from) || cut_off.contains(&to) {
            return Err(nobody);
        }
        self.members.lock().unwrap().get(&to).cloned().ok_or(nobody)
    }
}

/// A member's way into the network.
#[derive(Clone)]
struct Links {
    net: Net,
    me: u64,
}

impl Carrier for Links {
    async fn carry(&self, to: &Voter, message: Bytes) -> io::Result<Bytes> {
        let raft = self.net.reach(self.me, voter_id(to.store))?;
        links::answer(&raft, message).await.map_err(io::Error::other)
    }
}

fn settings() -> Settings {
    Settings {
        heartbeat_ms: 100,
        election_ms: 400,
        snapshot_every: 50,
        keep_entries: 5,
        patience: Duration::from_secs(5),
    }
}

fn voter(node: u64) -> Voter {
    Voter { address: format!("node{node}:1"), store: store(node) }
}

fn id(node: u64) -> u64 {
    voter_id(store(node))
}

async fn member(wal: &TestWal, node: u64, begin: Begin, net: &Net) -> Group {
    member_with(settings(), wal, node, begin, net).await
}

async fn member_with(settings: Settings, wal: &TestWal, node: u64, begin: Begin, net: &Net) -> Group {
    let links = Links { net: net.clone(), me: id(node) };
    let group = Group::open(wal.wal.clone(), voter(node), begin, links, settings).await.unwrap();
    net.members.lock().unwrap().insert(id(node), group.raft().clone());
    group
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A group of one that leads.
pub(crate) async fn alone(wal: &TestWal) -> Group {
    let group = member(wal, 1, Begin::Form, &Net::default()).await;
    until("a lone member leads", || group.leads()).await;
    group
}

/// Three members, each with its shard.
struct Trio {
    net: Net,
    members: BTreeMap<u64, (Group, TestWal, tempfile::TempDir)>,
    epoch: u32,
    settings: Settings,
}

impl Trio {
    async fn new() -> Trio {
        Trio::with(settings()).await
    }

    async fn with(settings: Settings) -> Trio {
        let mut trio = Trio { net: Net::default(), members: BTreeMap::new(), epoch: 1, settings };
        for node in 1..=3 {
            let begin = if node == 1 { Begin::Form } else { Begin::Join };
            trio.start(node, begin, tempfile::tempdir().unwrap()).await;
        }
        until("the first member leads", || trio.group(1).leads()).await;
        for node in 2..=3 {
            assert_eq!(trio.group(1).let_in(voter(node)).await.unwrap(), id(node));
        }
        let everyone = BTreeSet::from([1, 2, 3].map(id));
        // A member that was let in gets the first snapshot before it can vote.
        while trio.group(1).set_voters(everyone.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        trio
    }

    async fn start(&mut self, node: u64, begin: Begin, dir: tempfile::TempDir) {
        self.epoch += 1;
        let wal = TestWal::open(dir.path(), self.epoch, 256 << 10);
        let group = member_with(self.settings.clone(), &wal, node, begin, &self.net).await;
        self.members.insert(node, (group, wal, dir));
    }

    /// Ends a member as kill -9 does, and answers what is left of its directory.
    async fn kill(&mut self, node: u64) -> tempfile::TempDir {
        self.net.members.lock().unwrap().remove(&id(node));
        let (group, wal, _dir) = self.members.remove(&node).unwrap();
        group.stop().await;
        wal.crashed_copy()
    }

    fn group(&self, node: u64) -> &Group {
        &self.members[&node].0
    }

    /// Proposes at whoever leads until the outcome is clear. Answers who led.
    async fn propose(&self, command: &Command) -> (u64, Outcome) {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < Duration::from_secs(120), "nobody takes {command:?}");
            for (node, (group, ..)) in &self.members {
                match group.propose(command.clone()).await {
                    Ok(Outcome::Indeterminate) | Err(Unavailable::NotLeader { .. }) => {}
                    Ok(outcome) => return (*node, outcome),
                    Err(other) => panic!("{other}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Opens so many shards more; answers who led at the end.
    async fn open_shards(&self, count: u64) -> u64 {
        let first = self.read().await.next_shard;
        let mut leader = 0;
        for shard in first..first + count {
            let outcome;
            (leader, outcome) = self.propose(&open(shard)).await;
            // An earlier try of this one may have counted.
            assert!(matches!(outcome, Outcome::Applied { .. } | Outcome::Illegal(_)), "{outcome:?}");
        }
        leader
    }

    /// The state for sure, from whoever leads.
    async fn read(&self) -> Arc<State> {
        let begin = Instant::now();
        loop {
            assert!(begin.elapsed() < Duration::from_secs(120), "nobody knows the state");
            for (group, ..) in self.members.values() {
                if let Ok(state) = group.read().await {
                    return state;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn newest(&self) -> Arc<State> {
        self.members.values().map(|(group, ..)| group.recent()).max_by_key(|state| state.version).unwrap()
    }

    /// Waits until all members have the newest state, and compares its hash.
    async fn agree(&self) {
        let newest = self.newest();
        for (node, (group, ..)) in &self.members {
            until(&format!("member {node} catches up"), || group.recent().version >= newest.version).await;
        }
        let hashes: BTreeSet<String> =
            self.members.values().map(|(group, ..)| group.recent().hash()).collect();
        assert_eq!(hashes.len(), 1);
    }
}

fn open(shard: u64) -> Command {
    Command::OpenShard { shard, class: Retention::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lone_node_had_is_the_group_s_first_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    {
        let wal = TestWal::open(dir.path(), 1, 4 << 20);
        let metadata = Metadata::replay(wal.wal.clone()).await.unwrap();
        for shard in 1..=20 {
            metadata.propose(open(shard)).await.unwrap();
        }
    }
    let net = Net::default();
    let wal = TestWal::open(dir.path(), 2, 4 << 20);
    let first = member(&wal, 1, Begin::Form, &net).await;
    until("the first member leads", || first.leads()).await;
    assert_eq!(first.read().await.unwrap().next_shard, 21);
    assert!(matches!(first.set_voters([1, 2].map(id).into()).await, Err(GroupError::Voters(2))));

    let other = tempfile::tempdir().unwrap();
    let other_wal = TestWal::open(other.path(), 1, 4 << 20);
    let second = member(&other_wal, 2, Begin::Join, &net).await;
    assert!(matches!(second.propose(open(21)).await, Err(Unavailable::NotLeader { .. })));
    first.let_in(voter(2)).await.unwrap();
    until("the second one has everything", || second.recent().next_shard == 21).await;
    assert_eq!(second.recent().hash(), first.recent().hash());
    first.stop().await;
    second.stop().await;
    drop(wal);

    let wal = TestWal::open(dir.path(), 3, 4 << 20);
    assert!(Metadata::replay(wal.wal.clone()).await.is_err(), "it is not a lone node's any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_with_topics_of_its_own_does_not_join() {
    let dir = tempfile::tempdir().unwrap();
    let wal = TestWal::open(dir.path(), 1, 4 << 20);
    Metadata::replay(wal.wal.clone()).await.unwrap().propose(open(1)).await.unwrap();
    let links = Links { net: Net::default(), me: id(2) };
    let joined = Group::open(wal.wal.clone(), voter(2), Begin::Join, links, settings()).await;
    assert!(matches!(joined, Err(GroupError::HasMetadata { topics: 0 })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_leader_is_cut_off_another_one_leads_and_nothing_answered_is_lost() {
    let trio = Trio::new().await;
    let old = trio.open_shards(10).await;
    trio.net.cut(id(old));
    until("another one leads", || {
        trio.members.iter().any(|(node, (group, ..))| *node != old && group.leads())
    })
    .await;
    // Whatever the old one is told, it cannot make it so.
    let stale = trio.group(old).propose(Command::BumpIncarnation { incarnation: 77 }).await;
    assert!(!matches!(stale, Ok(Outcome::Applied { .. })), "{stale:?}");
    assert!(trio.group(old).read().await.is_err(), "and it cannot say what holds");
    trio.net.heal();
    trio.open_shards(10).await;
    trio.agree().await;
    assert!(trio.newest().next_shard >= 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_makes_room_is_followed_at_once_and_not_after_an_election() {
    let trio = Trio::new().await;
    for turn in 0..3 {
        let old = trio.open_shards(5).await;
        let term = trio.group(old).standing().term;
        let links = Links { net: trio.net.clone(), me: id(old) };
        assert!(trio.group(old).make_room(&links, Duration::from_secs(120)).await, "turn {turn}");
        let standing = trio.group(old).standing();
        assert!(!standing.leads && standing.leader.is_some_and(|leader| leader.store != store(old)));
        assert_eq!(standing.term, term + 1, "the first one that stood was elected");
    }
    trio.open_shards(5).await;
    trio.agree().await;
    let follower = trio.members.values().find(|(group, ..)| !group.leads()).unwrap();
    let links = Links { net: trio.net.clone(), me: 0 };
    assert!(!follower.0.make_room(&links, Duration::ZERO).await, "who does not lead has no room to make");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_cannot_make_room_leads_on() {
    let trio = Trio::new().await;
    let old = trio.open_shards(5).await;
    trio.net.cut(0);
    // The others do not hear of it: its questions go by a network that is cut.
    let links = Links { net: trio.net.clone(), me: 0 };
    assert!(!trio.group(old).make_room(&links, Duration::from_secs(2)).await);
    assert_eq!(trio.open_shards(1).await, old);
    trio.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_members_come_back_from_their_directories_one_by_one_and_all_at_once() {
    let mut trio = Trio::new().await;
    let mut shards = 0;
    for node in [1, 2, 3] {
        trio.open_shards(5).await;
        let left = trio.kill(node).await;
        trio.open_shards(5).await;
        shards += 10;
        trio.start(node, Begin::Join, left).await;
    }
    trio.agree().await;
    let before = trio.newest();
    assert!(before.next_shard > shards);
    let mut left = Vec::new();
    for node in [1, 2, 3] {
        left.push((node, trio.kill(node).await));
    }
    for (node, dir) in left {
        trio.start(node, Begin::Join, dir).await;
    }
    assert!(trio.read().await.next_shard >= before.next_shard, "nothing that was answered is lost");
    trio.open_shards(1).await;
    trio.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_missed_more_than_is_kept_gets_a_snapshot() {
    let mut trio = Trio::new().await;
    let leader = trio.open_shards(3).await;
    let lagging = if leader == 3 { 2 } else { 3 };
    let left = trio.kill(lagging).await;
    let before = trio.newest().version;
    trio.open_shards(170).await;
    trio.start(lagging, Begin::Join, left).await;
    trio.agree().await;
    let metrics = trio.group(lagging).raft().metrics().borrow().clone();
    assert!(metrics.snapshot.is_some_and(|at| at.index > before), "it came by a snapshot");
    // And what it got is on its disk.
    let left = trio.kill(lagging).await;
    trio.start(lagging, Begin::Join, left).await;
    assert!(trio.group(lagging).recent().version > before);
    trio.agree().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shard_stays_small_and_a_restart_finds_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let wal = TestWal::open(dir.path(), 1, 64 << 10);
    let group = alone(&wal).await;
    for incarnation in 1..=1500 {
        let outcome = group.propose(Command::BumpIncarnation { incarnation }).await;
        assert!(matches!(outcome, Ok(Outcome::Applied { .. })), "{outcome:?}");
    }
    // Every command takes a block at least, so all of them would take a hundred files.
    until("old segments are released", || wal.files() < 20).await;
    group.stop().await;
    let (before, left) = (group.recent(), wal.crashed_copy());
    drop(wal);
    let wal = TestWal::open(left.path(), 2, 64 << 10);
    let group = alone(&wal).await;
    assert_eq!(group.read().await.unwrap().hash(), before.hash());
    group.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_state_went_astray_stops_and_the_others_go_on() {
    // A snapshot on the way would heal a member that lags behind.
    let no_snapshots = Settings { snapshot_every: 100_000, keep_entries: 100_000, ..settings() };
    let mut trio = Trio::with(no_snapshots).await;
    let leader = trio.open_shards(1).await;
    let astray = if leader == 3 { 2 } else { 3 };
    // Also the snapshot by which it joined, if it was not among the first two to have the shards.
    trio.agree().await;
    trio.group(astray).raft().runtime_config().elect(false);
    trio.group(astray).machine().damage(|state| state.next_producer += 1);
    let stopped = || trio.group(astray).raft().metrics().borrow().running_state.is_err();
    let (begin, mut incarnation) = (Instant::now(), 0);
    while !stopped() {
        assert!(begin.elapsed() < Duration::from_secs(120), "it goes on, at {}", trio.newest().version);
        let others = trio.members.iter().filter(|(node, (group, ..))| **node != astray && group.leads());
        for (_, (group, ..)) in others {
            // In tens, since more than EVERY are needed; whether each one counts does not matter.
            let ten = (1..=10).map(|one| Command::BumpIncarnation { incarnation: incarnation + one });
            futures(ten.map(|command| group.propose(command))).await;
        }
        incarnation += 10;
        tokio::task::yield_now().await;
    }
    assert!(trio.newest().version >= EVERY);
    assert!(matches!(trio.group(astray).read().await, Err(Unavailable::Broken(_))));
    trio.members.remove(&astray);
    trio.open_shards(1).await;
    trio.agree().await;
}

/// Awaits all at once, so that they are asked in their order.
async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        for (future, output) in waiting.iter_mut().filter(|(_, output)| output.is_none()) {
            if let std::task::Poll::Ready(ready) = future.as_mut().poll(context) {
                *output = Some(ready);
            }
        }
        let done = waiting.iter().all(|(_, output)| output.is_some());
        if done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, output)| output).collect()
}

//! A cluster that has grown from one node, in network namespaces, under idempotent producers and readers, to which one thing after the other happens; at the
//! end the history of all of it is checked.
//!
//! `TIDELOG_FAULT_ROUNDS` is how many things happen, `TIDELOG_FAULT_HOURS` for how long they go on instead, `TIDELOG_FAULT_ONLY`
//! a word in the names of those that may ([`happening`]). It needs root, `ip` and TUN devices: where they are missing it says that it is skipped, and fails instead when `TIDELOG_REQUIRE_NETWORK` is set.

mod happening;
pub(crate) mod history;
pub(crate) mod load;
mod network;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

use super::support::chance::Chance;
use super::support::http::Http;
use super::support::node::Node;
use super::support::{idempotent, offline, read, skip, wait};
use happening::Happening;
use history::{Counts, History, Told};
use load::{Doors, Load, PARTITIONS, TOPIC};
use network::{Host, Network};

const NODES: usize = 3;
const HTTP: u16 = 4242;
const KAFKA: u16 = 9092;
const PEER: u16 = 4244;
/// Each node's disk is a file system of its own, of so many bytes: more than a life writes, for each frame takes 4 KiB at least.
const DISK_BYTES: u64 = 512 << 20;
/// After so many rounds a history is checked and another cluster begins.
const ROUNDS: u64 = 25;
/// Answers that each producer has to be given before the next thing happens.
const ANSWERS: u64 = 3;
const ASKING: Duration = Duration::from_secs(2);

/// Nodes, each on a host and a disk of its own.
pub(crate) struct Cluster<'a> {
    network: &'a Network,
    nodes: Vec<Node>,
    disks: Vec<Disk>,
    /// Files that a bit was changed in, and that nobody may have read since, below a node's folder of shards. Frames have a
    /// checksum, and what is between them has none: a node that lacks such a file may have got it as it is.
    rotten: Vec<PathBuf>,
}

/// A small file system in memory, seen by this test only.
struct Disk(TempDir);

impl Disk {
    fn mount() -> io::Result<Disk> {
        let dir = TempDir::new()?;
        let size = format!("size={DISK_BYTES}");
        let mut mount = Command::new("mount");
        must(mount.args(["-t", "tmpfs", "-o", &size, "tidelog"]).arg(dir.path()))?;
        Ok(Disk(dir))
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Leaves no room on it.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        while filler.write_all(&[0; 1 << 16]).is_ok() {}
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    fn empty(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn must(command: &mut Command) -> io::Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{command:?} ended with {status}"))) }
}

fn door(host: Host, port: u16) -> SocketAddr {
    SocketAddr::from((network::address(host), port))
}

impl<'a> Cluster<'a> {
    fn start(network: &'a Network) -> io::Result<Cluster<'a>> {
        let mut cluster = Cluster { network, nodes: Vec::new(), disks: Vec::new(), rotten: Vec::new() };
        for host in 1..=NODES {
            let disk = Disk::mount()?;
            let (peer, first) = (door(host, PEER), (host > 1).then(|| door(1, PEER)));
            let config = format!("insecure_listen = true\n{}", super::nodes::settings(peer, first));
            let mut node = Node::unstarted(&config, Some(&disk.data()));
            node.listen_at(door(host, HTTP), door(host, KAFKA));
            cluster.nodes.push(node);
            cluster.disks.push(disk);
        }
        // Its partitions are placed for one node: when the others have come, they move, whatever else happens.
        cluster.spawn(1);
        cluster.until_it_listens(1);
        wait::until("the topic to be made", || {
            let topic = serde_json::json!({"name": TOPIC, "partitions": PARTITIONS}).to_string();
            let mut http = Http::with_patience(door(1, HTTP), ASKING);
            let answer = http.post("/v1/topics", "application/json", topic.as_bytes()).ok()?;
            (answer.is_success() || answer.status == 409).then_some(())
        });
        Ok(cluster)
    }

    /// The other nodes join the first one.
    fn grow(&mut self) {
        for host in 2..=NODES {
            self.spawn(host);
            self.until_it_listens(host);
        }
        self.until_whole();
    }

    /// Waits until partitions and leaders are even.
    fn until_even(&self) {
        wait::until("partitions and leaders to be even", || {
            let mut http = Http::with_patience(door(1, HTTP), ASKING);
            let told: serde_json::Value = serde_json::from_slice(&http.get("/v1/cluster").ok()?.body).ok()?;
            let even = |of: &str| told["skew"][of].as_u64().is_some_and(|skew| skew < 20);
            (even("leaders") && even("partitions") && told["moving"] == 0).then_some(())
        });
    }

    fn hosts() -> std::ops::RangeInclusive<Host> {
        1..=NODES
    }

    fn node(&mut self, host: Host) -> &mut Node {
        &mut self.nodes[host - 1]
    }

    fn spawn(&mut self, host: Host) {
        let (network, node) = (self.network, &mut self.nodes[host - 1]);
        network.on(host, || node.spawn());
    }

    fn until_it_listens(&mut self, host: Host) {
        let (network, node) = (self.network, &mut self.nodes[host - 1]);
        network.on(host, || node.until_it_listens());
    }

    fn doors() -> Vec<Doors> {
        Self::hosts().map(|host| Doors { http: door(host, HTTP), kafka: door(host, KAFKA) }).collect()
    }

    /// What a node says of itself; `None` when it says nothing.
    fn status(host: Host) -> Option<serde_json::Value> {
        let answer = Http::with_patience(door(host, HTTP), ASKING).get("/v1/status").ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    /// Whether a node takes no part in the cluster any more.
    fn has_left(host: Host) -> bool {
        Self::status(host).is_some_and(|status| {
            status["cause"]
                .as_str()
                .is_some_and(|cause| cause.contains("until it is restarted") || cause.contains("stopped"))
        })
    }

    /// Nothing that can happen between nodes makes one of them leave; what can happen to its disk is somebody's to mend. A leader
    /// that is being replaced says for a moment that it has stopped.
    fn until_all_take_part() {
        for host in Self::hosts() {
            let what = format!("node {host} to take part, as one that has left does not");
            wait::until(&what, || (!Self::has_left(host)).then_some(()));
        }
    }

    /// Who leads the metadata, by what nodes say.
    fn metadata_leader() -> Option<Host> {
        let said = |host| Self::status(host)?["metadata"]["group"]["leader"].as_u64();
        Self::hosts().find_map(said).and_then(|leader| usize::try_from(leader).ok())
    }

    /// Who leads a partition.
    fn leader(partition: u32) -> Option<Host> {
        let said = |host| idempotent::leader(door(host, KAFKA), (TOPIC, partition), ASKING).ok().flatten();
        let at = Self::hosts().find_map(said)?;
        Self::hosts().find(|host| door(*host, KAFKA) == at)
    }

    /// Waits until all nodes are there, vote, and hold what they have to.
    fn until_whole(&self) {
        wait::until("all nodes to hold what they have to", || {
            let whole = |host| {
                let status = Self::status(host)?;
                let voters = status["metadata"]["group"]["voters"].as_array()?.len();
                let short = |shard: &serde_json::Value| shard["spans_short"] != 0;
                (voters == NODES && !status["shards"].as_array()?.iter().any(short)).then_some(())
            };
            Self::hosts().all(|host| whole(host).is_some()).then_some(())
        });
    }

    /// Waits until nothing is missing or damaged on any disk, as the inspector has it, but for what nobody has read since it
    /// was made to rot.
    fn until_sound(&self) {
        let Some(inspector) = offline::inspector() else { return };
        for disk in &self.disks {
            let mut found = Ok(());
            let sound = wait::within(wait::PATIENCE, || {
                found = offline::find(&inspector, &disk.data(), &self.rotten);
                found.is_ok().then_some(())
            });
            assert!(sound.is_some(), "{}", found.unwrap_err());
        }
    }
}

/// Everything that the partitions hold, as a node serves it. One that was cut off until now may take its old end for the end
/// until it hears of what follows.
fn held_by(host: Host, told: &[Told]) -> BTreeMap<u32, Vec<read::Record>> {
    let made = |partition| told.iter().filter(|told| told.partition == partition).map(|told| told.made).sum();
    (0..PARTITIONS).map(|partition| (partition, all_of(host, partition, made(partition)))).collect()
}

/// A partition, from its beginning to where a page is empty behind so many records, or stays so before.
fn all_of(host: Host, partition: u32, made: u64) -> Vec<read::Record> {
    let (mut http, mut records) = (Http::with_patience(door(host, HTTP), wait::PATIENCE), Vec::new());
    loop {
        let from = records.len() as u64;
        let page = wait::within(wait::PATIENCE, || {
            let page = read::page(&mut http, TOPIC, partition, from, 0).ok()?;
            (!page.is_empty() || from >= made).then_some(page)
        });
        match page {
            Some(page) if !page.is_empty() => records.extend(page),
            _ => return records,
        }
    }
}

/// One cluster's life: `rounds` things happen to it, then its history is checked.
fn live(network: &Network, rounds: u64, chance: &mut Chance, happened: &mut BTreeMap<&str, u64>) -> Counts {
    let mut cluster = Cluster::start(network).unwrap();
    let load = Load::start(&Cluster::doors(), PARTITIONS, chance);
    cluster.grow();
    let only = std::env::var("TIDELOG_FAULT_ONLY").ok();
    for round in 1..=rounds {
        let happening = Happening::next(chance, only.as_deref());
        say(&format!("round {round}: {happening:?}"));
        happening.happen(&mut cluster, chance);
        network.heal();
        *happened.entry(happening.name()).or_default() += 1;
        let before = load.answers();
        wait::until("each producer to be answered again", || {
            load.answers().iter().zip(&before).all(|(now, before)| *now >= before + ANSWERS).then_some(())
        });
        Cluster::until_all_take_part();
    }
    let (told, seen) = load.finish();
    let (mut history, mut counts) = (History { told, seen, held: BTreeMap::new() }, Counts::default());
    for host in Cluster::hosts() {
        history.held = held_by(host, &history.told);
        counts = history.check(load::value).unwrap_or_else(|wrong| panic!("by node {host}: {wrong}"));
    }
    cluster.until_whole();
    cluster.until_even();
    cluster.until_sound();
    for host in Cluster::hosts() {
        assert!(cluster.node(host).stop().success());
    }
    counts
}

/// A line past the test runner's capture: it takes minutes.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "faults: {line}");
}

fn setting(name: &str) -> Option<f64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Whether there is still something to do.
fn goes_on(rounds: u64, begun: Instant) -> bool {
    match setting("TIDELOG_FAULT_HOURS") {
        Some(hours) => begun.elapsed().as_secs_f64() < hours * 3600.0,
        None => rounds < wanted(),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn wanted() -> u64 {
    setting("TIDELOG_FAULT_ROUNDS").unwrap_or(6.0) as u64
}

/// A network, and file systems that only this test sees; `None` after saying why not.
fn network(chance: &mut Chance) -> Option<Network> {
    let mut private = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        must(Command::new("mount").args(["--make-rprivate", "/"]))?;
        Network::new(NODES + 1, chance.fork(0))
    };
    private()
        .map_err(|error: io::Error| {
            skip("TIDELOG_REQUIRE_NETWORK", &format!("there are no network namespaces here: {error}"));
        })
        .ok()
}

#[test]
fn whatever_happens_to_nodes_disks_and_network_nothing_acknowledged_is_lost_doubled_or_changed() {
    let mut chance = Chance::new("faults");
    let seed = chance.seed();
    // The file systems of this thread only.
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let Some(network) = network(&mut chance) else { return };
            let (mut rounds, mut all, mut happened) = (0, Counts::default(), BTreeMap::new());
            let begun = Instant::now();
            while goes_on(rounds, begun) {
                let some = if setting("TIDELOG_FAULT_HOURS").is_some() {
                    ROUNDS
                } else {
                    (wanted() - rounds).min(ROUNDS)
                };
                all += network.on(0, || live(&network, some, &mut chance, &mut happened));
                rounds += some;
                say(&format!(
                    "{rounds} rounds in {} s, {happened:?}: {all}; nothing wrong",
                    begun.elapsed().as_secs()
                ));
            }
        });
        run.join().unwrap_or_else(|panic| {
            // Once more, behind the servers' last words.
            let cause = panic.downcast_ref::<String>().map_or("a panic", String::as_str);
            println!("faults: TIDELOG_SEED={seed}: {cause}");
            std::panic::resume_unwind(panic)
        });
    });
}

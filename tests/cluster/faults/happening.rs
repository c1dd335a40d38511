//! What can happen to a cluster.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::load::PARTITIONS;
use super::network::{Host, Weather};
use super::{Cluster, NODES};
use crate::support::chance::Chance;

/// Something that happens, and ends again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happening {
    /// kill -9 of one node, which comes back.
    Kill(Host),
    /// kill -9 of whoever leads a partition.
    KillLeader(u32),
    /// kill -9 of whoever leads the metadata.
    KillMetadataLeader,
    /// kill -9 of all of them.
    KillAll,
    /// SIGSTOP of one node, SIGCONT later.
    Pause(Host),
    /// SIGSTOP of whoever leads a partition: it wakes up and believes that it still leads.
    PauseLeader(u32),
    /// One node hears nobody and is heard by nobody.
    Isolate(Host),
    /// One node hears the others and is not heard by them.
    Mute(Host),
    /// One node is heard by the others and does not hear them.
    Deaf(Host),
    /// Two nodes cannot reach each other, the third one reaches both.
    Part(Host, Host),
    /// Whoever leads a partition cannot reach whoever leads the metadata.
    PartLeaderFromMetadata(u32),
    /// Whoever leads the metadata is cut off from the other nodes, not from clients.
    IsolateMetadata,
    /// Packets are delayed, overtake each other, and get lost.
    Storm,
    /// The same, and a node is killed meanwhile.
    KillInStorm(Host),
    /// No room is left on one node's disk.
    Full(Host),
    /// A bit of a stopped node's segments is another one.
    Rot(Host),
    /// All nodes are stopped and started, one after the other.
    Roll,
}

impl Happening {
    /// Any, or the next one whose name has `only` in it.
    pub(crate) fn next(chance: &mut Chance, only: Option<&str>) -> Happening {
        loop {
            let happening = Happening::any(chance);
            if only.is_none_or(|only| happening.name().contains(only)) {
                return happening;
            }
        }
    }

    fn any(chance: &mut Chance) -> Happening {
        let mut host = || usize::try_from(chance.within(1, NODES as u64)).unwrap();
        let (host, next) = (host(), host());
        let other = if next == host { host % NODES + 1 } else { next };
        let partition = u32::try_from(chance.within(0, u64::from(PARTITIONS) - 1)).unwrap();
        match chance.within(0, 16) {
            0 => Happening::Kill(host),
            1 => Happening::KillLeader(partition),
            2 => Happening::KillMetadataLeader,
            3 => Happening::KillAll,
            4 => Happening::Pause(host),
            5 => Happening::PauseLeader(partition),
            6 => Happening::Isolate(host),
            7 => Happening::Mute(host),
            8 => Happening::Deaf(host),
            9 => Happening::Part(host, other),
            10 => Happening::PartLeaderFromMetadata(partition),
            11 => Happening::IsolateMetadata,
            12 => Happening::Storm,
            13 => Happening::KillInStorm(host),
            14 => Happening::Full(host),
            15 => Happening::Rot(host),
            _ => Happening::Roll,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Happening::Kill(_) => "kill",
            Happening::KillLeader(_) => "kill a leader",
            Happening::KillMetadataLeader => "kill the metadata's leader",
            Happening::KillAll => "kill all",
            Happening::Pause(_) => "pause",
            Happening::PauseLeader(_) => "pause a leader",
            Happening::Isolate(_) => "isolate",
            Happening::Mute(_) => "mute",
            Happening::Deaf(_) => "deaf",
            Happening::Part(..) => "part two",
            Happening::PartLeaderFromMetadata(_) => "part a leader from the metadata",
            Happening::IsolateMetadata => "isolate the metadata's leader",
            Happening::Storm => "storm",
            Happening::KillInStorm(_) => "kill in a storm",
            Happening::Full(_) => "full disk",
            Happening::Rot(_) => "rot",
            Happening::Roll => "rolling restart",
        }
    }

    /// Lets it happen and end; links are healed by who calls.
    pub(crate) fn happen(self, cluster: &mut Cluster<'_>, chance: &mut Chance) {
        match self {
            Happening::Kill(host) => kill(cluster, chance, &[host]),
            Happening::KillLeader(partition) => {
                kill(cluster, chance, &[Cluster::leader(partition).unwrap_or(1)]);
            }
            Happening::KillMetadataLeader => {
                kill(cluster, chance, &[Cluster::metadata_leader().unwrap_or(1)]);
            }
            Happening::KillAll => kill(cluster, chance, &[1, 2, 3]),
            Happening::Pause(host) => pause(cluster, chance, host),
            Happening::PauseLeader(partition) => {
                pause(cluster, chance, Cluster::leader(partition).unwrap_or(1));
            }
            Happening::Isolate(host) => {
                (0..=NODES).filter(|other| *other != host).for_each(|other| cluster.part(host, other));
                last(chance);
            }
            Happening::Mute(host) => {
                others(host).for_each(|other| cluster.network.cut(host, other));
                last(chance);
            }
            Happening::Deaf(host) => {
                others(host).for_each(|other| cluster.network.cut(other, host));
                last(chance);
            }
            Happening::Part(one, other) => {
                cluster.part(one, other);
                last(chance);
            }
            Happening::PartLeaderFromMetadata(partition) => {
                let leaders = (Cluster::leader(partition), Cluster::metadata_leader());
                if let (Some(one), Some(other)) = leaders
                    && one != other
                {
                    cluster.part(one, other);
                }
                last(chance);
            }
            Happening::IsolateMetadata => {
                let leader = Cluster::metadata_leader().unwrap_or(1);
                others(leader).for_each(|other| cluster.part(leader, other));
                last(chance);
            }
            Happening::Storm => {
                cluster.network.set_weather(storm(chance));
                last(chance);
            }
            Happening::KillInStorm(host) => {
                cluster.network.set_weather(storm(chance));
                kill(cluster, chance, &[host]);
                last(chance);
            }
            Happening::Full(host) => {
                cluster.disks[host - 1].fill();
                last(chance);
                cluster.disks[host - 1].empty();
                // One of whose writes failed is somebody's to restart.
                if Cluster::has_left(host) {
                    cluster.node(host).kill();
                    cluster.spawn(host);
                    cluster.until_it_listens(host);
                }
            }
            Happening::Rot(host) => {
                // What others lost before has to be there again: two copies may go, not three.
                cluster.until_whole();
                cluster.node(host).kill();
                let data = cluster.disks[host - 1].data();
                let rotten = rot(&data, chance);
                cluster.rotten.push(rotten.strip_prefix(&data).unwrap().to_owned());
                cluster.spawn(host);
                cluster.until_it_listens(host);
            }
            Happening::Roll => {
                for host in Cluster::hosts() {
                    assert!(cluster.node(host).stop().success());
                    cluster.spawn(host);
                    cluster.until_it_listens(host);
                }
            }
        }
    }
}

impl Cluster<'_> {
    fn part(&self, one: Host, other: Host) {
        self.network.cut(one, other);
        self.network.cut(other, one);
    }
}

/// The other nodes.
fn others(host: Host) -> impl Iterator<Item = Host> {
    Cluster::hosts().filter(move |other| *other != host)
}

/// How long it lasts: shorter and longer than others wait before they act.
fn last(chance: &mut Chance) {
    std::thread::sleep(Duration::from_millis(chance.within(100, 6000)));
}

fn kill(cluster: &mut Cluster<'_>, chance: &mut Chance, hosts: &[Host]) {
    hosts.iter().for_each(|host| cluster.node(*host).kill());
    last(chance);
    hosts.iter().for_each(|host| cluster.spawn(*host));
    hosts.iter().for_each(|host| cluster.until_it_listens(*host));
}

fn pause(cluster: &mut Cluster<'_>, chance: &mut Chance, host: Host) {
    cluster.node(host).signal("-STOP");
    last(chance);
    cluster.node(host).signal("-CONT");
}

fn storm(chance: &mut Chance) -> Weather {
    Weather { delay: Duration::from_micros(chance.within(500, 40_000)), lost: chance.within(0, 30) }
}

/// Changes a bit of a segment of a data shard; which one.
fn rot(data: &Path, chance: &mut Chance) -> PathBuf {
    let shards = fs::read_dir(data.join("shards")).unwrap().map(|shard| shard.unwrap().path());
    // A node whose metadata is damaged does not start: that is for people.
    let shards = shards.filter(|shard| !shard.ends_with("0"));
    let files = shards.flat_map(|shard| fs::read_dir(shard).unwrap().map(|file| file.unwrap().path()));
    let mut files: Vec<PathBuf> =
        files.filter(|file| file.extension().is_some_and(|kind| kind == "seg")).collect();
    files.sort();
    let rotten = files.swap_remove(usize::try_from(chance.within(1, files.len() as u64)).unwrap() - 1);
    let len = fs::metadata(&rotten).unwrap().len();
    let file = OpenOptions::new().read(true).write(true).open(&rotten).unwrap();
    let (at, bit, mut byte) = (chance.within(0, len - 1), chance.within(0, 7), [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
    rotten
}

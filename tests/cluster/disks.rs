//! The disk of one of several nodes fails: it leaves the others, and they go on without it.

use fault::{Fault, Kind, Plan, Rig};

use super::nodes::Cluster;
use super::replicas::{TOPIC, has_all, values};
use super::support::{disks, wait};

/// Three nodes, each on a disk that can be made to fail; `None` after saying that the machine has no such disks.
fn three() -> Option<(Cluster, Vec<Rig>)> {
    let rigs: Option<Vec<Rig>> = (0..3).map(|_| disks::rig()).collect();
    let rigs = rigs?;
    let mut cluster = Cluster::default();
    for rig in &rigs {
        cluster.add_on(Some(&rig.join("data")));
    }
    cluster.until_voters(&[1, 2, 3]);
    cluster.create_wide_topic(1, TOPIC, 1);
    Some((cluster, rigs))
}

#[test]
fn a_leader_whose_disk_fails_leaves_another_one_goes_on_and_a_restart_heals_it() {
    let Some((mut cluster, rigs)) = three() else { return };
    let mut stored: Vec<String> = values(0, 50).collect();
    let mut leader = 0;
    for value in &stored {
        leader = cluster.store(value);
    }
    cluster.until_held_by(3, &mut stored);
    rigs[leader - 1].fail(Plan::all(Kind::Write, Fault::Io));
    for value in values(100, 50) {
        cluster.store(&value);
        stored.push(value);
    }
    wait::until("the node to say why", || {
        let said = cluster.get(leader, "/healthz");
        (said.status == 503 && said.text().contains("failed")).then_some(())
    });
    cluster.node(leader).kill();
    has_all(&cluster.read_all(&stored), &stored).unwrap();
    rigs[leader - 1].heal();
    cluster.node(leader).restart();
    cluster.until_held_by(3, &mut stored);
    has_all(&cluster.read_all(&stored), &stored).unwrap();
}

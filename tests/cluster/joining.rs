//! Who is not let in, and what it is told.

use std::time::{Duration, Instant};

use super::nodes::{Cluster, free_address, settings};
use super::support::node::Node;
use super::support::wait;

/// Starts a node that is to be refused, and gives what it says.
fn refused(mut node: Node) -> String {
    let begin = Instant::now();
    node.spawn();
    let (status, said) = wait::until("the node to give up", || {
        let status = node.ended()?;
        Some((status, node.output()))
    });
    assert_eq!(status.code(), Some(6), "{said}");
    // It does not wait for what will not come. The bound is far from both.
    assert!(begin.elapsed() < Duration::from_secs(30), "{said}");
    said
}

#[test]
fn a_directory_of_another_cluster_or_with_a_past_of_its_own_does_not_join() {
    let mut cluster = Cluster::default();
    cluster.add();
    let mut alone = Node::start("[storage]\nsegment_bytes = 1048576\n");
    assert!(alone.stop().success());
    alone.configure(&settings(free_address(), Some(cluster.first())));
    let said = refused(alone);
    assert!(said.contains("belongs to cluster") && said.contains("leave --join away"), "{said}");

    let mut other = Cluster::default();
    other.add();
    let mut first = other.take(1);
    assert!(first.stop().success());
    first.configure(&settings(other.first(), Some(cluster.first())));
    let said = refused(first);
    assert!(said.contains("belongs to cluster"), "{said}");
}

#[test]
fn a_member_does_not_start_without_an_address_for_the_others() {
    let mut cluster = Cluster::default();
    cluster.add();
    let mut node = cluster.take(1);
    assert!(node.stop().success());
    node.configure("");
    let said = refused(node);
    assert!(said.contains("--peer"), "{said}");
}

#[test]
fn a_new_directory_at_a_known_node_s_address_is_told_so() {
    let mut cluster = Cluster::default();
    cluster.add();
    let peer = free_address();
    let mut second = Node::start(&settings(peer, Some(cluster.first())));
    second.kill();
    let emptied = Node::unstarted(&settings(peer, Some(cluster.first())), None);
    let said = refused(emptied);
    assert!(said.contains("node 2 of the cluster is reached at"), "{said}");
    // With its own directory it goes on.
    second.restart();
}

#[test]
fn a_directory_that_was_rolled_back_hears_it_from_the_others() {
    let mut cluster = Cluster::of_three();
    let node = cluster.node(3);
    assert!(node.stop().success());
    let data = node.data();
    let kept = data.with_extension("kept");
    copy(&data, &kept);
    node.restart();
    node.kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data);
    let said = refused(cluster.take(3));
    assert!(said.contains("it went back in time, so it takes no part"), "{said}");
    // Nobody was harmed by it: the others decide as before.
    cluster.create_topic(1, "goes-on");
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

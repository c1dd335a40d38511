//! Servers of one cluster on this machine.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::support::http::{Answer, Http};
use super::support::node::Node;
use super::support::wait;

/// Servers by number, counted from 1; each is told of the first one.
#[derive(Default)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    first: Option<SocketAddr>,
    /// More of `[storage]`, for all of them.
    storage: &'static str,
}

/// An address that is free now. Nobody else is given it soon: the system hands out ports in turn.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Settings of a node that others reach at `peer` and that joins `first`, if there is one.
pub(crate) fn settings(peer: SocketAddr, first: Option<SocketAddr>) -> String {
    let join = first.map_or_else(String::new, |first| format!("join = [\"{first}\"]\n"));
    format!("peer = \"{peer}\"\n{join}[storage]\nsegment_bytes = 1048576\n")
}

impl Cluster {
    pub(crate) fn of_three() -> Cluster {
        Cluster::of_three_with("")
    }

    /// The same, with more settings of `[storage]`.
    pub(crate) fn of_three_with(storage: &'static str) -> Cluster {
        let mut cluster = Cluster { storage, ..Cluster::default() };
        for _ in 0..3 {
            cluster.add();
        }
        cluster.until_voters(&[1, 2, 3]);
        cluster
    }

    /// A node that is alone, with more settings of `[storage]`.
    pub(crate) fn of_one_with(storage: &'static str) -> Cluster {
        let mut cluster = Cluster { storage, ..Cluster::default() };
        cluster.add();
        cluster
    }

    /// Starts one more; it joins the others.
    pub(crate) fn add(&mut self) {
        self.add_on(None);
    }

    /// The same on the directory `data`, else on one of its own.
    pub(crate) fn add_on(&mut self, data: Option<&Path>) {
        let peer = free_address();
        let mut node = Node::unstarted(&(settings(peer, self.first) + self.storage), data);
        node.restart();
        self.nodes.push(node);
        self.first.get_or_insert(peer);
    }

    /// One that runs already, reached by others at `peer`.
    pub(crate) fn from(node: Node, peer: SocketAddr) -> Cluster {
        Cluster { nodes: vec![node], first: Some(peer), storage: "" }
    }

    /// Numbers of those that have not been killed.
    pub(crate) fn living(&self) -> impl Iterator<Item = usize> {
        (1..=self.nodes.len()).filter(|number| self.nodes[number - 1].runs())
    }

    /// Where one listens.
    pub(crate) fn at(&self, number: usize) -> SocketAddr {
        self.nodes[number - 1].address()
    }

    pub(crate) fn node(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number - 1]
    }

    /// Takes one out of the cluster's hands; the numbers of those behind it change.
    pub(crate) fn take(&mut self, number: usize) -> Node {
        self.nodes.remove(number - 1)
    }

    /// Where the first one is reached by others.
    pub(crate) fn first(&self) -> SocketAddr {
        self.first.unwrap()
    }

    pub(crate) fn get(&self, number: usize, path: &str) -> Answer {
        Http::new(self.nodes[number - 1].address()).get(path).unwrap()
    }

    pub(crate) fn post(&self, number: usize, path: &str, kind: &str, body: &[u8]) -> Answer {
        Http::new(self.nodes[number - 1].address()).post(path, kind, body).unwrap()
    }

    pub(crate) fn status(&self, number: usize) -> serde_json::Value {
        serde_json::from_slice(&self.get(number, "/v1/status").body).unwrap()
    }

    pub(crate) fn create_topic(&self, number: usize, name: &str) {
        self.create_wide_topic(number, name, 2);
    }

    pub(crate) fn create_wide_topic(&self, number: usize, name: &str, partitions: u32) {
        let topic = serde_json::json!({"name": name, "partitions": partitions}).to_string();
        let answer = self.post(number, "/v1/topics", "application/json", topic.as_bytes());
        assert!(answer.is_success(), "{name} on node {number}: {}", answer.text());
    }

    /// The highest version of the metadata that a living node knows.
    pub(crate) fn newest_version(&self) -> u64 {
        let version = |node: &Node| {
            let answer = Http::new(node.address()).get("/v1/status").ok()?;
            let status: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
            status["metadata"]["version"].as_u64()
        };
        self.nodes.iter().filter_map(version).max().unwrap()
    }

    /// The node that leads a shard of records, if somebody does.
    pub(crate) fn leader_of_data(&self) -> Option<u64> {
        let shards = self.status(self.living().next()?)["shards"].as_array()?.clone();
        let data = shards.iter().find(|shard| shard["role"] == "data" && shard["partitions"] != 0)?;
        data["span"]["leader"]["node"].as_u64()
    }

    /// Waits until all nodes know these voters.
    pub(crate) fn until_voters(&self, voters: &[u64]) {
        let wanted = serde_json::json!(voters);
        for number in 1..=self.nodes.len() {
            wait::until("the voters to be known", || {
                (self.status(number)["metadata"]["group"]["voters"] == wanted).then_some(())
            });
        }
    }

    /// Waits until all nodes know the newest version of the metadata.
    pub(crate) fn until_all_agree(&self) {
        let newest = self.newest_version();
        for number in 1..=self.nodes.len() {
            wait::until("a node to catch up", || {
                let version = self.status(number)["metadata"]["version"].as_u64().unwrap();
                (version >= newest).then_some(())
            });
        }
    }
}

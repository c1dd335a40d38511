//! `tidelog cluster`: status.

use tidelog_proto::http::cluster::{ClusterNode, ClusterShard, ClusterStatus};

use super::args::{ClusterCommand, ListArgs, Output};
use super::exit::{Failure, end_on_interrupt};
use super::output;
use super::table::{Align, counted, grouped, table};

/// Runs one command on the cluster.
pub(crate) async fn cluster(command: ClusterCommand) -> Result<(), Failure> {
    end_on_interrupt();
    match command {
        ClusterCommand::Status(args) => status(args).await,
    }
}

async fn status(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let status = client.cluster().await?;
    match args.output {
        Output::Json => output::json(&status),
        Output::Table => output::write(text(&status).as_bytes()),
    }
}

fn text(status: &ClusterStatus) -> String {
    let [head, nodes, shards] = [head(status), nodes(&status.nodes), shards(&status.shards)];
    format!("{head}\n{nodes}\n{shards}")
}

fn head(status: &ClusterStatus) -> String {
    let leader =
        status.metadata.leader.map_or_else(|| "nobody".to_owned(), |leader| format!("node {leader}"));
    let quorum = if status.metadata.has_quorum { "" } else { ", NO QUORUM: nothing can be decided" };
    let (topics, partitions) = (status.topics as u64, status.partitions as u64);
    format!(
        "cluster {} as node {} knows it\n{} in {}; metadata led by {leader}, version {}, voters {}{quorum}\n\
         shards without a leader: {}, spans with too few copies: {}\n",
        status.cluster,
        status.told_by,
        counted(partitions, "partition"),
        counted(topics, "topic"),
        grouped(status.metadata.version),
        numbers(&status.metadata.voters),
        status.without_leader,
        status.under_replicated,
    )
}

fn nodes(nodes: &[ClusterNode]) -> String {
    let columns = [
        ("NODE", Align::Right),
        ("STATE", Align::Left),
        ("METADATA", Align::Left),
        ("LAG", Align::Right),
        ("LEADS", Align::Right),
        ("SPANS", Align::Right),
        ("FREE MiB", Align::Right),
        ("HEARD ms AGO", Align::Right),
        ("HTTP", Align::Left),
        ("KAFKA", Align::Left),
        ("PEER", Align::Left),
    ];
    let known = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), grouped);
    let at = |address: &str| if address.is_empty() { "-".to_owned() } else { address.to_owned() };
    let rows = nodes.iter().map(|node| {
        vec![
            node.node.to_string(),
            node.state.clone(),
            node.metadata.clone(),
            known(node.lag),
            node.leads.to_string(),
            node.spans.to_string(),
            known(node.free_bytes.map(|bytes| bytes >> 20)),
            known(node.silent_ms),
            at(&node.http),
            at(&node.kafka),
            at(&node.peer),
        ]
    });
    table(&columns, rows)
}

fn shards(shards: &[ClusterShard]) -> String {
    let columns = [
        ("SHARD", Align::Right),
        ("LEADER", Align::Right),
        ("EPOCH", Align::Right),
        ("STATE", Align::Left),
        ("HOLDERS", Align::Left),
        ("IN SYNC", Align::Left),
        ("QUORUM", Align::Right),
        ("SPANS", Align::Right),
        ("TOO FEW COPIES", Align::Right),
        ("PARTITIONS", Align::Right),
    ];
    let rows = shards.iter().map(|shard| {
        vec![
            shard.shard.to_string(),
            shard.leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
            shard.epoch.to_string(),
            shard.state.clone(),
            numbers(&shard.holders),
            numbers(&shard.in_sync),
            shard.quorum.to_string(),
            shard.spans.to_string(),
            shard.under_replicated.to_string(),
            shard.partitions.to_string(),
        ]
    });
    table(&columns, rows)
}

fn numbers(numbers: &[u64]) -> String {
    if numbers.is_empty() {
        return "-".to_owned();
    }
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_proto::http::cluster::MetadataGroup;

    #[test]
    fn what_is_wrong_stands_at_the_top_and_what_nobody_knows_is_a_dash() {
        let node = ClusterNode {
            node: 1,
            state: "read_write".into(),
            metadata: "leader".into(),
            peer: "a:1".into(),
            http: "a:2".into(),
            kafka: String::new(),
            incarnation: 3,
            leads: 0,
            spans: 1,
            silent_ms: Some(20),
            free_bytes: Some(5 << 30),
            lag: None,
        };
        let shard = ClusterShard {
            shard: 1,
            leader: None,
            epoch: 7,
            state: "sealing".into(),
            holders: vec![1, 2],
            in_sync: vec![1],
            quorum: 2,
            spans: 4,
            under_replicated: 1,
            partitions: 10,
        };
        let metadata = MetadataGroup { leader: Some(1), has_quorum: false, version: 1234, voters: vec![1] };
        let status = ClusterStatus {
            cluster: "ab".into(),
            told_by: 1,
            metadata,
            nodes: vec![node],
            shards: vec![shard],
            topics: 1,
            partitions: 10,
            without_leader: 1,
            under_replicated: 1,
        };
        let text = text(&status);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "cluster ab as node 1 knows it");
        assert!(lines[1].contains("NO QUORUM") && lines[1].contains("version 1,234"), "{}", lines[1]);
        assert_eq!(lines[2], "shards without a leader: 1, spans with too few copies: 1");
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            cells(lines[5]),
            ["1", "read_write", "leader", "-", "0", "1", "5,120", "20", "a:2", "-", "a:1"]
        );
        assert_eq!(cells(lines[8]), ["1", "-", "7", "sealing", "1,2", "1", "2", "4", "1", "10"]);
    }
}

//! `tidelog cluster`: what it is, who leads what, and which nodes it has.

use std::time::Duration;

use serde::Serialize;
use tidelog_client::Client;
use tidelog_proto::http::cluster::{ClusterNode, ClusterShard, ClusterStatus, MovedLeader};

use super::args::{ClusterCommand, DrainArgs, ListArgs, MoveLeaderArgs, Output, RemoveArgs};
use super::confirm::confirmed;
use super::exit::{Failure, end_on_interrupt, tell};
use super::output;
use super::table::{Align, counted, grouped, table};

/// Runs one command on the cluster.
pub(crate) async fn cluster(command: ClusterCommand) -> Result<(), Failure> {
    end_on_interrupt();
    match command {
        ClusterCommand::Status(args) => status(args).await,
        ClusterCommand::MoveLeader(args) => move_leader(args).await,
        ClusterCommand::Drain(args) => drain(args).await,
        ClusterCommand::Remove(args) => remove(args).await,
        ClusterCommand::Add(args) => add(args).await,
    }
}

async fn drain(args: DrainArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let mut node = client.drain(args.node, args.cancel).await?;
    while args.wait && !is_empty(&node) {
        node = look(&client, args.node).await?;
    }
    told(&node, args.output)
}

/// Between two looks at a node that is being emptied.
const LOOK: Duration = Duration::from_secs(1);

/// How far it has come, a moment later.
async fn look(client: &Client, number: u64) -> Result<ClusterNode, Failure> {
    tokio::time::sleep(LOOK).await;
    let status = client.cluster().await?;
    let node = status.nodes.into_iter().find(|node| node.node == number);
    let node = node.ok_or_else(|| Failure::NotFound(format!("there is no node {number}")))?;
    if node.state != "draining" {
        return Err(Failure::Error(format!("node {number} is not drained any more: it is {}", node.state)));
    }
    tell(&format!(
        "node {number} leads {} and holds {}{}",
        counted(node.leads as u64, "shard"),
        counted(node.spans as u64, "span"),
        if votes(&node) { ", and votes in the metadata's group" } else { "" },
    ));
    Ok(node)
}

/// Whether nothing depends on a node.
fn is_empty(node: &ClusterNode) -> bool {
    node.leads == 0 && node.spans == 0 && !votes(node)
}

fn votes(node: &ClusterNode) -> bool {
    matches!(node.metadata.as_str(), "voter" | "leader")
}

async fn remove(args: RemoveArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let number = args.node;
    let deed = match args.force {
        true => format!("give up node {number} with everything on it for ever"),
        false => format!("remove node {number} from the cluster for ever"),
    };
    if !confirmed(args.guard, &deed)? {
        return Ok(());
    }
    told(&client.remove_node(number, args.force).await?, args.output)
}

fn told(node: &ClusterNode, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => output::json(node),
        Output::Table => output::write(nodes(std::slice::from_ref(node)).as_bytes()),
    }
}

/// How another node is started. It joins by itself: nothing has to be said to the cluster before.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Joining {
    /// Its cluster's id.
    cluster: String,
    /// The nodes to be named to it, HOST:PORT.
    join: Vec<String>,
    /// The command line, to be completed with a directory and an address of its own.
    command: Vec<String>,
}

async fn add(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let joining = joining(&client.cluster().await?)?;
    match args.output {
        Output::Json => output::json(&joining),
        Output::Table => output::write(add_text(&joining).as_bytes()),
    }
}

fn joining(status: &ClusterStatus) -> Result<Joining, Failure> {
    let stays = |node: &&ClusterNode| matches!(node.state.as_str(), "read_write" | "read_only");
    if status.nodes.iter().any(|node| node.metadata == "alone") {
        let what = "this node is alone: start it again with --peer IP:PORT, where others reach it; then they can join it";
        return Err(Failure::Refused(what.to_owned()));
    }
    let join: Vec<String> = status.nodes.iter().filter(stays).map(|node| node.peer.clone()).collect();
    let all = join.join(",");
    let command = ["tidelog", "serve", "--data", "DIR", "--peer", "IP:PORT", "--join", &all];
    Ok(Joining { cluster: status.cluster.clone(), command: command.map(str::to_owned).to_vec(), join })
}

fn add_text(joining: &Joining) -> String {
    format!(
        "A node joins by itself. On its machine, with an empty directory and an address that the others reach:\n\n    {}\n\n\
         It takes its share of what is written from then on; `tidelog cluster status` shows it.\n\
         Outside of loopback it needs --insecure-listen, as the others do.\n",
        joining.command.join(" ")
    )
}

async fn move_leader(args: MoveLeaderArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let moved = client.move_leader(args.shard, args.node).await?;
    match args.output {
        Output::Json => output::json(&moved),
        Output::Table => output::write(moved_text(&moved).as_bytes()),
    }
}

fn moved_text(moved: &MovedLeader) -> String {
    let MovedLeader { shard, from, to, epoch, took_ms } = moved;
    let columns = [
        ("SHARD", Align::Right),
        ("FROM", Align::Right),
        ("TO", Align::Right),
        ("EPOCH", Align::Right),
        ("TOOK ms", Align::Right),
    ];
    let row = [shard.to_string(), from.to_string(), to.to_string(), epoch.to_string(), took_ms.to_string()];
    table(&columns, [row.to_vec()])
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
    let moving = match status.moving as u64 {
        0 => String::new(),
        moving => format!("; {} on the way to another shard", counted(moving, "partition")),
    };
    let (topics, partitions) = (status.topics as u64, status.partitions as u64);
    format!(
        "cluster {} as node {} knows it\n{} in {}; metadata led by {leader}, version {}, voters {}{quorum}\n\
         shards without a leader: {}, spans with too few copies: {}\n\
         out of balance by: leaders {} %, copies {} %, partitions {} %{moving}\n{}",
        status.cluster,
        status.told_by,
        counted(partitions, "partition"),
        counted(topics, "topic"),
        grouped(status.metadata.version),
        numbers(&status.metadata.voters),
        status.without_leader,
        status.under_replicated,
        status.skew.leaders,
        status.skew.copies,
        status.skew.partitions,
        status.nodes.iter().filter(|node| node.state == "draining").map(draining).collect::<String>(),
    )
}

/// How far a node that is being emptied has come.
fn draining(node: &ClusterNode) -> String {
    let number = node.node;
    if is_empty(node) {
        return format!("node {number} is empty: `tidelog cluster remove {number}` lets it go\n");
    }
    let vote = if votes(node) { "; it votes in the metadata's group still" } else { "" };
    let (leads, spans) = (counted(node.leads as u64, "shard"), counted(node.spans as u64, "span"));
    format!("node {number} is being emptied: it leads {leads} and holds {spans}{vote}\n")
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
    use tidelog_proto::http::cluster::{ClusterSkew, MetadataGroup};

    #[test]
    fn what_is_wrong_stands_at_the_top_and_what_nobody_knows_is_a_dash() {
        let node = ClusterNode {
            node: 1,
            state: "draining".into(),
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
            moving: 1,
            skew: ClusterSkew { leaders: 66, copies: 0, partitions: 5 },
        };
        let text = text(&status);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "cluster ab as node 1 knows it");
        assert!(lines[1].contains("NO QUORUM") && lines[1].contains("version 1,234"), "{}", lines[1]);
        assert_eq!(lines[2], "shards without a leader: 1, spans with too few copies: 1");
        assert_eq!(
            lines[3],
            "out of balance by: leaders 66 %, copies 0 %, partitions 5 %; 1 partition on the way to another shard"
        );
        let vote = "it votes in the metadata's group still";
        assert_eq!(lines[4], format!("node 1 is being emptied: it leads 0 shards and holds 1 span; {vote}"));
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            cells(lines[7]),
            ["1", "draining", "leader", "-", "0", "1", "5,120", "20", "a:2", "-", "a:1"]
        );
        assert_eq!(cells(lines[10]), ["1", "-", "7", "sealing", "1,2", "1", "2", "4", "1", "10"]);
    }

    #[test]
    fn a_node_that_is_to_join_is_told_of_those_that_stay() {
        let node = |number: u64, state: &str, metadata: &str| ClusterNode {
            node: number,
            state: state.into(),
            metadata: metadata.into(),
            peer: format!("10.0.0.{number}:4244"),
            http: String::new(),
            kafka: String::new(),
            incarnation: 1,
            leads: 0,
            spans: 0,
            silent_ms: None,
            free_bytes: None,
            lag: None,
        };
        let status = |nodes| ClusterStatus {
            cluster: "ab".into(),
            told_by: 1,
            metadata: MetadataGroup { leader: None, has_quorum: true, version: 1, voters: vec![] },
            nodes,
            shards: vec![],
            topics: 0,
            partitions: 0,
            without_leader: 0,
            under_replicated: 0,
            moving: 0,
            skew: ClusterSkew::default(),
        };
        let nodes =
            vec![node(1, "read_write", "leader"), node(2, "gone", "none"), node(3, "read_write", "voter")];
        let joining = joining(&status(nodes)).unwrap();
        assert_eq!(joining.join, ["10.0.0.1:4244", "10.0.0.3:4244"]);
        assert!(add_text(&joining).contains("--join 10.0.0.1:4244,10.0.0.3:4244"));
        let alone = status(vec![node(1, "read_write", "alone")]);
        assert!(matches!(super::joining(&alone), Err(Failure::Refused(_))));
    }
}

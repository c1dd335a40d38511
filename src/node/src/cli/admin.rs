//! `tidelog topic`: create, list, describe, delete.

use tidelog_proto::http::admin::{CreateTopic, TopicConfig, TopicDescription};

use super::args::{CreateArgs, DeleteArgs, DescribeArgs, ListArgs, Output, TopicCommand};
use super::confirm::confirmed;
use super::exit::{Failure, end_on_interrupt, tell};
use super::output;
use super::table::{Align, counted, grouped, table};
use super::trim;

/// Runs one command on topics.
pub(crate) async fn topic(command: TopicCommand) -> Result<(), Failure> {
    end_on_interrupt();
    match command {
        TopicCommand::Create(args) => create(args).await,
        TopicCommand::List(args) => list(args).await,
        TopicCommand::Describe(args) => describe(args).await,
        TopicCommand::Delete(args) => delete(args).await,
        TopicCommand::Trim(args) => trim::trim(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), Failure> {
    let config = TopicConfig { retention_ms: args.retention_ms, retention_bytes: args.retention_bytes };
    let request = CreateTopic { name: args.topic, partitions: args.partitions, config };
    request.check().map_err(|error| Failure::Usage(error.to_string()))?;
    let client = args.server.connect().await?;
    let created = client.create_topic(&request).await?;
    match args.output {
        Output::Json => output::json(&created),
        Output::Table => {
            let partitions = counted(created.partitions.len() as u64, "partition");
            tell(&format!("created topic {} with {partitions}", created.name));
            Ok(())
        }
    }
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let list = client.list_topics().await?;
    if args.output == Output::Json {
        return output::json(&list);
    }
    let columns = [("NAME", Align::Left), ("PARTITIONS", Align::Right)];
    let rows = list.topics.into_iter().map(|topic| vec![topic.name, topic.partitions.to_string()]);
    output::write(table(&columns, rows).as_bytes())
}

async fn describe(args: DescribeArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let topic = client.describe_topic(&args.topic).await?;
    match args.output {
        Output::Json => output::json(&topic),
        Output::Table => output::write(description(&topic).as_bytes()),
    }
}

fn description(topic: &TopicDescription) -> String {
    let limit =
        |limit: Option<u64>, unit| limit.map_or("no limit".to_owned(), |n| format!("{} {unit}", grouped(n)));
    let settings = [
        ("name", topic.name.clone()),
        ("id", topic.id.clone()),
        ("durability", topic.durability.clone()),
        ("retention time", limit(topic.config.retention_ms, "ms")),
        ("retention size", limit(topic.config.retention_bytes, "bytes a partition")),
    ];
    let settings = settings.map(|(name, value)| vec![name.to_owned(), value]);
    let columns =
        ["PARTITION", "SHARD", "START", "COMMITTED", "DURABLE", "END"].map(|name| (name, Align::Right));
    let rows = topic.partitions.iter().map(|p| {
        let numbers = [p.start_offset, p.committed_offset, p.durable_offset, p.end_offset];
        let mut row = vec![p.partition.to_string(), p.shard.to_string()];
        row.extend(numbers.map(|number| number.to_string()));
        row
    });
    let settings = table(&[("TOPIC", Align::Left), ("", Align::Left)], settings);
    format!("{settings}\n{}", table(&columns, rows))
}

async fn delete(args: DeleteArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let topic = client.describe_topic(&args.topic).await?;
    let records = topic.partitions.iter().map(|p| p.committed_offset.saturating_sub(p.start_offset)).sum();
    let deed = format!(
        "delete topic {} with {} and {}",
        topic.name,
        counted(topic.partitions.len() as u64, "partition"),
        counted(records, "record")
    );
    if confirmed(args.guard, &deed)? {
        client.delete_topic(&args.topic).await?;
        tell(&format!("deleted topic {}", topic.name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_proto::http::admin::PartitionDescription;

    #[test]
    fn a_description_shows_settings_and_watermarks() {
        let partition = PartitionDescription {
            partition: 0,
            shard: 1,
            start_offset: 20,
            committed_offset: 300,
            durable_offset: 300,
            end_offset: 4000,
        };
        let topic = TopicDescription {
            name: "events".to_owned(),
            id: "7".to_owned(),
            durability: "fdatasync on 1 of 1".to_owned(),
            config: TopicConfig { retention_ms: Some(86_400_000), retention_bytes: None },
            partitions: vec![partition],
        };
        let text = description(&topic);
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("  ").filter(|c| !c.is_empty()).collect()).collect();
        assert!(text.contains("\ndurability      fdatasync on 1 of 1\n"), "{text}");
        assert!(text.contains("\nretention time  86,400,000 ms\nretention size  no limit\n"), "{text}");
        assert_eq!(lines[lines.len() - 2].len(), 6, "{text}");
        let numbers: Vec<&str> = lines[lines.len() - 1].iter().map(|cell| cell.trim()).collect();
        assert_eq!(numbers, ["0", "1", "20", "300", "300", "4000"]);
    }
}

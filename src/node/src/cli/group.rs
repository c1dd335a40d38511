//! `tidelog group`: list, describe, reset-offsets, delete.

use tidelog_client::{Client, Error};
use tidelog_proto::http::admin::PartitionDescription;
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::http::groups::{AssignedTopic, GroupDescription, GroupMember, SetOffset, SetOffsets};
use tidelog_proto::offset_spec::OffsetSpec;

use super::args::{DeleteGroupArgs, DescribeGroupArgs, GroupCommand, ListArgs, Output, ResetOffsetsArgs};
use super::confirm::confirmed;
use super::exit::{Failure, end_on_interrupt, tell};
use super::output;
use super::table::{Align, counted, table, time_text};
use super::trim::selected;

/// Runs one command on consumer groups.
pub(crate) async fn group(command: GroupCommand) -> Result<(), Failure> {
    end_on_interrupt();
    match command {
        GroupCommand::List(args) => list(args).await,
        GroupCommand::Describe(args) => describe(args).await,
        GroupCommand::ResetOffsets(args) => reset_offsets(args).await,
        GroupCommand::Delete(args) => delete(args).await,
    }
}

async fn list(args: ListArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let list = client.list_groups().await?;
    if args.output == Output::Json {
        return output::json(&list);
    }
    let columns = [("GROUP", Align::Left), ("STATE", Align::Left), ("MEMBERS", Align::Right)];
    let rows = list.groups.into_iter().map(|one| vec![one.group, one.state, one.members.to_string()]);
    output::write(table(&columns, rows).as_bytes())
}

async fn describe(args: DescribeGroupArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let group = client.describe_group(&args.group).await?;
    match args.output {
        Output::Json => output::json(&group),
        Output::Table => output::write(description(&group).as_bytes()),
    }
}

fn description(group: &GroupDescription) -> String {
    let facts = [
        ("name", group.group.clone()),
        ("state", group.state.clone()),
        ("generation", group.generation.to_string()),
        ("protocol", group.protocol.clone()),
    ];
    let facts = facts.map(|(name, value)| vec![name.to_owned(), value]);
    let mut text = table(&[("GROUP", Align::Left), ("", Align::Left)], facts);
    if !group.members.is_empty() {
        let columns = ["MEMBER", "CLIENT", "HOST", "READS"].map(|name| (name, Align::Left));
        let row = |member: &GroupMember| {
            let reads: Vec<String> = member.assignment.iter().map(reads).collect();
            let id = member.instance_id.as_ref().unwrap_or(&member.member_id);
            vec![id.clone(), member.client_id.clone(), member.client_host.clone(), reads.join(", ")]
        };
        text.push('\n');
        text.push_str(&table(&columns, group.members.iter().map(row)));
    }
    if !group.offsets.is_empty() {
        let [left, right] = [Align::Left, Align::Right];
        let columns = [
            ("TOPIC", left),
            ("PARTITION", right),
            ("OFFSET", right),
            ("END", right),
            ("LAG", right),
            ("COMMITTED", left),
        ];
        let known = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let rows = group.offsets.iter().map(|one| {
            vec![
                one.topic.clone(),
                one.partition.to_string(),
                one.offset.to_string(),
                known(one.end_offset),
                known(one.lag),
                time_text(one.committed_at),
            ]
        });
        text.push('\n');
        text.push_str(&table(&columns, rows));
    }
    text
}

/// `topic/0-3,7`.
fn reads(assigned: &AssignedTopic) -> String {
    let mut ranges: Vec<(i32, i32)> = Vec::new();
    for &partition in &assigned.partitions {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == partition => *last = partition,
            _ => ranges.push((partition, partition)),
        }
    }
    let ranges: Vec<String> = ranges
        .into_iter()
        .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    format!("{}/{}", assigned.topic, ranges.join(","))
}

/// Moves the group in the partitions asked for, or says what that would change.
async fn reset_offsets(args: ResetOffsetsArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let before = match client.describe_group(&args.group).await {
        Ok(group) => group.offsets,
        // Then it begins with this.
        Err(Error::NotFound { code: ErrorCode::UnknownGroup, .. }) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let topic = client.describe_topic(&args.topic).await?;
    let (mut offsets, mut rows) = (Vec::new(), Vec::new());
    for partition in selected(&topic, &args.partitions)? {
        let offset = resolve(&client, &args, &partition).await?;
        let known = before.iter().find(|one| {
            one.topic == topic.name && u32::try_from(one.partition).is_ok_and(|n| n == partition.partition)
        });
        rows.push(vec![
            topic.name.clone(),
            partition.partition.to_string(),
            known.map_or("-".to_owned(), |one| one.offset.to_string()),
            offset.to_string(),
        ]);
        offsets.push(SetOffset { topic: topic.name.clone(), partition: partition.partition, offset });
    }
    let columns = [
        ("TOPIC", Align::Left),
        ("PARTITION", Align::Right),
        ("OFFSET", Align::Right),
        ("NEW OFFSET", Align::Right),
    ];
    if !args.dry_run {
        client.set_group_offsets(&args.group, &SetOffsets { offsets }).await?;
    }
    output::write(table(&columns, rows).as_bytes())?;
    tell(if args.dry_run {
        "dry run: nothing was changed"
    } else {
        "the group goes on from the new offsets"
    });
    Ok(())
}

/// The offset that is meant in a partition, brought to where there are records.
async fn resolve(
    client: &Client,
    args: &ResetOffsetsArgs,
    partition: &PartitionDescription,
) -> Result<u64, Error> {
    let (start, end) = (partition.start_offset, partition.committed_offset);
    let offset = match args.offset.resolve(start, end) {
        Some(offset) => offset,
        None => {
            let OffsetSpec::Timestamp(ms) = args.offset else { return Ok(end) };
            client.offset_at(&args.topic, partition.partition, ms).await?.unwrap_or(end)
        }
    };
    Ok(offset.clamp(start, end))
}

async fn delete(args: DeleteGroupArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let group = client.describe_group(&args.group).await?;
    let offsets = counted(group.offsets.len() as u64, "committed offset");
    if confirmed(args.guard, &format!("delete consumer group {} with {offsets}", group.group))? {
        client.delete_group(&args.group).await?;
        tell(&format!("deleted consumer group {}", group.group));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consecutive_partitions_are_shown_as_ranges() {
        let topic =
            |partitions: &[i32]| AssignedTopic { topic: "t".to_owned(), partitions: partitions.to_vec() };
        assert_eq!(reads(&topic(&[0, 1, 2, 5, 7, 8])), "t/0-2,5,7-8");
        assert_eq!(reads(&topic(&[3])), "t/3");
    }
}

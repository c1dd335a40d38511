//! `tidelog topic trim`: deletes the oldest records of partitions, after saying which.

use tidelog_client::Error;
use tidelog_proto::http::admin::{PartitionDescription, TopicDescription};
use tidelog_proto::offset_spec::OffsetSpec;

use super::args::TrimArgs;
use super::confirm::confirmed;
use super::exit::{Failure, tell};
use super::table::{counted, grouped};

/// What is to be done with one partition.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    partition: u32,
    /// The oldest offset now.
    start: u64,
    /// The oldest offset to keep, above `start`.
    keep: u64,
}

/// Deletes the records below an offset.
pub(crate) async fn trim(args: TrimArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    let topic = client.describe_topic(&args.topic).await?;
    let mut cuts = Vec::new();
    for partition in selected(&topic, &args.partitions)? {
        let found = match args.offset {
            OffsetSpec::Timestamp(ms) => client.offset_at(&topic.name, partition.partition, ms).await?,
            _ => None,
        };
        cuts.extend(cut(&partition, args.offset, found)?);
    }
    if cuts.is_empty() {
        tell("nothing to delete: no record lies before that offset");
        return Ok(());
    }
    if confirmed(args.guard, &deed(&topic.name, &cuts))? {
        for cut in cuts {
            let start = client.trim(&topic.name, cut.partition, cut.keep).await?;
            tell(&format!("partition {} now begins at offset {start}", cut.partition));
        }
    }
    Ok(())
}

/// The partitions asked for, each once; none asked for means all.
pub(super) fn selected(topic: &TopicDescription, wanted: &[u32]) -> Result<Vec<PartitionDescription>, Error> {
    let known = |wanted: &u32| topic.partitions.iter().any(|known| known.partition == *wanted);
    if let Some(&partition) = wanted.iter().find(|wanted| !known(wanted)) {
        let partitions = topic.partitions.len();
        return Err(Error::NoPartition { topic: topic.name.clone(), partition, partitions });
    }
    let mut partitions = topic.partitions.clone();
    partitions.retain(|known| wanted.is_empty() || wanted.contains(&known.partition));
    Ok(partitions)
}

/// What `offset` means for a partition; `found` is the record that a timestamp led to. `None`: nothing lies before it.
fn cut(
    partition: &PartitionDescription,
    offset: OffsetSpec,
    found: Option<u64>,
) -> Result<Option<Cut>, Failure> {
    let (start, end) = (partition.start_offset, partition.committed_offset);
    // A timestamp above all records keeps nothing.
    let keep = offset.resolve(start, end).or(found).unwrap_or(end);
    let partition = partition.partition;
    if keep > end {
        let text =
            format!("partition {partition} ends at offset {end}, {keep} lies beyond it; nothing was done");
        return Err(Failure::Error(text));
    }
    Ok((keep > start).then_some(Cut { partition, start, keep }))
}

fn deed(topic: &str, cuts: &[Cut]) -> String {
    let records = cuts.iter().map(|cut| cut.keep - cut.start).sum();
    let mut text = format!("delete the oldest {} of topic {topic}:", counted(records, "record"));
    for (n, cut) in cuts.iter().enumerate() {
        let (from, to) = (grouped(cut.start), grouped(cut.keep - 1));
        text.push_str(if n > 0 { ", " } else { " " });
        text.push_str(&format!("offsets {from} to {to} of partition {}", cut.partition));
        if n == 4 && cuts.len() > 5 {
            text.push_str(&format!(", and of {} more", counted(cuts.len() as u64 - 5, "partition")));
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(start_offset: u64, end: u64) -> PartitionDescription {
        PartitionDescription {
            partition: 3,
            shard: 0,
            start_offset,
            committed_offset: end,
            durable_offset: end,
            end_offset: end,
        }
    }

    #[test]
    fn every_form_of_an_offset_says_what_is_kept() {
        let cases = [
            (OffsetSpec::At(15), None, Some(15)),
            (OffsetSpec::At(10), None, None),
            (OffsetSpec::At(5), None, None),
            (OffsetSpec::End, None, Some(20)),
            (OffsetSpec::Beginning, None, None),
            (OffsetSpec::FromEnd(3), None, Some(17)),
            (OffsetSpec::FromEnd(30), None, None),
            (OffsetSpec::Timestamp(9), Some(12), Some(12)),
            (OffsetSpec::Timestamp(9), Some(10), None),
            (OffsetSpec::Timestamp(9), None, Some(20)),
        ];
        for (offset, found, keep) in cases {
            let cut = cut(&partition(10, 20), offset, found).unwrap();
            assert_eq!(cut.map(|cut| cut.keep), keep, "{offset} {found:?}");
        }
    }

    #[test]
    fn an_offset_beyond_the_end_is_refused() {
        let failure = cut(&partition(10, 20), OffsetSpec::At(21), None).unwrap_err();
        assert!(matches!(failure, Failure::Error(text) if text.contains("ends at offset 20")));
    }

    #[test]
    fn the_question_names_what_is_lost() {
        let cuts: Vec<Cut> = (0..7).map(|partition| Cut { partition, start: 0, keep: 2000 }).collect();
        assert_eq!(
            deed("t", &cuts[..2]),
            "delete the oldest 4,000 records of topic t: offsets 0 to 1,999 of partition 0, offsets 0 to 1,999 of partition 1"
        );
        assert!(deed("t", &cuts).ends_with("of partition 4, and of 2 partitions more"));
    }
}

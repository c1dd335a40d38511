//! Names of partitions, as the entries that created them tell.

use std::collections::HashMap;

use tidelog_format::entry::{Entry, EntryKind};
use tidelog_format::frame::Frame;

/// Longest name that is kept, bytes.
const MAX_NAME: usize = 1024;
/// Most names that are kept; a hostile file may tell any number.
const MAX_NAMES: usize = 1_000_000;

/// The names seen so far.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_id: HashMap<u64, Name>,
}

/// A partition's topic, and its number within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) topic: String,
    pub(crate) partition: u64,
}

impl Names {
    /// Notes all names that a frame tells.
    pub(crate) fn note_frame(&mut self, frame: &Frame<'_>) {
        for entry in frame.entries() {
            self.note(&entry);
        }
    }

    fn note(&mut self, entry: &Entry<'_>) {
        if entry.kind() == Some(EntryKind::PartitionCreated)
            && self.by_id.len() < MAX_NAMES
            && let Some(name) = parse(entry.body)
        {
            self.by_id.insert(entry.row.partition, name);
        }
    }

    /// The name of a partition; `#ID` when it was created in a segment that is not here.
    pub(crate) fn of(&self, partition: u64) -> Name {
        let known = self.by_id.get(&partition).cloned();
        known.unwrap_or_else(|| Name { topic: format!("#{partition}"), partition })
    }

    /// The name in one piece: `topic/number`, or `#ID`.
    pub(crate) fn shown(&self, partition: u64) -> String {
        match self.by_id.get(&partition) {
            Some(name) => format!("{}/{}", name.topic, name.partition),
            None => format!("#{partition}"),
        }
    }
}

/// `topic/number`; a name of another form is a topic's.
fn parse(body: &[u8]) -> Option<Name> {
    let text = std::str::from_utf8(body).ok().filter(|text| !text.is_empty() && text.len() <= MAX_NAME)?;
    let split = text.rsplit_once('/').and_then(|(topic, number)| Some((topic, number.parse().ok()?)));
    let (topic, partition) = split.unwrap_or((text, 0));
    Some(Name { topic: topic.to_owned(), partition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_split_at_its_last_slash() {
        let name = |topic: &str, partition| Some(Name { topic: topic.to_owned(), partition });
        assert_eq!(parse(b"metrics/12"), name("metrics", 12));
        assert_eq!(parse(b"a/b/3"), name("a/b", 3));
        assert_eq!(parse(b"odd"), name("odd", 0));
        assert_eq!(parse(b"odd/x"), name("odd/x", 0));
        assert_eq!(parse(b"\xff"), None);
        assert_eq!(parse(b""), None);
    }
}

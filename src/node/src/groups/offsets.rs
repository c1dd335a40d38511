//! How far each group has read, in memory.

use std::collections::BTreeMap;

/// A topic and a partition of it.
pub(crate) type Place = (String, i32);

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The next record to read.
    pub(crate) offset: i64,
    /// Leader epoch of the last record that was read; -1 when the client did not say.
    pub(crate) leader_epoch: i32,
    /// What the client wanted kept beside it.
    pub(crate) metadata: String,
    /// When it was committed, ms since 1970.
    pub(crate) at: i64,
}

/// One change: a new offset, or none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) group: String,
    pub(crate) place: Place,
    pub(crate) committed: Option<Committed>,
}

/// All committed offsets.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Offsets {
    groups: BTreeMap<String, BTreeMap<Place, Committed>>,
    count: usize,
}

impl Offsets {
    /// Applies a change.
    pub(crate) fn apply(&mut self, change: Change) {
        let Change { group, place, committed } = change;
        match committed {
            Some(committed) => {
                let before = self.groups.entry(group).or_default().insert(place, committed);
                self.count += usize::from(before.is_none());
            }
            None => {
                let Some(places) = self.groups.get_mut(&group) else { return };
                self.count -= usize::from(places.remove(&place).is_some());
                if places.is_empty() {
                    self.groups.remove(&group);
                }
            }
        }
    }

    /// How many there are, over all groups.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The offsets of a group; `None` when it has none.
    pub(crate) fn group(&self, group: &str) -> Option<&BTreeMap<Place, Committed>> {
        self.groups.get(group)
    }

    /// The names of all groups that have offsets.
    pub(crate) fn groups(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    /// Everything, as the changes that make it.
    pub(crate) fn all(&self) -> impl Iterator<Item = Change> {
        self.groups.iter().flat_map(|(group, places)| {
            places.iter().map(|(place, committed)| Change {
                group: group.clone(),
                place: place.clone(),
                committed: Some(committed.clone()),
            })
        })
    }

    /// The changes that let go of what `unwanted` names.
    pub(crate) fn removals(&self, unwanted: impl Fn(&str, &Place) -> bool) -> Vec<Change> {
        let all =
            self.groups.iter().flat_map(|(group, places)| places.keys().map(move |place| (group, place)));
        let gone = all.filter(|(group, place)| unwanted(group, place));
        gone.map(|(group, place)| Change { group: group.clone(), place: place.clone(), committed: None })
            .collect()
    }
}

//! The segments of a shard, as readers and retention see them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidelog_format::Salt;
use tidelog_format::footer::Footer;
use tidelog_format::name;

/// Most footers kept in memory; older ones are loaded when they are needed.
const FOOTERS: usize = 512;

/// Identity of a segment: epoch of its span, number within the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SegmentId {
    pub(crate) number: u64,
    pub(crate) epoch: u32,
}

impl SegmentId {
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(name::segment(self.epoch, self.number))
    }
}

/// A segment that is not written any more.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) id: SegmentId,
    /// Bytes of the file.
    pub(crate) len: u64,
    /// Its index, if it is in memory.
    pub(crate) footer: Option<Arc<Footer>>,
    /// The footer is on disk, so that memory may forget it.
    pub(crate) sealed: bool,
}

/// The segment that is being written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Active {
    pub(crate) id: SegmentId,
    pub(crate) salt: Salt,
    /// Bytes of durable frames.
    pub(crate) end: u64,
}

/// All segments behind the active one, by number.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    all: BTreeMap<u64, Segment>,
}

impl Segments {
    pub(crate) fn insert(&mut self, segment: Segment) {
        self.all.insert(segment.id.number, segment);
        self.forget_footers();
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Segment> {
        self.all.get(&number)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Segment> {
        self.all.remove(&number)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.all.keys().copied().collect()
    }

    pub(crate) fn newest(&self) -> Option<&Segment> {
        self.all.values().next_back()
    }

    /// The segment before this number, if it is there.
    pub(crate) fn before(&self, number: u64) -> Option<&Segment> {
        self.all.range(..number).next_back().map(|(_, segment)| segment)
    }

    /// The footer is on disk; what producers wrote is looked up nowhere but in the newest state.
    pub(crate) fn sealed(&mut self, number: u64, len: u64) {
        if let Some(segment) = self.all.get_mut(&number) {
            segment.len = len;
            segment.sealed = true;
            if let Some(footer) = segment.footer.as_mut().filter(|footer| !footer.producers.is_empty()) {
                Arc::make_mut(footer).producers = Vec::new();
            }
        }
    }

    pub(crate) fn loaded(&mut self, number: u64, footer: Arc<Footer>) {
        if let Some(segment) = self.all.get_mut(&number) {
            segment.footer = Some(footer);
            self.forget_footers();
        }
    }

    /// Forgets the oldest footers beyond the bound; those not yet on disk stay.
    fn forget_footers(&mut self) {
        let loaded = self.all.values().filter(|segment| segment.footer.is_some()).count();
        let surplus = loaded.saturating_sub(FOOTERS);
        let forgettable = self.all.values_mut().filter(|segment| segment.sealed && segment.footer.is_some());
        for segment in forgettable.take(surplus) {
            segment.footer = None;
        }
    }
}

//! The last look: everything that was acknowledged is there, once, in order; copies are the same bytes.

use std::collections::BTreeMap;

use tidelog_replica::copier::manifest;

use crate::disk::Name;
use crate::files::segments_of;
use crate::machine::copying::listed_as;
use crate::record::Batch;
use crate::world::World;

impl World {
    /// Reads the whole world and compares.
    pub(crate) fn last_look(&mut self) {
        let result =
            self.compare_files().and_then(|()| self.records()).and_then(|found| self.compare(&found));
        if let Err(wrong) = result {
            self.fabric.judge.accuse(|| wrong);
        }
    }

    /// Sealed files are the same bytes on all holders.
    fn compare_files(&self) -> Result<(), String> {
        let state = self.fabric.truth.state();
        for (shard, span) in state.spans().filter(|(_, span)| !span.is_unsealed()) {
            let epoch = span.epoch;
            let mut first: Option<BTreeMap<u64, std::rc::Rc<Vec<u8>>>> = None;
            for replica in &span.replicas {
                let Some(machine) =
                    self.machine_of(replica.node).filter(|_| self.holder(replica.node).is_some())
                else {
                    continue;
                };
                let files = segments_of(&machine.disk, shard, epoch).filter_map(|number| {
                    Some((
                        number,
                        std::rc::Rc::clone(machine.disk.read(Name::Segment { shard, epoch, number })?),
                    ))
                });
                let files: BTreeMap<_, _> = files.collect();
                let list: Vec<_> =
                    files.iter().filter_map(|(number, bytes)| listed_as(*number, bytes)).collect();
                if span.manifest.is_some_and(|said| said.0 != manifest(&list)) {
                    let node = replica.node;
                    return Err(format!("span {epoch}: the manifest is not that of node {node}'s files"));
                }
                let same = first.as_ref().is_none_or(|first| *first == files);
                if !same {
                    return Err(format!("copies of shard {shard}, span {epoch} are not the same bytes"));
                }
                first = Some(files);
            }
        }
        Ok(())
    }

    /// All batches, by partition and in order.
    fn records(&self) -> Result<BTreeMap<u64, Vec<Batch>>, String> {
        let state = self.fabric.truth.state();
        let mut found: BTreeMap<u64, Vec<Batch>> = BTreeMap::new();
        for (shard, span) in state.spans() {
            let holder = span
                .replicas
                .iter()
                .filter(|replica| state.nodes[&replica.node].state.counts())
                .find_map(|replica| self.holder(replica.node));
            let Some(holder) = holder else { return Err(format!("nobody holds span {}", span.epoch)) };
            let Some(files) = holder.files.get(&(shard, span.epoch)) else { continue };
            for (next, slot) in (span.base..).zip(files.slots()) {
                if slot.at.lsn != next {
                    return Err(format!("shard {shard}: LSN {next} is missing"));
                }
                for batch in &slot.content.batches {
                    found.entry(batch.partition).or_default().push(*batch);
                }
            }
        }
        Ok(found)
    }

    fn compare(&self, found: &BTreeMap<u64, Vec<Batch>>) -> Result<(), String> {
        let judge = &self.fabric.judge;
        let mut places: BTreeMap<(u64, u64, u32), Batch> = BTreeMap::new();
        for (partition, batches) in found {
            let mut next: Option<u64> = None;
            let mut sequences: BTreeMap<u64, u32> = BTreeMap::new();
            for batch in batches {
                if next.is_some_and(|next| next != batch.offset) {
                    return Err(format!(
                        "partition {partition}: offset {next:?} is missing, {batch:?} follows"
                    ));
                }
                next = Some(batch.offset + u64::from(batch.count));
                let expected = sequences.insert(batch.producer, batch.sequence + batch.count);
                if expected.is_some_and(|expected| expected != batch.sequence) {
                    return Err(format!("partition {partition}: {batch:?} is twice there, or out of order"));
                }
                places.insert((*partition, batch.producer, batch.sequence), *batch);
            }
        }
        for (key, acknowledged) in &judge.acknowledged {
            if acknowledged.offset < judge.start_of(key.0) {
                continue;
            }
            if places.get(key) != Some(acknowledged) {
                return Err(format!("acknowledged and lost: {acknowledged:?}, found {:?}", places.get(key)));
            }
        }
        self.compare_reads(&places)
    }

    /// What was read is there.
    fn compare_reads(&self, places: &BTreeMap<(u64, u64, u32), Batch>) -> Result<(), String> {
        let mut by_offset: BTreeMap<(u64, u64), (u64, u32)> = BTreeMap::new();
        for batch in places.values() {
            for record in 0..batch.count {
                let at = (batch.partition, batch.offset + u64::from(record));
                by_offset.insert(at, (batch.producer, batch.sequence + record));
            }
        }
        for (at, name) in self.fabric.judge.seen() {
            let trimmed = at.1 < self.fabric.judge.start_of(at.0);
            if !trimmed && by_offset.get(at) != Some(name) {
                return Err(format!("I8: at {at:?} {name:?} was read, and {:?} is there", by_offset.get(at)));
            }
        }
        Ok(())
    }
}

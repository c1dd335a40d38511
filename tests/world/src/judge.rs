//! The judge: sees everything at once, and says which invariant is broken. It knows no rule of the crate under test,
//! only what must be true.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_meta::{Command, SpanState, State};
use tidelog_replica::frame::Frame;
use tidelog_replica::message::{Grade, Standing};
use tidelog_replica::span::{Place, Process, Replica};

use crate::record::Batch;

/// A record's name: producer and its number there.
pub type Name = (u64, u32);

/// What the judge has seen.
#[derive(Debug, Default)]
pub struct Judge {
    /// Who framed what: (shard, epoch, LSN).
    framed: BTreeMap<(u64, u32, u64), (Place, Process)>,
    /// Durable frames of each holder: behind the last one of (store, shard, epoch).
    durable: BTreeMap<([u8; 16], u64, u32), u64>,
    /// Highest promise on the disk of (store, shard).
    promises: BTreeMap<([u8; 16], u64), u32>,
    /// Acknowledged LSNs: behind the last one of (shard, epoch).
    acked: BTreeMap<(u64, u32), u64>,
    /// Acknowledged batches by partition and producer.
    pub acknowledged: BTreeMap<(u64, u64, u32), Batch>,
    /// Ends that the metadata gave.
    ends: BTreeMap<(u64, u32), (u64, u64)>,
    /// Records that readers have seen: offset of (partition, offset) and whose it was.
    read: BTreeMap<(u64, u64), Name>,
    /// First wanted offset of each partition.
    starts: BTreeMap<u64, u64>,
    /// Spans whose end an operator accepted: copies may be fewer.
    excused: BTreeSet<(u64, u32)>,
    /// What is wrong. The first is what counts.
    pub wrong: Option<String>,
}

impl Judge {
    /// Notes what is wrong; the first thing stays.
    pub fn accuse(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }

    /// A leader has made a frame (I1, I2: one LSN of a span, one frame, one leader).
    pub fn framed(&mut self, shard: u64, frame: &Frame, leader: Process) {
        let key = (shard, frame.epoch(), frame.lsn());
        let (next, known) = *self.framed.entry(key).or_insert((frame.next(), leader));
        if (next, known) != (frame.next(), leader) {
            self.accuse(|| format!("I1: {key:?} was framed by {known:?} and again by {leader:?}"));
        }
    }

    /// A store has made frames durable (I2).
    pub fn durable(&mut self, me: Replica, shard: u64, epoch: u32, frames: &[Frame]) {
        for frame in frames {
            let key = (shard, epoch, frame.lsn());
            match self.framed.get(&key) {
                Some((next, _)) if *next == frame.next() => {}
                _ => self.accuse(|| format!("I2: node {} holds another frame at {key:?}", me.node)),
            }
        }
        if let Some(last) = frames.last() {
            let end = self.durable.entry((me.store, shard, epoch)).or_insert(0);
            *end = last.next().lsn.max(*end);
        }
    }

    /// A restart has found so much of a span on a disk: a write that a crash interrupted may be there all the same.
    pub fn found(&mut self, me: Replica, shard: u64, epoch: u32, end: u64) {
        let known = self.durable.entry((me.store, shard, epoch)).or_insert(0);
        *known = end.max(*known);
    }

    /// A promise is on a store's disk.
    pub fn kept(&mut self, me: Replica, shard: u64, promised: u32) {
        let known = self.promises.entry((me.store, shard)).or_insert(0);
        *known = promised.max(*known);
    }

    /// A store answers a fence. What it says it has promised is on the disk (I4), and if it is sure of its end, then all
    /// that it ever held of the span is there (I9).
    pub fn fenced(&mut self, state: &State, me: Replica, shard: u64, epoch: u32, said: &Standing) {
        let kept = self.promises.get(&(me.store, shard)).copied().unwrap_or(0);
        let attempt = said.attempt;
        if kept < attempt {
            self.accuse(|| {
                format!("I4: node {} promised {attempt} for shard {shard} and {kept} is on its disk", me.node)
            });
        }
        let held = self.durable.get(&(me.store, shard, epoch)).copied().unwrap_or(0);
        let open = state.span(shard, epoch).is_some_and(tidelog_meta::Span::is_unsealed);
        if open && said.grade == Grade::Proved && said.end.lsn < held {
            let end = said.end.lsn;
            self.accuse(|| {
                format!("I9: node {} is sure to end at {end} in span {epoch} and held {held}", me.node)
            });
        }
    }

    /// A store acknowledges an append: only an unfenced one may (I3).
    pub fn appended(&mut self, me: Replica, shard: u64, epoch: u32) {
        let kept = self.promises.get(&(me.store, shard)).copied().unwrap_or(0);
        if kept > epoch {
            self.accuse(|| {
                format!("I3: node {} acknowledges an append to span {epoch} and has promised {kept}", me.node)
            });
        }
    }

    /// The metadata has applied a command.
    pub fn metadata(&mut self, state: &State, command: &Command) {
        match command {
            Command::CommitSeal { shard, epoch, end, chain, .. }
            | Command::LeaderClose { shard, epoch, end, chain, .. } => {
                self.sealed(state, (*shard, *epoch), (*end, *chain));
            }
            _ => {}
        }
        self.check_chains(state);
    }

    /// I5, I6, I7 at the moment of the seal.
    fn sealed(&mut self, state: &State, key: (u64, u32), end: (u64, u64)) {
        let known = *self.ends.entry(key).or_insert(end);
        if known != end {
            self.accuse(|| format!("I6: the end of {key:?} was {known:?} and is now {end:?}"));
        }
        let acked = self.acked.get(&key).copied().unwrap_or(0);
        if acked > end.0 {
            self.accuse(|| format!("I7: {key:?} ends at {}, and below {acked} was acknowledged", end.0));
        }
        let Some(span) = state.span(key.0, key.1) else { return };
        let holds =
            |store: &[u8; 16]| self.durable.get(&(*store, key.0, key.1)).copied().unwrap_or(span.base);
        let holders = span.replicas.iter().filter(|replica| holds(&replica.store.0) >= end.0).count();
        if holders < usize::from(span.quorum) && !self.excused.contains(&key) {
            self.accuse(|| {
                format!(
                    "I5: {key:?} ends at {} and {holders} holders have it all, not {}",
                    end.0, span.quorum
                )
            });
        }
    }

    /// I6: chains have no holes, ends stay.
    fn check_chains(&mut self, state: &State) {
        let mut wrong = None;
        for (shard, chain) in &state.chains {
            for pair in chain.spans.windows(2) {
                if pair[0].sealed() != Some((pair[1].base, pair[1].base_chain)) {
                    wrong = Some(format!("I6: span {} of shard {shard} does not follow", pair[1].epoch));
                }
            }
        }
        if let Some(wrong) = wrong {
            self.accuse(|| wrong);
        }
    }

    /// A leader acknowledges everything below `end` (I3, I7).
    pub fn acked(&mut self, state: &State, shard: u64, epoch: u32, end: u64) {
        let acked = self.acked.entry((shard, epoch)).or_insert(0);
        *acked = end.max(*acked);
        if let Some((sealed, _)) = self.ends.get(&(shard, epoch)).copied()
            && sealed < end
        {
            self.accuse(|| {
                format!("I7: shard {shard}, span {epoch}: below {end} is acknowledged, the end is {sealed}")
            });
        }
        let Some(span) = state.span(shard, epoch) else {
            return self.accuse(|| format!("I7: shard {shard}: span {epoch}, which is gone, acknowledges"));
        };
        let holds = |store: &[u8; 16]| self.durable.get(&(*store, shard, epoch)).copied().unwrap_or(0);
        let holders = span.replicas.iter().filter(|replica| holds(&replica.store.0) >= end).count();
        if holders < usize::from(span.quorum) {
            self.accuse(|| {
                format!(
                    "I3: shard {shard}, span {epoch}: {end} is acknowledged with {holders} durable copies"
                )
            });
        }
    }

    /// A reader is given a record (I8): what was once read at an offset is read there for ever.
    pub fn given(&mut self, state: &State, shard: u64, epoch: u32, lsn: u64, batch: &Batch) {
        let below = |end: u64| lsn < end;
        let committed = match state.span(shard, epoch) {
            Some(span) => match span.state {
                SpanState::Sealed { end, .. } => below(end),
                _ => {
                    let holds =
                        |store: &[u8; 16]| self.durable.get(&(*store, shard, epoch)).copied().unwrap_or(0);
                    let holders =
                        span.replicas.iter().filter(|replica| below(holds(&replica.store.0))).count();
                    holders >= usize::from(span.quorum)
                }
            },
            None => true,
        };
        if !committed {
            self.accuse(|| {
                format!("I8: shard {shard}, span {epoch}: LSN {lsn} was read and is not committed")
            });
        }
        for record in 0..batch.count {
            let key = (batch.partition, batch.offset + u64::from(record));
            let name = (batch.producer, batch.sequence + record);
            let known = *self.read.entry(key).or_insert(name);
            if known != name {
                self.accuse(|| format!("I8: at {key:?} {known:?} was read, and now {name:?}"));
            }
        }
    }

    /// A store deletes a span (I10): the metadata must have dropped it, or have given it to others.
    pub fn deleted(&mut self, state: &State, me: Replica, shard: u64, epoch: u32) {
        let wanted = state.span(shard, epoch).is_some_and(|span| {
            span.replicas.iter().any(|replica| (replica.node, replica.store.0) == (me.node, me.store))
        });
        let nothing = !self.durable.contains_key(&(me.store, shard, epoch));
        if wanted && !nothing {
            self.accuse(|| {
                format!("I10: node {} deletes span {epoch} of shard {shard}, which is wanted", me.node)
            });
        }
    }

    /// Records of a partition below an offset are not wanted any more.
    pub fn trimmed(&mut self, partition: u64, start: u64) {
        let known = self.starts.entry(partition).or_insert(0);
        *known = start.max(*known);
    }

    /// The first wanted offset of a partition.
    pub fn start_of(&self, partition: u64) -> u64 {
        self.starts.get(&partition).copied().unwrap_or(0)
    }

    /// An operator accepts the end of a span.
    pub fn excuse(&mut self, shard: u64, epoch: u32) {
        self.excused.insert((shard, epoch));
    }

    /// A holder has copied a sealed span whole.
    pub fn copied(&mut self, me: Replica, shard: u64, epoch: u32, end: u64) {
        self.durable.insert((me.store, shard, epoch), end);
    }

    /// What readers have seen.
    pub fn seen(&self) -> &BTreeMap<(u64, u64), Name> {
        &self.read
    }
}

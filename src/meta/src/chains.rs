//! Commands about spans: where a shard is written, where a span ends, who holds it.
//!
//! # Invariants
//! - A span ends once: [`Command::CommitSeal`] of the newest attempt, or [`Command::LeaderClose`] of its own leader while
//!   nobody has begun to seal it. Its end and chain value never change after that.
//! - The span that follows begins where it ended. After a seal its epoch is the attempt's, at which its replicas were
//!   fenced, so that they take its appends and no older ones.
//! - A shard that ever had three replicas never has a span that acknowledges on one disk.
//! - A replica that is replaced is replaced by one that was verified, or that a seal has copied everything to. A span is
//!   dropped only against a proof that no live partition wants a record of it, and not while a leader needs it to go on.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::Command;
use crate::illegal::Illegal;
use crate::member::NodeState;
use crate::span::{MAX_REPLICAS, NewSpan, Replica, Span, SpanState, Substitute};
use crate::state::{Applied, State};

/// A shard that ever had this many replicas acknowledges on two disks at least.
pub(crate) const WIDE: u8 = 3;

impl State {
    pub(crate) fn check_chains(&self, command: &Command) -> Result<(), Illegal> {
        match command {
            Command::OpenFirstSpan { shard, span, .. } => {
                self.check_shard(*shard)?;
                if self.chains.contains_key(shard) {
                    return Err(Illegal::HasSpans(*shard));
                }
                self.check_new(*shard, span)?;
                self.check_epoch()
            }
            Command::OpenNextSpan { shard, after, span } => {
                if self.check_last(*shard, *after)?.is_unsealed() {
                    return Err(Illegal::NotSealed { shard: *shard, epoch: *after });
                }
                self.check_new(*shard, span)?;
                self.check_epoch()
            }
            Command::BeginSeal { shard, epoch, .. } => {
                self.check_unsealed(*shard, *epoch)?;
                self.check_epoch()
            }
            Command::CommitSeal { .. } => self.check_commit(command),
            Command::LeaderClose { .. } => self.check_close(command),
            Command::SwapReplica { shard, epoch, old, new, .. } => {
                self.check_swap(*shard, *epoch, *old, *new)
            }
            Command::DropSpan { shard, epoch, ends } => self.check_drop(*shard, *epoch, ends),
            _ => Ok(()),
        }
    }

    fn check_epoch(&self) -> Result<(), Illegal> {
        self.next_epoch().map(|_| ()).ok_or(Illegal::NoEpoch)
    }

    fn check_shard(&self, shard: u64) -> Result<(), Illegal> {
        self.shards.contains_key(&shard).then_some(()).ok_or(Illegal::NoShard(shard))
    }

    fn check_span(&self, shard: u64, epoch: u32) -> Result<&Span, Illegal> {
        self.check_shard(shard)?;
        self.span(shard, epoch).ok_or(Illegal::NoSpan { shard, epoch })
    }

    fn check_last(&self, shard: u64, epoch: u32) -> Result<&Span, Illegal> {
        let span = self.check_span(shard, epoch)?;
        match self.last_span(shard) {
            Some(last) if last.epoch != epoch => Err(Illegal::NotLast { shard, epoch, last: last.epoch }),
            _ => Ok(span),
        }
    }

    fn check_unsealed(&self, shard: u64, epoch: u32) -> Result<&Span, Illegal> {
        // A span that others follow is sealed; saying so is clearer than saying it is not the last.
        let span = self.check_span(shard, epoch)?;
        if span.is_unsealed() { Ok(span) } else { Err(Illegal::Sealed { shard, epoch }) }
    }

    fn check_commit(&self, command: &Command) -> Result<(), Illegal> {
        let Command::CommitSeal { shard, epoch, attempt, end, chain, substitutes, next } = command else {
            return Ok(());
        };
        let (shard, epoch) = (*shard, *epoch);
        let span = self.check_unsealed(shard, epoch)?;
        match span.state {
            SpanState::Sealing { attempt: newest, .. } if newest == *attempt => {}
            _ => return Err(Illegal::NotTheAttempt { shard, epoch, attempt: *attempt }),
        }
        check_end(shard, span, *end, *chain)?;
        self.check_substitutes(shard, span, substitutes)?;
        next.as_ref().map_or(Ok(()), |next| self.check_new(shard, next))
    }

    /// Each takes the place of another replica, and is on no node that holds the span.
    fn check_substitutes(&self, shard: u64, span: &Span, substitutes: &[Substitute]) -> Result<(), Illegal> {
        let mut replicas = span.replicas.clone();
        for Substitute { old, new } in substitutes {
            let Some(at) = replicas.iter().position(|replica| replica == old) else {
                return Err(Illegal::NotAReplica { shard, epoch: span.epoch, node: old.node });
            };
            if span.is_on(new.node) || replicas.iter().any(|replica| replica.node == new.node) {
                return Err(Illegal::Replicas);
            }
            self.check_taker(*new)?;
            replicas.remove(at);
            replicas.push(*new);
        }
        Ok(())
    }

    fn check_close(&self, command: &Command) -> Result<(), Illegal> {
        let Command::LeaderClose { shard, epoch, leader, end, chain, next } = command else { return Ok(()) };
        let (shard, epoch) = (*shard, *epoch);
        let span = self.check_unsealed(shard, epoch)?;
        if span.leader != *leader {
            return Err(Illegal::NotTheLeader { shard, epoch });
        }
        if span.state != SpanState::Open {
            return Err(Illegal::BeingSealed { shard, epoch });
        }
        check_end(shard, span, *end, *chain)?;
        self.check_new(shard, next)?;
        self.check_epoch()
    }

    /// Whether a span may be opened in a shard as described.
    fn check_new(&self, shard: u64, new: &NewSpan) -> Result<(), Illegal> {
        let nodes: BTreeSet<u64> = new.replicas.iter().map(|replica| replica.node).collect();
        let count = new.replicas.len();
        if !(1..=MAX_REPLICAS).contains(&count) || nodes.len() != count {
            return Err(Illegal::Replicas);
        }
        let quorum = usize::from(new.quorum);
        if quorum > count || quorum <= count / 2 {
            return Err(Illegal::Quorum { quorum: new.quorum, replicas: count });
        }
        let chain = self.chains.get(&shard);
        if new.quorum < 2 && chain.is_some_and(|chain| chain.widest >= WIDE) {
            return Err(Illegal::Narrow(shard));
        }
        for replica in &new.replicas {
            self.check_taker(*replica)?;
        }
        let (node, incarnation) = (new.leader.node, new.leader.incarnation);
        let lives = self.nodes.get(&node).is_some_and(|known| known.incarnation == incarnation);
        if !nodes.contains(&node) || !lives {
            return Err(Illegal::LeaderUnfit { node, incarnation });
        }
        let used = chain.is_some_and(|chain| chain.spans.iter().any(|span| span.salt == new.salt));
        if used || new.salt == [0; 16] { Err(Illegal::Salt(shard)) } else { Ok(()) }
    }

    /// Whether a node takes new copies.
    fn check_taker(&self, replica: Replica) -> Result<(), Illegal> {
        let state = self.check_store(replica.node, replica.store)?.state;
        if state == NodeState::ReadWrite {
            Ok(())
        } else {
            Err(Illegal::NodeState { node: replica.node, state })
        }
    }

    fn check_swap(&self, shard: u64, epoch: u32, old: Option<Replica>, new: Replica) -> Result<(), Illegal> {
        let span = self.check_span(shard, epoch)?;
        if span.is_unsealed() {
            return Err(Illegal::NotSealed { shard, epoch });
        }
        if let Some(old) = old.filter(|old| !span.replicas.contains(old)) {
            return Err(Illegal::NotAReplica { shard, epoch, node: old.node });
        }
        let full = old.is_none() && span.replicas.len() >= MAX_REPLICAS;
        if full || span.is_on(new.node) {
            return Err(Illegal::Replicas);
        }
        self.check_taker(new)
    }

    fn check_drop(&self, shard: u64, epoch: u32, ends: &[(u64, u64)]) -> Result<(), Illegal> {
        let span = self.check_span(shard, epoch)?;
        let spans = self.chains.get(&shard).map_or(&[][..], |chain| &chain.spans);
        if spans.last().is_some_and(|last| last.epoch == epoch) {
            return Err(Illegal::LastSpan { shard, epoch });
        }
        if spans.first().is_some_and(|first| first.epoch != epoch) {
            return Err(Illegal::NotOldest { shard, epoch });
        }
        if span.is_unsealed() {
            return Err(Illegal::NotSealed { shard, epoch });
        }
        let ends: BTreeMap<u64, u64> = ends.iter().copied().collect();
        let partitions = self.partitions();
        for partition in partitions.filter(|partition| partition.is_in(shard)) {
            if ends.get(&partition.id).is_none_or(|end| *end > partition.start()) {
                return Err(Illegal::Wanted { shard, epoch, partition: partition.id });
            }
        }
        if !spans.iter().skip(1).any(Span::tells) {
            return Err(Illegal::Tells { shard, epoch });
        }
        Ok(())
    }

    /// What is proposed so that the shard's oldest span goes: that the records in it are not wanted, by partition, and last
    /// the drop. `ends` has the next offset at the span's end of each partition with records in it, `start` the first offset
    /// that is wanted as the shard's leader has it. Nothing where a record is wanted, the leader does not know a partition,
    /// or the span is the last one, has not ended, or tells what a leader must know.
    pub fn to_drop_oldest(
        &self,
        shard: u64,
        ends: &BTreeMap<u64, u64>,
        start: impl Fn(u64) -> Option<u64>,
    ) -> Vec<Command> {
        let spans = self.chains.get(&shard).map_or(&[][..], |chain| &chain.spans);
        let Some((first, behind)) = spans.split_first() else { return Vec::new() };
        if first.is_unsealed() || !behind.iter().any(Span::tells) {
            return Vec::new();
        }
        let (mut commands, mut proof) = (Vec::new(), Vec::new());
        for (name, topic) in &self.topics {
            for (number, partition) in (0..).zip(&topic.partitions).filter(|(_, one)| one.is_in(shard)) {
                let end = ends.get(&partition.id).copied().unwrap_or(0);
                if end > 0 && start(partition.id).is_none_or(|start| start < end) {
                    return Vec::new();
                }
                proof.push((partition.id, end));
                if end > partition.start() {
                    let (name, id) = (name.clone(), topic.id.clone());
                    commands.push(Command::Trim { name, id, partition: number, offset: end });
                }
            }
        }
        proof.sort_unstable();
        commands.push(Command::DropSpan { shard, epoch: first.epoch, ends: proof });
        commands
    }

    /// Carries out a command that was checked.
    pub(crate) fn apply_chains(&mut self, command: &Command) -> Applied {
        match command {
            Command::OpenFirstSpan { shard, span, base } => {
                let epoch = self.take_epoch();
                self.open(*shard, epoch, span, *base)
            }
            Command::OpenNextSpan { shard, span, .. } => {
                let epoch = self.take_epoch();
                self.open(*shard, epoch, span, 0)
            }
            Command::BeginSeal { shard, epoch, token } => {
                let attempt = self.take_epoch();
                self.set(*shard, *epoch, SpanState::Sealing { attempt, token: *token });
                Applied::Attempt(attempt)
            }
            Command::CommitSeal { shard, epoch, attempt, end, chain, substitutes, next } => {
                self.set(*shard, *epoch, SpanState::Sealed { end: *end, chain: *chain });
                for Substitute { old, new } in substitutes {
                    self.replace(*shard, *epoch, Some(*old), *new);
                }
                next.as_ref().map_or(Applied::Changed, |next| self.open(*shard, *attempt, next, 0))
            }
            Command::LeaderClose { shard, epoch, end, chain, next, .. } => {
                self.set(*shard, *epoch, SpanState::Sealed { end: *end, chain: *chain });
                let epoch = self.take_epoch();
                self.open(*shard, epoch, next, 0)
            }
            Command::SwapReplica { shard, epoch, old, new, manifest } => {
                if let Some(span) = self.replace(*shard, *epoch, *old, *new) {
                    span.manifest = Some(*manifest);
                }
                Applied::Changed
            }
            Command::DropSpan { shard, epoch, .. } => {
                if let Some(chain) = self.chains.get_mut(shard) {
                    chain.spans.retain(|span| span.epoch != *epoch);
                }
                Applied::Changed
            }
            _ => Applied::Changed,
        }
    }

    fn take_epoch(&mut self) -> u32 {
        // Checked before; the highest one is never given out twice because the check fails from then on.
        self.last_epoch = self.next_epoch().unwrap_or(self.last_epoch);
        self.last_epoch
    }

    fn set(&mut self, shard: u64, epoch: u32, state: SpanState) {
        if let Some(span) = self.chains.get_mut(&shard).and_then(|chain| chain.span_mut(epoch)) {
            span.state = state;
        }
    }

    /// Another replica holds a span, in the place of one that does so no longer.
    fn replace(&mut self, shard: u64, epoch: u32, old: Option<Replica>, new: Replica) -> Option<&mut Span> {
        let span = self.chains.get_mut(&shard)?.span_mut(epoch)?;
        span.replicas.retain(|replica| Some(*replica) != old);
        span.replicas.push(new);
        span.replicas.sort_unstable();
        Some(span)
    }

    /// Opens a span behind the last one; the first one at LSN `first`.
    fn open(&mut self, shard: u64, epoch: u32, new: &NewSpan, first: u64) -> Applied {
        let chain = self.chains.entry(shard).or_default();
        let (base, base_chain) = chain.last().and_then(Span::sealed).unwrap_or((first, 0));
        let NewSpan { mut replicas, quorum, leader, salt } = new.clone();
        replicas.sort_unstable();
        chain.widest = chain.widest.max(u8::try_from(replicas.len()).unwrap_or(u8::MAX));
        let state = SpanState::Open;
        chain.spans.push(Span {
            epoch,
            base,
            base_chain,
            replicas,
            quorum,
            leader,
            salt,
            state,
            manifest: None,
        });
        Applied::Opened(epoch)
    }
}

/// A span ends at or behind its base; one without a frame has the chain value that it began with.
fn check_end(shard: u64, span: &Span, end: u64, chain: u64) -> Result<(), Illegal> {
    let possible = end > span.base || (end == span.base && chain == span.base_chain);
    if possible { Ok(()) } else { Err(Illegal::End { shard, epoch: span.epoch, base: span.base, end }) }
}

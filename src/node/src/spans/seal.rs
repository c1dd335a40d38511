//! # Purpose
//! Seals the old span of every data shard at a start, and opens the next one. Four durable writes for the whole node,
//! whatever the number of its shards: the metadata's *begin*, the promises, the metadata's *commit*, and what ends the
//! segments that were open.
//!
//! ```text
//! StartNode, BeginSeal(a) of every shard      metadata, one write
//! look at every shard                         nothing is written
//! Fence(a) -> promise a -> Standing           promise journal, one write
//! CommitSeal(a, end, next span with epoch a)  metadata, one write
//! cut, footers, the next span's first file    each shard
//! ```
//!
//! # Recovery
//! A crash anywhere is survived: the next start finds the span as it was, or its end decided and nothing behind it, and
//! seals the last one with a higher attempt. What was promised, cut or given a footer twice is the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tidelog_format::promise::Promises;
use tidelog_io::random::Entropy;
use tidelog_meta::{Applied, Command, METADATA_SHARD, Span as Listed, Spread, StoreId};
use tidelog_replica::follower::{self, Follower};
use tidelog_replica::grade::grade;
use tidelog_replica::leader::Limits;
use tidelog_replica::message::{Answer, Envelope, From, Grade, Request};
use tidelog_replica::sealer::{self, Sealer};
use tidelog_replica::span::Place;
use tidelog_wal::{Ended, FIRST_LSN, OpenSpan, Status, epochs_in};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::Config;
use crate::metadata::Metadata;
use crate::node::Shard;
use crate::open::{self, StartError};
use crate::ring::{Beside, Found, RingError, Rings};
use crate::shards::{Around, Files, Meta, Pace, Place as Home, Shards, ShardsMetrics, WAITING};
use crate::spans::lead::{Lead, Unled};
use crate::spans::{Me, OpenedSpan, Sealed, base_of, is_here, span_of};
use tidelog_wal::Store;

/// What a start works with.
pub(crate) struct Start<'a> {
    pub(crate) config: &'a Config,
    pub(crate) store: &'a Store,
    pub(crate) beside: &'a Beside,
    pub(crate) rings: &'a Arc<Rings>,
    pub(crate) metadata: &'a Metadata,
    pub(crate) me: Me,
}

/// A shard whose old span is being sealed.
struct Sealing {
    attempt: u32,
    old: Listed,
    found: Found,
    follower: Follower,
    sealer: Sealer,
    /// What its store says about the end, once it has promised.
    said: Option<(Place, Grade)>,
    /// Where the rules end the span.
    end: Option<Place>,
}

impl Start<'_> {
    /// Seals and opens all data shards that are here; `starts` says that this process starts, if that is still to be said.
    pub(crate) async fn open_all(&self, starts: Option<Command>) -> Result<Vec<(u64, Shard)>, StartError> {
        let attempts = self.begin(starts).await?;
        reached(Point::Begun)?;
        let mut sealing = self.look(attempts).await?;
        self.fence(&mut sealing).await?;
        reached(Point::Promised)?;
        self.commit(&mut sealing).await?;
        reached(Point::Committed)?;
        self.open(sealing).await
    }

    /// Takes part in the shards that this node holds together with others; `starts` says that this process starts, if that is
    /// still to be said.
    pub(crate) async fn take_part(
        &self,
        starts: Option<Command>,
        on_disk: &[u64],
        stopping: watch::Receiver<bool>,
    ) -> Result<Shards, StartError> {
        if let Some(starts) = starts {
            self.metadata.propose(starts).await?;
        }
        let Some(member) = self.metadata.member() else { return Err(RingError::Gone.into()) };
        let files = Files::start()?;
        self.check_spans(&files, on_disk).await?;
        let (spoiled, waiting) = mpsc::channel(WAITING);
        let around = Around {
            me: self.me,
            place: Home::of(self.store),
            options: self.config.shard_options(),
            rings: Arc::clone(self.rings),
            files,
            beside: self.beside.clone(),
            peers: member.peers().clone(),
            meta: Arc::clone(member) as Arc<dyn Meta>,
            limits: Limits::default(),
            metrics: ShardsMetrics::default(),
            spread: Spread::default().replicas,
            classes: self.config.classes(),
            free: {
                let member = Arc::clone(member);
                Box::new(move |node| member.free_bytes(node))
            },
            pace: Pace::new(self.config.storage.copy_bytes_per_second),
            leaving: AtomicBool::new(false),
            spoiled,
            changes: watch::Sender::new(0),
            stopping,
            runtime: tokio::runtime::Handle::current(),
            since: Instant::now(),
        };
        let shards = Shards::start(around, waiting).await?;
        shards.until_led_alone().await;
        Ok(shards)
    }

    /// Where a node was alone before there were spans, its files are of epochs that the metadata does not know.
    async fn check_spans(&self, files: &Files, on_disk: &[u64]) -> Result<(), StartError> {
        let alone = self.metadata.read(|state| state.nodes.len() == 1);
        for shard in on_disk.iter().copied().filter(|shard| alone && *shard != METADATA_SHARD) {
            let known = self.metadata.read(|state| state.shards.contains_key(&shard));
            let first =
                self.metadata.read(|state| state.chains.get(&shard)?.spans.first().map(|one| one.epoch));
            let dir = self.store.shard_dir(shard);
            let epochs = files.run(async move |disk| epochs_in(&disk, &dir).await).await??;
            if known && epochs.first().is_some_and(|epoch| first.is_none_or(|first| *epoch < first)) {
                return Err(StartError::Spanless { shard });
            }
        }
        Ok(())
    }

    /// Opens the first spans of shards that have none, and begins to seal the last span of every shard.
    async fn begin(&self, starts: Option<Command>) -> Result<BTreeMap<u64, u32>, StartError> {
        let store = StoreId(self.me.store);
        let spanless: Vec<u64> = self.metadata.read(|state| {
            let spanless = state.shards.keys().filter(|shard| !state.chains.contains_key(shard));
            spanless.filter(|shard| is_here(state, **shard, store)).copied().collect()
        });
        let mut commands: Vec<Command> = starts.into_iter().collect();
        // What shards of before there were spans hold becomes their first span, which is sealed at once.
        let first = |shard| Command::OpenFirstSpan { shard, span: self.me.new_span(), base: FIRST_LSN };
        if !spanless.is_empty() {
            commands.extend(spanless.into_iter().map(first));
            self.metadata.propose_all(std::mem::take(&mut commands)).await?;
            reached(Point::Adopted)?;
        }
        let last: Vec<(u64, u32)> = self.metadata.read(|state| {
            let last = |shard: &u64| Some((*shard, state.last_span(*shard)?.epoch));
            state.shards.keys().filter(|shard| is_here(state, **shard, store)).filter_map(last).collect()
        });
        let (others, entropy) = (commands.len(), Entropy::system());
        let begin = |(shard, epoch): &(u64, u32)| Command::BeginSeal {
            shard: *shard,
            epoch: *epoch,
            token: entropy.u64(),
        };
        commands.extend(last.iter().map(begin));
        let applied = self.metadata.propose_all(commands).await?;
        let attempts = applied.into_iter().skip(others).zip(last);
        Ok(attempts.filter_map(|(done, (shard, _))| Some((shard, attempt_of(done)?))).collect())
    }

    /// Looks at all shards at once.
    async fn look(&self, attempts: BTreeMap<u64, u32>) -> Result<BTreeMap<u64, Sealing>, StartError> {
        let mut looking = JoinSet::new();
        for (shard, attempt) in attempts {
            let old = self.metadata.read(|state| state.last_span(shard).cloned());
            let Some(old) = old else { continue };
            let (rings, spec) = (Arc::clone(self.rings), open::spec(self.store, shard, attempt));
            let (base, options) = (base_of(&old), self.config.shard_options());
            looking.spawn(async move {
                let found = rings.find_shard(spec, Some(base), options).await?;
                Ok::<_, RingError>((shard, attempt, old, found))
            });
        }
        let mut sealing = BTreeMap::new();
        while let Some(looked) = looking.join_next().await {
            let (shard, attempt, old, found) = looked.map_err(|_| RingError::Gone)??;
            sealing.insert(shard, self.sealing(shard, attempt, old, found));
        }
        Ok(sealing)
    }

    fn sealing(&self, shard: u64, attempt: u32, old: Listed, found: Found) -> Sealing {
        let span = span_of(shard, &old);
        let promised = self.beside.promised().get(&shard).copied().unwrap_or(0).max(old.epoch);
        let open = vec![found_of(old.epoch, span.base, &found.ended)];
        let recovered = follower::Recovered { promised, open, ..follower::Recovered::default() };
        let follower = Follower::new(self.me.replica(), recovered);
        let (sealer, asked) = Sealer::new(span, attempt, Duration::ZERO);
        let mut one = Sealing { attempt, old, found, follower, sealer, said: None, end: None };
        one.carry_out(self, shard, asked);
        one
    }

    /// Promises all attempts with one write; after that the stores tell their ends.
    async fn fence(&self, sealing: &mut BTreeMap<u64, Sealing>) -> Result<(), StartError> {
        let promises: Promises = sealing.iter().map(|(shard, one)| (*shard, one.attempt)).collect();
        if !promises.is_empty() {
            self.beside.keep(promises).await?;
        }
        for (shard, one) in sealing.iter_mut() {
            let effects = one.follower.step(follower::Event::Kept { promised: one.attempt });
            one.follow(self, *shard, effects);
            if self.config.accept_loss && one.end.is_none() {
                let effects = one.sealer.step(Duration::ZERO, sealer::Event::AcceptTail);
                one.carry_out(self, *shard, effects);
            }
        }
        Ok(())
    }

    /// Has the metadata end the spans where the rules say, and open the next ones.
    async fn commit(&self, sealing: &mut BTreeMap<u64, Sealing>) -> Result<(), StartError> {
        let ended = sealing.iter().filter_map(|(shard, one)| Some((*shard, one, one.end?)));
        let commands: Vec<Command> = ended
            .map(|(shard, one, end)| Command::CommitSeal {
                shard,
                epoch: one.old.epoch,
                attempt: one.attempt,
                end: end.lsn,
                chain: end.chain,
                // The only holder is this store, and it is here.
                substitutes: Vec::new(),
                next: Some(self.me.new_span()),
            })
            .collect();
        self.metadata.propose_all(commands).await?;
        for (shard, one) in sealing.iter() {
            let (attempt, epoch, ended) = (one.attempt, one.old.epoch, &one.found.ended);
            let grade = one.said.map(|(_, grade)| grade);
            match one.end {
                Some(end) => {
                    tracing::info!(
                        shard,
                        epoch,
                        attempt,
                        end = end.lsn,
                        ?grade,
                        "span sealed, the next one opened"
                    );
                }
                None => tracing::error!(shard, epoch, attempt, ?ended, ?grade, "the span cannot be sealed"),
            }
        }
        Ok(())
    }

    /// Opens all shards at once.
    async fn open(&self, sealing: BTreeMap<u64, Sealing>) -> Result<Vec<(u64, Shard)>, StartError> {
        let mut opening = JoinSet::new();
        for (shard, one) in sealing {
            let span = one.end.and_then(|_| self.opened(shard, one.sealed()));
            let open = self.open_span(&span, &one.found.ended);
            opening.spawn(async move {
                let (wal, recovered) = one.found.open(open).await?;
                Ok::<_, RingError>((shard, Shard { wal, recovered, span }))
            });
        }
        let mut shards = Vec::new();
        while let Some(opened) = opening.join_next().await {
            let (shard, opened) = opened.map_err(|_| RingError::Gone)??;
            open::report(shard, &opened.recovered, &opened.wal);
            if opened.span.is_none() && !matches!(opened.wal.status(), Status::ReadOnly(_)) {
                return Err(StartError::Unsealed { shard });
            }
            shards.push((shard, opened));
        }
        Ok(shards)
    }

    /// Opens the first span of a shard that is new, and the shard.
    pub(crate) async fn open_new(&self, shard: u64) -> Result<Shard, StartError> {
        let first = Command::OpenFirstSpan { shard, span: self.me.new_span(), base: FIRST_LSN };
        let Applied::Opened(epoch) = self.metadata.propose(first).await? else {
            return Err(StartError::Unsealed { shard });
        };
        self.beside.keep([(shard, epoch)].into()).await?;
        let Some(opened) = self.opened(shard, None) else { return Err(StartError::Unsealed { shard }) };
        let spec = open::spec(self.store, shard, epoch);
        let found = self.rings.find_shard(spec, None, self.config.shard_options()).await?;
        let span = Some(opened);
        let open = self.open_span(&span, &found.ended);
        let (wal, recovered) = found.open(open).await?;
        tracing::info!(shard, epoch, "first span opened");
        Ok(Shard { wal, recovered, span })
    }

    /// A shard's last span, which this process leads.
    fn opened(&self, shard: u64, sealed: Option<Sealed>) -> Option<OpenedSpan> {
        self.metadata.read(|state| {
            let chain = state.chains.get(&shard)?;
            let listed = chain.last()?;
            let span = span_of(shard, listed);
            if !span.is_led_by(&self.me.process()) {
                return None;
            }
            let previous = chain.spans.iter().rev().nth(1).map(|span| span.epoch);
            Some(OpenedSpan { span, salt: listed.salt, previous, spans: chain.spans.len(), sealed })
        })
    }

    /// What the shard is to open.
    fn open_span(&self, span: &Option<OpenedSpan>, ended: &Ended) -> OpenSpan {
        match span {
            Some(opened) => {
                let version = self.metadata.read(|state| state.version);
                let lead = Lead::new(self.me.replica(), opened.span.clone(), version);
                OpenSpan {
                    salt: Some(opened.salt),
                    start: Some(opened.start()),
                    state: false,
                    writable: None,
                    commits: Box::new(lead),
                }
            }
            None => OpenSpan {
                salt: None,
                start: None,
                state: false,
                writable: None,
                commits: Box::new(Unled(ended.lsn)),
            },
        }
    }
}

impl Sealing {
    fn sealed(&self) -> Option<Sealed> {
        let (end, (_, grade)) = (self.end?, self.said?);
        Some(Sealed { epoch: self.old.epoch, end: end.lsn, grade })
    }

    /// Does what the coordinator says. Its only holder is this store, reached over no network.
    fn carry_out(&mut self, start: &Start<'_>, shard: u64, effects: Vec<sealer::Effect>) {
        for effect in effects {
            match effect {
                sealer::Effect::Send { request, .. } => self.ask(start, shard, request),
                sealer::Effect::Commit { end, .. } => self.end = Some(end),
                sealer::Effect::Over { sealed } => tracing::debug!(shard, sealed, "the seal is over"),
            }
        }
    }

    fn ask(&mut self, start: &Start<'_>, shard: u64, request: Request) {
        let version = start.metadata.read(|state| state.version);
        let envelope = Envelope { shard, epoch: self.old.epoch, from: start.me.process(), version };
        let effects = self.follower.step(follower::Event::Asked(envelope, request));
        self.follow(start, shard, effects);
    }

    /// Does what this store's part in the seal says. Its promise is kept together with all others.
    fn follow(&mut self, start: &Start<'_>, shard: u64, effects: Vec<follower::Effect>) {
        for effect in effects {
            let follower::Effect::Answer { epoch, answer, .. } = effect else { continue };
            if let Answer::Fenced(standing) = &answer {
                self.said = Some((standing.end, standing.grade));
            }
            let from = From { shard, epoch, replica: start.me.replica(), answer };
            let effects = self.sealer.step(Duration::ZERO, sealer::Event::Answered(from));
            self.carry_out(start, shard, effects);
        }
    }
}

fn attempt_of(applied: Applied) -> Option<u32> {
    if let Applied::Attempt(attempt) = applied { Some(attempt) } else { None }
}

/// What was found on the disk, as the rules want it.
fn found_of(epoch: u32, base: Place, ended: &Ended) -> follower::Found {
    let end = Place { lsn: ended.lsn, chain: ended.chain };
    // Frames of before the base are other spans'; what ends there has nothing of this one.
    let first = if end.lsn >= base.lsn { base } else { end };
    let grade = grade(ended.verdict).unwrap_or(Grade::Suspect);
    // What stands behind damage stays where it is: nobody else could need it.
    let reach = end.lsn;
    follower::Found { epoch, held: Some((first, end)), grade, reach, committed: ended.committed }
}

/// Places at which a start can be stopped, to see that the next one goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    Adopted,
    Begun,
    Promised,
    Committed,
}

#[cfg(not(test))]
fn reached(_: Point) -> Result<(), StartError> {
    Ok(())
}

#[cfg(test)]
fn reached(point: Point) -> Result<(), StartError> {
    super::start_tests::reached(point)
}

//! The disk of one shard: who writes its last span here, and how each span ends.
//!
//! # Invariants
//! - One writer at a time: the appender of the span that is led here, or the writer of a follower. Whoever is next begins
//!   when the one before has stopped.
//! - Before a span's first file there is none of an older span without its footer: the older one was ended where the
//!   metadata says, or, where this disk is short of that, put aside until a copy has come.
//!
//! # Recovery
//! [`recover`] looks at every span that has files here. What the metadata says to be sealed is ended, what is open is gone
//! on with.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tidelog_io::{Disk, IoError};
use tidelog_meta::{Span as Listed, State};
use tidelog_replica::follower::{self, Recovered};
use tidelog_replica::frame::Frame;
use tidelog_replica::grade::grade;
use tidelog_replica::message::Grade;
use tidelog_replica::span::Place;
use tidelog_wal::{
    AppendError, Ended, FrameWriter, OpenError, OpenSpan, ReadyFrame, SealedFile, SpanEnd, SpanFiles, Wal,
    end_shard, epochs_in, put_span_aside,
};
use tokio::sync::{mpsc, oneshot};

use super::held::{Held, Input, Serving};
use super::{Around, partitions, view, words};
use crate::ring::{Followed, RingError};
use crate::shards::commits::Leading;
use crate::shards::copying::Aside;
use crate::spans::{OpenedSpan, base_of};

/// How often a disk that was full is looked at.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);
/// So many segments must have room on it before it takes frames again.
const ROOM: u64 = 2;

/// What the rules want of the disk.
pub(super) enum Job {
    /// Write a follower's frames, then say so.
    Write { epoch: u32, frames: Vec<Frame>, doubted: bool },
    /// Be ready to follow a span, so that readers find what is before it.
    Follow { epoch: u32 },
    /// End a span where the metadata says, then say so.
    Seal { epoch: u32, end: Place },
    /// Remove a span's files: the metadata has dropped it, or given it to others.
    Delete { epoch: u32 },
    /// Move a span's files out of the way: they are not to be believed.
    PutAside { epoch: u32 },
    /// Lead a span.
    Lead { epoch: u32 },
    /// Lead no more.
    Rest,
    /// Put the files of a copy in their places.
    Adopt { epoch: u32, aside: Aside, reply: oneshot::Sender<Result<(), IoError>> },
}

/// Who writes.
enum Writer {
    Nobody,
    Follower { epoch: u32, wal: Wal, writer: FrameWriter },
    Leader { epoch: u32, wal: Wal },
}

/// What a look at the disk has found.
pub(super) struct FoundOnDisk {
    pub(super) recovered: Recovered,
    /// The last span, if it is open, gone on with.
    following: Option<(OpenedSpan, Followed)>,
}

/// Why a span is not written here.
#[derive(Debug, thiserror::Error)]
enum Unwritten {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Disk(#[from] OpenError),
    #[error("the metadata shows the span no more")]
    Unknown,
}

impl From<IoError> for Unwritten {
    fn from(error: IoError) -> Unwritten {
        Unwritten::Disk(error.into())
    }
}

/// How a span ends on this disk.
enum Ending {
    /// It is sealed, with all its frames.
    Whole,
    /// Frames are missing, or others are there.
    Short(SpanEnd),
}

fn place(end: SpanEnd) -> Place {
    Place { lsn: end.lsn, chain: end.chain }
}

/// Looks at all spans that have files here.
pub(super) async fn recover(around: &Around, shard: u64, state: &State) -> Result<FoundOnDisk, RingError> {
    let promised = around.beside.promised().get(&shard).copied().unwrap_or(0);
    let mut found =
        FoundOnDisk { recovered: Recovered { promised, ..Recovered::default() }, following: None };
    let dir = around.place.spec(shard, 0).dir;
    let open = |source: OpenError| RingError::Open { shard, source: Box::new(source) };
    let epochs = around.files.run(async move |disk| epochs_in(&disk, &dir).await).await??;
    for epoch in epochs {
        let Some(listed) = state.span(shard, epoch) else {
            // Whether it was dropped or is not known yet the rules find out; nothing is believed of it.
            let unknown =
                follower::Found { epoch, held: None, grade: Grade::Suspect, reach: 0, committed: 0 };
            found.recovered.open.push(unknown);
            continue;
        };
        let base = Place { lsn: listed.base, chain: listed.base_chain };
        match listed.sealed() {
            Some((lsn, chain)) => match end(around, shard, listed, SpanEnd { lsn, chain }).await {
                Ok(Ending::Whole) => {
                    found.recovered.sealed.insert(epoch, Place { lsn, chain });
                }
                Ok(Ending::Short(at)) => found.recovered.open.push(short(epoch, base, at)),
                Err(Unwritten::Ring(error)) => return Err(error),
                Err(Unwritten::Disk(source)) => return Err(open(source)),
                Err(Unwritten::Unknown) => {}
            },
            None => {
                let spec = around.place.spec(shard, epoch);
                let dir = spec.dir.clone();
                let followed =
                    around.rings.follow_shard(spec, base_of(listed), around.options.clone()).await?;
                let mut open = found_of(epoch, base, &followed.ended);
                if open.grade == Grade::Suspect {
                    let from = listed.base;
                    let seen =
                        around.files.of_span((shard, epoch), dir, async move |files| files.reach(from).await);
                    open.reach = seen.await??.reach;
                }
                found.recovered.open.push(open);
                found.following = view::opened(state, shard, epoch).map(|opened| (opened, followed));
            }
        }
    }
    Ok(found)
}

/// A span of which the disk has the frames up to `at`, wherever it really ends.
fn short(epoch: u32, base: Place, at: SpanEnd) -> follower::Found {
    let end = if at.lsn >= base.lsn { place(at) } else { base };
    follower::Found {
        epoch,
        held: Some((base, end)),
        grade: Grade::Unproved,
        reach: end.lsn,
        committed: base.lsn,
    }
}

/// What was found on the disk, as the rules want it.
fn found_of(epoch: u32, base: Place, ended: &Ended) -> follower::Found {
    let end = Place { lsn: ended.lsn, chain: ended.chain };
    let first = if end.lsn >= base.lsn { base } else { end };
    let grade = grade(ended.verdict).unwrap_or(Grade::Suspect);
    follower::Found { epoch, held: Some((first, end)), grade, reach: end.lsn, committed: ended.committed }
}

/// Ends a span where the metadata says, if it was not ended before. A span that ends elsewhere on this disk is put aside.
async fn end(around: &Around, shard: u64, listed: &Listed, end: SpanEnd) -> Result<Ending, Unwritten> {
    let spec = around.place.spec(shard, listed.epoch);
    let (base, options, span) = (base_of(listed), around.options.clone(), (listed.base, end));
    let is_alone = matches!(&listed.replicas[..], [one] if one.node == around.me.node);
    around
        .files
        .run(async move |disk| {
            let epochs = epochs_in(&disk, &spec.dir).await?;
            let sealed = SpanFiles::new(disk.clone(), spec.dir.clone(), spec.epoch).sealed().await?;
            let empty = span.0 == end.lsn && !epochs.contains(&spec.epoch);
            // What a node had for itself alone it has let go of by its own retention: the first segments may be gone.
            let let_go = sealed.whole.is_some_and(|(base, found)| is_alone && base > span.0 && found == end);
            if sealed.whole == Some(span) || empty || let_go {
                return Ok(Ending::Whole);
            }
            if !epochs.contains(&spec.epoch) {
                // No frame of it has come here.
                return Ok(Ending::Short(SpanEnd { lsn: base.lsn, chain: base.chain }));
            }
            let newer = epochs.into_iter().any(|epoch| epoch > spec.epoch);
            let ended = match newer {
                // It has been ended, and some of it is damaged or gone since.
                true => Err(OpenError::Elsewhere {
                    shard,
                    found: SpanEnd { lsn: base.lsn, chain: base.chain },
                    end,
                }),
                false => end_shard(disk.clone(), spec.clone(), base, end, options).await,
            };
            match ended {
                Ok(_) => Ok(Ending::Whole),
                Err(OpenError::Elsewhere { found, .. }) => {
                    put_span_aside(&disk, &spec).await?;
                    Ok(Ending::Short(found))
                }
                Err(error) => Err(error.into()),
            }
        })
        .await?
}

/// Does what the rules want of the disk until nobody wants anything any more.
pub(super) async fn run(held: Weak<Held>, found: FoundOnDisk, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let (mut store, around) = {
        let Some(held) = held.upgrade() else { return };
        let mut store = OnDisk { writer: Writer::Nobody, ended: BTreeMap::new() };
        if let Some((opened, followed)) = found.following {
            store.followed(&held, opened, followed);
        }
        (store, Arc::clone(&held.around))
    };
    loop {
        let job = tokio::select! {
            job = jobs.recv() => job,
            () = around.stopped() => None,
        };
        let (Some(job), Some(held)) = (job, held.upgrade()) else { break };
        tokio::select! {
            () = store.work(&held, job) => {}
            () = around.stopped() => break,
        }
    }
    if let Some(held) = held.upgrade() {
        held.rules().resting = true;
    }
    store.stop().await;
}

struct OnDisk {
    writer: Writer,
    /// Spans that this process has ended, and whether they are whole.
    ended: BTreeMap<u32, bool>,
}

impl OnDisk {
    async fn work(&mut self, held: &Arc<Held>, job: Job) {
        match job {
            Job::Write { epoch, frames, doubted } => self.write(held, epoch, &frames, doubted).await,
            Job::Follow { epoch } => {
                // Whoever leads by now, or fails to follow, does so when a frame comes.
                if matches!(self.writer, Writer::Nobody)
                    && let Err(error) = self.follow(held, epoch).await
                {
                    tracing::info!(shard = held.shard, epoch, %error, "the span is not followed yet");
                }
            }
            Job::Seal { epoch, end } => self.seal(held, epoch, end).await,
            Job::Delete { epoch } => self.remove(held, epoch, true).await,
            Job::PutAside { epoch } => self.remove(held, epoch, false).await,
            Job::Lead { epoch } => {
                match self.lead(held, epoch).await {
                    Ok(()) => {}
                    // Others have ended it meanwhile, and it was dropped.
                    Err(error @ Unwritten::Unknown) => {
                        tracing::info!(shard = held.shard, epoch, %error, "the span is not led");
                    }
                    Err(error) => held.failed("the span cannot be led", &error),
                }
                held.rules().starting = false;
            }
            Job::Rest => {
                if let Writer::Leader { .. } = self.writer {
                    self.rest(held).await;
                }
            }
            Job::Adopt { epoch, aside, reply } => {
                // Whoever copies may be gone.
                let _ = reply.send(self.adopt(held, epoch, aside).await);
            }
        }
    }

    async fn write(&mut self, held: &Arc<Held>, epoch: u32, frames: &[Frame], doubted: bool) {
        match self.follow(held, epoch).await {
            Ok(()) => {}
            Err(error @ Unwritten::Unknown) => {
                tracing::info!(shard = held.shard, epoch, %error, "a follower's frames are not written");
                return held.step(Input::Follow(follower::Event::Dropped { epoch }));
            }
            Err(error) => return held.failed("a follower's frames cannot be written", &error),
        }
        let Writer::Follower { writer, .. } = &self.writer else { return };
        let frames: Vec<ReadyFrame> = frames.iter().map(words::ready).collect();
        match writer.write(frames, doubted).await {
            Ok(()) => held.step(Input::Follow(follower::Event::Written { epoch })),
            Err(AppendError::Full) => {
                held.step(Input::Follow(follower::Event::Full { epoch }));
                held.look_for_room();
            }
            Err(error) => held.failed("a follower's frames were not written", &error),
        }
    }

    /// Makes sure that a follower's writer of this span runs.
    async fn follow(&mut self, held: &Arc<Held>, epoch: u32) -> Result<(), Unwritten> {
        if matches!(&self.writer, Writer::Follower { epoch: of, .. } if *of == epoch) {
            return Ok(());
        }
        self.rest(held).await;
        self.end_older(held, epoch).await?;
        let listed = held.rules().state.span(held.shard, epoch).cloned().ok_or(Unwritten::Unknown)?;
        let spec = held.around.place.spec(held.shard, epoch);
        let options = held.around.options.clone();
        let followed = held.around.rings.follow_shard(spec, base_of(&listed), options).await?;
        let opened = view::opened(&held.rules().state, held.shard, epoch).ok_or(Unwritten::Unknown)?;
        self.followed(held, opened, followed);
        Ok(())
    }

    fn followed(&mut self, held: &Arc<Held>, opened: OpenedSpan, followed: Followed) {
        let Followed { wal, writer, .. } = followed;
        let epoch = opened.span.epoch;
        held.rules().following = Some((epoch, writer.clone()));
        held.serve(Some(Serving { wal: wal.clone(), opened, leads: false }));
        self.writer = Writer::Follower { epoch, wal, writer };
    }

    /// Ends whatever writes now.
    async fn rest(&mut self, held: &Arc<Held>) {
        {
            let mut rules = held.rules();
            (rules.following, rules.leading, rules.resting) = (None, None, true);
        }
        if let Writer::Leader { .. } = self.writer {
            held.around.metrics.led.dec();
        }
        held.serve(None);
        self.stop().await;
    }

    /// Ends whatever writes this span now.
    async fn rest_from(&mut self, held: &Arc<Held>, epoch: u32) {
        if let Writer::Follower { epoch: of, .. } | Writer::Leader { epoch: of, .. } = &self.writer
            && *of == epoch
        {
            self.rest(held).await;
        }
    }

    /// Readers find these files of a span from now on, and no others.
    fn show(&self, epoch: u32, files: &[SealedFile]) {
        if let Writer::Follower { wal, .. } | Writer::Leader { wal, .. } = &self.writer {
            wal.adopt(epoch, files);
        }
    }

    async fn stop(&mut self) {
        match std::mem::replace(&mut self.writer, Writer::Nobody) {
            Writer::Nobody => {}
            Writer::Follower { wal, writer, .. } => {
                drop(writer);
                // Why it could not be closed in good order is in its log.
                let _ = wal.close().await;
            }
            Writer::Leader { wal, .. } => {
                let _ = wal.close().await;
            }
        }
    }

    /// Ends the spans before this one that have files here.
    async fn end_older(&mut self, held: &Arc<Held>, epoch: u32) -> Result<(), Unwritten> {
        let dir = held.around.place.spec(held.shard, epoch).dir;
        let epochs = held.around.files.run(async move |disk| epochs_in(&disk, &dir).await).await??;
        for older in epochs.into_iter().filter(|older| *older < epoch) {
            if self.ended.contains_key(&older) {
                continue;
            }
            let listed = held.rules().state.span(held.shard, older).cloned();
            match listed.as_ref().and_then(|listed| Some((listed, listed.sealed()?))) {
                Some((listed, (lsn, chain))) => {
                    let ending = end(&held.around, held.shard, listed, SpanEnd { lsn, chain }).await?;
                    held.around.files.forget(held.shard, older);
                    self.ended.insert(older, matches!(ending, Ending::Whole));
                }
                // The metadata wants nothing of it any more, or does not know it.
                None => self.put_aside(held, older).await?,
            }
        }
        Ok(())
    }

    async fn put_aside(&mut self, held: &Arc<Held>, epoch: u32) -> Result<(), Unwritten> {
        let spec = held.around.place.spec(held.shard, epoch);
        held.around.files.run(async move |disk| put_span_aside(&disk, &spec).await).await??;
        held.around.files.forget(held.shard, epoch);
        Ok(())
    }

    /// Ends a span where the metadata says.
    async fn seal(&mut self, held: &Arc<Held>, epoch: u32, at: Place) {
        self.rest_from(held, epoch).await;
        let whole = match self.ended.get(&epoch) {
            Some(whole) => Ok(*whole),
            None => {
                let listed = held.rules().state.span(held.shard, epoch).cloned();
                let Some(listed) = listed else { return };
                let end =
                    end(&held.around, held.shard, &listed, SpanEnd { lsn: at.lsn, chain: at.chain }).await;
                end.map(|ending| matches!(ending, Ending::Whole))
            }
        };
        match whole {
            Ok(whole) => {
                held.around.files.forget(held.shard, epoch);
                self.ended.insert(epoch, whole);
                if whole {
                    tracing::info!(shard = held.shard, epoch, end = at.lsn, "span ended on this disk");
                    held.step(Input::Follow(follower::Event::Sealed { epoch }));
                    // Whoever is named to lead has waited for this alone, and producers for that.
                    held.lead_if_named(&mut held.rules());
                } else {
                    held.copy(&mut held.rules(), epoch);
                }
            }
            Err(error) => held.failed("a span cannot be ended", &error),
        }
    }

    /// Puts the files of a copy in their places; readers find them from then on.
    async fn adopt(&mut self, held: &Arc<Held>, epoch: u32, aside: Aside) -> Result<(), IoError> {
        self.rest_from(held, epoch).await;
        let adopted = held.around.files.run(async move |_| aside.lock().await.adopt().await).await;
        let gone = |_| IoError::invalid("adopt", &held.around.place.dir, "the thread of the files has ended");
        let files = adopted.map_err(gone)??;
        held.around.files.forget(held.shard, epoch);
        self.ended.insert(epoch, true);
        self.show(epoch, &files);
        Ok(())
    }

    /// Removes a span's files, or puts them out of the way.
    async fn remove(&mut self, held: &Arc<Held>, epoch: u32, wholly: bool) {
        self.rest_from(held, epoch).await;
        self.show(epoch, &[]);
        let spec = held.around.place.spec(held.shard, epoch);
        let removed = held.around.files.run(async move |disk| {
            put_span_aside(&disk, &spec).await?;
            if wholly { tidelog_wal::remove_span_aside(&disk, &spec).await } else { Ok(()) }
        });
        match removed.await {
            Ok(Ok(())) => {
                tracing::info!(shard = held.shard, epoch, wholly, "a span's files are out of the way")
            }
            Ok(Err(error)) => held.failed("a span's files cannot be removed", &error),
            Err(error) => held.failed("a span's files cannot be removed", &error),
        }
        held.around.files.forget(held.shard, epoch);
    }

    /// Begins to lead a span.
    async fn lead(&mut self, held: &Arc<Held>, epoch: u32) -> Result<(), Unwritten> {
        self.rest(held).await;
        self.end_older(held, epoch).await?;
        // What has left the shard had to leave before this span was opened, and what leaves it from now on this process lets
        // leave: so the state that shows the span says which partitions it takes.
        let (opened, listed, writable) = {
            let rules = held.rules();
            let listed = rules.state.span(held.shard, epoch).cloned().ok_or(Unwritten::Unknown)?;
            let opened = view::opened(&rules.state, held.shard, epoch).ok_or(Unwritten::Unknown)?;
            (opened, listed, partitions::writable(&rules.state, held.shard))
        };
        let spec = held.around.place.spec(held.shard, epoch);
        let options = held.around.options.clone();
        let found = held.around.rings.find_shard(spec, Some(base_of(&listed)), options).await?;
        if !held.leads(epoch) {
            return Ok(());
        }
        let shared = opened.span.replicas.len() > 1;
        let commits = Leading::new(Arc::clone(held), epoch, opened.span.base.lsn, shared);
        let open = OpenSpan {
            salt: Some(opened.salt),
            start: Some(opened.start()),
            state: shared,
            writable: Some(writable),
            commits: Box::new(commits),
        };
        let (wal, _) = found.open(open).await?;
        tracing::info!(shard = held.shard, epoch, base = listed.base, "this node leads the span");
        held.rules().leading = Some(wal.clone());
        held.serve(Some(Serving { wal: wal.clone(), opened, leads: true }));
        self.writer = Writer::Leader { epoch, wal };
        held.around.metrics.led.inc();
        Ok(())
    }
}

impl Held {
    /// Tells the rules when the disk has room for segments again, once it has been full.
    pub(super) fn look_for_room(self: &Arc<Held>) {
        if std::mem::replace(&mut self.rules().full, true) {
            return;
        }
        self.around.metrics.full.inc();
        tracing::error!(
            shard = self.shard,
            "the disk has no room for another segment: frames of the leader are refused"
        );
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            let needed = ROOM * held.around.options.segment_bytes;
            loop {
                tokio::select! {
                    () = tokio::time::sleep(LOOK_FOR_ROOM) => {}
                    () = held.around.stopped() => return,
                }
                let dir = held.around.place.spec(held.shard, 0).dir;
                let free = held.around.files.run(async move |disk| disk.free_space(&dir).await).await;
                if matches!(free, Ok(Ok(free)) if free >= needed) {
                    break;
                }
            }
            held.rules().full = false;
            tracing::info!(shard = held.shard, "there is room again");
            held.step(Input::Follow(follower::Event::Room(true)));
        });
    }
}

//! Sealed spans that come from other holders: the rules say what to fetch from whom, here it is fetched, stored aside,
//! verified and put in place.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidelog_io::posix::Posix;
use tidelog_io::{IoError, random};
use tidelog_meta::{Command, Manifest};
use tidelog_proto::peer::{Message, Piece};
use tidelog_replica::copier::{Copier, Effect, Event, SealedFile};
use tidelog_replica::follower;
use tidelog_replica::frame::Frame;
use tidelog_replica::span::{Place, Replica};
use tidelog_wal::{Copied, CopyFiles, ReadyFrame};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;

use super::held::{Held, Input, Rules};
use super::store::Job;
use super::{view, words};
use crate::ring::RingError;
use crate::spans::base_of;

/// Between two looks at a copy that waits for something.
const TICK: Duration = Duration::from_millis(100);
/// How long a holder has to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a copy for which nobody had all frames, where this node need not have one.
const REST: Duration = Duration::from_secs(60);

/// Files of a copy, on the thread of the files.
pub(super) type Aside = Arc<Mutex<CopyFiles<Posix>>>;

/// Why a copy stopped.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error(transparent)]
    Ring(#[from] RingError),
    #[error(transparent)]
    Disk(#[from] IoError),
}

/// A copy that is being made.
struct Copying {
    held: Arc<Held>,
    epoch: u32,
    copier: Copier,
    aside: Aside,
    /// Pieces that are under way, in the order in which they were asked for; the rules bound how many.
    pieces: VecDeque<JoinHandle<Option<Event>>>,
    /// The files, as they were listed.
    listed: BTreeMap<u64, SealedFile>,
    in_place: bool,
    /// For now.
    given_up: bool,
}

impl Held {
    /// Copies a sealed span to this disk, if that is not under way.
    pub(super) fn copy(self: &Arc<Held>, rules: &mut Rules, epoch: u32) {
        self.copy_instead(rules, epoch, None);
    }

    /// The same in the place of a holder that is to hold it no longer.
    pub(super) fn copy_instead(self: &Arc<Held>, rules: &mut Rules, epoch: u32, old: Option<Replica>) {
        if !rules.copies.insert(epoch) {
            return;
        }
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            held.around.metrics.copies.inc();
            let copied = tokio::select! {
                copied = Copying::make(&held, epoch, old) => copied,
                () = held.around.stopped() => return,
            };
            held.around.metrics.copies.dec();
            held.rules().copies.remove(&epoch);
            if let Err(error) = copied {
                held.failed("a span could not be copied", &error);
            }
        });
    }

    async fn ask(&self, node: u64, question: &Message) -> Option<Message> {
        let store = self.rules().state.nodes.get(&node).map(|known| known.store)?;
        match self.around.peers.ask(store, "", question, PATIENCE).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                tracing::debug!(shard = self.shard, node, %error, "a holder did not answer");
                None
            }
        }
    }

    /// Fetches bytes of a sealed file, at the pace that copies may have.
    async fn fetch_piece(&self, node: u64, piece: Piece) -> Option<Bytes> {
        let around = &self.around;
        let wait = around.pace.take(around.now(), u64::from(piece.len));
        if !wait.is_zero() {
            around.metrics.copies_held_up.inc_by(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            tokio::time::sleep(wait).await;
        }
        match self.ask(node, &Message::FetchFile(piece)).await? {
            Message::Piece(got, bytes) if (got.number, got.at) == (piece.number, piece.at) => Some(bytes),
            _ => None,
        }
    }
}

impl Copying {
    /// Makes a copy; comes back when it is done, or not wanted any more.
    async fn make(held: &Arc<Held>, epoch: u32, old: Option<Replica>) -> Result<(), Stopped> {
        let me = held.around.me.replica();
        let (listed, made) = {
            let rules = held.rules();
            let listed = rules.state.span(held.shard, epoch).cloned();
            let lost = view::lost(&rules.state, held.shard, epoch);
            let turn = usize::from(random::salt()[0]);
            let span = view::span(&rules.state, held.shard, epoch);
            let copier = span.and_then(|span| Copier::new(me, span, lost, held.around.spread, turn));
            (listed, copier.map(|copier| copier.in_the_place_of(old)))
        };
        let (Some(listed), Some(copier)) = (listed, made) else { return Ok(()) };
        let (spec, base) = (held.around.place.spec(held.shard, epoch), base_of(&listed));
        let opened = held.around.files.run(async move |disk| CopyFiles::open(disk, spec, base).await).await?;
        let (aside, found) = opened?;
        let found: Vec<(SealedFile, u64)> =
            found.iter().map(|(file, len)| (words::of_sealed(file), *len)).collect();
        let held = Arc::clone(held);
        let listed = found.iter().map(|(file, _)| (file.number, *file)).collect();
        let aside = Arc::new(Mutex::new(aside));
        let pieces = VecDeque::new();
        let mut copying =
            Copying { held, epoch, copier, aside, pieces, listed, in_place: false, given_up: false };
        tracing::info!(shard = copying.held.shard, epoch, "copying a sealed span from its other holders");
        copying.run(VecDeque::from([Event::Found { files: found }, Event::Tick])).await
    }

    async fn run(&mut self, mut events: VecDeque<Event>) -> Result<(), Stopped> {
        loop {
            while let Some(event) = events.pop_front() {
                let now = self.held.around.now();
                for effect in self.copier.step(now, event) {
                    self.carry_out(effect, &mut events).await?;
                }
            }
            if self.copier.is_over() || self.given_up {
                return Ok(());
            }
            let waits = match self.pieces.front_mut() {
                Some(piece) => match tokio::time::timeout(TICK, piece).await {
                    Ok(came) => {
                        self.pieces.pop_front();
                        events.extend(came.ok().flatten());
                        false
                    }
                    Err(_) => true,
                },
                None => {
                    tokio::time::sleep(TICK).await;
                    events.push_back(Event::Tick);
                    true
                }
            };
            if waits {
                let rules = self.held.rules();
                let shard = self.held.shard;
                let span = view::span(&rules.state, shard, self.epoch);
                let lost = view::lost(&rules.state, shard, self.epoch);
                events.push_front(Event::Viewed { span, lost });
            }
        }
    }

    async fn carry_out(&mut self, effect: Effect, events: &mut VecDeque<Event>) -> Result<(), Stopped> {
        match effect {
            Effect::List { node } => {
                // Whoever was asked before may never answer.
                self.pieces.drain(..).for_each(|piece| piece.abort());
                if let Some(files) = self.list(node).await {
                    self.listed.extend(files.iter().map(|file| (file.number, *file)));
                    events.push_back(Event::Listed { node, files });
                }
            }
            Effect::Fetch { node, number, at, len } => {
                let (held, shard, epoch) = (Arc::clone(&self.held), self.held.shard, self.epoch);
                // The rules ask for a piece at a time, far less than that.
                let len = u32::try_from(len).unwrap_or(u32::MAX);
                self.pieces.push_back(self.held.around.runtime.spawn(async move {
                    let bytes = held.fetch_piece(node, Piece { shard, epoch, number, at, len }).await?;
                    Some(Event::Piece { number, at, bytes })
                }));
            }
            Effect::Store { number, at, bytes } => self.store(number, at, bytes).await?,
            Effect::Verify => {
                let copied = self.on_files(async |files| files.verify().await).await?;
                events.push_back(verified(&copied));
            }
            Effect::Gather { node, from, to } => {
                let frames = self.gather(node, from, to).await;
                events.push_back(Event::Gathered { node, from, frames });
            }
            Effect::Mend { frames } => {
                let frames: Vec<ReadyFrame> = frames.iter().map(words::ready).collect();
                self.on_files(async move |files| files.mend(&frames).await).await?;
            }
            Effect::Finish => {
                let finish = async |files: &mut CopyFiles<Posix>| {
                    files.finish().await?;
                    files.verify().await
                };
                let copied = self.on_files(finish).await?;
                events.push_back(verified(&copied));
            }
            Effect::Lacks { lsn } => {
                tracing::error!(
                    shard = self.held.shard,
                    epoch = self.epoch,
                    lsn,
                    "no holder has this frame intact: the span cannot be copied. It goes on to be looked for; bring a \
                     holder back that has it"
                );
                let mut rules = self.held.rules();
                let me = self.held.around.me.node;
                if rules.state.span(self.held.shard, self.epoch).is_some_and(|span| !span.is_on(me)) {
                    // A node that was alone has let go of its first segments by itself; the rest stays where it is.
                    rules.not_before.insert(self.epoch, self.held.around.now() + REST);
                    self.given_up = true;
                }
            }
            Effect::Adopt => {
                let (reply, adopted) = oneshot::channel();
                self.held.job(Job::Adopt { epoch: self.epoch, aside: Arc::clone(&self.aside), reply });
                adopted.await.map_err(|_| RingError::Gone)??;
                self.in_place = true;
                events.push_back(Event::Adopted);
            }
            Effect::Swap { old, manifest } => self.swap(old.as_ref(), manifest).await,
            Effect::Copied { end } => {
                self.held.around.metrics.copied.inc();
                let epoch = self.epoch;
                tracing::info!(shard = self.held.shard, epoch, "a sealed span was copied, and is whole here");
                self.held.step(Input::Follow(follower::Event::Copied { epoch, end }));
            }
            Effect::Discard => {
                self.on_files(async |files| files.discard().await).await?;
                if self.in_place {
                    self.held.job(Job::Delete { epoch: self.epoch });
                }
            }
        }
        Ok(())
    }

    /// Works with the files aside, on their thread.
    async fn on_files<T, F>(&self, work: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: AsyncFnOnce(&mut CopyFiles<Posix>) -> Result<T, IoError> + Send + 'static,
    {
        let aside = Arc::clone(&self.aside);
        Ok(self.held.around.files.run(async move |_| work(&mut *aside.lock().await).await).await??)
    }

    async fn list(&self, node: u64) -> Option<Vec<SealedFile>> {
        let (shard, epoch) = (self.held.shard, self.epoch);
        let mut all: Vec<SealedFile> = Vec::new();
        loop {
            let from = all.last().map_or(0, |last| last.number.saturating_add(1));
            let answer = self.held.ask(node, &Message::ListFiles { shard, epoch, from }).await?;
            let Message::Files { files, more, .. } = answer else { return None };
            let files = words::of_listed(&files);
            let grows = files.first().is_some_and(|first| first.number >= from);
            all.extend(files);
            if !more || !grows {
                // A holder that has not all of it lists nothing.
                let has_frames = self
                    .held
                    .rules()
                    .state
                    .span(shard, epoch)
                    .is_some_and(|span| span.sealed().is_some_and(|(end, _)| end > span.base));
                return Some(all).filter(|all| !all.is_empty() || !has_frames);
            }
        }
    }

    /// Puts bytes aside; what is not whole blocks is of no file of Tidelog's.
    async fn store(&self, number: u64, at: u64, bytes: Bytes) -> Result<(), Stopped> {
        let Some(listed) = self.listed.get(&number).map(words::sealed) else { return Ok(()) };
        if !bytes.len().is_multiple_of(tidelog_format::BLOCK)
            || !at.is_multiple_of(tidelog_format::BLOCK as u64)
        {
            return Ok(());
        }
        self.held.around.metrics.copied_bytes.inc_by(bytes.len() as u64);
        self.on_files(async move |files| files.store(listed, at, &bytes).await).await
    }

    async fn gather(&self, node: u64, from: u64, to: u64) -> Vec<Frame> {
        let (shard, epoch) = (self.held.shard, self.epoch);
        if node == self.held.around.me.node {
            return self.held.own_frames(epoch, from, to).await;
        }
        match self.held.ask(node, &Message::FetchFrames { shard, epoch, from, to }).await {
            Some(Message::Frames { frames, .. }) => words::verified(frames).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    async fn swap(&self, old: Option<&Replica>, manifest: [u8; 16]) {
        let (shard, epoch) = (self.held.shard, self.epoch);
        let (old, new) =
            (old.map(view::listed_replica), view::listed_replica(&self.held.around.me.replica()));
        let manifest = Manifest(manifest);
        let command = Command::SwapReplica { shard, epoch, old, new, manifest };
        // What became of it the metadata shows.
        let _ = self.held.around.meta.propose(command).await;
        self.held.refresh(&mut self.held.rules());
    }
}

fn verified(copied: &Copied) -> Event {
    Event::Verified {
        end: copied.end.map(|end| Place { lsn: end.lsn, chain: end.chain }),
        files: copied.files.iter().map(words::of_sealed).collect(),
    }
}

//! Frames and files for others, read from this disk beside whoever writes it.

use std::sync::Arc;

use bytes::Bytes;
use tidelog_proto::peer::{Message, Piece};
use tidelog_replica::follower::{self, WINDOW_BYTES};
use tidelog_replica::frame::Frame;
use tidelog_replica::leader;
use tidelog_replica::span::{Place, Process, Replica};
use tidelog_wal::{IntactFrames, SealedFiles, SpanFiles};
use tokio::sync::OwnedSemaphorePermit;

use super::held::{Held, Input};
use super::words;
use crate::peers::Reply;

/// Most files of one list.
const LISTED: usize = 4096;
/// Most frames that are given at once to who puts a span together.
const MOST_FRAMES: u64 = 256;
/// Most bytes of a piece of a file.
const PIECE: u32 = 4 * 1024 * 1024;

impl Held {
    /// The intact frames of a range; where one is missing that was durable, the rules are told.
    pub(super) async fn frames(self: &Arc<Held>, epoch: u32, from: u64, to: u64) -> (Vec<Frame>, u64) {
        let dir = self.around.place.spec(self.shard, epoch).dir;
        let read = self.around.files.of_span((self.shard, epoch), dir, async move |files| {
            files.frames(from, to, WINDOW_BYTES / 2).await
        });
        let IntactFrames { frames, to, breaks_at, .. } = match read.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::error!(shard = self.shard, epoch, from, %error, "frames cannot be read");
                return (Vec::new(), to);
            }
            Err(_) => return (Vec::new(), to),
        };
        self.around.metrics.frames_read.inc_by(frames.len() as u64);
        if let Some(at) = breaks_at {
            let end = self.rules().follower.end(epoch);
            if end.is_some_and(|end| at.lsn < end.lsn) {
                self.around.metrics.damaged.inc();
                tracing::error!(
                    shard = self.shard,
                    epoch,
                    lsn = at.lsn,
                    "a frame that was durable is damaged"
                );
                let intact = Place { lsn: at.lsn, chain: at.chain };
                self.step(Input::Follow(follower::Event::Damaged { epoch, intact }));
            }
        }
        (frames.into_iter().map(words::of_ready).collect(), to)
    }

    /// The intact frames that this disk has of a sealed span, in place or put aside.
    pub(super) async fn own_frames(self: &Arc<Held>, epoch: u32, from: u64, to: u64) -> Vec<Frame> {
        let (frames, _) = self.frames(epoch, from, to).await;
        if !frames.is_empty() {
            return frames;
        }
        let aside = self.around.place.spec(self.shard, epoch).dir.join(tidelog_format::name::COPIES);
        let read = self.around.files.run(async move |disk| {
            SpanFiles::new(disk, aside, epoch).frames(from, to, WINDOW_BYTES / 2).await
        });
        let found = read.await.ok().and_then(Result::ok).unwrap_or_default();
        found.frames.into_iter().map(words::of_ready).collect()
    }

    /// Gives the intact frames of a range of a span, to who puts it together. They are below an end that was decided.
    pub(super) fn give_frames(self: &Arc<Held>, epoch: u32, (from, to): (u64, u64), reply: Reply) {
        let Some(permit) = self.may_read() else { return };
        let sealed = self.rules().state.span(self.shard, epoch).is_some_and(|span| !span.is_unsealed());
        if !sealed {
            return;
        }
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            let frames = held.own_frames(epoch, from, to.min(from.saturating_add(MOST_FRAMES))).await;
            let frames = frames.iter().map(|frame| frame.bytes().clone()).collect();
            reply.send(&Message::Frames { shard: held.shard, epoch, from, frames });
            drop(permit);
        });
    }

    /// A turn to read for others; none when too many read already, and then they ask again.
    fn may_read(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.reads).try_acquire_owned().ok();
        self.around.metrics.reads_dropped.inc_by(u64::from(permit.is_none()));
        permit
    }

    /// Frames for a coordinator. When too many wait to be read, it asks again.
    pub(super) fn read_tail(
        self: &Arc<Held>,
        epoch: u32,
        (from, to): (u64, u64),
        reader: Process,
        attempt: u32,
    ) {
        let Some(permit) = self.may_read() else { return };
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            let (frames, to) = held.frames(epoch, from, to).await;
            held.step(Input::Follow(follower::Event::Read { epoch, from, to, reader, attempt, frames }));
            drop(permit);
        });
    }

    /// Frames for a holder that lags.
    pub(super) fn read_back(self: &Arc<Held>, epoch: u32, to: Replica, (from, below): (u64, u64)) {
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            let (frames, _) = held.frames(epoch, from, below).await;
            held.step(Input::Lead(leader::Event::ReadBack { to, frames }));
        });
    }

    /// Lists the files of a span that is whole here; none of one that is not, so that whoever asks turns to another holder.
    pub(super) fn list(self: &Arc<Held>, epoch: u32, from: u64, reply: Reply) {
        if !self.rules().follower.is_whole(epoch) {
            return reply.send(&Message::Files { shard: self.shard, epoch, files: Vec::new(), more: false });
        }
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            let files = held.sealed(epoch).await.unwrap_or_default().files;
            let listed = words::listed(&files);
            let mut wanted: Vec<_> = listed.into_iter().filter(|file| file.number >= from).collect();
            let more = wanted.len() > LISTED;
            wanted.truncate(LISTED);
            reply.send(&Message::Files { shard: held.shard, epoch, files: wanted, more });
        });
    }

    /// What is sealed of a span.
    pub(super) async fn sealed(&self, epoch: u32) -> Option<SealedFiles> {
        let dir = self.around.place.spec(self.shard, epoch).dir;
        let read = self.around.files.of_span((self.shard, epoch), dir, async |files| files.sealed().await);
        read.await.ok()?.ok()
    }

    /// Gives bytes of a sealed file.
    pub(super) fn give(self: &Arc<Held>, wanted: Piece, reply: Reply) {
        if !self.rules().follower.is_whole(wanted.epoch) {
            return;
        }
        let held = Arc::clone(self);
        self.around.runtime.spawn(async move {
            let dir = held.around.place.spec(held.shard, wanted.epoch).dir;
            let len = usize::try_from(wanted.len.min(PIECE)).unwrap_or(0);
            let read = held.around.files.of_span((held.shard, wanted.epoch), dir, async move |files| {
                files.piece(wanted.number, wanted.at, len).await
            });
            let bytes = read.await.ok().and_then(Result::ok).flatten().unwrap_or_else(Bytes::new);
            reply.send(&Message::Piece(wanted, bytes));
        });
    }
}

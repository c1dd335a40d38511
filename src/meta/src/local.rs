//! The metadata of a node that is alone, in a shard of its own: commands go in, and come out again at the next start.
//!
//! # Durability
//! A command is durable before it is applied. When its write fails the state stays as it was and the shard is
//! poisoned; the next start decides whether the command happened.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tidelog_wal::{AppendError, Control, ReadError, Status, Wal};
use tokio::sync::{Mutex, watch};

use crate::command::Command;
use crate::illegal::Illegal;
use crate::invariants::Broken;
use crate::outcome::Outcome;
use crate::replay::Replay;
use crate::state::{Applied, State};
use crate::store::{MetaStore, Unavailable};

/// The shard of the metadata; data shards count from 1.
pub const METADATA_SHARD: u64 = 0;
/// Bytes of one part of a snapshot.
pub(crate) const PART: usize = 1024 * 1024;
/// No snapshot before the commands behind the last one take so many bytes on the disk.
const SNAPSHOT_AFTER: u64 = 4 * 1024 * 1024;

/// Why the metadata cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// An entry of a newer version.
    #[error("the metadata, LSN {lsn}: not understood, probably written by a newer version: {cause}")]
    Unreadable {
        /// Where.
        lsn: u64,
        /// What the decoder says.
        cause: serde_json::Error,
    },
    /// A command that was legal when it was written and is not now.
    #[error("the metadata, LSN {lsn}: {why}")]
    Replay {
        /// Where.
        lsn: u64,
        /// What it breaks.
        why: Illegal,
    },
    /// A snapshot that no commands can have built.
    #[error("the metadata, LSN {lsn}: {broken}")]
    Broken {
        /// Where.
        lsn: u64,
        /// What contradicts what.
        broken: Broken,
    },
    /// The directory belongs to a node of a group, or did not and does now.
    #[error(
        "the metadata, LSN {lsn}: written for a group of nodes and read for a node that is alone, or the other way round"
    )]
    Mixed {
        /// Where.
        lsn: u64,
    },
    /// The first segments are gone, and no whole snapshot of what they did follows.
    #[error(
        "the metadata begins with LSN {lsn}: the files before it are missing; restore them from a copy, nothing is \
         served on a part of the metadata"
    )]
    Beheaded {
        /// The first one there.
        lsn: u64,
    },
    /// A failing disk or damage.
    #[error("the metadata cannot be read: {0}")]
    Read(#[from] ReadError),
    /// Damage that recovery found.
    #[error("the metadata is damaged, so nothing is served: {0}")]
    Hole(Arc<tidelog_wal::Hole>),
    /// The command changes nothing.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// The command could not be made durable.
    #[error("the metadata could not be changed: {0}")]
    Append(#[from] AppendError),
}

/// The state, and the journal that feeds it.
#[derive(Debug)]
pub struct Metadata {
    wal: Wal,
    state: RwLock<Arc<State>>,
    version: watch::Sender<u64>,
    /// Held while a command is on its way, so that commands are journalled in the order they are checked.
    journalled: Mutex<Journalled>,
}

#[derive(Debug, Default)]
struct Journalled {
    command_bytes: u64,
    snapshot_bytes: u64,
}

impl Metadata {
    /// Reads the whole shard.
    ///
    /// # Errors
    /// What cannot be read or understood: nothing is served on half of the metadata.
    pub async fn replay(wal: Wal) -> Result<Metadata, MetaError> {
        if let Status::ReadOnly(hole) = wal.status() {
            return Err(MetaError::Hole(hole));
        }
        let mut replay = Replay::default();
        wal.scan_controls(|lsn, kind, row, body| replay.entry(lsn, kind, row, body)).await?;
        let Replay { state, command_bytes, snapshot_bytes, .. } = replay.finish()?;
        let journalled = Mutex::new(Journalled { command_bytes, snapshot_bytes });
        let version = watch::Sender::new(state.version);
        Ok(Metadata { wal, state: RwLock::new(Arc::new(state)), version, journalled })
    }

    /// Looks at the state.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Checks a command, makes it durable and applies it.
    ///
    /// # Errors
    /// It is illegal, or could not be made durable. With [`AppendError::OutcomeUnknown`] the next start decides.
    pub async fn propose(&self, command: Command) -> Result<Applied, MetaError> {
        let applied = self.propose_all(vec![command]).await?;
        applied.into_iter().next().ok_or(MetaError::Append(AppendError::Closed))
    }

    /// Checks commands that follow one upon the other, makes them durable together and applies them in their order. A crash
    /// may fall between them: the next start finds the first ones.
    ///
    /// # Errors
    /// One of them is illegal behind those before it: then none is taken. Or they could not be made durable: then the first
    /// ones may have taken effect, and with [`AppendError::OutcomeUnknown`] the next start decides.
    pub async fn propose_all(&self, commands: Vec<Command>) -> Result<Vec<Applied>, MetaError> {
        let mut journalled = self.journalled.lock().await;
        self.check_all(&commands)?;
        let mut waiting = Vec::with_capacity(commands.len());
        let mut applied = Vec::with_capacity(commands.len());
        for command in commands {
            let body = command.encode();
            journalled.command_bytes += on_disk(body.len());
            waiting
                .push((command, self.wal.begin_control(Control::Command { body: Bytes::from(body) }).await?));
        }
        for (command, durable) in waiting {
            durable.await?;
            applied.push(self.apply(&command)?);
        }
        if journalled.command_bytes > SNAPSHOT_AFTER.max(2 * journalled.snapshot_bytes) {
            // The commands hold without it; the next one tries again.
            match self.snapshot().await {
                Ok(bytes) => *journalled = Journalled { command_bytes: 0, snapshot_bytes: bytes },
                Err(error) => tracing::error!(%error, "no snapshot of the metadata could be written"),
            }
        }
        Ok(applied)
    }

    fn check_all(&self, commands: &[Command]) -> Result<(), Illegal> {
        if let [only] = commands {
            return self.read(|state| state.check(only));
        }
        let mut state = self.read(State::clone);
        commands.iter().try_for_each(|command| state.apply(command).map(|_| ()))
    }

    fn apply(&self, command: &Command) -> Result<Applied, Illegal> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let applied = Arc::make_mut(&mut state).apply(command)?;
        self.version.send_replace(state.version);
        Ok(applied)
    }

    /// Writes the state, and lets go of the segments whose commands are all in it.
    async fn snapshot(&self) -> Result<u64, MetaError> {
        let bytes = Bytes::from(self.read(|state| serde_json::to_vec(state).unwrap_or_default()));
        let parts = u32::try_from(bytes.len().div_ceil(PART)).unwrap_or(u32::MAX);
        let mut first = None;
        for part in 0..parts {
            let from = part as usize * PART;
            let body = bytes.slice(from..bytes.len().min(from + PART));
            let durable = self.wal.control(Control::Snapshot { part, parts, body }).await?;
            first.get_or_insert(durable.lsn());
        }
        tracing::info!(bytes = bytes.len(), parts, "snapshot of the metadata written");
        let released = self.wal.release_commands_before(first.unwrap_or_default()).await;
        released.unwrap_or_else(|error| {
            tracing::warn!(%error, "segments of the metadata that nobody needs stay for now");
            0
        });
        Ok(bytes.len() as u64)
    }
}

/// What a command takes on the disk when it is written alone, roughly.
pub(crate) fn on_disk(body: usize) -> u64 {
    (body as u64 + 160).next_multiple_of(4096)
}

impl MetaStore for Metadata {
    async fn propose(&self, command: Command) -> Result<Outcome, Unavailable> {
        match Metadata::propose(self, command).await {
            Ok(applied) => Ok(Outcome::Applied { applied, version: self.read(|state| state.version) }),
            Err(MetaError::Illegal(why)) => Ok(Outcome::Illegal(why)),
            Err(MetaError::Append(AppendError::OutcomeUnknown { .. })) => Ok(Outcome::Indeterminate),
            Err(MetaError::Append(AppendError::TooLarge { len, max })) => {
                Err(Unavailable::TooLong { len, max })
            }
            Err(error) => Err(Unavailable::Broken(error.to_string())),
        }
    }

    async fn read(&self) -> Result<Arc<State>, Unavailable> {
        // After a write whose outcome is unknown the next start decides what the state is.
        if let Status::Poisoned(cause) = self.wal.status() {
            return Err(Unavailable::Broken(cause.to_string()));
        }
        Ok(self.recent())
    }

    fn recent(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::Retention;
    use tidelog_format::entry::EntryKind;
    use tidelog_io::block_on_posix;
    use tidelog_io::clock::Clock;
    use tidelog_io::posix::Posix;
    use tidelog_io::random::Entropy;
    use tidelog_wal::{Options, ShardSpec, open_shard};

    async fn open(disk: Posix, dir: &std::path::Path, epoch: u32) -> Wal {
        let spec = ShardSpec {
            shard: METADATA_SHARD,
            dir: dir.join("0"),
            lost_and_found: dir.join("lost+found"),
            cluster: [7; 16],
            epoch,
        };
        let options = Options { segment_bytes: 4 * 1024 * 1024, spares: 0, ..Options::default() };
        let (wal, engine, _) =
            open_shard(disk, spec, options, Clock::system(), Entropy::seeded(1)).await.unwrap();
        tokio::task::spawn_local(engine.run());
        wal
    }

    fn create(n: u64) -> Command {
        let (name, id) = (format!("{n:0200}"), format!("{n:032x}"));
        Command::CreateTopic { name, id, retention: Retention::default(), shards: vec![1; 100] }
    }

    #[test]
    fn commands_that_follow_one_upon_the_other_are_written_together_and_none_is_taken_with_an_illegal_one() {
        let dir = tempfile::tempdir().unwrap();
        block_on_posix(async |disk| {
            let wal = open(disk.clone(), dir.path(), 1).await;
            let metadata = Metadata::replay(wal.clone()).await.unwrap();
            let open_shard = |shard| Command::OpenShard { shard, class: Retention::default() };
            let before = tidelog_wal::Stats::get(&wal.stats().commits);
            metadata.propose_all((1..=100).map(open_shard).collect()).await.unwrap();
            assert!(tidelog_wal::Stats::get(&wal.stats().commits) - before < 50);
            let refused = metadata.propose_all(vec![open_shard(101), open_shard(101)]).await;
            assert!(matches!(
                refused,
                Err(MetaError::Illegal(Illegal::ShardNumber { given: 101, next: 102 }))
            ));
            let state = metadata.read(State::clone);
            assert_eq!((state.next_shard, state.version), (101, 100));
            wal.close().await.unwrap();
            let wal = open(disk, dir.path(), 2).await;
            assert_eq!(Metadata::replay(wal).await.unwrap().read(State::clone), state);
        })
        .unwrap();
    }

    #[test]
    fn when_commands_outgrow_the_snapshot_a_new_one_is_written_and_gives_the_same_state() {
        let dir = tempfile::tempdir().unwrap();
        block_on_posix(async |disk| {
            let wal = open(disk.clone(), dir.path(), 1).await;
            let metadata = Metadata::replay(wal.clone()).await.unwrap();
            metadata.propose(Command::OpenShard { shard: 1, class: Retention::default() }).await.unwrap();
            for n in 0..2500 {
                metadata.propose(create(n)).await.unwrap();
            }
            assert!(matches!(
                metadata.propose(create(5)).await,
                Err(MetaError::Illegal(Illegal::TopicExists(_)))
            ));
            let before = metadata.read(State::clone);
            wal.close().await.unwrap();

            let wal = open(disk, dir.path(), 2).await;
            let mut snapshots = 0;
            wal.scan_controls(|_, kind, _, _| snapshots += u32::from(kind == EntryKind::Snapshot))
                .await
                .unwrap();
            assert!(snapshots > 1, "a large state takes several parts");
            let metadata = Metadata::replay(wal.clone()).await.unwrap();
            assert_eq!(metadata.read(State::clone), before);
            wal.close().await.unwrap();
        })
        .unwrap();
    }
}

//! # Purpose
//! OpenTSDB's telnet protocol. It has no acknowledgements, so the promise is another one.
//!
//! # Durability
//! What was read from a socket is durable before that connection is closed cleanly. When it cannot be made durable the
//! connection is reset instead.
//!
//! # Limits
//! While [`WAITING`] reads wait to become durable nothing more is read: the client feels the back-pressure through TCP.
//! A client that does not read its answers loses those beyond [`MAX_ANSWERS`] bytes; its points are taken all the same.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::opentsdb::telnet::{Command, TelnetDecoder, stats_line, version_answer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::failure::Failure;
use crate::http::REVISION;
use crate::metrics::sum;
use crate::node::{LiveTopic, Node};
use crate::points::collect;
use crate::produce::{self, Collector};
use crate::routing::forward::Hop;

/// Reads of one connection that may wait to become durable.
const WAITING: usize = 4;
/// The input buffer grows from the first to the second when the client sends faster than is read.
const MIN_INPUT: usize = 16 * 1024;
const MAX_INPUT: usize = 256 * 1024;
const MAX_ANSWERS: usize = 64 * 1024;
/// How long a full disk is waited for before it is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// The points of one read, and where they go.
type Collected = (Arc<LiveTopic>, Collector);

/// How reading ended.
enum End {
    /// The client is done, or the node is stopping: close cleanly.
    Clean,
    /// The connection or a request failed.
    Broken,
    /// Storing ended before reading did.
    Stored(Result<(), String>),
}

/// Serves one connection to its end.
pub(crate) async fn serve(node: &Arc<Node>, mut stream: TcpStream, idle: Duration) {
    let (batches, waiting) = mpsc::channel(WAITING);
    let mut storing = tokio::spawn(store(Arc::clone(node), waiting));
    let mut session = Session {
        node,
        decoder: TelnetDecoder::new(&node.config.limits),
        input: BytesMut::new(),
        capacity: MIN_INPUT,
        answers: BytesMut::new(),
        topic: None,
        exit: false,
    };
    let end = session.run(&mut stream, &batches, &mut storing, idle).await;
    drop(batches);
    let (is_clean, stored) = match end {
        // It has been polled to its end if it was what broke.
        End::Stored(result) => (false, result),
        End::Clean => (true, storing.await.unwrap_or_else(|gone| Err(gone.to_string()))),
        End::Broken => (false, storing.await.unwrap_or_else(|gone| Err(gone.to_string()))),
    };
    if let Err(error) = &stored {
        tracing::error!(error, "points from telnet were not stored");
    }
    if is_clean && stored.is_ok() {
        let _ = tokio::time::timeout(idle, stream.write_all(&session.answers)).await;
        let _ = stream.shutdown().await;
    } else {
        // A reset, not an end: the client must not believe that everything was stored.
        let _ = stream.set_zero_linger();
    }
}

/// Makes batches durable, in order.
async fn store(node: Arc<Node>, mut waiting: mpsc::Receiver<Collected>) -> Result<(), String> {
    while let Some((topic, collector)) = waiting.recv().await {
        let mut batches = collector.finish().map_err(|error| error.to_string())?;
        loop {
            match produce::append(&node, &topic, &mut batches, Hop::First).await {
                Ok(_) => break,
                // What was not written waits for room, and the client waits with it.
                Err(failure) if failure.code == ErrorCode::StorageFull && !node.is_stopping() => {
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                Err(failure) => return Err(failure.message),
            }
        }
    }
    Ok(())
}

struct Session<'n> {
    node: &'n Arc<Node>,
    decoder: TelnetDecoder,
    input: BytesMut,
    capacity: usize,
    answers: BytesMut,
    topic: Option<Arc<LiveTopic>>,
    exit: bool,
}

impl Session<'_> {
    async fn run(
        &mut self,
        stream: &mut TcpStream,
        batches: &mpsc::Sender<Collected>,
        storing: &mut JoinHandle<Result<(), String>>,
        idle: Duration,
    ) -> End {
        while !self.exit {
            let pause = tokio::time::sleep(idle);
            tokio::select! {
                ready = stream.readable() => match ready.and_then(|()| self.read(stream)) {
                    Ok(Some(0)) => return End::Clean,
                    Ok(Some(_)) => if let Err(end) = self.take(stream, batches).await {
                        return end;
                    },
                    Ok(None) => {}
                    Err(_) => return End::Broken,
                },
                ready = stream.writable(), if !self.answers.is_empty() => if ready.is_err() {
                    return End::Broken;
                },
                stored = &mut *storing => {
                    return End::Stored(stored.unwrap_or_else(|gone| Err(gone.to_string())));
                }
                () = pause => return End::Clean,
                () = self.node.until_stopping() => return End::Clean,
            }
            if self.answer(stream).is_err() {
                return End::Broken;
            }
        }
        End::Clean
    }

    /// Reads what is there; `None` when it was a false alarm.
    fn read(&mut self, stream: &TcpStream) -> io::Result<Option<usize>> {
        self.input.reserve(self.capacity);
        match stream.try_read_buf(&mut self.input) {
            Ok(read) => {
                if read >= self.capacity {
                    self.capacity = (self.capacity * 2).min(MAX_INPUT);
                }
                Ok(Some(read))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands the points among what was read on; waits while too many are on their way already.
    async fn take(&mut self, stream: &TcpStream, batches: &mpsc::Sender<Collected>) -> Result<(), End> {
        match self.decode().await {
            Ok(None) => Ok(()),
            Ok(Some(collected)) => batches.send(collected).await.map_err(|_| End::Broken),
            Err(failure) => {
                let _ = stream.try_write(format!("put: {}\n", failure.message).as_bytes());
                tracing::warn!(error = failure.message, "points from telnet were not taken");
                Err(End::Broken)
            }
        }
    }

    /// Decodes all whole lines; answers the points among them.
    async fn decode(&mut self) -> Result<Option<Collected>, Failure> {
        // The topic may have been deleted and created again since the last read.
        let name = &self.node.config.topics.tsdb;
        self.topic = self.node.topic(name);
        let may_put = memchr::memmem::find(&self.input, b"put").is_some();
        if self.topic.is_none() && may_put {
            self.topic = Some(self.node.topic_to_write(name).await?);
        }
        let mut collector = self.topic.as_ref().map(|topic| Collector::new(self.node, topic));
        let metrics = &self.node.metrics;
        while let Some(command) = self.decoder.next(&mut self.input) {
            metrics.telnet_lines.inc();
            let answer = match &command {
                Command::Put(point) => {
                    if let Some(collector) = &mut collector {
                        collect(collector, point)?;
                    }
                    None
                }
                Command::Version => Some(version_answer(env!("CARGO_PKG_VERSION"), REVISION)),
                Command::Stats => Some(stats(self.node)),
                Command::Exit => {
                    self.exit = true;
                    break;
                }
                Command::Refused(_) | Command::TooLong(_) | Command::Unknown(_) => {
                    metrics.telnet_errors.inc();
                    command.answer()
                }
                Command::Help => command.answer(),
            };
            if let Some(answer) = answer.filter(|answer| self.answers.len() + answer.len() <= MAX_ANSWERS) {
                self.answers.extend_from_slice(answer.as_bytes());
            }
        }
        let collected = self.topic.clone().zip(collector);
        Ok(collected.filter(|(_, collector)| !collector.is_empty()))
    }

    /// Writes answers as far as the client takes them.
    fn answer(&mut self, stream: &TcpStream) -> io::Result<()> {
        while !self.answers.is_empty() {
            match stream.try_write(&self.answers) {
                Ok(written) => self.answers.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The answer to `stats`.
fn stats(node: &Node) -> String {
    let seconds = u64::try_from(node.clock.now_ms() / 1000).unwrap_or(0);
    let metrics = &node.metrics;
    let open = u64::try_from(metrics.connections_open.get()).unwrap_or(0);
    [
        ("tidelog.uptime_seconds", node.started.elapsed().as_secs()),
        ("tidelog.telnet.lines", metrics.telnet_lines.get()),
        ("tidelog.telnet.errors", metrics.telnet_errors.get()),
        ("tidelog.connections", metrics.connections.get()),
        ("tidelog.connections.open", open),
        ("tidelog.records", sum(node, |stats| &stats.records)),
        ("tidelog.commits", sum(node, |stats| &stats.commits)),
        ("tidelog.topics", node.topics().len() as u64),
    ]
    .map(|(name, value)| stats_line(name, seconds, value, ("node", &node.me.node.to_string())))
    .concat()
}

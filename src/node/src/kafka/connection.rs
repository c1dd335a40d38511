//! One connection: requests in, answers out in the same order.
//!
//! # Invariants
//! Requests are carried out one after the other, as Kafka does it, but for one thing: a produce request only hands its
//! batches to their shards, in order, and is waited for when it is answered. So a client that pipelines them gets many
//! commits into one write.
//!
//! # Limits
//! A request's length is compared with `limits.request_bytes` before anything is allocated for it. While [`IN_FLIGHT`]
//! answers wait, a shard has no room, or all requests together hold `limits.memory_bytes`, nothing more is read: the
//! client feels it through TCP.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use tidelog_proto::kafka::api_versions::ApiVersionsResponse;
use tidelog_proto::kafka::{ApiKey, ErrorCode, RequestError, RequestHeader};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::dispatch::{self, Answer};
use super::oversize;
use super::rope::Rope;
use crate::budget::Share;
use crate::node::Node;

/// Answers of one connection that may wait.
const IN_FLIGHT: usize = 64;
/// Bytes read at once while it is not known how long the request is; small requests that follow each other share a
/// piece of memory of this size, which lives as long as a batch of them is kept in memory.
const HEAD: usize = 4096;
/// With less room than this a new piece of memory is begun, bytes.
const LEAST: usize = 512;
/// Bytes of a length.
const LENGTH: usize = 4;

/// An answer on its way, with the memory that its request holds.
struct Reply {
    header: RequestHeader,
    answer: Answer,
    share: Share,
}

/// Serves a connection until the client or the node ends it.
pub(crate) async fn serve(node: &Arc<Node>, stream: TcpStream) {
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    let (read, write) = stream.into_split();
    let (replies, answers) = mpsc::channel(IN_FLIGHT);
    let mut reading = pin!(requests(node, read, replies));
    let mut writing = pin!(answer_all(node, write, answers));
    let ended = tokio::select! {
        // What was taken is answered, also when what follows it is no request.
        ended = reading.as_mut() => writing.await.and(ended),
        ended = writing.as_mut() => ended,
    };
    if let Err(why) = ended {
        node.metrics.kafka_connections_failed.inc();
        tracing::info!(peer, why, "a Kafka connection was closed");
    }
}

/// Reads requests and begins them, until the client closes or the node stops.
async fn requests(
    node: &Arc<Node>,
    mut read: OwnedReadHalf,
    replies: mpsc::Sender<Reply>,
) -> Result<(), String> {
    let mut input = BytesMut::new();
    let host = read.peer_addr().map(|peer| format!("/{}", peer.ip())).unwrap_or_default();
    let mut stopping = node.stopping.subscribe();
    loop {
        let mut share = node.budget.share();
        let frame = tokio::select! {
            frame = next_frame(node, &mut read, &mut input, &mut share) => frame,
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
        };
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(NoFrame::Broken(why)) => return Err(why),
            Err(NoFrame::TooLong(len, why)) => {
                let refused = refuse(node, &mut read, &input[LENGTH..], len, &why, share, &replies);
                tokio::select! {
                    () = refused => {}
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                }
                return Err(why);
            }
        };
        let (header, request) = match RequestHeader::decode(&frame) {
            Ok(decoded) => decoded,
            Err(RequestError::Version { api: ApiKey::ApiVersions, correlation_id, .. }) => {
                // The client learns what is spoken and asks again.
                let api = ApiKey::ApiVersions;
                let header = RequestHeader { api, version: 0, correlation_id, client_id: None };
                let body = ApiVersionsResponse::all(ErrorCode::UnsupportedVersion.into());
                let reply = Reply { header, answer: Answer::Now(body.into()), share };
                if replies.send(reply).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        node.metrics.kafka_request(header.api, frame.len());
        let answer = tokio::select! {
            answer = dispatch::begin(node, &header, request, frame, &host) => answer,
            () = hung_up(&mut read), if waits_for_others(header.api) => return Ok(()),
            // Whoever waits for records or for other members of its group asks again elsewhere.
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(()),
        };
        if replies.send(Reply { header, answer, share }).await.is_err() {
            return Ok(());
        }
    }
}

/// Whether a request waits for other clients, so that it matters whether its own is still there.
fn waits_for_others(api: ApiKey) -> bool {
    matches!(api, ApiKey::JoinGroup | ApiKey::SyncGroup)
}

/// Ends when the client closes; what it sends meanwhile stays where it is.
async fn hung_up(read: &mut OwnedReadHalf) {
    if matches!(read.peek(&mut [0]).await, Ok(1..)) {
        std::future::pending::<()>().await;
    }
}

/// Why there is no further request.
enum NoFrame {
    /// It would have so many bytes.
    TooLong(usize, String),
    Broken(String),
}

impl From<String> for NoFrame {
    fn from(why: String) -> NoFrame {
        NoFrame::Broken(why)
    }
}

/// Answers a request over the limit where the protocol has an answer, and lets the client come to it.
async fn refuse(
    node: &Node,
    read: &mut OwnedReadHalf,
    start: &[u8],
    len: usize,
    why: &str,
    share: Share,
    replies: &mpsc::Sender<Reply>,
) {
    let Some((header, response)) = oversize::answer(start, why) else { return };
    if replies.send(Reply { header, answer: Answer::Now(response), share }).await.is_ok() {
        let idle = Duration::from_millis(node.config.limits.idle_timeout_ms);
        oversize::skip(read, len.saturating_sub(start.len()), idle).await;
    }
}

/// Reads one request; `None` when the client has closed, or has been silent for too long, between two of them.
async fn next_frame(
    node: &Node,
    read: &mut OwnedReadHalf,
    input: &mut BytesMut,
    share: &mut Share,
) -> Result<Option<BytesMut>, NoFrame> {
    let limits = &node.config.limits;
    let idle = Duration::from_millis(limits.idle_timeout_ms);
    while input.len() < LENGTH {
        if input.capacity() - input.len() < LEAST {
            input.reserve(HEAD);
        }
        match timeout(idle, read.read_buf(&mut (&mut *input).limit(HEAD))).await {
            Ok(Ok(0)) if input.is_empty() => return Ok(None),
            Ok(Ok(0)) => return Err("it ended in the middle of a request".to_owned().into()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string().into()),
            Err(_) => return Ok(None),
        }
    }
    let announced = i32::from_be_bytes([input[0], input[1], input[2], input[3]]);
    let limit = limits.request_bytes;
    let why = || format!("a request of {announced} bytes, the limit is {limit} (limits.request_bytes)");
    let len = usize::try_from(announced).map_err(|_| why())?;
    if len as u64 > limit {
        return Err(NoFrame::TooLong(len, why()));
    }
    share.take(len).await.map_err(|error| error.to_string())?;
    input.advance(LENGTH);
    input.reserve(len.saturating_sub(input.len()));
    while input.len() < len {
        // No more than this request: what follows would have to be moved.
        let missing = len - input.len();
        match timeout(idle, read.read_buf(&mut (&mut *input).limit(missing))).await {
            Ok(Ok(0)) => return Err("it ended in the middle of a request".to_owned().into()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.to_string().into()),
            Err(_) => return Err("it was silent in the middle of a request".to_owned().into()),
        }
    }
    Ok(Some(input.split_to(len)))
}

/// Writes answers in the order of their requests.
async fn answer_all(
    node: &Node,
    mut write: OwnedWriteHalf,
    mut answers: mpsc::Receiver<Reply>,
) -> Result<(), String> {
    let idle = Duration::from_millis(node.config.limits.idle_timeout_ms);
    while let Some(Reply { header, answer, mut share }) = answers.recv().await {
        let body = match answer {
            Answer::Now(body) => body,
            Answer::Later(body) => body.await,
            Answer::Never(outcome) => match outcome.await {
                Ok(()) => continue,
                // Without an answer this is the only way to say it.
                Err(why) => return Err(why),
            },
        };
        let frame = body.encode(header.version, header.correlation_id);
        let mut rope = Rope::new(frame);
        // Answers are bounded by what may be read; this only counts them.
        let _ = share.grow(rope.remaining());
        node.metrics.kafka_response(rope.remaining());
        match timeout(idle, write.write_all_buf(&mut rope)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("it did not take its answer".to_owned()),
        }
    }
    // The client sees that there is nothing more to come.
    let _ = write.shutdown().await;
    Ok(())
}

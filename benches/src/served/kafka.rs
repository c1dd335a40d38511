//! Produce requests written straight to the socket.
//!
//! # Format
//! Produce version 7 (the one that librdkafka of Debian sends): its response says per partition error and offset.

use std::net::SocketAddr;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::BenchError;
use crate::args::Shape;
use crate::served::closed_loop::{self, Committer, Plan, Served};
use crate::served::process::Process;
use crate::workload::Pool;

const TOPIC: &str = "bench";
const CLIENT: &str = "tidelog-bench";
const PRODUCE: i16 = 0;
const METADATA: i16 = 3;
const FETCH: i16 = 1;
/// Longest response that is read, bytes.
const LONGEST: usize = 1 << 20;
/// Milliseconds that the server may take for a commit.
const TIMEOUT_MS: i32 = 30_000;

/// Drives the server with one connection for each producer.
///
/// # Errors
/// A refused commit; a lost connection.
pub fn drive(server: &Process, shape: Shape, pool: &Pool, plan: Plan) -> Result<Served, BenchError> {
    drive_at(server.address(), std::slice::from_ref(server), shape, pool, plan)
}

/// The same with the one of several servers that leads.
///
/// # Errors
/// As [`drive`].
pub fn drive_at(
    leader: SocketAddr,
    servers: &[Process],
    shape: Shape,
    pool: &Pool,
    plan: Plan,
) -> Result<Served, BenchError> {
    let each = (u64::from(shape.batch), u64::from(shape.batch) * u64::from(shape.record));
    let requests = requests(pool);
    let connect = async |_| Connection::open(leader, requests.clone()).await;
    closed_loop::drive(servers, plan, each, connect, shape.producers as usize)
}

/// Connects, asks for the topic, which creates it, and gives the response.
///
/// # Errors
/// A lost connection.
pub fn metadata_once(address: SocketAddr) -> Result<Vec<u8>, BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(BenchError::file("starting a runtime for", "a client"))?;
    runtime.block_on(async { Ok(Connection::open(address, std::rc::Rc::default()).await?.answer) })
}

/// Connects, makes one commit and waits until it is durable.
///
/// # Errors
/// A refused commit; a lost connection.
pub fn commit_once(address: SocketAddr, pool: &Pool) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(BenchError::file("starting a runtime for", "a client"))?;
    let request = std::rc::Rc::new(vec![produce(&pool.received(0))]);
    runtime.block_on(async { Connection::open(address, request).await?.commit(0).await })
}

/// A request for each batch of the pool.
fn requests(pool: &Pool) -> std::rc::Rc<Vec<BytesMut>> {
    std::rc::Rc::new((0..pool.len()).map(|turn| produce(&pool.received(turn))).collect())
}

fn produce(batch: &[u8]) -> BytesMut {
    framed(PRODUCE, 7, |body| {
        body.put_i16(-1); // no transactional id
        body.put_i16(-1); // acks: all
        body.put_i32(TIMEOUT_MS);
        body.put_i32(1);
        put_string(body, TOPIC);
        body.put_i32(1);
        body.put_i32(0); // partition
        put_i32_len(body, batch.len());
        body.put_slice(batch);
    })
}

/// Asks for the topic, which creates it.
fn metadata() -> BytesMut {
    framed(METADATA, 4, |body| {
        body.put_i32(1);
        put_string(body, TOPIC);
        body.put_u8(1); // create it
    })
}

/// Asks for up to `max` bytes of the topic's first partition from `offset` on, without waiting for more (version 4).
pub(super) fn fetch(offset: i64, max: i32) -> BytesMut {
    framed(FETCH, 4, |body| {
        body.put_i32(-1); // a client, no replica
        body.put_i32(0); // longest wait, ms
        body.put_i32(1); // least bytes
        body.put_i32(max);
        body.put_u8(0); // isolation
        body.put_i32(1);
        put_string(body, TOPIC);
        body.put_i32(1);
        body.put_i32(0); // partition
        body.put_i64(offset);
        body.put_i32(max);
    })
}

/// Error and high watermark of the partition in the response to [`fetch`].
pub(super) fn fetched(answer: &[u8]) -> Option<(i16, i64)> {
    let at = 4 + 4 + 4 + 2 + TOPIC.len() + 4 + 4;
    let error = answer.get(at..)?.first_chunk().map(|bytes| i16::from_be_bytes(*bytes))?;
    let end = answer.get(at + 2..)?.first_chunk().map(|bytes| i64::from_be_bytes(*bytes))?;
    Some((error, end))
}

fn framed(key: i16, version: i16, body: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(0);
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(1); // correlation id
    put_string(&mut out, CLIENT);
    body(&mut out);
    let len = i32::try_from(out.len() - 4).unwrap_or(i32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

fn put_string(out: &mut BytesMut, text: &str) {
    out.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    out.put_slice(text.as_bytes());
}

fn put_i32_len(out: &mut BytesMut, len: usize) {
    out.put_i32(i32::try_from(len).unwrap_or(i32::MAX));
}

struct Connection {
    stream: TcpStream,
    requests: std::rc::Rc<Vec<BytesMut>>,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(
        address: SocketAddr,
        requests: std::rc::Rc<Vec<BytesMut>>,
    ) -> Result<Connection, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(BenchError::Connection)?;
        stream.set_nodelay(true).map_err(BenchError::Connection)?;
        let mut connection = Connection { stream, requests, answer: Vec::new() };
        connection.stream.write_all(&metadata()).await.map_err(BenchError::Connection)?;
        connection.read().await.map_err(BenchError::Connection)?;
        Ok(connection)
    }

    /// Reads one response into `answer`.
    async fn read(&mut self) -> std::io::Result<()> {
        let len = usize::try_from(self.stream.read_i32().await?).unwrap_or(usize::MAX);
        if len > LONGEST {
            return Err(std::io::Error::other(format!("a response of {len} bytes")));
        }
        self.answer.resize(len, 0);
        self.stream.read_exact(&mut self.answer).await.map(|_| ())
    }
}

impl Committer for Connection {
    async fn commit(&mut self, turn: usize) -> Result<(), BenchError> {
        let requests = std::rc::Rc::clone(&self.requests);
        let request = &requests[turn % requests.len()];
        self.stream.write_all(request).await.map_err(BenchError::Connection)?;
        self.read().await.map_err(BenchError::Connection)?;
        match error_of(&self.answer) {
            Some(0) => Ok(()),
            Some(code) => Err(BenchError::Refused(format!("Kafka error {code}"))),
            None => Err(BenchError::Refused(format!("a response of {} bytes", self.answer.len()))),
        }
    }
}

/// The partition's error code: behind correlation id, count, the topic's name, count and partition.
fn error_of(answer: &[u8]) -> Option<i16> {
    let at = 4 + 4 + 2 + TOPIC.len() + 4 + 4;
    let code = answer.get(at..at + 2)?;
    Some(i16::from_be_bytes([code[0], code[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_how_long_it_is_and_ends_with_the_batch() {
        let request = produce(b"batch");
        let len = i32::from_be_bytes([request[0], request[1], request[2], request[3]]);
        assert_eq!(usize::try_from(len).unwrap(), request.len() - 4);
        assert!(request.ends_with(b"\0\0\0\x05batch"));
    }

    #[test]
    fn the_error_is_found_in_a_response_and_not_in_a_short_one() {
        let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 5];
        answer.extend_from_slice(b"bench");
        answer.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 7]);
        assert_eq!(error_of(&answer), Some(7));
        assert_eq!(error_of(&answer[..answer.len() - 1]), None);
    }

    #[test]
    fn the_end_of_the_partition_is_found_in_a_fetch_and_not_in_a_short_one() {
        let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 5];
        answer.extend_from_slice(b"bench");
        answer.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert_eq!(fetched(&answer), Some((3, 512)));
        assert_eq!(fetched(&answer[..answer.len() - 1]), None);
    }
}

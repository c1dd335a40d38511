//! One connection that speaks Kafka's protocol, one request at a time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tidelog_proto::kafka::ask::{self, Ask};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Error;

/// What we call ourselves.
const CLIENT_ID: &str = "tidelog";
/// Longest response that is read, bytes: a leader is told what all members say.
const LONGEST: usize = 64 * 1024 * 1024;
/// Grown so much at a time while a response comes in, bytes.
const STEP: usize = 64 * 1024;
const CONNECT: Duration = Duration::from_secs(5);

/// A connection, made when it is needed.
#[derive(Debug)]
pub(super) struct Connection {
    /// HOST:PORT.
    address: String,
    stream: Option<TcpStream>,
    last_id: i32,
}

impl Connection {
    pub(super) fn new(address: String) -> Connection {
        Connection { address, stream: None, last_id: 0 }
    }

    /// Asks and waits for the answer. After a failure, or when this is cancelled, the next call makes a new connection.
    pub(super) async fn ask<A: Ask>(&mut self, asked: &A, within: Duration) -> Result<A::Answer, Error> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        self.last_id = self.last_id.wrapping_add(1);
        let frame = ask::request(asked, self.last_id, CLIENT_ID);
        let answered = timeout(within, exchange(&mut stream, frame)).await;
        let late = |_| Error::Timeout { server: self.address.clone(), after: within };
        let answer = answered.map_err(late)?;
        let answer = answer
            .map_err(|cause| Error::Broken { server: self.address.clone(), cause: cause.to_string() })?;
        let (id, answer) = ask::response::<A>(&answer).map_err(|cause| self.not_understood::<A>(cause))?;
        if id != self.last_id {
            return Err(self.not_understood::<A>(format!("it has id {id} instead of {}", self.last_id)));
        }
        self.stream = Some(stream);
        Ok(answer)
    }

    async fn connect(&self) -> Result<TcpStream, Error> {
        let unreachable = |cause: String| Error::Unreachable { server: self.address.clone(), cause };
        let connected = timeout(CONNECT, TcpStream::connect(&self.address)).await;
        let stream = connected.map_err(|_| unreachable("it does not answer".to_owned()))?;
        let stream = stream.map_err(|cause| unreachable(cause.to_string()))?;
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    fn not_understood<A: Ask>(&self, cause: impl ToString) -> Error {
        Error::Decode {
            server: self.address.clone(),
            what: A::API.name().to_owned(),
            cause: cause.to_string(),
        }
    }
}

/// Sends a frame and reads one, without its length.
async fn exchange(stream: &mut TcpStream, frame: Vec<Bytes>) -> std::io::Result<BytesMut> {
    for mut part in frame {
        stream.write_all_buf(&mut part).await?;
    }
    let len = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if len > LONGEST {
        return Err(std::io::Error::other(format!("it announces an answer of {len} bytes")));
    }
    let mut answer = BytesMut::new();
    while answer.len() < len {
        // What was announced is believed as it comes.
        let missing = u64::try_from((len - answer.len()).min(STEP)).unwrap_or(u64::MAX);
        if (&mut *stream).take(missing).read_buf(&mut answer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(answer)
}

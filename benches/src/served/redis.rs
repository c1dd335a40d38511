//! Redis streams: one `XADD` a record, those of a commit in one pipeline.

use std::net::SocketAddr;
use std::process::Command;
use std::rc::Rc;

use tidelog_io::random::Entropy;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::BenchError;
use crate::args::Shape;
use crate::served::closed_loop::{self, Committer, Plan, Served};
use crate::served::process::Process;

/// Commits that are prepared ahead.
const PREPARED: usize = 64;

/// What is installed; `None` when nothing is.
pub fn version() -> Option<String> {
    let answer = Command::new("redis-server").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned())
}

/// Drives the server with one connection for each producer.
///
/// # Errors
/// A refused command; a lost connection.
pub fn drive(server: &Process, shape: Shape, seed: u64, plan: Plan) -> Result<Served, BenchError> {
    let entropy = Entropy::seeded(seed);
    let prepared = if shape.batch > 1 { PREPARED / 4 } else { PREPARED };
    let commits: Rc<Vec<Vec<u8>>> = Rc::new((0..prepared).map(|_| pipeline(shape, &entropy)).collect());
    let each = (u64::from(shape.batch), u64::from(shape.batch) * u64::from(shape.record));
    let connect = async |_| Connection::open(server.address(), Rc::clone(&commits), shape.batch).await;
    closed_loop::drive(std::slice::from_ref(server), plan, each, connect, shape.producers as usize)
}

fn pipeline(shape: Shape, entropy: &Entropy) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..shape.batch {
        let head = format!("*5\r\n$4\r\nXADD\r\n$5\r\nbench\r\n$1\r\n*\r\n$1\r\nv\r\n${}\r\n", shape.record);
        out.extend_from_slice(head.as_bytes());
        let value = (0..shape.record.div_ceil(8)).flat_map(|_| entropy.u64().to_le_bytes());
        out.extend(value.take(shape.record as usize));
        out.extend_from_slice(b"\r\n");
    }
    out
}

struct Connection {
    stream: BufReader<TcpStream>,
    commits: Rc<Vec<Vec<u8>>>,
    answers: u32,
    line: Vec<u8>,
}

impl Connection {
    async fn open(
        address: SocketAddr,
        commits: Rc<Vec<Vec<u8>>>,
        answers: u32,
    ) -> Result<Connection, BenchError> {
        let stream = TcpStream::connect(address).await.map_err(BenchError::Connection)?;
        stream.set_nodelay(true).map_err(BenchError::Connection)?;
        Ok(Connection {
            stream: BufReader::with_capacity(1 << 16, stream),
            commits,
            answers,
            line: Vec::new(),
        })
    }

    /// Reads an id as a bulk string: a line with its length, a line with the id.
    async fn read_id(&mut self) -> Result<(), BenchError> {
        for _ in 0..2 {
            self.line.clear();
            self.stream.read_until(b'\n', &mut self.line).await.map_err(BenchError::Connection)?;
            if !matches!(self.line.first(), Some(b'$' | b'0'..=b'9')) {
                return Err(BenchError::Refused(String::from_utf8_lossy(&self.line).trim().to_owned()));
            }
        }
        Ok(())
    }
}

impl Committer for Connection {
    async fn commit(&mut self, turn: usize) -> Result<(), BenchError> {
        let commits = Rc::clone(&self.commits);
        let commit = &commits[turn % commits.len()];
        let (answers, stream) = (self.answers, self.stream.get_mut());
        stream.write_all(commit).await.map_err(BenchError::Connection)?;
        for _ in 0..answers {
            self.read_id().await?;
        }
        Ok(())
    }
}

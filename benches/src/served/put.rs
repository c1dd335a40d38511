//! OpenTSDB's put: over HTTP, where each request is answered when its points are durable, and over telnet, where the
//! clean end of the connection says so for all of them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::BenchError;
use crate::served::closed_loop::{self, Committer, Plan, Served};
use crate::served::process::Process;

const CONNECTIONS: usize = 4;
/// Points of a request, and of a piece that is written to a telnet connection.
const POINTS: u64 = 1000;
/// Requests that are prepared ahead.
const PREPARED: u64 = 16;
const START: u64 = 1_700_000_000;
/// Longest head of an answer, bytes.
const LONGEST: usize = 16 * 1024;

/// Puts over HTTP with four connections, each with one request in flight. Points count as records.
///
/// # Errors
/// A refused request; a lost connection.
pub fn http(server: &Process, plan: Plan) -> Result<Served, BenchError> {
    let requests: Rc<Vec<Vec<u8>>> = Rc::new((0..PREPARED).map(request).collect());
    let bytes = requests.first().map_or(0, |request| request.len() as u64);
    let address = server.http();
    let connect = async |_| {
        let stream = tokio::net::TcpStream::connect(address).await.map_err(BenchError::Connection)?;
        stream.set_nodelay(true).map_err(BenchError::Connection)?;
        Ok(Connection { stream, requests: Rc::clone(&requests), answer: Vec::new() })
    };
    closed_loop::drive(std::slice::from_ref(server), plan, (POINTS, bytes), connect, CONNECTIONS)
}

/// Metric, host and timestamp of a point: a thousand hosts with one metric each, second by second.
fn point(turn: u64, number: u64) -> (String, u64, String) {
    (format!("web{number:04}"), START + turn, format!("{}.{}", number % 100, turn % 10))
}

fn request(turn: u64) -> Vec<u8> {
    let points: Vec<String> = (0..POINTS)
        .map(|number| {
            let (host, at, value) = point(turn, number);
            format!(
                r#"{{"metric":"sys.cpu.user","timestamp":{at},"value":{value},"tags":{{"host":"{host}","cpu":"0"}}}}"#
            )
        })
        .collect();
    let body = format!("[{}]", points.join(","));
    posted("/api/put", &body)
}

fn posted(path: &str, body: &str) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    (head + body).into_bytes()
}

/// The same points as lines of the telnet protocol.
fn lines(turn: u64) -> Vec<u8> {
    let line = |number| {
        let (host, at, value) = point(turn, number);
        format!("put sys.cpu.user {at} {value} host={host} cpu=0\n")
    };
    (0..POINTS).map(line).collect::<String>().into_bytes()
}

struct Connection {
    stream: tokio::net::TcpStream,
    requests: Rc<Vec<Vec<u8>>>,
    answer: Vec<u8>,
}

impl Committer for Connection {
    async fn commit(&mut self, turn: usize) -> Result<(), BenchError> {
        let requests = Rc::clone(&self.requests);
        self.stream.write_all(&requests[turn % requests.len()]).await.map_err(BenchError::Connection)?;
        self.answer.clear();
        // An answer without content ends with its head.
        while !self.answer.ends_with(b"\r\n\r\n") {
            let read = self.stream.read_buf(&mut self.answer).await.map_err(BenchError::Connection)?;
            if read == 0 || self.answer.len() > LONGEST {
                break;
            }
        }
        match self.answer.starts_with(b"HTTP/1.1 204") && self.answer.ends_with(b"\r\n\r\n") {
            true => Ok(()),
            false => Err(refused(&self.answer)),
        }
    }
}

fn refused(answer: &[u8]) -> BenchError {
    BenchError::Refused(String::from_utf8_lossy(answer).lines().next().unwrap_or_default().to_owned())
}

/// Puts over telnet with four connections, and waits until the server has closed them cleanly, which says that all is
/// durable. Gives points a second.
///
/// # Errors
/// A lost connection.
pub fn telnet(server: &Process, plan: Plan) -> Result<f64, BenchError> {
    let pieces: Vec<Vec<u8>> = (0..PREPARED).map(lines).collect();
    let (address, begun) = (server.http(), Instant::now());
    let points: std::io::Result<u64> = std::thread::scope(|scope| {
        let send = || scope.spawn(|| send_lines(address, &pieces, plan));
        let sending: Vec<_> = (0..CONNECTIONS).map(|_| send()).collect();
        let gone = || Err(std::io::Error::other("a client ended early"));
        sending.into_iter().map(|one| one.join().unwrap_or_else(|_| gone())).sum()
    });
    Ok(points.map_err(BenchError::Connection)? as f64 / begun.elapsed().as_secs_f64())
}

fn send_lines(address: SocketAddr, pieces: &[Vec<u8>], plan: Plan) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    let (begun, mut points) = (Instant::now(), 0);
    for piece in pieces.iter().cycle() {
        if begun.elapsed() >= plan.measured {
            break;
        }
        stream.write_all(piece)?;
        points += POINTS;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    match said.is_empty() {
        true => Ok(points),
        false => Err(std::io::Error::other(String::from_utf8_lossy(&said).into_owned())),
    }
}

/// Creates a topic with so many partitions and waits until it is there.
///
/// # Errors
/// A refused request; a lost connection.
pub fn create_topic(address: SocketAddr, name: &str, partitions: u32) -> Result<(), BenchError> {
    let body = format!(r#"{{"name":"{name}","partitions":{partitions}}}"#);
    let request = String::from_utf8_lossy(&posted("/v1/topics", &body))
        .replace("Host: bench\r\n", "Host: bench\r\nConnection: close\r\n");
    let mut answer = Vec::new();
    let exchange = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(request.as_bytes())?;
        stream.read_to_end(&mut answer).map(|_| ())
    };
    let mut exchange = exchange;
    exchange().map_err(BenchError::Connection)?;
    match answer.starts_with(b"HTTP/1.1 20") {
        true => Ok(()),
        false => Err(refused(&answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_points_and_its_length() {
        let request = String::from_utf8(request(3)).unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())));
        let points: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(points.as_array().unwrap().len(), 1000);
        assert_eq!(points[7]["tags"]["host"], "web0007");
    }

    #[test]
    fn a_line_is_a_put() {
        let lines = String::from_utf8(lines(0)).unwrap();
        assert_eq!(lines.lines().count(), 1000);
        assert!(lines.starts_with("put sys.cpu.user 1700000000 0.0 host=web0000 cpu=0\n"));
    }
}

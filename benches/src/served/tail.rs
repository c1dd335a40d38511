//! Fetches at the tail: what a reader gets from memory, beside what a socket gives.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::BenchError;
use crate::served::kafka;

/// Bytes asked for.
const ASKED: i32 = 1 << 20;
/// Records behind which the reader stands.
const BEHIND: i64 = 8_000;
/// Longest answer, bytes.
const LONGEST: usize = 64 * 1024 * 1024;

/// What fetching gave.
#[derive(Debug, Clone, Copy)]
pub struct Fetched {
    /// 10^6 bytes of answers a second.
    pub mb_per_s: f64,
    /// Bytes of an answer.
    pub answer: usize,
}

/// Fetches the same place at the tail of the bench's topic, again and again.
///
/// # Errors
/// A refused fetch; a lost connection.
pub fn fetch(address: SocketAddr, time: Duration) -> Result<Fetched, BenchError> {
    let mut stream = TcpStream::connect(address).map_err(BenchError::Connection)?;
    let mut answer = Vec::new();
    ask(&mut stream, &kafka::fetch(0, ASKED), &mut answer).map_err(BenchError::Connection)?;
    let (error, end) = kafka::fetched(&answer)
        .ok_or_else(|| BenchError::Refused(format!("a fetch's answer of {} bytes", answer.len())))?;
    if error != 0 {
        return Err(BenchError::Refused(format!("Kafka error {error}")));
    }
    let request = kafka::fetch(end - BEHIND, ASKED);
    let (begun, mut bytes) = (Instant::now(), 0);
    while begun.elapsed() < time {
        ask(&mut stream, &request, &mut answer).map_err(BenchError::Connection)?;
        bytes += answer.len();
    }
    let error = kafka::fetched(&answer).map(|(error, _)| error);
    if error != Some(0) || answer.len() < ASKED as usize / 2 {
        return Err(BenchError::Refused(format!("a fetch's answer of {} bytes", answer.len())));
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Fetched { mb_per_s: bytes as f64 / seconds / 1e6, answer: answer.len() })
}

fn ask(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> std::io::Result<()> {
    stream.write_all(request)?;
    let mut len = [0; 4];
    stream.read_exact(&mut len)?;
    let len = usize::try_from(i32::from_be_bytes(len)).unwrap_or(usize::MAX);
    if len > LONGEST {
        return Err(std::io::Error::other(format!("a response of {len} bytes")));
    }
    answer.resize(len, 0);
    stream.read_exact(answer)
}

/// The same exchange with a thread that only sends `len` bytes from memory: 10^6 bytes a second.
///
/// # Errors
/// A lost connection.
pub fn blast(len: usize, time: Duration) -> Result<f64, BenchError> {
    let measured = || -> std::io::Result<f64> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let request = kafka::fetch(0, ASKED);
        let asked = request.len();
        std::thread::scope(|scope| {
            // It ends with the connection.
            scope.spawn(move || answer_from_memory(&listener, asked, len));
            let mut stream = TcpStream::connect(address)?;
            let (mut answer, begun, mut bytes) = (Vec::new(), Instant::now(), 0);
            while begun.elapsed() < time {
                ask(&mut stream, &request, &mut answer)?;
                bytes += answer.len();
            }
            Ok(bytes as f64 / begun.elapsed().as_secs_f64() / 1e6)
        })
    };
    measured().map_err(BenchError::Connection)
}

fn answer_from_memory(listener: &TcpListener, asked: usize, len: usize) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    let mut request = vec![0; asked];
    let mut answer = vec![7; len + 4];
    answer[..4].copy_from_slice(&i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes());
    loop {
        stream.read_exact(&mut request)?;
        stream.write_all(&answer)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_a_rate() {
        assert!(blast(1 << 16, Duration::from_millis(20)).unwrap() > 0.0);
    }
}

//! A plain HTTP/1.1 client over one kept connection, which knows nothing of Tidelog: what any client would see.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::wait::PATIENCE;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A connection, made when it is needed.
pub(crate) struct Http {
    address: SocketAddr,
    /// Whoever says nothing for so long is given up.
    patience: Duration,
    stream: Option<BufReader<TcpStream>>,
}

impl Http {
    pub(crate) fn new(address: SocketAddr) -> Http {
        Http::with_patience(address, PATIENCE)
    }

    pub(crate) fn with_patience(address: SocketAddr, patience: Duration) -> Http {
        Http { address, patience, stream: None }
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.request("GET", path, "", b"")
    }

    pub(crate) fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> io::Result<Answer> {
        self.request("POST", path, content_type, body)
    }

    /// Posts text to whoever may never answer: whether it did so soon, and well.
    pub(crate) fn post_soon(address: SocketAddr, path: &str, body: &[u8]) -> bool {
        let mut http = Http::with_patience(address, Duration::from_secs(3));
        http.post(path, "text/plain", body).is_ok_and(|answer| answer.is_success())
    }

    /// Sends one request, once. After an error its fate is unknown and the connection is dropped.
    pub(crate) fn request(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        self.request_with(method, path, &kind, body)
    }

    /// The same with headers of its own, each with its end of line.
    pub(crate) fn request_with(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(self.connect()?),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes())?;
        stream.get_mut().write_all(body)?;
        let (answer, keep) = read_answer(&mut stream)?;
        if keep {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, self.patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        Ok(stream)
    }
}

/// The head of a message: its first line, and what the headers say that matters here.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) first_line: String,
    pub(crate) content_length: Option<usize>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    /// The head as it came, with its blank line.
    pub(crate) raw: Vec<u8>,
}

/// Reads a head; `None` at the end of the connection.
pub(crate) fn read_head(stream: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = Head::default();
    loop {
        let from = head.raw.len();
        if stream.read_until(b'\n', &mut head.raw)? == 0 {
            return if from == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let line = String::from_utf8_lossy(&head.raw[from..]).trim_end().to_owned();
        if from == 0 {
            head.first_line = line;
            continue;
        }
        let Some((name, value)) = line.split_once(':') else { return Ok(Some(head)) };
        let value = value.trim().to_ascii_lowercase();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.content_length = value.parse().ok(),
            "transfer-encoding" => head.chunked = value == "chunked",
            "connection" => head.close = value == "close",
            _ => {}
        }
    }
}

/// Reads a whole answer, and whether the connection may be used again.
pub(crate) fn read_answer(stream: &mut impl BufRead) -> io::Result<(Answer, bool)> {
    let head = read_head(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.first_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("no status: {}", head.first_line)))?;
    let body = if head.chunked {
        read_chunks(stream)?
    } else {
        read_body(stream, head.content_length.unwrap_or(0))?
    };
    Ok((Answer { status, body }, !head.close))
}

pub(crate) fn read_body(stream: &mut impl BufRead, len: usize) -> io::Result<Vec<u8>> {
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        if stream.by_ref().take(len).read_to_end(&mut body)? as u64 != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.clear();
        stream.read_line(&mut line)?;
        if len == 0 {
            return Ok(body);
        }
    }
}

//! A server for tests: speaks HTTP/1.1, answers as a closure says.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tidelog_proto::http::error::{ErrorAnswer, ErrorCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Client, Options};

/// What the server got.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    /// Method, path and query.
    pub(crate) line: String,
    pub(crate) body: Bytes,
}

/// What the server does then.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Answer(u16, Bytes),
    /// Closes the connection without an answer.
    HangUp,
    /// Never answers.
    Silence,
}

impl Reply {
    pub(crate) fn json(value: &impl serde::Serialize) -> Reply {
        Reply::Answer(200, serde_json::to_vec(value).unwrap().into())
    }

    pub(crate) fn error(code: ErrorCode) -> Reply {
        Reply::Answer(code.status(), ErrorAnswer::new(code, "as the test wants it").to_json().into())
    }
}

/// Serves on a port of the system's choice as long as the runtime lives. The closure may wait.
pub(crate) async fn serve<F, R>(reply: F) -> SocketAddr
where
    F: Fn(Got) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reply = Arc::new(reply);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let reply = Arc::clone(&reply);
            tokio::spawn(async move { converse(stream, &*reply).await });
        }
    });
    address
}

/// A client of such a server, which answers `/healthz` by itself. It retries at once and for 100 ms.
pub(crate) async fn client<F, R>(reply: F) -> Client
where
    F: Fn(Got) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send,
{
    let address = serve(reply).await;
    let options = Options { retry_for: std::time::Duration::from_millis(100), ..Options::default() };
    Client::connect_with(&address.to_string(), options).await.unwrap()
}

async fn converse<F, R>(mut stream: TcpStream, reply: &F)
where
    F: Fn(Got) -> R,
    R: Future<Output = Reply>,
{
    let mut buffer = Vec::new();
    while let Some(got) = request(&mut stream, &mut buffer).await {
        let reply =
            if got.line == "GET /healthz" { Reply::Answer(200, Bytes::new()) } else { reply(got).await };
        match reply {
            Reply::Answer(status, body) => {
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
                if stream.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
                    return;
                }
            }
            Reply::HangUp => return,
            Reply::Silence => std::future::pending().await,
        }
    }
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Got> {
    let head_len = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..head_len].to_vec()).unwrap().to_ascii_lowercase();
    let line = String::from_utf8(buffer[..head_len].to_vec()).unwrap();
    let line = line.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    let body_len =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while buffer.len() < head_len + body_len {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = Bytes::copy_from_slice(&buffer[head_len..head_len + body_len]);
    buffer.drain(..head_len + body_len);
    Some(Got { line, body })
}

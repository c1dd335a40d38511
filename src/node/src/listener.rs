//! # Purpose
//! Accepts connections. One port is for HTTP and telnet: the first byte decides. A letter from A to Z begins an HTTP
//! method, everything else is a telnet line. Another one is for Kafka's protocol.
//!
//! # Limits
//! Connections in all; bytes of a request's head; time without any traffic. A connection too many is told so.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::activity::{Activity, Watched};
use crate::metrics::OpenConnection;
use crate::node::Node;
use crate::{http, kafka, telnet};

/// So many connections too many are told so at a time; beyond, they are just closed.
const REFUSALS: usize = 64;
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// The least buffer that hyper works with.
const MIN_BUFFER: usize = 8192;

/// A port that is this node's and not listened on yet: its number is known before the node is opened, and whoever connects
/// meanwhile is refused rather than kept waiting.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpSocket,
    address: SocketAddr,
}

impl Bound {
    /// Takes an address; port 0 takes a free one.
    pub(crate) fn new(address: SocketAddr) -> io::Result<Bound> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A port whose last connections are still being closed can be had again.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let address = socket.local_addr()?;
        Ok(Bound { socket, address })
    }

    /// With the port that was taken.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens from now on.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        self.socket.listen(BACKLOG)
    }
}

/// What a listener speaks.
#[derive(Clone)]
pub(crate) enum Front {
    /// HTTP and telnet, by the first byte.
    Http(Router),
    Kafka,
}

impl Front {
    pub(crate) fn http(node: &Arc<Node>) -> Front {
        Front::Http(http::router(Arc::clone(node)))
    }

    async fn serve(self, node: &Arc<Node>, stream: TcpStream) {
        match self {
            Front::Http(router) => serve(node, stream, router).await,
            Front::Kafka => kafka::serve(node, stream).await,
        }
    }

    async fn refuse(self, stream: TcpStream) {
        match self {
            Front::Http(_) => refuse(stream).await,
            // Its protocol has no words for it: the client sees the end of the connection, and tries again later.
            Front::Kafka => {}
        }
    }
}

/// Accepts until the node stops. `alive` is dropped when accepting and every connection has ended.
pub(crate) async fn run(node: Arc<Node>, listener: TcpListener, front: Front, alive: mpsc::Sender<()>) {
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = node.until_stopping() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // No more descriptors, most likely: some will be given back.
                tracing::error!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        match OpenConnection::begin(&node) {
            Some(open) => {
                let (node, front, alive) = (Arc::clone(&node), front.clone(), alive.clone());
                tokio::spawn(async move {
                    front.serve(&node, stream).await;
                    drop((open, alive));
                });
            }
            None => {
                if let Ok(permit) = Arc::clone(&refusals).try_acquire_owned() {
                    let front = front.clone();
                    tokio::spawn(async move {
                        let _ = timeout(REFUSAL_TIME, front.refuse(stream)).await;
                        drop(permit);
                    });
                }
            }
        }
    }
}

async fn serve(node: &Arc<Node>, stream: TcpStream, router: Router) {
    let idle = Duration::from_millis(node.config.limits.idle_timeout_ms);
    let mut first = [0];
    let peeked = tokio::select! {
        peeked = timeout(idle, stream.peek(&mut first)) => peeked,
        () = node.until_stopping() => return,
    };
    match (peeked, first) {
        (Ok(Ok(1..)), [b'A'..=b'Z']) => serve_http(node, stream, router, idle).await,
        (Ok(Ok(1..)), _) => telnet::serve(node, stream, idle).await,
        _ => {}
    }
}

async fn serve_http(node: &Arc<Node>, stream: TcpStream, router: Router, idle: Duration) {
    let limits = &node.config.limits;
    let head = usize::try_from(limits.http_header_bytes).unwrap_or(usize::MAX);
    // A reader may wait that long on purpose.
    let quiet = idle + Duration::from_millis(limits.read_wait_ms);
    let activity = Activity::default();
    let io = TokioIo::new(Watched::new(stream, activity.clone()));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(head.max(MIN_BUFFER) * 4);
    builder.max_header_size(head);
    let mut connection = pin!(builder.serve_connection(io, TowerToHyperService::new(router)));
    let mut silence = pin!(activity.silence(quiet));
    let mut stopped = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an HTTP connection ended early");
                }
                return;
            }
            () = silence.as_mut() => return,
            () = node.until_stopping(), if !stopped => {
                stopped = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Tells a connection too many that it is one, in its own language.
async fn refuse(mut stream: TcpStream) {
    let mut first = [0];
    if !matches!(stream.peek(&mut first).await, Ok(1..)) {
        return;
    }
    let text: &[u8] = match first {
        [b'A'..=b'Z'] => {
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n\
              Content-Length: 92\r\n\r\n\
              {\"error\":{\"code\":\"overloaded\",\"message\":\"too many connections are open; try again later\"}}\r\n\r\n"
        }
        _ => b"error: too many connections are open; try again later\n",
    };
    let _ = stream.write_all(text).await;
    let _ = stream.shutdown().await;
    // What was sent must be read, else the answer is lost with it.
    let mut rest = [0; 4096];
    while matches!(stream.read(&mut rest).await, Ok(1..)) {}
}

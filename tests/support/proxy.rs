//! Proxies between a client and the server that write down what passes: the ledger that is kept outside the process
//! under test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::http::{read_answer, read_body, read_head};
use super::node::{Kills, Node};
use super::wait;

/// Telnet lines that went over one connection to the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lines {
    pub(crate) lines: Vec<String>,
    /// The server read everything and closed without an error, before anyone killed it: all lines are durable.
    pub(crate) clean: bool,
    /// What the server wrote back.
    pub(crate) answers: String,
}

/// One HTTP request and the status of its answer; `None` when the connection broke before.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    pub(crate) first_line: String,
    pub(crate) body: Vec<u8>,
    pub(crate) status: Option<u16>,
    /// The body of the answer.
    pub(crate) answer: String,
}

/// A proxy on a port of its own, and its ledger.
pub(crate) struct Proxy<T> {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    server: SocketAddr,
    kills: Kills,
    ledger: Mutex<Vec<T>>,
    open: AtomicUsize,
}

impl<T: Clone + Send + 'static> Proxy<T> {
    /// `serve` carries one connection of a client; connections are carried one after the other.
    fn start(node: &Node, serve: impl Fn(TcpStream, &Shared<T>) + Send + 'static) -> Proxy<T> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared {
            server: node.address(),
            kills: node.kills(),
            ledger: Mutex::default(),
            open: AtomicUsize::new(0),
        };
        let shared = Arc::new(shared);
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                theirs.open.fetch_add(1, Ordering::SeqCst);
                if let Ok(stream) = stream {
                    serve(stream, &theirs);
                }
                theirs.open.fetch_sub(1, Ordering::SeqCst);
            }
        });
        Proxy { address, shared }
    }

    /// What passed so far.
    pub(crate) fn ledger(&self) -> Vec<T> {
        self.shared.ledger.lock().unwrap().clone()
    }

    /// Waits until no connection is open, and gives what passed.
    pub(crate) fn finished(&self) -> Vec<T> {
        wait::until("the proxy to finish", || (self.shared.open.load(Ordering::SeqCst) == 0).then_some(()));
        self.ledger()
    }
}

impl Proxy<Lines> {
    /// Carries telnet lines. With `every`, the connection to the server is closed cleanly after so many lines and a new
    /// one is made: so much is then known to be durable. The client notices nothing.
    pub(crate) fn telnet(node: &Node, every: Option<usize>) -> Proxy<Lines> {
        Proxy::start(node, move |client, shared| carry_lines(client, shared, every))
    }

    /// Lines that passed so far.
    pub(crate) fn count(&self) -> usize {
        self.shared.ledger.lock().unwrap().iter().map(|lines| lines.lines.len()).sum()
    }
}

fn carry_lines(client: TcpStream, shared: &Shared<Lines>, every: Option<usize>) {
    let mut client = BufReader::new(client);
    let mut upstream: Option<Upstream> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        if !matches!(client.read_until(b'\n', &mut line), Ok(1..)) || !line.ends_with(b"\n") {
            break;
        }
        let server = upstream.get_or_insert_with(|| Upstream::open(shared));
        let sent = server.send(&line, shared);
        if sent.is_none() {
            upstream = None;
        } else if every.is_some() && sent == every {
            upstream.take().unwrap().close(shared);
        }
    }
    if let Some(server) = upstream {
        server.close(shared);
    }
}

/// A connection to the server, with its place in the ledger.
struct Upstream {
    stream: TcpStream,
    entry: usize,
    kills: u64,
}

impl Upstream {
    fn open(shared: &Shared<Lines>) -> Upstream {
        let (stream, kills) = wait::until("the server to accept", || {
            let kills = shared.kills.count();
            Some((TcpStream::connect(shared.server).ok()?, kills))
        });
        let mut ledger = shared.ledger.lock().unwrap();
        ledger.push(Lines::default());
        Upstream { stream, entry: ledger.len() - 1, kills }
    }

    /// How many lines this connection has carried now; `None` when it broke.
    fn send(&mut self, line: &[u8], shared: &Shared<Lines>) -> Option<usize> {
        let sent = self.stream.write_all(line).is_ok();
        let lines = &mut shared.ledger.lock().unwrap()[self.entry].lines;
        lines.push(String::from_utf8(line.to_vec()).unwrap());
        sent.then_some(lines.len())
    }

    fn close(mut self, shared: &Shared<Lines>) {
        let mut answers = Vec::new();
        let closed =
            self.stream.shutdown(Shutdown::Write).and_then(|()| self.stream.read_to_end(&mut answers));
        let entry = &mut shared.ledger.lock().unwrap()[self.entry];
        entry.clean = closed.is_ok() && shared.kills.count() == self.kills;
        entry.answers = String::from_utf8_lossy(&answers).into_owned();
    }
}

impl Proxy<Exchange> {
    /// Carries HTTP requests and their answers.
    pub(crate) fn http(node: &Node) -> Proxy<Exchange> {
        Proxy::start(node, |client, shared| {
            // An error ends the connection, which is what the client is to see.
            let _ = carry_requests(client, shared);
        })
    }
}

fn carry_requests(client: TcpStream, shared: &Shared<Exchange>) -> std::io::Result<()> {
    let mut server = BufReader::new(TcpStream::connect(shared.server)?);
    let mut client = BufReader::new(client);
    while let Some(head) = read_head(&mut client)? {
        let body = read_body(&mut client, head.content_length.unwrap_or(0))?;
        let entry = {
            let mut ledger = shared.ledger.lock().unwrap();
            let (first_line, body, answer) = (head.first_line.clone(), body.clone(), String::new());
            ledger.push(Exchange { first_line, body, status: None, answer });
            ledger.len() - 1
        };
        server.get_mut().write_all(&head.raw)?;
        server.get_mut().write_all(&body)?;
        let (answer, keep) = read_answer(&mut server)?;
        {
            let exchange = &mut shared.ledger.lock().unwrap()[entry];
            (exchange.status, exchange.answer) = (Some(answer.status), answer.text());
        }
        let (status, len) = (answer.status, answer.body.len());
        let length = if status == 204 { String::new() } else { format!("Content-Length: {len}\r\n") };
        client.get_mut().write_all(format!("HTTP/1.1 {status} As-Received\r\n{length}\r\n").as_bytes())?;
        client.get_mut().write_all(&answer.body)?;
        if !keep {
            break;
        }
    }
    Ok(())
}

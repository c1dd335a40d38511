//! The real server, `tidelog serve`, as a process on a data directory that outlives it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::wait;

/// The program under test: the one Cargo built with this test, or `TIDELOG_BIN`.
pub(crate) fn program() -> PathBuf {
    std::env::var_os("TIDELOG_BIN").map_or_else(|| env!("CARGO_BIN_EXE_tidelog").into(), PathBuf::from)
}

/// How often the server was killed. Counted before the signal is sent: whoever read an unchanged number behind an
/// event knows that the event came before the kill.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kills(Arc<AtomicU64>);

impl Kills {
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A server and its directory. Dropping it kills the process and removes the directory.
pub(crate) struct Node {
    dir: TempDir,
    data: PathBuf,
    /// Settings, as TOML.
    config: PathBuf,
    child: Option<Child>,
    address: SocketAddr,
    kafka: SocketAddr,
    starts: u32,
    kills: Kills,
}

impl Node {
    /// Starts a server on an empty directory and a free port. `config` is TOML.
    pub(crate) fn start(config: &str) -> Node {
        Node::start_on(config, |_| {})
    }

    /// The same on a directory that `prepare` fills; it is there, and empty, if anything is put into it.
    pub(crate) fn start_on(config: &str, prepare: impl FnOnce(&Path)) -> Node {
        let mut node = Node::unstarted(config, None);
        prepare(&node.data());
        node.restart();
        node
    }

    /// A server that is still to be started, on the directory `data`, else on one of its own.
    pub(crate) fn unstarted(config: &str, data: Option<&Path>) -> Node {
        let dir = TempDir::new().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let node = Node {
            data: data.map_or_else(|| dir.path().join("data"), Path::to_owned),
            config: dir.path().join("tidelog.toml"),
            dir,
            child: None,
            address,
            kafka: address,
            starts: 0,
            kills: Kills::default(),
        };
        node.configure(config);
        node
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Where it listens; the same after every restart.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for Kafka's clients; the same after every restart.
    #[allow(dead_code, reason = "not every test speaks Kafka's protocol")]
    pub(crate) fn kafka(&self) -> SocketAddr {
        self.kafka
    }

    pub(crate) fn kills(&self) -> Kills {
        self.kills.clone()
    }

    /// Settings, as TOML, from the next start on.
    pub(crate) fn configure(&self, config: &str) {
        std::fs::write(&self.config, config).unwrap();
    }

    /// Where it is to listen, from its next start on.
    pub(crate) fn listen_at(&mut self, http: SocketAddr, kafka: SocketAddr) {
        (self.address, self.kafka) = (http, kafka);
    }

    /// SIGSTOP, or SIGCONT.
    pub(crate) fn signal(&self, signal: &str) {
        send(signal, self.child.as_ref().unwrap());
    }

    /// It takes other ports at its next start.
    pub(crate) fn forget_ports(&mut self) {
        self.address = SocketAddr::from(([127, 0, 0, 1], 0));
        self.kafka = self.address;
    }

    /// Starts the process and waits until it says that it listens.
    pub(crate) fn restart(&mut self) {
        self.spawn();
        self.until_it_listens();
    }

    /// Waits until the process says that it listens.
    pub(crate) fn until_it_listens(&mut self) {
        (self.address, self.kafka) = wait::until("the server to listen", || {
            let output = self.output();
            let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() else {
                return listening(&output);
            };
            // Between two lives anybody's connection may be given the port, for as long as it lasts.
            assert!(output.contains("Address already in use"), "the server ended with {status}:\n{output}");
            self.child = None;
            self.spawn();
            None
        });
    }

    /// Starts the process and does not wait.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        self.starts += 1;
        let output = File::create(self.output_path()).unwrap();
        let child = Command::new(program())
            .arg("serve")
            .arg("--data")
            .arg(self.data())
            .arg("--http")
            .arg(self.address.to_string())
            .arg("--kafka")
            .arg(self.kafka.to_string())
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Whether it was started, and neither killed nor stopped since.
    #[allow(dead_code, reason = "most tests have one node")]
    pub(crate) fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.kills.0.fetch_add(1, Ordering::SeqCst);
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and waits for its end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.kills.0.fetch_add(1, Ordering::SeqCst);
        let mut child = self.child.take().unwrap();
        terminate(&child);
        wait::until("the server to stop", || child.try_wait().unwrap())
    }

    /// How the process ended, once it has by itself.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(ended)
    }

    /// What the last process wrote.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.output_path()).unwrap_or_default()
    }

    /// `tidelog ARGS... --server ADDRESS`, to be completed.
    pub(crate) fn client(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(args).arg("--server").arg(self.address.to_string());
        command
    }

    fn output_path(&self) -> PathBuf {
        self.dir.path().join(format!("server-{}.txt", self.starts))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            println!("the server's last words:\n{}", tail(&self.output()));
            if std::env::var_os("TIDELOG_KEEP").is_some() {
                self.dir.disable_cleanup(true);
                println!("kept: {}", self.dir.path().display());
            }
        }
    }
}

/// Asks a process to end.
pub(crate) fn terminate(child: &Child) {
    send("-TERM", child);
}

/// Sends a signal, named as kill's option.
fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").arg(signal).arg(child.id().to_string()).status();
    assert!(sent.unwrap().success());
}

/// Where it says that it listens, for HTTP and for Kafka's clients.
fn listening(output: &str) -> Option<(SocketAddr, SocketAddr)> {
    let address = |scheme: &str| {
        let (_, rest) = output.split_once(&format!("listening on {scheme}://"))?;
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')?;
        rest[..end].parse().ok()
    };
    Some((address("http")?, address("kafka")?))
}

fn tail(text: &str) -> &str {
    let from = text.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
    &text[from..]
}

/// A directory for a peer's files.
pub(crate) fn scratch() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path: &Path = dir.path();
    let path = path.to_owned();
    (dir, path)
}

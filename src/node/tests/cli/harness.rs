//! A real server on a port of its own, and the real command line against it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, Weak};

use tempfile::TempDir;

const TIDELOG: &str = env!("CARGO_BIN_EXE_tidelog");

/// Small segments, so that a test does not fill a disk with zeros.
const SETTINGS: &str = "[storage]\nshards = 1\nsegment_bytes = 4194304\n";

/// A running server; it is killed when the last test lets go of it.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    kafka: String,
    dir: TempDir,
}

impl Server {
    /// One for this test alone.
    pub(crate) fn start() -> Server {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("tidelog.toml"), SETTINGS).unwrap();
        let (child, address, kafka) = spawn(dir.path(), "127.0.0.1:0", "127.0.0.1:0");
        Server { child, address, kafka, dir }
    }

    /// kill -9, and the same again at the same addresses.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.dir.path(), &self.address, &self.kafka).0;
    }

    /// The one that all tests running now have in common; each uses topics of its own.
    pub(crate) fn shared() -> Arc<Server> {
        static RUNNING: Mutex<Weak<Server>> = Mutex::new(Weak::new());
        let mut running = RUNNING.lock().unwrap();
        running.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Server::start());
            *running = Arc::downgrade(&server);
            server
        })
    }

    /// A client command, not yet started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(TIDELOG);
        command.args(args).env("TIDELOG_SERVER", &self.address);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a client command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Runs a client command with this on its standard input.
    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> Ran {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A command that has seen enough closes its end; that is no failure of the test.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        output.into()
    }

    /// Starts a client command that the test talks to.
    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdin(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running { stdin: child.stdin.take(), stdout: Some(stdout), child }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server and waits until it listens; answers its addresses.
fn spawn(dir: &Path, http: &str, kafka: &str) -> (Child, String, String) {
    let mut child = Command::new(TIDELOG)
        .args(["serve", "--http", http, "--kafka", kafka, "--data"])
        .arg(dir.join("data"))
        .arg("--config")
        .arg(dir.join("tidelog.toml"))
        .env("TIDELOG_TRACE", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut address = |protocol: &str| {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line.trim().strip_prefix(&format!("listening on {protocol}://")).expect(&line).to_owned()
    };
    let (http, kafka) = (address("http"), address("kafka"));
    // Nothing more is expected there, but a full pipe must not stop the server.
    std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    (child, http, kafka)
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let stderr = String::from_utf8(output.stderr).unwrap();
        Ran { status: output.status, stdout: output.stdout, stderr }
    }
}

impl Ran {
    /// What it wrote, after checking that it ended well.
    pub(crate) fn good(self) -> Vec<u8> {
        assert_eq!(self.status.code(), Some(0), "{}", self.stderr);
        self.stdout
    }

    /// As [`Ran::good`], as text.
    pub(crate) fn text(self) -> String {
        String::from_utf8(self.good()).unwrap()
    }

    /// What it said, after checking its exit code and that it wrote no data.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.status.code(), Some(code), "{}", self.stderr);
        assert_eq!(String::from_utf8_lossy(&self.stdout), "");
        self.stderr
    }
}

/// A command that is running.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdin: Option<std::process::ChildStdin>,
    pub(crate) stdout: Option<BufReader<std::process::ChildStdout>>,
}

impl Running {
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn interrupt(&self) {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ran {
        drop(self.stdin.take());
        let mut stdout = Vec::new();
        if let Some(mut rest) = self.stdout.take() {
            rest.read_to_end(&mut stdout).unwrap();
        }
        let output = self.child.wait_with_output().unwrap();
        Ran { stdout, ..output.into() }
    }
}

//! A server as a process of its own, stopped when it is no longer needed.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{BenchError, cpu};

/// The same for HTTP and OpenTSDB; it comes first.
const HTTP: &str = "listening on http://";
/// What the line on a server's standard output that names its Kafka port begins with.
pub(super) const KAFKA: &str = "listening on kafka://";
const START: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub struct Process {
    child: Child,
    address: SocketAddr,
    http: Option<SocketAddr>,
}

impl Process {
    /// Starts Tidelog on `dir` with its defaults.
    ///
    /// # Errors
    /// When it does not start or does not say where it listens.
    pub fn tidelog(program: &Path, dir: &Path) -> Result<Process, BenchError> {
        let mut command = Command::new(program);
        command
            .args(["serve", "--http", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--data"])
            .arg(dir.join("data"));
        Process::kafka(command, program)
    }

    /// Starts Tidelog on `dir` as a member of a cluster that others find at `first`, or as its first one; where others find
    /// it.
    ///
    /// # Errors
    /// As [`Process::tidelog`].
    pub fn member(
        program: &Path,
        dir: &Path,
        first: Option<SocketAddr>,
    ) -> Result<(Process, SocketAddr), BenchError> {
        let peer = free_address(program)?;
        let mut command = Command::new(program);
        command.args(["serve", "--http", "127.0.0.1:0", "--kafka", "127.0.0.1:0", "--peer"]);
        command.arg(peer.to_string()).arg("--data").arg(dir);
        if let Some(first) = first {
            command.args(["--join", &first.to_string()]);
        }
        Ok((Process::kafka(command, program)?, peer))
    }

    /// Starts this program once more, as a server that throws away what it is sent.
    ///
    /// # Errors
    /// When it does not start.
    pub fn discarding() -> Result<Process, BenchError> {
        let program = std::env::current_exe().map_err(BenchError::file("finding", "this program"))?;
        let mut command = Command::new(&program);
        command.arg("discard");
        Process::kafka(command, &program)
    }

    /// Starts a server that says where it takes Kafka's clients.
    fn kafka(mut command: Command, program: &Path) -> Result<Process, BenchError> {
        command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
        let mut child = command.spawn().map_err(BenchError::file("starting", program))?;
        let mut http = None;
        let address = child.stdout.take().and_then(|out| {
            let mut lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.find_map(|line| {
                http = http.or_else(|| line.strip_prefix(HTTP)?.parse().ok());
                line.strip_prefix(KAFKA)?.parse().ok()
            })
        });
        match address {
            Some(address) => Ok(Process { child, address, http }),
            None => {
                // It is of no use; that it may be gone already is the likely reason.
                let _ = child.kill();
                let _ = child.wait();
                Err(BenchError::NoAddress { program: program.to_owned() })
            }
        }
    }

    /// Starts Redis in `dir`: every command is on the disk before it is answered.
    ///
    /// # Errors
    /// When it does not start or does not listen in time.
    pub fn redis(dir: &Path) -> Result<Process, BenchError> {
        let program = Path::new("redis-server");
        // Redis takes no port 0.
        let address = free_address(program)?;
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        // Rewriting the file in the middle of a run would be another benchmark.
        command.args(["--auto-aof-rewrite-percentage", "0", "--dir"]).arg(dir);
        command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
        let child = command.spawn().map_err(BenchError::file("starting", program))?;
        let process = Process { child, address, http: None };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if begun.elapsed() > START {
                return Err(BenchError::NoAddress { program: program.to_owned() });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it takes HTTP and telnet; of a server that does not, the same as [`Process::address`].
    pub fn http(&self) -> SocketAddr {
        self.http.unwrap_or(self.address)
    }

    /// Bytes of memory that it holds now.
    ///
    /// # Errors
    /// Without /proc, or when it has ended.
    pub fn memory(&self) -> Result<u64, BenchError> {
        cpu::memory_of(self.child.id(), "VmRSS:")
    }

    /// Most bytes of memory that it has held.
    ///
    /// # Errors
    /// As [`Process::memory`].
    pub fn peak_memory(&self) -> Result<u64, BenchError> {
        cpu::memory_of(self.child.id(), "VmHWM:")
    }

    /// Kills it, as `kill -9` does; dropping it waits for its end.
    ///
    /// # Errors
    /// When there is no such process or no `kill`.
    pub fn kill(&self) -> Result<(), BenchError> {
        let mut kill = Command::new("kill");
        let done = kill.args(["-9", &self.child.id().to_string()]).status();
        match done.map_err(BenchError::file("running", "kill"))?.success() {
            true => Ok(()),
            false => Err(BenchError::ServerGone),
        }
    }

    /// Processor seconds that it used so far.
    ///
    /// # Errors
    /// Without /proc, or when it has ended.
    pub fn cpu_seconds(&self) -> Result<f64, BenchError> {
        cpu::seconds_of(self.child.id())
    }
}

/// An address for a program that takes no port 0: a port that was free a moment ago is free.
fn free_address(program: &Path) -> Result<SocketAddr, BenchError> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    free.map_err(BenchError::file("finding a port for", program))
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; its files go with the directory.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

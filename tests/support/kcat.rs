//! kcat, Debian's command line client of Kafka's protocol.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::node::Node;
use super::peers;

const PLACES: [&str; 2] = ["/usr/bin/kcat", "/usr/local/bin/kcat"];

/// kcat on a server.
pub(crate) struct Kcat {
    program: PathBuf,
    server: String,
}

impl Kcat {
    /// `None` after saying that it is not installed.
    pub(crate) fn find(node: &Node) -> Option<Kcat> {
        let program = peers::find("kcat", &PLACES)?;
        Some(Kcat { program, server: node.kafka().to_string() })
    }

    /// To be started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-b", &self.server, "-q", "-m", "60"]).args(args);
        command
    }

    /// Runs it to its end; what it wrote.
    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let run = child.wait_with_output().unwrap();
        assert!(run.status.success(), "kcat {args:?}: {}", String::from_utf8_lossy(&run.stderr));
        run.stdout
    }
}

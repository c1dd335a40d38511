//! A driver of a client library: a process that gets a job and says what happens in lines of JSON.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::support::node::Node;
use crate::support::{peers, wait};

/// A client library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Confluent,
    KafkaPython,
    Aiokafka,
    Kafkajs,
}

impl Client {
    pub(crate) const ALL: [Client; 4] =
        [Client::Confluent, Client::KafkaPython, Client::Aiokafka, Client::Kafkajs];

    /// As it stands in names of topics and groups.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Client::Confluent => "confluent",
            Client::KafkaPython => "kafka_python",
            Client::Aiokafka => "aiokafka",
            Client::Kafkajs => "kafkajs",
        }
    }

    fn command(self) -> Command {
        let (scripts, installed) = (scripts(), installed());
        if self == Client::Kafkajs {
            let mut command = Command::new("node");
            command.env("NODE_PATH", installed.join("node_modules"));
            command.arg(scripts.join("drive_kafkajs.js"));
            return command;
        }
        let mut command = Command::new(installed.join("python/bin/python"));
        // What is compiled belongs into no source directory.
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg("-u");
        command.arg(scripts.join(format!("drive_{}.py", self.name())));
        command
    }
}

pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/clients")
}

/// Where `clients/install` puts the libraries.
pub(crate) fn installed() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    std::env::var_os("TIDELOG_KAFKA_CLIENTS").map_or_else(|| target.join("kafka-clients"), PathBuf::from)
}

/// Whether the libraries are there; a test without them says so and passes, see [`peers`].
pub(crate) fn are_installed() -> bool {
    let there = installed().join("installed").exists();
    if !there {
        peers::skip("Kafka's client libraries are not installed: run tests/interop/clients/install");
    }
    there
}

/// A driver that runs. Dropping it kills it.
pub(crate) struct Driver {
    what: String,
    child: Child,
    stdin: Option<ChildStdin>,
    said: Arc<Mutex<Vec<Value>>>,
    errors: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Driver {
    /// Starts a job; where the server is, is added to it.
    pub(crate) fn start(node: &Node, client: Client, verb: &str, job: &Value) -> Driver {
        let mut command = client.command();
        command.arg(verb);
        Driver::run(node, &format!("{} {verb}", client.name()), command, job)
    }

    /// The same with a command of one's own.
    pub(crate) fn run(node: &Node, what: &str, mut command: Command, job: &Value) -> Driver {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut job = job.clone();
        job["bootstrap"] = json!(node.kafka().to_string());
        stdin.write_all(format!("{job}\n").as_bytes()).unwrap();
        let (said, errors) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(String::new())));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let theirs = Arc::clone(&said);
        let lines = std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                // A killed driver may leave half a line.
                let Ok(line) = serde_json::from_str(&line.unwrap()) else { continue };
                theirs.lock().unwrap().push(line);
            }
        });
        let theirs = Arc::clone(&errors);
        let complaints = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let mut errors = theirs.lock().unwrap();
                errors.push_str(&line.unwrap_or_default());
                errors.push('\n');
            }
        });
        let readers = vec![lines, complaints];
        Driver { what: what.to_owned(), child, stdin: Some(stdin), said, errors, readers }
    }

    /// All lines so far that have this field, as the field's values.
    pub(crate) fn said(&self, field: &str) -> Vec<Value> {
        let said = self.said.lock().unwrap();
        said.iter().filter_map(|line| line.get(field).cloned()).collect()
    }

    /// Two numbers of all lines that have both.
    pub(crate) fn pairs(&self, first: &str, second: &str) -> BTreeMap<u64, u64> {
        let said = self.said.lock().unwrap();
        let number = |line: &Value, field: &str| line.get(field)?.as_u64();
        said.iter().filter_map(|line| Some((number(line, first)?, number(line, second)?))).collect()
    }

    /// Waits until a field was said.
    pub(crate) fn until(&mut self, field: &str) -> Value {
        let what = format!("{} to say `{field}`", self.what);
        wait::until(&what, || {
            self.assert_well();
            self.said(field).pop()
        })
    }

    /// Fails when it has ended in an error.
    pub(crate) fn assert_well(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            let errors = self.errors();
            assert!(status.success(), "{}: {status}\n{errors}", self.what);
        }
    }

    fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }

    /// Lets it end by itself, or stop when it runs without end; what it said of `field` in all.
    pub(crate) fn finish(mut self) -> Driver {
        self.stdin.take();
        let what = format!("{} to end", self.what);
        let status = wait::until(&what, || self.child.try_wait().unwrap());
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        let errors = self.errors();
        assert!(status.success(), "{}: {status}\n{errors}", self.what);
        self
    }

    /// SIGKILL: it says goodbye to nobody.
    pub(crate) fn kill(mut self) -> Driver {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        self
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{} said last:\n{}", self.what, self.errors());
        }
    }
}

//! kcat, Debian's command line client.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::record::Record;
use crate::support::node::Node;
use crate::support::peers;

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

    /// Runs it to its end; what it wrote.
    pub(crate) fn run(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new(&self.program);
        command.args(["-b", &self.server, "-q", "-m", "60"]).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let run = child.wait_with_output().unwrap();
        assert!(run.status.success(), "kcat {args:?}: {}", String::from_utf8_lossy(&run.stderr));
        run.stdout
    }

    /// Reads a partition from an offset in kcat's words (beginning, a number, -N, s@MS) to its end.
    pub(crate) fn consume(&self, topic: &str, partition: i32, from: &str) -> Vec<Record> {
        let number = partition.to_string();
        let format = "%o %T %K %S %h\n%k%s\n";
        let args = ["-C", "-t", topic, "-p", &number, "-o", from, "-e", "-f", format];
        let mut output = &self.run(&args, b"")[..];
        let mut records = Vec::new();
        while !output.is_empty() {
            let end = output.iter().position(|byte| *byte == b'\n').unwrap();
            let head = std::str::from_utf8(&output[..end]).unwrap();
            output = &output[end + 1..];
            let mut fields = head.splitn(5, ' ');
            let mut number = || fields.next().unwrap().parse::<i64>().unwrap();
            let (offset, timestamp, key, value) = (number(), number(), number(), number());
            let mut bytes = |len: i64| {
                let (bytes, rest) = output.split_at(usize::try_from(len).ok()?);
                output = rest;
                Some(bytes.to_vec())
            };
            let (key, value) = (bytes(key), bytes(value));
            assert_eq!(output[0], b'\n', "kcat's output is not what it was told to write");
            output = &output[1..];
            let headers = headers(fields.next().unwrap());
            records.push(Record { partition, offset, timestamp, key, value, headers });
        }
        records
    }
}

fn headers(text: &str) -> Vec<(String, Option<Vec<u8>>)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    let value = |value: &str| (value != "NULL").then(|| value.as_bytes().to_vec());
    pairs.map(|(name, text)| (name.to_owned(), value(text))).collect()
}

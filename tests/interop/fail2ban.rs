//! The lines of real daemons that fail2ban brings as samples, through `tidelog produce` and `tidelog consume`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use crate::support::http::Http;
use crate::support::node::Node;
use crate::support::peers::find;
use crate::support::{read, wait};

const PLACES: [&str; 1] = ["/usr/lib/python3/dist-packages/fail2ban/tests/files/logs"];

/// The sample files, by name.
fn samples(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(samples(&path));
        } else if path.metadata().unwrap().len() > 0 {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn consume(node: &Node, topic: &str) -> Vec<u8> {
    let run = node.client(&["consume", topic, "-o", "beginning", "-e"]).output().unwrap();
    assert!(run.status.success(), "consume {topic}: {}", String::from_utf8_lossy(&run.stderr));
    run.stdout
}

/// Lines are records, so a last line without a line feed comes back with one.
fn with_last_line_feed(mut text: Vec<u8>) -> Vec<u8> {
    if text.last() != Some(&b'\n') {
        text.push(b'\n');
    }
    text
}

#[test]
fn every_sample_of_fail2ban_comes_back_byte_for_byte() {
    let Some(dir) = find("fail2ban", &PLACES) else { return };
    let node = Node::start("");
    let (mut lines, files) = (0, samples(&dir));
    for (n, file) in files.iter().enumerate() {
        let topic = format!("fail2ban.{n}");
        let input = std::fs::File::open(file).unwrap();
        let run = node.client(&["produce", &topic]).stdin(input).output().unwrap();
        let told = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success(), "produce {}: {told}", file.display());

        let text = with_last_line_feed(std::fs::read(file).unwrap());
        assert!(consume(&node, &topic) == text, "{} came back changed", file.display());
        lines += text.iter().filter(|byte| **byte == b'\n').count();
    }
    assert!(lines > 2000, "{lines} lines in {} files", files.len());
    println!("fail2ban: {lines} lines in {} files", files.len());
}

/// `tidelog produce` with a thread that feeds it `lines` round and round, from `from` on, until it stops reading.
fn produce_without_end(node: &Node, topic: &str, lines: &[Vec<u8>], from: usize) -> Child {
    let mut command = node.client(&["produce", topic]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = lines.to_vec();
    std::thread::spawn(move || {
        for line in lines.iter().cycle().skip(from % lines.len()) {
            if input.write_all(line).is_err() {
                return;
            }
        }
    });
    child
}

/// How many lines the command says are durable.
fn durable_lines(run: &Output) -> usize {
    let told = String::from_utf8_lossy(&run.stderr);
    let Some((before, _)) = told.split_once(" durable") else {
        panic!("nothing said of what is durable: {told}")
    };
    let number = before.split_whitespace().rev().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    number.unwrap().replace(',', "").parse().unwrap()
}

#[test]
fn kill_9_under_produce_loses_no_line_that_it_called_durable() {
    let Some(dir) = find("fail2ban", &PLACES) else { return };
    let text: Vec<u8> =
        samples(&dir).iter().flat_map(|f| with_last_line_feed(std::fs::read(f).unwrap())).collect();
    let lines: Vec<Vec<u8>> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let mut node = Node::start("");
    assert!(node.client(&["topic", "create", "endless"]).output().unwrap().status.success());
    let mut stored = 0;
    for _ in 0..3 {
        let before = stored;
        let child = produce_without_end(&node, "endless", &lines, before);
        let mut http = Http::new(node.address());
        let offset = before as u64 + 3000;
        wait::until("3000 more lines to be readable", || {
            let page = read::page(&mut http, "endless", 0, stored as u64, 0).unwrap();
            let last = page.last()?.offset;
            stored = usize::try_from(last).unwrap() + 1;
            (last >= offset).then_some(())
        });
        let seen = stored;
        node.kill();
        let run = child.wait_with_output().unwrap();
        assert_eq!(run.status.code(), Some(1), "an unfinished produce is an error");
        node.restart();

        let back = consume(&node, "endless");
        let back: Vec<&[u8]> = back.split_inclusive(|byte| *byte == b'\n').collect();
        assert!(back.len() >= seen, "lines that were read once are gone: {} < {seen}", back.len());
        let same = back
            .iter()
            .zip(lines.iter().cycle())
            .take_while(|(back, sent)| **back == sent.as_slice())
            .count();
        assert_eq!(same, back.len(), "line {same} is another one, or a line is missing or there twice");
        let durable = durable_lines(&run);
        assert!(
            back.len() - before >= durable,
            "{durable} lines were called durable, {} are there",
            back.len() - before
        );
        println!("produce under kill -9: {durable} called durable this time, {} stored in all", back.len());
        stored = back.len();
    }
}

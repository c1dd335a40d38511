//! What the command line understands, without a server.

use std::process::{Command, Stdio};

use crate::harness::Ran;

fn run(args: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidelog"));
    command.args(args).env_remove("TIDELOG_SERVER").stdin(Stdio::null());
    command.output().unwrap().into()
}

#[test]
fn what_is_not_understood_is_a_usage_error_that_names_it() {
    for (args, named) in [
        (&["produce", "t", "--acks", "0"][..], "--acks"),
        (&["consume", "t", "--form", "x"], "--form"),
        (&["topic", "remove", "t"], "remove"),
        (&["topic", "create"], "<TOPIC>"),
        (&["topic", "create", "t", "-p", "0"], "0 is not in"),
        (&["topic", "trim", "t"], "-o <OFFSET>"),
        (&["consume", "t", "-o", "newest"], "`newest` is not an offset"),
        (&["consume", "t", "-f", "%q"], "unknown directive `%q`"),
        (&["consume", "t", "-f", "%s", "--output", "json"], "cannot be used with"),
        (&["produce", "t", "-H", "name"], "write NAME=VALUE"),
        (&["produce", "t", "-D", ""], "1 to 64 bytes"),
        (&["topic", "list", "--server", "a b"], "`a b` is not a server's address"),
        (&["serve", "--node-id", "1"], "--node-id"),
        (&["serve", "--raft"], "--raft"),
    ] {
        let said = run(args).failed(2);
        assert!(said.contains(named), "{args:?}: {said}");
    }
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    for args in [&["topic", "list"][..], &["consume", "t"], &["produce", "t"]] {
        let said = run(&[args, &["--server", &address]].concat()).failed(4);
        assert!(said.contains(&address) && said.contains("refused"), "{said}");
    }
}

#[test]
fn a_file_that_is_not_there_is_an_error_before_anything_is_sent() {
    let said = run(&["produce", "t", "/no/such/file"]).failed(1);
    assert!(said.contains("/no/such/file"), "{said}");
    let said = run(&["produce", "t", "/"]).failed(1);
    assert!(said.contains("is a directory"), "{said}");
}

#[test]
fn every_command_explains_itself() {
    for command in ["serve", "topic", "produce", "consume", "completions", "man"] {
        let text = run(&[command, "--help"]).text();
        assert!(text.contains("Usage: tidelog"), "{text}");
    }
    assert!(run(&["--version"]).text().starts_with("tidelog "));
}

#[test]
fn completions_and_man_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completions", shell]).text();
        for word in ["produce", "consume", "describe", "dry-run"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let dir = tempfile::TempDir::new().unwrap();
    let pages = dir.path().join("man1");
    assert_eq!(run(&["man", pages.to_str().unwrap()]).text(), "");
    for page in ["tidelog", "tidelog-serve", "tidelog-consume", "tidelog-topic-trim"] {
        let text = std::fs::read_to_string(pages.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH NAME"), "{page}");
    }
}

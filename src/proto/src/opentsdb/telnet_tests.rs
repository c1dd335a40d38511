//! Tests of the telnet lines.

use super::*;
use proptest::prelude::*;

/// Everything that `input` says when it arrives in pieces of `piece` bytes, one line of text per command.
fn said(input: &[u8], piece: usize) -> Vec<String> {
    said_with(&Limits::default(), input, piece)
}

fn said_with(limits: &Limits, input: &[u8], piece: usize) -> Vec<String> {
    let mut decoder = TelnetDecoder::new(limits);
    let mut buffer = BytesMut::new();
    let mut out = Vec::new();
    for part in input.chunks(piece) {
        buffer.extend_from_slice(part);
        while let Some(command) = decoder.next(&mut buffer) {
            out.push(match &command {
                Command::Put(point) => format!(
                    "{} {} {}",
                    String::from_utf8_lossy(point.series_key),
                    point.timestamp_ms,
                    String::from_utf8_lossy(point.value)
                ),
                _ => command.answer().unwrap_or_else(|| format!("{command:?}")),
            });
        }
    }
    out
}

#[test]
fn a_put_becomes_a_point() {
    assert_eq!(
        said(b"put sys.cpu.user 1356998400 42.5 host=webserver01 cpu=0\n", 1000),
        ["sys.cpu.user{cpu=0,host=webserver01} 1356998400000 42.5"]
    );
}

#[test]
fn collectd_lines_with_crlf_and_double_spaces_are_understood() {
    assert_eq!(
        said(b"put load.load.1 1356998400 0.5  fqdn=host.example\r\nput  a  1 2  b=c  \r\n", 1000),
        ["load.load.1{fqdn=host.example} 1356998400000 0.5", "a{b=c} 1000 2"]
    );
}

#[test]
fn a_line_may_arrive_in_any_pieces() {
    let input = b"version\r\n\r\n  \nput m 1 2 k=v\nput m 2 3 k=v\r\nexit\nput m 3";
    let whole = said(input, input.len());
    assert_eq!(whole, ["Version", "m{k=v} 1000 2", "m{k=v} 2000 3", "Exit"]);
    for piece in 1..input.len() {
        assert_eq!(said(input, piece), whole, "{piece}");
    }
}

#[test]
fn an_unfinished_last_line_is_not_a_point() {
    assert!(said(b"put m 1 12345 host=a", 7).is_empty());
}

#[test]
fn every_bad_put_is_answered_in_the_words_of_opentsdb() {
    let known = [
        ("put", "not enough arguments (need least 4, got 0)"),
        ("put m 1 2", "not enough arguments (need least 4, got 3)"),
        ("put m 0 2 k=v", "invalid timestamp: 0: must be greater than zero"),
        ("put m -1 2 k=v", "invalid timestamp: -1: negative or not a number"),
        ("put m now 2 k=v", "invalid timestamp: now: not a number"),
        ("put m 1 x k=v", "invalid value: x: not a number (NaN and infinity cannot be stored)"),
        ("put m 1 NaN k=v", "invalid value: NaN: not a number (NaN and infinity cannot be stored)"),
        ("put m 1 2 k", "invalid tag: k"),
        ("put m 1 2 k=", "invalid tag: k="),
        ("put m 1 2 =v", "invalid tag: =v"),
        ("put m 1 2 k=v=w", "invalid tag: k=v=w"),
        ("put m 1 2 k=v k=w", "duplicate tag: k=w, already k=v"),
        ("put m 1 2 a=1 b=1 c=1 d=1 e=1 f=1 g=1 h=1 i=1", "Too many tags: more than 8, maximum allowed: 8"),
        (
            "put m! 1 2 k=v",
            "Invalid metric name (\"m!\"): illegal character: ! (allowed: a-z A-Z 0-9 - _ . / and letters)",
        ),
    ];
    for (line, why) in known {
        let answers = said(format!("{line}\nput m 1 2 k=v\n").as_bytes(), 4096);
        assert_eq!(
            answers,
            [format!("put: illegal argument: {why}\n"), "m{k=v} 1000 2".to_owned()],
            "{line}"
        );
    }
}

#[test]
fn every_answer_is_one_line_whatever_was_sent() {
    let answers =
        said(b"put \x1b[2J\x07 1 2 k=v\nput m 1 2 \xff=\xfe\n\x00\x01\x1b\nput m 1 \rx k=v\n", 4096);
    assert_eq!(answers.len(), 4);
    for answer in answers {
        let line = answer.strip_suffix('\n').unwrap();
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn the_other_commands_are_told_apart() {
    assert_eq!(
        said(b"version\nstats x\nexit\nhelp\nPUT m 1 2 k=v\n", 4096),
        ["Version", "Stats", "Exit", HELP_ANSWER, "unknown command: PUT.  Try `help'.\n"]
    );
}

#[test]
fn the_version_answer_has_two_lines() {
    assert_eq!(version_answer("0.1.0", "abc").lines().count(), 2);
    assert_eq!(stats_line("tsd.rpc.received", 5, 7, ("type", "put")), "tsd.rpc.received 5 7 type=put\n");
}

/// A put of exactly `len` bytes.
fn put_of(len: usize) -> String {
    let head = "put m 1 2 k=";
    head.to_owned() + &"v".repeat(len - head.len())
}

#[test]
fn a_line_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let max = 16 * 1024;
    for end in ["\n", "\r\n"] {
        for piece in [1, 1000, 1 << 20] {
            let input = format!("{}{end}{}{end}exit\n", put_of(max), put_of(max + 1));
            let out = said(input.as_bytes(), piece);
            assert_eq!(out.len(), 3);
            assert!(out[0].starts_with("m{k=vvv"));
            assert_eq!(out[1], "error: line longer than 16384 bytes, skipped up to its end\n");
            assert_eq!(out[2], "Exit");
        }
    }
}

#[test]
fn a_line_without_end_gives_one_error_and_is_never_buffered() {
    let limits = Limits { telnet_line_bytes: 256, ..Limits::default() };
    let mut decoder = TelnetDecoder::new(&limits);
    let mut buffer = BytesMut::new();
    let mut errors = 0;
    for _ in 0..10_000 {
        buffer.extend_from_slice(&[b'x'; 100]);
        while let Some(command) = decoder.next(&mut buffer) {
            assert_eq!(command, Command::TooLong(256));
            errors += 1;
        }
        assert!(buffer.len() <= 258, "{}", buffer.len());
    }
    assert_eq!(errors, 1);
    buffer.extend_from_slice(b"\nhelp\n");
    assert_eq!(decoder.next(&mut buffer), Some(Command::Help));
    assert_eq!(decoder.next(&mut buffer), None);
    assert!(buffer.is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic_or_depend_on_the_pieces(
        input in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b' '), Just(b'=')], 0..600),
        piece in 1usize..50,
    ) {
        let limits = Limits { telnet_line_bytes: 40, ..Limits::default() };
        prop_assert_eq!(said_with(&limits, &input, piece), said_with(&limits, &input, 10_000));
    }

    #[test]
    fn a_point_survives_the_line(
        metric in "[-_./a-zA-Z0-9ä]{1,20}",
        seconds in 1u32..,
        value in any::<i64>(),
        pairs in proptest::collection::btree_map("[a-z]{1,9}", "[-_./a-zA-Z0-9ж]{1,9}", 1..=8),
    ) {
        let tags: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let line = format!("put {metric} {seconds} {value} {}\n", tags.join("  "));
        let key = format!("{metric}{{{}}} {} {value}", tags.join(","), i64::from(seconds) * 1000);
        prop_assert_eq!(said(line.as_bytes(), 4096), [key]);
    }
}

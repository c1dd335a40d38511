//! # Purpose
//! OpenTSDB's telnet lines, decoded as they arrive, without an allocation per line.
//!
//! # Format
//! `put METRIC TIMESTAMP VALUE TAG=VALUE ...` and the single words `version`, `stats`, `help`, `exit`. Lines end with
//! LF or CRLF; words are separated by any number of spaces or tabs; blank lines are skipped. A put that succeeds is
//! not answered.
//!
//! # Limits
//! A line longer than the limit gives one error, and everything up to its line end is dropped as it comes; the input
//! buffer never has to hold more than one line of the limit's length. An unfinished last line is not a command: its
//! number may have been cut, so it must be dropped when the connection ends.

use bytes::{Buf, BytesMut};
use memchr::memchr;

use crate::limits::{Limits, as_len};
use crate::shown::shown;

use super::point::{PointError, PointRef, Tags, timestamp_ms, value_kind, write_series_key};

/// Answer to `help`.
pub const HELP_ANSWER: &str = "available commands: exit help put stats version\n";

/// Answer to `version`: two lines, as tcollector and OpenTSDB's own tools expect.
pub fn version_answer(version: &str, revision: &str) -> String {
    format!("tidelog {version} built at revision {revision}\nSpeaks OpenTSDB's put over telnet and HTTP\n")
}

/// One line of the answer to `stats`: `NAME SECONDS VALUE TAG=VALUE`.
pub fn stats_line(name: &str, seconds: u64, value: u64, tag: (&str, &str)) -> String {
    format!("{name} {seconds} {value} {}={}\n", tag.0, tag.1)
}

/// One line from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// A data point to store; no answer.
    Put(PointRef<'a>),
    /// Wants [`version_answer`].
    Version,
    /// Wants counters, as [`stats_line`]s.
    Stats,
    /// Wants [`HELP_ANSWER`].
    Help,
    /// Wants the connection closed.
    Exit,
    /// A word that is no command. [`Command::answer`] has the answer.
    Unknown(&'a [u8]),
    /// A put that cannot be stored. [`Command::answer`] has the answer.
    Refused(PointError),
    /// A line over the limit, in bytes. [`Command::answer`] has the answer.
    TooLong(u64),
}

impl Command<'_> {
    /// What to write back at once, with its line end; `None` when nothing, or when the node has to compose it.
    pub fn answer(&self) -> Option<String> {
        match self {
            Command::Help => Some(HELP_ANSWER.to_owned()),
            Command::Unknown(word) => Some(format!("unknown command: {}.  Try `help'.\n", shown(word))),
            Command::Refused(error) => Some(format!("put: illegal argument: {error}\n")),
            Command::TooLong(max) => {
                Some(format!("error: line longer than {max} bytes, skipped up to its end\n"))
            }
            Command::Put(_) | Command::Version | Command::Stats | Command::Exit => None,
        }
    }
}

/// Decodes the lines of one connection.
#[derive(Debug)]
pub struct TelnetDecoder {
    max_line: usize,
    max_key: u64,
    /// Bytes of the line handed out last, still at the front of the input.
    handed_out: usize,
    /// Bytes at the front of the input known to hold no line end.
    searched: usize,
    /// Inside a line that was too long.
    skipping: bool,
    series_key: Vec<u8>,
}

/// What stands at the front of the input.
enum Front {
    /// A line of so many bytes, its line end included.
    Line(usize),
    TooLong,
}

impl TelnetDecoder {
    /// A decoder for a new connection.
    pub fn new(limits: &Limits) -> Self {
        TelnetDecoder {
            max_line: as_len(limits.telnet_line_bytes),
            max_key: limits.record_key_and_headers_bytes,
            handed_out: 0,
            searched: 0,
            skipping: false,
            series_key: Vec::new(),
        }
    }

    /// The next command, or `None` when more bytes are needed. Takes the line off `input` (which must be the same
    /// buffer each time, appended to only) when the command before it is no longer in use: on the next call.
    pub fn next<'a>(&'a mut self, input: &'a mut BytesMut) -> Option<Command<'a>> {
        match self.front(input)? {
            Front::TooLong => Some(Command::TooLong(u64::try_from(self.max_line).unwrap_or(u64::MAX))),
            Front::Line(len) => {
                self.handed_out = len;
                Some(self.command(&input[..len]))
            }
        }
    }

    /// Finds the next line that is not blank, dropping what was handed out before.
    fn front(&mut self, input: &mut BytesMut) -> Option<Front> {
        input.advance(self.handed_out.min(input.len()));
        self.handed_out = 0;
        loop {
            let from = self.searched.min(input.len());
            // One byte more for the line end, one for a CR before it.
            let window = input.len().min(self.max_line.saturating_add(2));
            let Some(at) = input.get(from..window).and_then(|unseen| memchr(b'\n', unseen)) else {
                return self.unfinished(input, window);
            };
            let len = from + at + 1;
            self.searched = 0;
            let was_skipping = std::mem::take(&mut self.skipping);
            if was_skipping || is_blank(&input[..len]) {
                input.advance(len);
            } else if without_line_end(&input[..len]).len() > self.max_line {
                input.advance(len);
                return Some(Front::TooLong);
            } else {
                return Some(Front::Line(len));
            }
        }
    }

    /// No line end within the window: wait for more, or give the line up.
    fn unfinished(&mut self, input: &mut BytesMut, window: usize) -> Option<Front> {
        if self.skipping {
            return self.skip(input);
        }
        if window <= self.max_line + 1 {
            self.searched = window;
            return None;
        }
        self.searched = 0;
        self.skipping = true;
        Some(Front::TooLong)
    }

    /// Drops what belongs to a line that was too long, and goes on behind it.
    fn skip(&mut self, input: &mut BytesMut) -> Option<Front> {
        self.searched = 0;
        match memchr(b'\n', input) {
            Some(at) => {
                self.skipping = false;
                input.advance(at + 1);
                self.front(input)
            }
            None => {
                input.clear();
                None
            }
        }
    }

    fn command<'a>(&'a mut self, line: &'a [u8]) -> Command<'a> {
        let mut words = words(without_line_end(line));
        match words.next().unwrap_or_default() {
            b"put" => match put(words, &mut self.series_key, self.max_key) {
                Ok(point) => Command::Put(point),
                Err(error) => Command::Refused(error),
            },
            b"version" => Command::Version,
            b"stats" => Command::Stats,
            b"help" => Command::Help,
            b"exit" => Command::Exit,
            word => Command::Unknown(word),
        }
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn is_separator(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

fn is_blank(line: &[u8]) -> bool {
    without_line_end(line).iter().all(|b| is_separator(*b))
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|b| is_separator(*b)).filter(|word| !word.is_empty())
}

/// The words behind `put`.
fn put<'a>(
    mut words: impl Iterator<Item = &'a [u8]>,
    series_key: &'a mut Vec<u8>,
    max_key: u64,
) -> Result<PointRef<'a>, PointError> {
    let mut first = [&[][..]; 4];
    for (got, slot) in first.iter_mut().enumerate() {
        *slot = words.next().ok_or(PointError::NotEnoughArguments { got })?;
    }
    let [metric, timestamp, value, tag] = first;
    let timestamp_ms = timestamp_ms(timestamp)?;
    let kind = value_kind(value)?;
    let mut tags = Tags::default();
    insert_tag(&mut tags, tag)?;
    for word in words {
        insert_tag(&mut tags, word)?;
    }
    series_key.clear();
    write_series_key(series_key, metric, &tags, max_key)?;
    Ok(PointRef { series_key, timestamp_ms, value, kind })
}

fn insert_tag<'a>(tags: &mut Tags<'a>, word: &'a [u8]) -> Result<(), PointError> {
    let invalid = || PointError::Tag { shown: shown(word) };
    let equals = word.iter().position(|b| *b == b'=').ok_or_else(invalid)?;
    let (name, value) = (&word[..equals], &word[equals + 1..]);
    if name.is_empty() || value.is_empty() {
        return Err(invalid());
    }
    // A second `=` is outside the alphabet anyway: it is looked for only to give the better error.
    tags.insert(name, value).map_err(|error| if value.contains(&b'=') { invalid() } else { error })
}

#[cfg(test)]
#[path = "telnet_tests.rs"]
mod tests;

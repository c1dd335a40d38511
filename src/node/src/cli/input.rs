//! # Purpose
//! What `tidelog produce` reads: a file or standard input, cut into records; and how delimiters and headers are
//! written on the command line.
//!
//! # Limits
//! A record that is not ended within [`MAX_RECORD`] bytes is refused; no more than that and three pieces of input are
//! held in memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memchr::memmem::Finder;
use tidelog_format::batch::{MAX_KEY_AND_HEADERS_LEN, MAX_VALUE_LEN};
use tokio::sync::mpsc;

use super::exit::Failure;

/// Most bytes between two delimiters: the largest key, a separator, the largest value.
const MAX_RECORD: usize = MAX_VALUE_LEN + MAX_KEY_AND_HEADERS_LEN + 1024;
/// How much is read at once.
const PIECE: usize = 256 * 1024;

/// A header given with `-H`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeaderArg {
    pub(crate) name: String,
    pub(crate) value: String,
}

/// Reads `NAME=VALUE`.
pub(crate) fn header(text: &str) -> Result<HeaderArg, String> {
    match text.split_once('=') {
        Some(("", _)) => Err("the name before `=` is empty".to_owned()),
        Some((name, value)) => Ok(HeaderArg { name: name.to_owned(), value: value.to_owned() }),
        None => Err("it has no `=`; write NAME=VALUE".to_owned()),
    }
}

/// The bytes between two records, or between key and value; 1 to 64.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delimiter(pub(crate) Vec<u8>);

/// Reads a delimiter with its escapes.
pub(crate) fn delimiter(text: &str) -> Result<Delimiter, String> {
    let mut out = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        out.push(match rest.next() {
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16)
                    .ok()
                    .filter(|_| digits.len() == 2 && !digits.contains('+'));
                byte.ok_or_else(|| format!("`\\x{digits}` is not \\x and two hex digits"))?
            }
            _ => return Err(r"after `\` comes n, r, t, 0, \ or xHH".to_owned()),
        });
    }
    if (1..=64).contains(&out.len()) { Ok(Delimiter(out)) } else { Err("it has 1 to 64 bytes".to_owned()) }
}

/// Pieces of the input, in order. The channel closes at its end.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    /// Size of the file in bytes, if it is one.
    pub(crate) total: Option<u64>,
}

impl Input {
    /// Opens a file, or standard input for `-`, and starts reading it in a thread of its own.
    pub(crate) fn open(path: &Path) -> Result<Input, Failure> {
        let (source, total): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let failed = |error| Failure::Error(format!("{}: {error}", path.display()));
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if metadata.is_dir() {
                return Err(Failure::Error(format!("{} is a directory", path.display())));
            }
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        let (sender, pieces) = mpsc::channel(2);
        std::thread::Builder::new().name("input".to_owned()).spawn(move || read_all(source, &sender))?;
        Ok(Input { pieces, total })
    }
}

fn read_all(mut source: impl Read, pieces: &mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let sent = match source.read(&mut piece) {
            Ok(0) => return,
            Ok(len) => {
                piece.truncate(len);
                pieces.blocking_send(Ok(piece))
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = pieces.blocking_send(Err(error));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// A record that does not end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Cuts pieces of input into records at a delimiter.
#[derive(Debug)]
pub(crate) struct Splitter {
    finder: Finder<'static>,
    buffer: Vec<u8>,
    /// Where the record begins that was not handed out yet.
    start: usize,
    /// Before this no delimiter begins.
    searched: usize,
}

impl Splitter {
    pub(crate) fn new(delimiter: &[u8]) -> Splitter {
        Splitter { finder: Finder::new(delimiter).into_owned(), buffer: Vec::new(), start: 0, searched: 0 }
    }

    /// Adds a piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.buffer.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(piece);
    }

    /// The next record that is ended by a delimiter, without it.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let needle = self.finder.needle().len();
        match self.finder.find(&self.buffer[self.searched..]) {
            Some(at) => {
                let record = self.start..self.searched + at;
                self.start = record.end + needle;
                self.searched = self.start;
                Ok(Some(&self.buffer[record]))
            }
            None if self.buffer.len() - self.start > MAX_RECORD => Err(TooLong),
            None => {
                // The last bytes may be the beginning of a delimiter.
                self.searched =
                    self.searched.max(self.buffer.len().saturating_sub(needle - 1)).max(self.start);
                Ok(None)
            }
        }
    }

    /// What stands behind the last delimiter, if anything.
    pub(crate) fn rest(&self) -> Option<&[u8]> {
        Some(&self.buffer[self.start..]).filter(|rest| !rest.is_empty())
    }
}

/// Splits a line into key and value at the first separator; without it there is no key.
pub(crate) fn key_and_value<'a>(
    line: &'a [u8],
    separator: Option<&Finder<'_>>,
) -> (Option<&'a [u8]>, &'a [u8]) {
    match separator.and_then(|separator| Some((separator.find(line)?, separator.needle().len()))) {
        Some((at, len)) => (Some(&line[..at]), &line[at + len..]),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(delimiter: &[u8], pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::new(delimiter);
        let mut records = Vec::new();
        for piece in pieces {
            splitter.feed(piece);
            while let Some(record) = splitter.next().unwrap() {
                records.push(record.to_vec());
            }
        }
        records.extend(splitter.rest().map(<[u8]>::to_vec));
        records
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        let text = b"one\ntwo\r\n\n\xff\0four\nfive";
        let lines: [&[u8]; 5] = [b"one", b"two\r", b"", b"\xff\0four", b"five"];
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(split(b"\n", &[head, tail]), lines, "{at}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(split(b"\n", &bytes), lines);
    }

    #[test]
    fn a_delimiter_may_have_several_bytes_and_overlap_itself() {
        let text = b"a--b---c--";
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        let known: [&[u8]; 3] = [b"a", b"b", b"-c"];
        assert_eq!(split(b"--", &[text]), known);
        assert_eq!(split(b"--", &bytes), known);
    }

    #[test]
    fn no_input_is_no_record_and_a_last_line_end_begins_none() {
        assert_eq!(split(b"\n", &[]), [b""; 0]);
        assert_eq!(split(b"\n", &[b"\n"]), [b""]);
        assert_eq!(split(b"\n", &[b"a\n"]), [b"a"]);
    }

    #[test]
    fn a_record_without_end_is_refused_before_memory_is_full() {
        let mut splitter = Splitter::new(b"\n");
        let piece = vec![b'x'; PIECE];
        let pieces = MAX_RECORD / PIECE;
        for _ in 0..pieces {
            splitter.feed(&piece);
            assert_eq!(splitter.next(), Ok(None));
        }
        splitter.feed(&piece);
        assert_eq!(splitter.next(), Err(TooLong));
    }

    #[test]
    fn a_key_ends_at_the_first_separator() {
        let separator = Finder::new("::");
        assert_eq!(key_and_value(b"k::v::w", Some(&separator)), (Some(&b"k"[..]), &b"v::w"[..]));
        assert_eq!(key_and_value(b"::v", Some(&separator)), (Some(&b""[..]), &b"v"[..]));
        assert_eq!(key_and_value(b"k:v", Some(&separator)), (None, &b"k:v"[..]));
        assert_eq!(key_and_value(b"k::v", None), (None, &b"k::v"[..]));
    }

    #[test]
    fn delimiters_are_written_with_escapes() {
        for (text, bytes) in [
            (r"\n", &b"\n"[..]),
            (r"\r\n", b"\r\n"),
            (r"\0", b"\0"),
            (r"\x1E;", b"\x1e;"),
            (r"\\", b"\\"),
            ("ä", b"\xc3\xa4"),
        ] {
            assert_eq!(delimiter(text).unwrap().0, bytes);
        }
        for text in ["", r"\", r"\q", r"\x1", r"\xgg", r"\x+1", &"x".repeat(65)] {
            assert!(delimiter(text).is_err(), "{text}");
        }
    }

    #[test]
    fn headers_are_a_name_and_a_value_which_may_be_empty_or_hold_an_equals_sign() {
        let known =
            |name: &str, value: &str| Ok(HeaderArg { name: name.to_owned(), value: value.to_owned() });
        assert_eq!(header("a=b=c"), known("a", "b=c"));
        assert_eq!(header("a="), known("a", ""));
        assert!(header("=b").is_err() && header("ab").is_err() && header("").is_err());
    }
}

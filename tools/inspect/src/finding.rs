//! What is worth telling about a file, with its place.

use std::fmt;

use serde::Serialize;

/// How bad it is; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something that was written is damaged or gone.
    Corrupt,
    /// Could not be read at all.
    Error,
    /// Intact, and newer than this program.
    Unsupported,
    /// Nothing is lost, but it should be looked at.
    Warning,
    /// Nothing is wrong.
    Note,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Severity::Corrupt => "CORRUPT",
            Severity::Error => "ERROR",
            Severity::Unsupported => "UNSUPPORTED",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// What it is about. The names are part of the JSON output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Subject {
    Frame,
    Tail,
    Padding,
    Footer,
    Trailer,
    Digest,
    Chain,
    MissingSegment,
    MissingFile,
    Identity,
    Offsets,
    Superblock,
    Promises,
    Version,
    File,
}

/// One thing worth telling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub(crate) severity: Severity,
    pub(crate) subject: Subject,
    /// Path, escaped.
    pub(crate) file: String,
    /// First byte concerned.
    pub(crate) from: Option<u64>,
    /// First byte behind.
    pub(crate) to: Option<u64>,
    /// First LSN concerned.
    pub(crate) first_lsn: Option<u64>,
    /// Last LSN concerned.
    pub(crate) last_lsn: Option<u64>,
    /// The recovery table's word for it, or of the same kind.
    pub(crate) verdict: &'static str,
    /// What is wrong, in a sentence.
    pub(crate) text: String,
}

impl Finding {
    /// Something about a whole file.
    pub(crate) fn new(severity: Severity, subject: Subject, file: &str, text: impl Into<String>) -> Finding {
        let verdict = match severity {
            Severity::Corrupt => "corrupt",
            Severity::Error => "unreadable",
            Severity::Unsupported => "unsupported",
            Severity::Warning | Severity::Note => "ok",
        };
        let file = file.to_owned();
        let (from, to, first_lsn, last_lsn) = (None, None, None, None);
        Finding { severity, subject, file, from, to, first_lsn, last_lsn, verdict, text: text.into() }
    }

    /// Names the bytes.
    pub(crate) fn bytes(mut self, from: u64, to: u64) -> Finding {
        (self.from, self.to) = (Some(from), Some(to));
        self
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Whether people are told of it where it is not what they asked for.
    pub fn is_loud(&self) -> bool {
        self.severity != Severity::Note
    }

    /// Names one LSN.
    pub(crate) fn lsn(self, lsn: u64) -> Finding {
        self.lsns(Some(lsn), Some(lsn))
    }

    /// Names a range of LSNs, as far as it is known; both ends are concerned.
    pub(crate) fn lsns(mut self, first: Option<u64>, last: Option<u64>) -> Finding {
        (self.first_lsn, self.last_lsn) = (first, last);
        self
    }

    /// Another verdict than the severity's.
    pub(crate) fn verdict(mut self, verdict: &'static str) -> Finding {
        self.verdict = verdict;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.severity.word(), self.file)?;
        if let (Some(from), Some(to)) = (self.from, self.to) {
            write!(f, " bytes {from}..{to}")?;
        }
        match (self.first_lsn, self.last_lsn) {
            (Some(first), Some(last)) if first == last => write!(f, " LSN {first}")?,
            (Some(first), Some(last)) => write!(f, " LSN {first} to {last}")?,
            (Some(first), None) => write!(f, " from LSN {first}")?,
            (None, Some(last)) => write!(f, " up to LSN {last}")?,
            (None, None) => {}
        }
        if self.verdict != "ok" {
            write!(f, " [{}]", self.verdict)?;
        }
        write!(f, ": {}", self.text)
    }
}

/// What a command came to, and so its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    /// Nothing was found of what was looked for.
    NotFound,
    Error,
    Corrupt,
}

impl Status {
    /// The worst of the findings.
    pub(crate) fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Status {
        let of_one = |finding: &Finding| match finding.severity {
            Severity::Corrupt => Status::Corrupt,
            Severity::Error | Severity::Unsupported => Status::Error,
            Severity::Warning | Severity::Note => Status::Ok,
        };
        findings.into_iter().map(of_one).max().unwrap_or(Status::Ok)
    }

    /// The process' exit code.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Status::Ok => 0,
            Status::NotFound => 3,
            Status::Error => 1,
            Status::Corrupt => 5,
        }
    }
}

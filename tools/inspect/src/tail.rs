//! What a pass over a segment's frames means: findings that all commands share.

use tidelog_format::block::Damage;
use tidelog_format::verdict::{At, Grade, Verdict};
use tidelog_format::walk::Cause;

use crate::finding::{Finding, Severity, Subject};
use crate::pass::{Hole, Passed};

/// The findings of a pass over `file`, whose length is `len` bytes.
pub(crate) fn findings(file: &str, len: u64, passed: &Passed) -> Vec<Finding> {
    let mut found: Vec<Finding> = passed.holes.iter().map(|hole| of_hole(file, hole)).collect();
    if passed.gave_up {
        let text = "there is so much damage that not all of it is named";
        found.push(Finding::new(Severity::Corrupt, Subject::Frame, file, text));
    }
    found.extend(of_end(file, len, passed));
    found
}

fn of_hole(file: &str, hole: &Hole) -> Finding {
    Finding::new(Severity::Corrupt, Subject::Frame, file, hole.reason.clone())
        .bytes(hole.from, hole.to)
        .lsns(hole.first_lsn, hole.last_lsn)
}

fn of_end(file: &str, len: u64, passed: &Passed) -> Option<Finding> {
    let outcome = &passed.outcome;
    let finding = |severity, subject, text: String| {
        let end = len.max(outcome.position);
        let found = Finding::new(severity, subject, file, text).bytes(outcome.position, end);
        Some(found.lsns(outcome.expect.lsn, None))
    };
    if let Cause::Unsupported(newer) = outcome.cause {
        return finding(Severity::Unsupported, Subject::Version, newer.to_string());
    }
    if passed.grew || passed.moved {
        let text = "a running node writes to this file; what it wrote meanwhile is not covered".to_owned();
        return finding(Severity::Note, Subject::Tail, text);
    }
    let other_epoch = matches!(outcome.cause, Cause::Damage(Damage::Epoch { .. }));
    let unwritten = matches!(outcome.at, At::Virgin | At::Stale | At::FileEnd) || other_epoch;
    if passed.is_unbegun() && unwritten {
        let text = "prepared, and nothing was written to it yet".to_owned();
        return finding(Severity::Note, Subject::Tail, text);
    }
    let cause = match outcome.cause {
        Cause::Damage(damage) => damage.to_string(),
        _ => "the last write is not all there".to_owned(),
    };
    match outcome.verdict {
        Verdict::Torn => {
            let text = format!("{cause}: the last write did not return before a stop; recovery cuts it off");
            finding(Severity::Note, Subject::Tail, text).map(|found| found.verdict("torn"))
        }
        Verdict::End(Grade::Weak) => {
            let text =
                format!("{cause}: unproved end; a torn last write, or damage that can't be told from one");
            finding(Severity::Note, Subject::Tail, text).map(|found| found.verdict("weak end"))
        }
        Verdict::Corrupt if passed.holes.is_empty() => {
            let text = "the frames go on behind the end that the next segment names".to_owned();
            finding(Severity::Corrupt, Subject::Chain, text)
        }
        _ => None,
    }
}

/// The verdict in a word, for tables and JSON.
pub(crate) fn word(passed: &Passed) -> &'static str {
    if !passed.holes.is_empty() {
        return "corrupt";
    }
    if passed.grew || passed.moved {
        return "growing";
    }
    match passed.outcome.verdict {
        _ if passed.is_unbegun() => "empty",
        Verdict::End(Grade::Proved) => "proved",
        Verdict::End(Grade::Strong) => "strong",
        Verdict::End(Grade::Weak) => "weak",
        Verdict::Torn => "torn",
        Verdict::Corrupt => "corrupt",
        Verdict::Unsupported => "unsupported",
    }
}

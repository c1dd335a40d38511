//! Verification of a seal: footer, trailer and digest, where they are or should be.

use tidelog_format::block::BLOCK_U64;
use tidelog_format::verdict::{At, Grade, Verdict};
use tidelog_format::walk::Cause;

use crate::checker::Checker;
use crate::error::InspectError;
use crate::finding::{Finding, Severity, Subject};
use crate::read::ReadSegment;
use crate::seal::{Seal, trailer_position};

/// Footer, trailer and digest, where they are or should be.
pub(crate) fn check_seal(
    read: &mut ReadSegment,
    checker: &Checker,
    has_next: bool,
) -> Result<Vec<Finding>, InspectError> {
    if read.passed.grew || read.passed.moved || matches!(read.passed.outcome.cause, Cause::Unsupported(_)) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    if read.seal.is_none() {
        found.extend(find_seal(read, has_next)?);
    }
    if let Some(seal) = &read.seal {
        found.extend(seal.check(&read.name, &read.passed, checker.index.as_ref()));
        let content = (0, seal.trailer.footer_position());
        if found.is_empty() && !checker.padding && seal.digest_differs(&read.passed) {
            let text = "the digest in the trailer is not that of the frames";
            let finding = Finding::new(Severity::Corrupt, Subject::Digest, &read.name, text);
            found.push(
                finding
                    .bytes(content.0, content.1)
                    .lsns(Some(seal.trailer.base_lsn), seal.trailer.next_lsn.checked_sub(1)),
            );
        }
        if seal.content_len() < read.len {
            let text = "sealed, and not yet cut behind its trailer";
            let finding = Finding::new(Severity::Note, Subject::Trailer, &read.name, text);
            found.push(finding.bytes(seal.content_len(), read.len));
        }
    }
    Ok(found)
}

/// Looks for a seal where the file's last block is no trailer, and tells what it is when there is none.
fn find_seal(read: &mut ReadSegment, has_next: bool) -> Result<Option<Finding>, InspectError> {
    let passed = &read.passed;
    let outcome = &passed.outcome;
    let at = outcome.position;
    if let Cause::Footer(header) = outcome.cause {
        let trailer = trailer_position(at, header.body_len).unwrap_or(u64::MAX);
        let behind = trailer.saturating_add(BLOCK_U64);
        read.seal = Seal::read_at(&read.window, trailer)?.filter(|seal| {
            Some(seal.trailer.salt) == passed.end.salt && seal.trailer.footer_position() == at
        });
        if read.seal.is_some() {
            return Ok(None);
        }
        let place =
            |finding: Finding| finding.bytes(trailer.min(read.len), read.len).lsns(None, outcome.expect.lsn);
        return Ok(Some(if behind >= read.len {
            let text = "the file ends behind its footer without an intact trailer; all frames are there";
            place(Finding::new(Severity::Corrupt, Subject::Trailer, &read.name, text))
        } else {
            let text = "a footer without a trailer: the seal was not finished; the next start does it again";
            place(Finding::new(Severity::Note, Subject::Footer, &read.name, text))
        }));
    }
    let planned = passed.opening.map_or(0, |opening| opening.segment_bytes);
    let ended = outcome.verdict == Verdict::End(Grade::Proved);
    if has_next && ended && outcome.at == At::DamagedHeader && planned != read.len {
        let text = "neither footer nor trailer is intact; all frames are there";
        let finding = Finding::new(Severity::Corrupt, Subject::Footer, &read.name, text);
        return Ok(Some(finding.bytes(at, read.len).lsns(None, outcome.expect.lsn)));
    }
    if has_next && ended && passed.holes.is_empty() {
        let text = "not sealed yet, although another segment follows; the node or its next start does it";
        return Ok(Some(Finding::new(Severity::Note, Subject::Footer, &read.name, text)));
    }
    Ok(None)
}

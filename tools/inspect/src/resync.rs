//! Goes on behind damage: finds the next intact frame of the same segment and names the hole before it.

use tidelog_format::BLOCK;
use tidelog_format::block::{BLOCK_U64, Damage};
use tidelog_format::scan::{Expect, Found, scan};
use tidelog_format::walk::Cause;

use crate::error::InspectError;
use crate::pass::{Hole, Known, Passed, Visitor, position};
use crate::window::Window;

/// A file may be examined this many times over before the search gives up: intact headers with damaged bodies
/// make a hostile file expensive.
const MAX_ROUNDS: u64 = 8;
/// Most holes that are named in one file.
const MAX_HOLES: usize = 1000;

/// What stands behind a hole.
enum Intact {
    /// A frame with this LSN.
    Frame(u64),
    /// The proved end of the segment, with the LSN behind its last frame.
    End(u64),
}

/// What ended a run of frames.
struct Stop {
    damage: Option<Damage>,
    /// An intact end.
    end: bool,
    unsupported: bool,
}

pub(crate) struct Resync<'a> {
    window: &'a mut Window,
    passed: &'a mut Passed,
    visitor: &'a mut dyn Visitor,
    /// LSN behind the last frame and the position where frames end, as far as something says so.
    ends_at: Option<u64>,
    content_end: u64,
    budget: u64,
}

impl<'a> Resync<'a> {
    pub(crate) fn new(
        window: &'a mut Window,
        known: &Known,
        passed: &'a mut Passed,
        visitor: &'a mut dyn Visitor,
    ) -> Resync<'a> {
        let trailer = passed.trailer;
        let ends_at = trailer.map(|trailer| trailer.next_lsn).or(known.ends_at);
        let content_end = trailer.map_or(window.len(), |trailer| trailer.footer_position());
        let budget = window.len().saturating_mul(MAX_ROUNDS);
        if passed.end.salt.is_none() {
            passed.end.salt = trailer.map(|trailer| trailer.salt);
        }
        Resync { window, passed, visitor, ends_at, content_end, budget }
    }

    pub(crate) fn run(mut self) -> Result<(), InspectError> {
        if self.passed.trailer.is_none() && self.ends_at.is_some_and(|end| Some(end) < self.passed.end.lsn) {
            // It goes on behind what its successor calls its end: no hole, and the chain is told elsewhere.
            return Ok(());
        }
        let cause = self.passed.outcome.cause;
        let mut reason = first_reason(&cause);
        let damage = if let Cause::Damage(damage) = cause { Some(damage) } else { None };
        let mut stop = Stop { damage, end: false, unsupported: false };
        let mut first = true;
        loop {
            let expect = self.passed.end;
            let at = position(&expect);
            let done =
                stop.end || stop.unsupported || self.ends_at.is_some_and(|end| expect.lsn == Some(end));
            if done && !first {
                return Ok(());
            }
            let start = if rejoins(stop.damage) { at } else { at + BLOCK_U64 };
            match self.next_intact(start, &expect)? {
                Some((to, Intact::Frame(lsn))) => {
                    let doubtful = to == at && expect.lsn == Some(lsn);
                    let last = if doubtful { lsn } else { lsn.saturating_sub(1) };
                    self.hole(at, to, &expect, Some(last), reason)?;
                    stop = self.forward(to)?;
                    reason = stop.damage.map_or_else(|| UNWRITTEN.to_owned(), |damage| damage.to_string());
                }
                Some((to, Intact::End(lsn))) => {
                    return self.hole(at, to, &expect, Some(lsn.saturating_sub(1)), reason);
                }
                None if first || self.ends_at > expect.lsn => {
                    let last = self.ends_at.map(|end| end.saturating_sub(1));
                    return self.hole(at, self.content_end.max(at), &expect, last, reason);
                }
                None => return Ok(()),
            }
            first = false;
        }
    }

    fn hole(
        &mut self,
        from: u64,
        to: u64,
        expect: &Expect,
        last: Option<u64>,
        reason: String,
    ) -> Result<(), InspectError> {
        let last_lsn = last.filter(|last| expect.lsn.is_none_or(|first| first <= *last));
        let hole = Hole { from, to: to.max(from + BLOCK_U64), first_lsn: expect.lsn, last_lsn, reason };
        self.visitor.hole(&hole)?;
        if self.passed.holes.len() < MAX_HOLES {
            self.passed.holes.push(hole);
        } else {
            self.passed.gave_up = true;
        }
        Ok(())
    }

    /// Hands out frames from `at` on as long as they follow each other.
    fn forward(&mut self, at: u64) -> Result<Stop, InspectError> {
        let mut expect = Expect { lsn: None, chain: None, ..at_position(&self.passed.end, at) };
        let mut need = BLOCK;
        loop {
            let view = self.window.view(position(&expect), need)?;
            let damage = match scan(view.bytes, &expect) {
                Found::Frame(frame) => {
                    self.visitor.frame(&frame)?;
                    expect = Expect::after(&frame);
                    need = BLOCK;
                    continue;
                }
                Found::Need(more) if !view.to_end => {
                    need = more;
                    continue;
                }
                Found::Need(needed) => Some(Damage::Truncated { needed: needed as u64 }),
                Found::DamagedHeader(damage) | Found::DamagedBody(_, damage) => Some(damage),
                Found::End(_) | Found::Footer(_) => return self.stopped(expect, None, true, false),
                Found::Unsupported(_) => return self.stopped(expect, None, false, true),
                Found::Virgin | Found::Stale(_) | Found::Trailer(_) => None,
            };
            return self.stopped(expect, damage, false, false);
        }
    }

    fn stopped(
        &mut self,
        expect: Expect,
        damage: Option<Damage>,
        end: bool,
        unsupported: bool,
    ) -> Result<Stop, InspectError> {
        self.passed.end = expect;
        Ok(Stop { damage, end, unsupported })
    }

    /// The next place from `start` on where an intact frame or end of this segment stands that is not older
    /// than what is expected.
    fn next_intact(&mut self, start: u64, expect: &Expect) -> Result<Option<(u64, Intact)>, InspectError> {
        let least = expect.lsn.unwrap_or(0);
        let mut at = start;
        let mut need = BLOCK;
        while at < self.window.len() {
            let place = Expect { lsn: None, chain: None, ..at_position(expect, at) };
            let view = self.window.view(at, need)?;
            match scan(view.bytes, &place) {
                Found::Need(more) if !view.to_end => {
                    need = more;
                    continue;
                }
                Found::Frame(frame) if frame.header.lsn >= least => {
                    return Ok(Some((at, Intact::Frame(frame.header.lsn))));
                }
                Found::End(end) if end.next_lsn > least => return Ok(Some((at, Intact::End(end.next_lsn)))),
                Found::Footer(footer) if footer.next_lsn >= least => {
                    return Ok(Some((at, Intact::End(footer.next_lsn))));
                }
                _ => {}
            }
            match self.budget.checked_sub(need as u64) {
                Some(left) => self.budget = left,
                None => {
                    self.passed.gave_up = true;
                    return Ok(None);
                }
            }
            at += BLOCK_U64;
            need = BLOCK;
        }
        Ok(None)
    }
}

const UNWRITTEN: &str = "nothing of this segment stands here";

fn first_reason(cause: &Cause) -> String {
    match cause {
        Cause::Damage(damage) => damage.to_string(),
        Cause::End(_) => "an end block stands here, and frames behind it were durable".to_owned(),
        Cause::Footer(_) => "a footer stands here, and frames behind it were durable".to_owned(),
        Cause::Unwritten | Cause::Unsupported(_) => UNWRITTEN.to_owned(),
    }
}

fn at_position(expect: &Expect, at: u64) -> Expect {
    Expect { block_index: u32::try_from(at / BLOCK_U64).unwrap_or(u32::MAX), ..*expect }
}

/// Whether the frame at the place is intact in itself and only does not follow the one before.
fn rejoins(damage: Option<Damage>) -> bool {
    matches!(damage, Some(Damage::Chain { .. } | Damage::Lsn { .. }))
}

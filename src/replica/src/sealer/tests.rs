use super::*;
use crate::made::{frames, from, replica, span};

const START: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_millis(1030);
const ATTEMPT: u32 = 7;

fn fenced(node: u64, end: Place, grade: Grade, committed: u64) -> Event {
    Event::Answered(from(node, Answer::Fenced(Standing { attempt: ATTEMPT, end, grade, committed })))
}

fn begun(replicas: u64, quorum: usize) -> Sealer {
    let (sealer, effects) = Sealer::new(span(replicas, quorum), ATTEMPT, START);
    assert_eq!(effects.len(), replicas as usize);
    sealer
}

fn commit(effects: &[Effect]) -> Option<(u64, Vec<u64>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Commit { attempt: ATTEMPT, end, survivors } => {
            Some((end.lsn, survivors.iter().map(|replica| replica.node).collect()))
        }
        _ => None,
    })
}

/// The base and the ends behind so many frames.
fn places() -> Vec<Place> {
    let base = span(3, 2).base;
    std::iter::once(base).chain(frames(base, 6, 0).iter().map(Frame::next)).collect()
}

#[test]
fn the_furthest_end_of_enough_sure_holders_is_committed_once_a_quorum_has_it() {
    let (mut sealer, at) = (begun(3, 2), places());
    assert_eq!(commit(&sealer.step(LATER, fenced(1, at[2], Grade::Proved, 11))), None, "one is not enough");
    let effects = sealer.step(LATER, fenced(3, at[4], Grade::Proved, 11));
    assert_eq!(commit(&effects), None, "only one has all of it");
    assert!(matches!(
        effects[..],
        [Effect::Send { to, request: Request::FetchTail { attempt: ATTEMPT, from: 12, to: 14 } }] if to == replica(3)
    ));
    let tail = Event::Answered(from(3, Answer::Tail { attempt: ATTEMPT, frames: frames(at[2], 2, 0) }));
    let effects = sealer.step(LATER, tail);
    assert!(matches!(
        &effects[..],
        [Effect::Send { to, request: Request::RepairAppend { frames, .. } }] if to.node == 1 && frames.len() == 2
    ));
    let repaired = Event::Answered(from(1, Answer::Repaired { attempt: ATTEMPT, durable: 14 }));
    assert_eq!(commit(&sealer.step(LATER, repaired)), Some((14, vec![1, 3])));
}

#[test]
fn it_waits_a_little_for_the_rest() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(START, fenced(1, at[1], Grade::Proved, 10));
    assert_eq!(commit(&sealer.step(START, fenced(2, at[1], Grade::Proved, 10))), None);
    assert_eq!(commit(&sealer.step(LATER, Event::Tick)), Some((11, vec![1, 2])));
}

#[test]
fn an_unsure_holder_counts_only_when_all_have_answered() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, fenced(1, at[1], Grade::Unproved, 10));
    assert_eq!(commit(&sealer.step(LATER, fenced(2, at[2], Grade::Proved, 10))), None);
    assert_eq!(commit(&sealer.step(LATER + AGAIN, Event::Tick)), None, "however long it takes");
    sealer.step(LATER, fenced(3, at[3], Grade::Suspect, 10));
    assert!(matches!(sealer.phase, Phase::Repairing(end) if end == at[3]));
}

#[test]
fn a_damaged_holder_is_no_copy() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, fenced(1, at[2], Grade::Suspect, 10));
    sealer.step(LATER, fenced(2, at[2], Grade::Proved, 10));
    assert_eq!(commit(&sealer.step(LATER, fenced(3, at[1], Grade::Proved, 10))), None);
    let repaired = Event::Answered(from(3, Answer::Repaired { attempt: ATTEMPT, durable: 12 }));
    assert_eq!(commit(&sealer.step(LATER, repaired)), Some((12, vec![2, 3])));
}

#[test]
fn an_end_below_what_is_committed_is_never_taken() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, fenced(1, at[1], Grade::Proved, 12));
    assert_eq!(commit(&sealer.step(LATER, fenced(2, at[1], Grade::Proved, 10))), None);
    assert_eq!(sealer.missing(), [replica(3)]);
    assert_eq!(commit(&sealer.step(LATER, fenced(3, at[1], Grade::Suspect, 10))), None, "nobody has it");
    assert_eq!(commit(&sealer.step(LATER, Event::AcceptTail)), Some((11, vec![1, 2])), "people may decide");
}

#[test]
fn another_directory_on_the_same_node_has_no_voice() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, fenced(1, at[0], Grade::Proved, 10));
    let standing = Standing { attempt: ATTEMPT, end: at[0], grade: Grade::Proved, committed: 10 };
    let mut empty = from(2, Answer::Fenced(standing));
    empty.replica.store = [99; 16];
    assert_eq!(commit(&sealer.step(LATER, Event::Answered(empty))), None);
}

#[test]
fn an_answer_to_another_attempt_has_no_voice() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, fenced(1, at[0], Grade::Proved, 10));
    let standing = Standing { attempt: 6, end: at[0], grade: Grade::Proved, committed: 10 };
    assert_eq!(commit(&sealer.step(LATER, Event::Answered(from(2, Answer::Fenced(standing))))), None);
}

#[test]
fn whoever_is_overtaken_stops() {
    let at = places();
    let promised = Answer::HigherPromise { attempt: ATTEMPT, promised: 9 };
    for event in [
        Event::Answered(from(2, promised)),
        Event::Viewed(SpanState::Sealing { attempt: 9 }),
        Event::Viewed(SpanState::Sealed { end: at[0] }),
        Event::Committed { done: false },
    ] {
        let mut sealer = begun(3, 2);
        assert!(matches!(sealer.step(LATER, event)[..], [Effect::Over { sealed: false }]));
        sealer.step(LATER, fenced(1, at[1], Grade::Proved, 10));
        assert_eq!(commit(&sealer.step(LATER, fenced(2, at[1], Grade::Proved, 10))), None);
    }
}

#[test]
fn an_unclear_commit_is_asked_for_again_or_found_done() {
    let at = places();
    let committing = || {
        let mut sealer = begun(3, 2);
        sealer.step(LATER, fenced(1, at[1], Grade::Proved, 10));
        assert_eq!(commit(&sealer.step(LATER, fenced(2, at[1], Grade::Proved, 10))), Some((11, vec![1, 2])));
        sealer
    };
    let again = committing().step(LATER, Event::Viewed(SpanState::Sealing { attempt: ATTEMPT }));
    assert_eq!(commit(&again), Some((11, vec![1, 2])));
    let found = committing().step(LATER, Event::Viewed(SpanState::Sealed { end: at[1] }));
    assert!(matches!(found[..], [Effect::Over { sealed: true }]));
}

#[test]
fn what_is_not_answered_is_asked_again() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(START, fenced(1, at[1], Grade::Proved, 10));
    let asked: Vec<u64> = sealer
        .step(START + AGAIN, Event::Tick)
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { to, request: Request::Fence { .. } } => Some(to.node),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [2, 3]);
}

#[test]
fn a_source_that_cannot_give_what_it_said_is_asked_anew() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, fenced(1, at[1], Grade::Proved, 10));
    sealer.step(LATER, fenced(2, at[2], Grade::Proved, 10));
    assert!(matches!(sealer.phase, Phase::Repairing(end) if end == at[2]));
    sealer.step(LATER + 5 * AGAIN, Event::Tick);
    assert_eq!(sealer.phase, Phase::Fencing);
    let later = LATER + 6 * AGAIN;
    sealer.step(later, fenced(2, at[1], Grade::Suspect, 10));
    sealer.step(later, fenced(1, at[1], Grade::Proved, 10));
    assert_eq!(commit(&sealer.step(later, fenced(3, at[1], Grade::Proved, 10))), Some((11, vec![1, 3])));
}

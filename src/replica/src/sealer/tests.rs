use super::*;
use crate::frame::Frame;
use crate::made::{frames, from, replica, span};
use crate::message::Standing;

const START: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_millis(1030);
const ATTEMPT: u32 = 7;

fn fenced(node: u64, end: Place, grade: Grade, committed: u64) -> Event {
    let reach = end.lsn;
    Event::Answered(from(node, Answer::Fenced(Standing { attempt: ATTEMPT, end, reach, grade, committed })))
}

fn tail(node: u64, first: u64, to: u64, frames: Vec<Frame>) -> Event {
    Event::Answered(from(node, Answer::Tail { attempt: ATTEMPT, from: first, to, frames }))
}

/// A damaged holder: `end` is before the damage, frames are behind it up to `reach`.
fn damaged(node: u64, end: Place, reach: u64, committed: u64) -> Event {
    let grade = Grade::Suspect;
    Event::Answered(from(node, Answer::Fenced(Standing { attempt: ATTEMPT, end, reach, grade, committed })))
}

fn fetches(effects: &[Effect]) -> Vec<(u64, u64, u64)> {
    let fetch = |effect: &Effect| match effect {
        Effect::Send { to, request: Request::FetchTail { from, to: below, .. } } => {
            Some((to.node, *from, *below))
        }
        _ => None,
    };
    effects.iter().filter_map(fetch).collect()
}

fn repairs(effects: &[Effect]) -> Vec<(u64, Vec<u64>)> {
    let repair = |effect: &Effect| match effect {
        Effect::Send { to, request: Request::RepairAppend { frames, .. } } => {
            Some((to.node, frames.iter().map(Frame::lsn).collect()))
        }
        _ => None,
    };
    effects.iter().filter_map(repair).collect()
}

fn repaired(node: u64, durable: u64) -> Event {
    Event::Answered(from(node, Answer::Repaired { attempt: ATTEMPT, durable }))
}

fn begun(replicas: u64, quorum: usize) -> Sealer {
    let (sealer, effects) = Sealer::new(span(replicas, quorum), ATTEMPT, START);
    assert_eq!(effects.len(), replicas as usize);
    sealer
}

fn commit(effects: &[Effect]) -> Option<(u64, Vec<u64>)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Commit { attempt: ATTEMPT, end, survivors, .. } => {
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
    let effects = sealer.step(LATER, tail(3, 12, 14, frames(at[2], 2, 0)));
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
    assert_eq!(commit(&sealer.step(LATER, Event::AcceptTail)), Some((11, vec![1, 2, 3])), "people may");
}

#[test]
fn another_directory_on_the_same_node_has_no_voice() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, fenced(1, at[0], Grade::Proved, 10));
    let standing = Standing { attempt: ATTEMPT, end: at[0], reach: 0, grade: Grade::Proved, committed: 10 };
    let mut empty = from(2, Answer::Fenced(standing));
    empty.replica.store = [99; 16];
    assert_eq!(commit(&sealer.step(LATER, Event::Answered(empty))), None);
}

#[test]
fn an_answer_to_another_attempt_has_no_voice() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, fenced(1, at[0], Grade::Proved, 10));
    let standing = Standing { attempt: 6, end: at[0], reach: 0, grade: Grade::Proved, committed: 10 };
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
    assert!(matches!(found[..], [.., Effect::Over { sealed: true }]));
    assert_eq!(found.len(), 4, "and all holders are told");
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

#[test]
fn frames_that_rotted_on_different_disks_are_put_together_from_both() {
    let (mut sealer, at) = (begun(3, 2), places());
    let made = frames(at[0], 6, 0);
    // Node 1 lacks frame 11, node 2 lacks frame 12, node 3 was never sent a frame.
    sealer.step(LATER, damaged(1, at[1], 14, 10));
    sealer.step(LATER, damaged(2, at[2], 14, 10));
    let effects = sealer.step(LATER, fenced(3, at[0], Grade::Proved, 10));
    assert_eq!(
        fetches(&effects),
        [(1, 12, 14), (2, 12, 14)],
        "what is behind the furthest end without a gap"
    );
    let effects = sealer.step(LATER, tail(2, 12, 14, made[3..4].to_vec()));
    assert_eq!(effects.len(), 0, "node 1 has not told yet");
    let effects = sealer.step(LATER, tail(1, 12, 14, made[2..4].to_vec()));
    assert!(matches!(sealer.phase, Phase::Repairing(end) if end == at[4]));
    assert_eq!(fetches(&effects), [(1, 10, 14)]);
    let effects = sealer.step(LATER, tail(1, 10, 14, [&made[..1], &made[2..4]].concat()));
    assert_eq!(repairs(&effects), [(3, vec![10])]);
    let effects = sealer.step(LATER, repaired(3, 11));
    assert_eq!(fetches(&effects), [(1, 11, 14)]);
    let effects = sealer.step(LATER, tail(1, 11, 14, made[2..4].to_vec()));
    assert_eq!((repairs(&effects), fetches(&effects)), (vec![], vec![(2, 11, 14)]), "the other one has it");
}

#[test]
fn what_nobody_has_is_not_asked_for_in_circles() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, fenced(1, at[0], Grade::Proved, 10));
    let effects = sealer.step(LATER, fenced(2, at[2], Grade::Proved, 10));
    assert_eq!(fetches(&effects), [(2, 10, 12)]);
    for _ in 0..3 {
        assert_eq!(sealer.step(LATER, tail(2, 10, 12, Vec::new())).len(), 0, "only after a while");
    }
    assert_eq!(fetches(&sealer.step(LATER + AGAIN, Event::Tick)), [(2, 10, 12)]);
}

#[test]
fn a_gap_that_nobody_can_fill_ends_the_span_where_somebody_sound_has_answered() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, damaged(1, at[1], 14, 10));
    sealer.step(LATER, fenced(2, at[1], Grade::Proved, 10));
    sealer.step(LATER, fenced(3, at[1], Grade::Unproved, 10));
    sealer.step(LATER, tail(1, 11, 14, frames(at[2], 1, 0)));
    assert!(matches!(sealer.phase, Phase::Committing(end) if end == at[1]), "{:?}", sealer.phase);
}

#[test]
fn where_all_are_damaged_only_a_content_without_a_gap_is_taken() {
    let at = places();
    let made = frames(at[0], 6, 0);
    let both = |filled: bool| {
        let mut sealer = begun(2, 2);
        sealer.step(LATER, damaged(1, at[1], 13, 10));
        let effects = sealer.step(LATER, damaged(2, at[2], 13, 10));
        assert_eq!(fetches(&effects), [(1, 12, 13), (2, 12, 13)]);
        sealer.step(LATER, tail(1, 12, 13, if filled { made[2..3].to_vec() } else { Vec::new() }));
        sealer.step(LATER, tail(2, 12, 13, Vec::new()));
        sealer.phase
    };
    assert_eq!(both(true), Phase::Repairing(at[3]));
    assert_eq!(both(false), Phase::Fencing, "people decide");
}

#[test]
fn people_may_go_on_with_what_the_only_holder_has_before_its_damage() {
    let (mut sealer, at) = (begun(1, 1), places());
    let effects = sealer.step(LATER, damaged(1, at[2], 14, 10));
    assert_eq!(fetches(&effects), [(1, 12, 14)]);
    sealer.step(LATER, tail(1, 12, 14, frames(at[3], 1, 0)));
    assert_eq!(sealer.phase, Phase::Fencing);
    assert_eq!(commit(&sealer.step(LATER, Event::AcceptTail)), Some((12, vec![1])));
}

#[test]
fn what_people_accept_is_not_what_the_quickest_has() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(START, Event::Known { lost: vec![replica(3)], takers: Vec::new() });
    sealer.step(START, Event::AcceptTail);
    sealer.step(LATER, fenced(1, at[1], Grade::Proved, 10));
    assert_eq!(sealer.phase, Phase::Fencing, "node 2 has not answered");
    sealer.step(LATER, fenced(2, at[3], Grade::Unproved, 10));
    assert!(matches!(sealer.phase, Phase::Committing(end) if end == at[3]), "{:?}", sealer.phase);
    let mut alone = begun(3, 2);
    alone.step(START, Event::AcceptTail);
    alone.step(LATER, fenced(1, at[1], Grade::Proved, 10));
    assert_eq!(commit(&alone.step(START + 4 * AGAIN, Event::Tick)), Some((11, vec![1])));
}

#[test]
fn a_substitute_gets_the_whole_span_and_takes_the_place_of_a_lost_holder() {
    let (mut sealer, at) = (begun(2, 2), places());
    let made = frames(at[0], 2, 0);
    sealer.step(LATER, fenced(1, at[2], Grade::Proved, 10));
    assert_eq!(sealer.phase, Phase::Repairing(at[2]), "F is 1");
    let known = Event::Known { lost: vec![replica(2)], takers: vec![replica(1), replica(7), replica(8)] };
    let effects = sealer.step(LATER, known);
    assert_eq!((repairs(&effects), fetches(&effects)), (vec![(7, vec![])], vec![(1, 10, 12)]));
    let effects = sealer.step(LATER, tail(1, 10, 12, made));
    assert_eq!(repairs(&effects), [(7, vec![10, 11])]);
    assert_eq!(commit(&sealer.step(LATER, repaired(7, 11))), None);
    let effects = sealer.step(LATER, repaired(7, 12));
    assert!(matches!(
        &effects[..],
        [Effect::Commit { survivors, substitutes, .. }]
            if *survivors == [replica(1), replica(7)]
                && *substitutes == [Substitute { old: replica(2), new: replica(7) }]
    ));
}

#[test]
fn a_substitute_is_never_counted_toward_the_end() {
    let (mut sealer, at) = (begun(3, 2), places());
    sealer.step(LATER, Event::Known { lost: vec![replica(3)], takers: vec![replica(7)] });
    sealer.step(LATER, fenced(1, at[1], Grade::Proved, 10));
    let effects = sealer.step(LATER + 5 * AGAIN, fenced(7, at[0], Grade::Proved, 10));
    assert_eq!((effects.len(), sealer.phase), (0, Phase::Fencing), "F is 2, and node 2 is silent");
    sealer.step(LATER, fenced(2, at[1], Grade::Proved, 10));
    assert_eq!(sealer.phase, Phase::Committing(at[1]), "two copies are there: nobody is replaced");
}

#[test]
fn a_silent_substitute_gives_its_turn_to_the_next() {
    let (mut sealer, at) = (begun(2, 2), places());
    let known = || Event::Known { lost: vec![replica(2)], takers: vec![replica(7), replica(8)] };
    sealer.step(LATER, fenced(1, at[0], Grade::Proved, 10));
    assert_eq!(repairs(&sealer.step(LATER, known())), [(7, vec![])]);
    assert_eq!(repairs(&sealer.step(LATER + AGAIN, Event::Tick)), [(7, vec![])], "asked again");
    sealer.step(LATER + 5 * AGAIN, Event::Tick);
    let effects = sealer.step(LATER + 5 * AGAIN, fenced(1, at[0], Grade::Proved, 10));
    assert_eq!(repairs(&effects), [(8, vec![])]);
    assert_eq!(commit(&sealer.step(LATER + 5 * AGAIN, repaired(8, 10))), Some((10, vec![1, 8])));
}

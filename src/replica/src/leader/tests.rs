use super::*;
use crate::made::{frames, from, replica, span};

const START: Duration = Duration::from_secs(1);

fn leader(replicas: u64, quorum: usize) -> Leader {
    Leader::new(span(replicas, quorum), Limits::default(), START)
}

fn appended(node: u64, durable: u64) -> Event {
    Event::Answered(from(node, Answer::Appended { durable }))
}

fn refused(node: u64, refusal: Refusal) -> Event {
    Event::Answered(from(node, Answer::Refused(refusal)))
}

fn committed(effects: &[Effect]) -> Vec<u64> {
    let end = |effect: &Effect| match effect {
        Effect::Committed(committed) => Some(committed.end()),
        _ => None,
    };
    effects.iter().filter_map(end).collect()
}

/// Who is sent which LSNs.
fn sent(effects: &[Effect]) -> Vec<(u64, Vec<u64>)> {
    let one = |effect: &Effect| match effect {
        Effect::Send { to, request: Request::Append { frames, .. } } => {
            Some((to.node, frames.iter().map(Frame::lsn).collect()))
        }
        _ => None,
    };
    effects.iter().filter_map(one).collect()
}

/// Bytes of a frame that waits for no others.
const LARGE: usize = 1 << 20;

#[test]
fn a_frame_goes_to_every_holder_and_is_committed_by_a_quorum() {
    let mut leader = leader(3, 2);
    let effects = leader.step(START, Event::Framed(frames(leader.next(), 1, 0)));
    assert_eq!(sent(&effects), [(1, vec![10]), (2, vec![10]), (3, vec![10])]);
    assert_eq!(committed(&leader.step(START, appended(2, 11))), []);
    assert_eq!(committed(&leader.step(START, appended(2, 11))), [], "the same holder twice is one");
    assert_eq!(committed(&leader.step(START, appended(3, 11))), [11], "its own disk is one like any other");
}

#[test]
fn one_node_alone_is_a_quorum_of_one() {
    let mut leader = leader(1, 1);
    let effects = leader.step(START, Event::Framed(frames(leader.next(), 2, 0)));
    assert_eq!(sent(&effects), [(1, vec![10, 11])]);
    assert_eq!(committed(&leader.step(START, appended(1, 11))), [11]);
    assert_eq!(committed(&leader.step(START, appended(1, 12))), [12]);
}

#[test]
fn nothing_is_committed_after_the_first_fence() {
    let mut leader = leader(3, 2);
    leader.step(START, Event::Framed(frames(leader.next(), 1, 0)));
    leader.step(START, appended(1, 11));
    let effects = leader.step(START, refused(3, Refusal::Fenced { promised: 6 }));
    assert!(matches!(effects[..], [Effect::Over { closed: false }]));
    assert_eq!(committed(&leader.step(START, appended(2, 11))), []);
    assert!(!leader.may_frame(LARGE));
}

#[test]
fn a_hand_over_commits_all_that_was_framed_and_ends_when_the_successor_has_it() {
    let mut leader = leader(3, 2);
    let made = frames(leader.next(), 2, 0);
    leader.step(START, Event::Framed(made.clone()));
    leader.step(START, appended(1, 12));
    let (to, until) = (Some(replica(3)), START + Duration::from_secs(1));
    assert!(leader.step(START, Event::HandOver { to, until }).is_empty());
    assert!(leader.leads() && leader.is_handing_over() && !leader.may_frame(LARGE));
    assert_eq!(committed(&leader.step(START, appended(2, 12))), [12], "nobody is left without an answer");
    assert_eq!(leader.lacks(&replica(3)), Some(2));
    assert!(leader.step(START, appended(3, 11)).is_empty(), "the successor lacks a frame");
    let effects = leader.step(START, appended(3, 12));
    assert!(matches!(effects[..], [Effect::Close { end }] if end == made[1].next()), "{effects:?}");
}

#[test]
fn a_frame_that_was_begun_before_the_hand_over_is_committed_too() {
    let mut leader = leader(3, 2);
    let until = START + Duration::from_secs(1);
    leader.step(START, Event::HandOver { to: Some(replica(2)), until });
    let mut other = self::leader(3, 2);
    assert!(matches!(other.step(START, Event::HandOver { to: None, until })[..], [Effect::Close { .. }]));
    // Nothing was framed: it ends at once. A frame that comes now comes too late.
    assert!(leader.is_closing() && other.is_closing());

    let mut leader = self::leader(3, 2);
    let made = frames(leader.next(), 2, 0);
    leader.step(START, Event::Framed(made[..1].to_vec()));
    leader.step(START, Event::HandOver { to: Some(replica(2)), until });
    assert_eq!(sent(&leader.step(START, Event::Framed(made[1..].to_vec()))).len(), 3);
    leader.step(START, appended(1, 12));
    assert!(leader.step(START, appended(2, 11)).iter().all(|one| !matches!(one, Effect::Close { .. })));
    let effects = leader.step(START, appended(2, 12));
    assert!(matches!(effects[..], [Effect::Committed(_), Effect::Close { .. }]), "{effects:?}");
}

#[test]
fn a_successor_that_does_not_come_so_far_in_time_is_not_waited_for_longer() {
    let mut leader = leader(3, 2);
    leader.step(START, Event::Framed(frames(leader.next(), 1, 0)));
    leader.step(START, appended(1, 11));
    leader.step(START, appended(2, 11));
    let until = START + Duration::from_millis(200);
    leader.step(START, Event::HandOver { to: Some(replica(3)), until });
    leader.step(until - Duration::from_millis(1), Event::Tick);
    assert!(!leader.may_frame(LARGE));
    leader.step(until, Event::Tick);
    assert!(leader.may_frame(LARGE) && !leader.is_handing_over());
    assert!(leader.step(until, appended(3, 11)).is_empty(), "it leads on");
}

#[test]
fn closing_stops_committing_and_ends_at_what_is_committed() {
    let mut leader = leader(3, 2);
    let made = frames(leader.next(), 2, 0);
    leader.step(START, Event::Framed(made.clone()));
    leader.step(START, appended(1, 12));
    leader.step(START, appended(2, 11));
    let effects = leader.step(START, Event::Close);
    assert!(matches!(effects[..], [Effect::Close { end }] if end == made[0].next()));
    assert_eq!(committed(&leader.step(START, appended(2, 12))), []);
    let again = leader.step(START, Event::Tick);
    assert!(matches!(again[0], Effect::Close { end } if end == made[0].next()), "asked again, the same");
    assert!(matches!(leader.step(START, Event::Closed { done: true })[..], [Effect::Over { closed: true }]));
}

fn closes_at(effects: &[Effect]) -> Option<u64> {
    effects.iter().find_map(|effect| match effect {
        Effect::Close { end } => Some(end.lsn),
        _ => None,
    })
}

#[test]
fn a_leader_that_drains_makes_no_frame_and_closes_behind_all_that_it_made() {
    let mut leader = leader(3, 2);
    leader.step(START, Event::Framed(frames(leader.next(), 2, 0)));
    assert_eq!(closes_at(&leader.step(START, Event::Drain)), None, "two frames have no answer");
    assert!(leader.leads() && !leader.may_frame(LARGE));
    leader.step(START, appended(1, 12));
    assert_eq!(closes_at(&leader.step(START, appended(2, 11))), None);
    let effects = leader.step(START, appended(3, 12));
    assert_eq!((committed(&effects), closes_at(&effects)), (vec![12], Some(12)));
}

#[test]
fn a_leader_that_drains_with_nothing_under_way_closes_at_once_and_one_without_a_quorum_after_a_while() {
    let mut idle = leader(3, 2);
    assert_eq!(closes_at(&idle.step(START, Event::Drain)), Some(10));
    let mut stuck = leader(3, 2);
    stuck.step(START, Event::Framed(frames(stuck.next(), 1, 0)));
    stuck.step(START, Event::Drain);
    assert_eq!(closes_at(&stuck.step(START, Event::Tick)), None);
    let late = START + Limits::default().drain;
    assert_eq!(closes_at(&stuck.step(late, Event::Tick)), Some(10), "what nobody answers holds nothing up");
}

#[test]
fn a_close_that_was_refused_or_found_elsewhere_is_the_end_too() {
    let mut refused = leader(3, 2);
    refused.step(START, Event::Close);
    assert!(matches!(
        refused.step(START, Event::Closed { done: false })[..],
        [Effect::Over { closed: false }]
    ));
    let mut found = leader(3, 2);
    found.step(START, Event::Close);
    let end = found.span().base;
    let effects = found.step(START, Event::Viewed(SpanState::Sealed { end }));
    assert!(matches!(effects[..], [Effect::Over { closed: true }]));
    let mut sealing = leader(3, 2);
    let effects = sealing.step(START, Event::Viewed(SpanState::Sealing { attempt: 9 }));
    assert!(matches!(effects[..], [Effect::Over { closed: false }]));
}

#[test]
fn a_slow_holder_gets_no_more_than_the_window_and_then_comes_from_the_disk() {
    let mut leader = leader(3, 2);
    let limits = Limits { memory_bytes: 4 * 4096, ..Limits::default() };
    leader.limits = limits;
    let mut to_slow = Vec::new();
    for _ in 0..40 {
        assert!(leader.may_frame(LARGE));
        let end = leader.next().lsn + 1;
        let effects = leader.step(START, Event::Framed(frames(leader.next(), 1, 0)));
        to_slow.extend(sent(&effects).into_iter().filter(|(node, _)| *node == 3).flat_map(|(_, lsns)| lsns));
        leader.step(START, appended(1, end));
        leader.step(START, appended(2, end));
    }
    assert_eq!(to_slow, (10..26).collect::<Vec<u64>>());
    let effects = leader.step(START, appended(3, 26));
    let read = effects.iter().find_map(|effect| match effect {
        Effect::ReadBack { to, from, below } => Some((to.node, *from, *below)),
        _ => None,
    });
    assert_eq!(read, Some((3, 26, 42)));
    assert_eq!(
        sent(&leader.step(START, Event::Tick)).iter().filter(|(node, _)| *node == 3).count(),
        0,
        "one path"
    );
}

#[test]
fn frames_read_back_are_sent_and_then_memory_goes_on() {
    let mut leader = leader(1, 1);
    leader.limits = Limits { memory_bytes: 2 * 4096, ..Limits::default() };
    let made = frames(leader.next(), 8, 0);
    for frame in &made {
        leader.step(START, Event::Framed(vec![frame.clone()]));
        leader.step(START, appended(1, frame.next().lsn));
    }
    // It came back with less than it had said.
    let effects = leader.step(START, refused(1, Refusal::Gap { end: 13 }));
    assert!(matches!(effects[..], [Effect::ReadBack { from: 13, .. }]));
    let back = Event::ReadBack { to: replica(1), frames: made[3..].to_vec() };
    assert_eq!(sent(&leader.step(START, back)), [(1, (13..18).collect())]);
}

#[test]
fn while_enough_frames_are_under_way_a_small_one_gathers_and_a_large_one_does_not() {
    let mut leader = leader(3, 2);
    for _ in 0..2 {
        assert!(leader.may_frame(1), "who is alone does not wait");
        leader.step(START, Event::Framed(frames(leader.next(), 1, 0)));
    }
    let least = leader.limits.gather_bytes;
    assert!(!leader.may_frame(least - 1) && leader.may_frame(least));
    leader.step(START, appended(1, 11));
    assert!(!leader.may_frame(1), "durable on one disk is under way still");
    leader.step(START, appended(2, 11));
    assert!(leader.may_frame(1));
}

#[test]
fn too_much_under_way_stops_framing() {
    let mut leader = leader(3, 2);
    for _ in 0..16 {
        assert!(leader.may_frame(LARGE));
        leader.step(START, Event::Framed(frames(leader.next(), 1, 0)));
    }
    assert!(!leader.may_frame(LARGE));
    leader.step(START, appended(1, 12));
    leader.step(START, appended(2, 12));
    assert!(leader.may_frame(LARGE));
}

#[test]
fn what_was_not_answered_is_sent_again_and_a_gap_is_filled() {
    let mut leader = leader(3, 2);
    leader.step(START, Event::Framed(frames(leader.next(), 2, 0)));
    leader.step(START, appended(1, 12));
    leader.step(START, appended(2, 12));
    let later = START + Duration::from_millis(300);
    assert_eq!(sent(&leader.step(later, Event::Tick))[0], (3, vec![10, 11]));
    assert_eq!(sent(&leader.step(later, refused(3, Refusal::Gap { end: 11 }))), [(3, vec![11])]);
}

#[test]
fn the_committed_end_is_told_when_no_frame_tells_it() {
    let mut leader = leader(1, 1);
    leader.step(START, Event::Framed(frames(leader.next(), 1, 0)));
    leader.step(START, appended(1, 11));
    assert_eq!(sent(&leader.step(START, Event::Tick)), [], "not yet");
    let effects = leader.step(START + Duration::from_millis(20), Event::Tick);
    assert!(matches!(
        &effects[..],
        [Effect::Send { request: Request::Append { base: 11, committed: 11, frames }, .. }] if frames.is_empty()
    ));
}

#[test]
fn a_word_beyond_what_was_framed_counts_for_nothing() {
    let mut leader = leader(1, 1);
    assert_eq!(committed(&leader.step(START, appended(1, 99))), []);
    assert_eq!(leader.committed(), 10);
}

#[test]
fn what_is_not_on_the_leader_s_own_disk_stays_in_memory() {
    let mut leader = leader(3, 2);
    leader.limits = Limits { memory_bytes: 4 * 4096, ..Limits::default() };
    for _ in 0..4 {
        let end = leader.next().lsn + 1;
        leader.step(START, Event::Framed(frames(leader.next(), 1, 0)));
        leader.step(START, appended(2, end));
        leader.step(START, appended(3, end));
    }
    assert_eq!(leader.committed(), 14);
    assert!(
        !leader.may_frame(LARGE),
        "the others are a quorum, and the memory is full of what the own disk lacks"
    );
    let effects = leader.step(START, refused(1, Refusal::Gap { end: 10 }));
    assert_eq!(sent(&effects), [(1, vec![10, 11, 12, 13])]);
    leader.step(START, appended(1, 14));
    assert!(leader.may_frame(LARGE));
}

#[test]
fn a_leader_whose_own_disk_fails_hands_over() {
    let mut leader = leader(3, 2);
    let effects = leader.step(START, refused(1, Refusal::StoreGone));
    assert!(matches!(effects[..], [Effect::Close { end }] if end == leader.span().base));
    assert!(matches!(self::leader(3, 2).step(START, refused(2, Refusal::StoreGone))[..], []));
}

use super::*;
use crate::made::{frames, replica, span};
use crate::span::SpanState;

const START: Duration = Duration::from_secs(1);

fn sealed() -> Span {
    let end = frames(span(3, 2).base, 2, 0)[1].next();
    Span { state: SpanState::Sealed { end }, ..span(3, 2) }
}

fn end() -> Place {
    sealed().end().unwrap()
}

/// Holder 3 is short of the span.
fn copier() -> Copier {
    Copier::new(replica(3), sealed(), Vec::new(), 3, 0).unwrap()
}

fn file(number: u64, len: u64) -> SealedFile {
    SealedFile { number, len, digest: [number as u8; 16] }
}

fn listed(node: u64, files: &[SealedFile]) -> Event {
    Event::Listed { node, files: files.to_vec() }
}

fn piece(number: u64, at: u64, len: usize) -> Event {
    Event::Piece { number, at, bytes: Bytes::from(vec![1; len]) }
}

fn verified() -> Event {
    Event::Verified { end: Some(end()), files: vec![file(1, 10)] }
}

/// A copy that has everything aside.
fn fetched(copier: &mut Copier) {
    copier.step(START, Event::Tick);
    let node = copier.source().unwrap();
    copier.step(START, listed(node, &[file(1, 10)]));
    assert_eq!(copier.step(START, piece(1, 0, 10)).last(), Some(&Effect::Verify));
}

/// A piece that is asked of a node.
fn asked(node: u64, number: u64, at: u64, len: u64) -> Effect {
    Effect::Fetch { node, number, at, len }
}

#[test]
fn files_are_fetched_in_order_verified_adopted_and_then_told() {
    let mut copier = copier();
    assert_eq!(copier.step(START, Event::Tick), [Effect::List { node: 1 }]);
    let effects = copier.step(START, listed(1, &[file(1, 10), file(2, PIECE + 5)]));
    assert_eq!(effects, [asked(1, 1, 0, 10), asked(1, 2, 0, PIECE), asked(1, 2, PIECE, 5)]);
    let effects = copier.step(START, piece(1, 0, 10));
    assert!(matches!(effects[..], [Effect::Store { number: 1, at: 0, .. }]), "{effects:?}");
    copier.step(START, piece(2, 0, PIECE as usize));
    assert_eq!(copier.step(START, piece(2, PIECE, 5)).last(), Some(&Effect::Verify));
    assert_eq!(copier.step(START, verified()), [Effect::Adopt]);
    assert_eq!(copier.step(START, Event::Adopted), [Effect::Copied { end: end() }]);
    assert!(copier.is_over());
}

#[test]
fn some_pieces_are_under_way_at_once_and_each_that_comes_makes_room_for_one() {
    let mut copier = copier();
    copier.step(START, Event::Tick);
    let effects = copier.step(START, listed(1, &[file(1, 10 * PIECE)]));
    let all: Vec<Effect> = (0..10).map(|piece| asked(1, 1, piece * PIECE, PIECE)).collect();
    assert_eq!(effects, all[..PIECES]);
    for came in 0..10 {
        let effects = copier.step(START, piece(1, came as u64 * PIECE, PIECE as usize));
        let next = all.get(PIECES + came).cloned().or((came == 9).then_some(Effect::Verify));
        assert_eq!(effects[1..], next.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_holder_that_gives_less_at_a_time_is_asked_for_no_more() {
    let mut copier = copier();
    copier.step(START, Event::Tick);
    copier.step(START, listed(1, &[file(1, 6 * PIECE)]));
    let some = PIECE / 2;
    let effects = copier.step(START, piece(1, 0, some as usize));
    let next: Vec<Effect> = (1..=PIECES as u64).map(|piece| asked(1, 1, piece * some, some)).collect();
    assert_eq!(effects[1..], next);
    assert_eq!(
        copier.step(START, piece(1, PIECE, some as usize)),
        [],
        "what was asked for before does not follow"
    );
    let effects = copier.step(START, piece(1, some, some as usize));
    assert_eq!(effects[1..], [asked(1, 1, (PIECES as u64 + 1) * some, some)]);
}

#[test]
fn a_silent_holder_is_left_for_the_next_and_what_is_there_is_kept() {
    let mut copier = copier();
    copier.step(START, Event::Tick);
    copier.step(START, listed(1, &[file(1, 10)]));
    copier.step(START, piece(1, 0, 4));
    assert_eq!(copier.step(START + AGAIN, Event::Tick), [Effect::List { node: 2 }]);
    assert_eq!(copier.step(START + AGAIN, listed(1, &[file(1, 10)])), [], "the one that was asked before");
    let effects = copier.step(START + AGAIN, listed(2, &[file(1, 10)]));
    assert_eq!(effects, [Effect::Fetch { node: 2, number: 1, at: 4, len: 6 }]);
}

#[test]
fn a_file_that_another_holder_has_otherwise_is_fetched_from_its_beginning() {
    let mut copier = copier();
    copier.step(START, Event::Tick);
    copier.step(START, listed(1, &[file(1, 10)]));
    copier.step(START, piece(1, 0, 4));
    copier.step(START + AGAIN, Event::Tick);
    let other = SealedFile { digest: [99; 16], ..file(1, 10) };
    let effects = copier.step(START + AGAIN, listed(2, &[other]));
    assert_eq!(effects, [Effect::Fetch { node: 2, number: 1, at: 0, len: 10 }]);
}

#[test]
fn what_is_not_the_span_is_never_adopted_and_is_put_together_from_what_is_right() {
    for end in [None, Some(Place { lsn: end().lsn, chain: 0 }), Some(span(3, 2).base)] {
        let mut copier = copier();
        fetched(&mut copier);
        let effects = copier.step(START, Event::Verified { end, files: vec![file(1, 10)] });
        assert_eq!(
            effects,
            [Effect::Gather { node: 3, from: 10, to: 12 }],
            "from this store's own disk first"
        );
    }
}

/// A copy that has asked each holder twice for its list.
fn mending() -> (Copier, Duration) {
    let mut copier = copier();
    let mut now = START;
    let mut effects = copier.step(now, Event::Tick);
    for _ in 0..5 {
        assert!(matches!(effects[..], [Effect::List { .. }]), "{effects:?}");
        now += AGAIN;
        effects = copier.step(now, Event::Tick);
    }
    assert_eq!(effects, [Effect::Gather { node: 3, from: 10, to: 12 }]);
    (copier, now)
}

fn gathered(node: u64, from: u64, frames: &[Frame]) -> Event {
    Event::Gathered { node, from, frames: frames.to_vec() }
}

#[test]
fn what_no_holder_has_whole_is_put_together_from_the_intact_frames_of_several() {
    let (mut copier, now) = mending();
    let made = frames(sealed().base, 2, 0);
    // Frame 10 is rotten here, frame 11 on node 1.
    let effects = copier.step(now, gathered(3, 10, &made[1..]));
    assert_eq!(effects, [Effect::Gather { node: 1, from: 10, to: 12 }]);
    let effects = copier.step(now, gathered(1, 10, &made[..1]));
    assert_eq!(
        effects,
        [Effect::Mend { frames: made[..1].to_vec() }, Effect::Gather { node: 1, from: 11, to: 12 }]
    );
    let effects = copier.step(now, gathered(1, 11, &[]));
    assert_eq!(effects, [Effect::Gather { node: 2, from: 11, to: 12 }]);
    let effects = copier.step(now + AGAIN, Event::Tick);
    assert_eq!(effects, [Effect::Gather { node: 3, from: 11, to: 12 }], "node 2 is silent");
    assert_eq!(copier.step(now + AGAIN, gathered(2, 11, &made[1..])), [], "too late");
    let effects = copier.step(now + AGAIN, gathered(3, 11, &made[1..]));
    assert_eq!(effects, [Effect::Mend { frames: made[1..].to_vec() }, Effect::Finish]);
    assert_eq!(copier.step(now + AGAIN, verified()), [Effect::Adopt]);
    assert_eq!(copier.step(now + AGAIN, Event::Adopted), [Effect::Copied { end: end() }]);
}

#[test]
fn a_frame_that_does_not_follow_is_not_taken_whoever_gives_it() {
    let made = frames(sealed().base, 4, 0);
    let other = frames(Place { lsn: 10, chain: 1 }, 1, 0);
    for wrong in [&other[..], &made[1..2], &made[2..]] {
        let (mut copier, now) = mending();
        let effects = copier.step(now, gathered(3, 10, wrong));
        assert_eq!(effects, [Effect::Gather { node: 1, from: 10, to: 12 }], "{wrong:?}");
    }
    let (mut copier, now) = mending();
    assert_eq!(copier.step(now, gathered(1, 10, &made[..2])), [], "it was not asked");
    assert_eq!(copier.step(now, gathered(3, 11, &made[1..2])), [], "it was asked for something else");
    let effects = copier.step(now, gathered(3, 10, &made));
    assert_eq!(effects, [Effect::Mend { frames: made[..2].to_vec() }, Effect::Finish], "not behind the end");
}

#[test]
fn a_frame_that_nobody_has_is_named_and_the_holders_are_asked_again() {
    let (mut copier, now) = mending();
    let made = frames(sealed().base, 2, 0);
    copier.step(now, gathered(3, 10, &made[..1]));
    for node in [3, 1] {
        assert!(matches!(copier.step(now, gathered(node, 11, &[]))[..], [Effect::Gather { .. }]));
    }
    assert_eq!(copier.step(now, gathered(2, 11, &[])), [Effect::Lacks { lsn: 11 }]);
    assert!(matches!(copier.step(now + AGAIN, Event::Tick)[..], [Effect::List { .. }]));
}

#[test]
fn a_newcomer_puts_together_what_the_holders_have() {
    let mut copier =
        Copier::new(Replica { node: 9, store: [9; 16] }, sealed(), vec![replica(2)], 3, 0).unwrap();
    fetched(&mut copier);
    let effects = copier.step(START, Event::Verified { end: None, files: Vec::new() });
    assert_eq!(effects, [Effect::Gather { node: 1, from: 10, to: 12 }], "it has nothing, and node 2 is lost");
}

#[test]
fn what_was_put_together_and_is_not_the_span_begins_anew() {
    let (mut copier, now) = mending();
    copier.step(now, gathered(3, 10, &frames(sealed().base, 2, 0)));
    assert_eq!(copier.step(now, Event::Verified { end: None, files: Vec::new() }), []);
    assert!(matches!(copier.step(now + AGAIN, Event::Tick)[..], [Effect::List { .. }]));
}

#[test]
fn pieces_that_do_not_fit_are_not_stored() {
    let mut copier = copier();
    copier.step(START, Event::Tick);
    copier.step(START, listed(1, &[file(1, 10)]));
    for wrong in [piece(1, 1, 2), piece(2, 0, 2), piece(1, 0, 11), piece(1, 0, 0)] {
        assert_eq!(copier.step(START, wrong), []);
    }
}

#[test]
fn a_newcomer_is_no_holder_before_the_metadata_says_so() {
    let me = Replica { node: 9, store: [9; 16] };
    let mut copier = Copier::new(me, sealed(), vec![replica(2)], 3, 0).unwrap();
    fetched(&mut copier);
    copier.step(START, verified());
    assert_eq!(
        copier.step(START, Event::Adopted),
        [Effect::Swap { old: Some(replica(2)), manifest: manifest(&[file(1, 10)]) }]
    );
    assert_eq!(copier.step(START, Event::Tick), []);
    assert_eq!(
        copier.step(START + AGAIN, Event::Tick),
        [Effect::Swap { old: Some(replica(2)), manifest: manifest(&[file(1, 10)]) }],
        "asked again"
    );
    let swapped = Span { replicas: vec![replica(1), replica(3), me], ..sealed() };
    let effects = copier.step(START, Event::Viewed { span: Some(swapped), lost: Vec::new() });
    assert_eq!(effects, [Effect::Copied { end: end() }]);
}

#[test]
fn a_newcomer_is_one_more_holder_where_there_are_too_few() {
    let me = Replica { node: 9, store: [9; 16] };
    let copied = |wanted| {
        let mut copier = Copier::new(me, sealed(), Vec::new(), wanted, 0).unwrap();
        fetched(&mut copier);
        copier.step(START, verified());
        copier.step(START, Event::Adopted)
    };
    assert_eq!(copied(4), [Effect::Swap { old: None, manifest: manifest(&[file(1, 10)]) }]);
    assert_eq!(copied(3), [Effect::Discard]);
}

#[test]
fn a_copy_that_nobody_needs_any_more_is_discarded() {
    let me = Replica { node: 9, store: [9; 16] };
    let mut faster = Copier::new(me, sealed(), vec![replica(2)], 3, 0).unwrap();
    fetched(&mut faster);
    faster.step(START, verified());
    faster.step(START, Event::Adopted);
    let other = Replica { node: 8, store: [8; 16] };
    let swapped = Span { replicas: vec![replica(1), replica(3), other], ..sealed() };
    let effects = faster.step(START, Event::Viewed { span: Some(swapped), lost: Vec::new() });
    assert_eq!(effects, [Effect::Discard]);
    let mut dropped = copier();
    fetched(&mut dropped);
    let effects = dropped.step(START, Event::Viewed { span: None, lost: Vec::new() });
    assert_eq!(effects, [Effect::Discard]);
    assert!(dropped.is_over());
}

#[test]
fn a_span_without_an_end_is_not_copied() {
    assert!(Copier::new(replica(3), span(3, 2), Vec::new(), 3, 0).is_none());
}

#[test]
fn a_copy_goes_on_after_a_restart_where_the_same_file_is_listed() {
    let mut copier = copier();
    copier.step(START, Event::Found { files: vec![(file(1, 10), 10), (file(2, 9), 4)] });
    assert_eq!(copier.step(START, Event::Tick), [Effect::List { node: 1 }]);
    let effects = copier.step(START, listed(1, &[file(1, 10), file(2, 9)]));
    assert_eq!(effects, [asked(1, 2, 4, 5)]);
    let mut other = self::copier();
    other.step(START, Event::Found { files: vec![(file(1, 10), 10), (file(2, 9), 4)] });
    other.step(START, Event::Tick);
    let effects = other.step(START, listed(1, &[file(1, 10), SealedFile { digest: [99; 16], ..file(2, 9) }]));
    assert_eq!(effects, [Effect::Fetch { node: 1, number: 2, at: 0, len: 9 }]);
}

#[test]
fn a_manifest_tells_every_difference_between_lists() {
    let list = [file(1, 10), file(2, 9)];
    let others = [
        vec![file(1, 10)],
        vec![file(2, 9), file(1, 10)],
        vec![file(1, 10), file(2, 8)],
        vec![file(1, 10), file(3, 9)],
        vec![file(1, 10), SealedFile { digest: [99; 16], ..file(2, 9) }],
    ];
    assert_eq!(manifest(&list), manifest(&list));
    for other in others {
        assert_ne!(manifest(&list), manifest(&other), "{other:?}");
    }
}

use super::*;
use crate::made::{frames, process, replica, span};
use crate::message::{Refusal, Standing};
use crate::span::SpanState;

fn view(span: Span, version: u64) -> View {
    View { version, current: true, first: span.epoch, spans: BTreeMap::from([(span.epoch, span)]) }
}

fn envelope(from: u64) -> Envelope {
    Envelope { shard: 1, epoch: 5, from: process(from), version: 1 }
}

/// Holder 2 of a span that node 1 leads, which has seen the metadata.
fn holder() -> Follower {
    let mut follower = Follower::new(replica(2), Recovered::default());
    assert_eq!(follower.step(Event::Viewed(view(span(3, 2), 1))), []);
    follower
}

fn append(base: u64, frames: Vec<Frame>) -> Event {
    Event::Asked(envelope(1), Request::Append { base, committed: base, frames })
}

fn fence(attempt: u32) -> Event {
    Event::Asked(envelope(3), Request::Fence { attempt, base: span(3, 2).base })
}

fn told(to: u64, answer: Answer) -> Effect {
    Effect::Answer { to: process(to), epoch: 5, answer }
}

fn standing(attempt: u32, end: Place, grade: Grade, committed: u64) -> Effect {
    told(3, Answer::Fenced(Standing { attempt, end, reach: end.lsn, grade, committed }))
}

fn written(frames: &[Frame]) -> Effect {
    Effect::Write { epoch: 5, frames: frames.to_vec(), doubted: false }
}

/// The holder with so many frames on its disk.
fn with_frames(count: usize) -> (Follower, Vec<Frame>) {
    let (mut follower, made) = (holder(), frames(span(3, 2).base, count, 0));
    follower.step(append(10, made.clone()));
    follower.step(Event::Kept { promised: 5 });
    for _ in 0..count {
        follower.step(Event::Written { epoch: 5 });
    }
    assert_eq!(follower.end(5).unwrap().lsn, 10 + count as u64);
    (follower, made)
}

#[test]
fn an_append_is_answered_when_write_and_promise_are_on_the_disk_and_not_before() {
    let (mut follower, made) = (holder(), frames(span(3, 2).base, 2, 0));
    let effects = follower.step(append(10, made.clone()));
    assert_eq!(effects, [Effect::Keep { promised: 5 }, written(&made[..1])], "one write at a time");
    let effects = follower.step(Event::Written { epoch: 5 });
    assert_eq!(effects, [written(&made[1..])], "the promise is not kept yet");
    assert_eq!(follower.step(Event::Kept { promised: 5 }), [told(1, Answer::Appended { durable: 11 })]);
    assert_eq!(follower.step(Event::Written { epoch: 5 }), [told(1, Answer::Appended { durable: 12 })]);
}

#[test]
fn a_fence_waits_for_promise_and_write_and_denies_what_waits_behind_it() {
    let (mut follower, made) = (holder(), frames(span(3, 2).base, 2, 0));
    follower.step(append(10, made.clone()));
    follower.step(Event::Kept { promised: 5 });
    let fenced = Answer::Refused(Refusal::Fenced { promised: 7 });
    assert_eq!(follower.step(fence(7)), [Effect::Keep { promised: 7 }, told(1, fenced.clone())]);
    assert_eq!(follower.step(Event::Kept { promised: 7 }), [], "a write is in flight");
    let effects = follower.step(Event::Written { epoch: 5 });
    let end = made[0].next();
    assert_eq!(
        effects,
        [told(1, fenced.clone()), standing(7, end, Grade::Proved, 10)],
        "and the second frame is not written"
    );
    assert_eq!(follower.step(append(11, made[1..].to_vec())), [told(1, fenced)]);
}

#[test]
fn a_fence_is_not_answered_before_its_promise_is_kept() {
    let (mut follower, made) = with_frames(1);
    assert_eq!(follower.step(fence(7)), [Effect::Keep { promised: 7 }]);
    assert_eq!(follower.step(Event::Kept { promised: 7 }), [standing(7, made[0].next(), Grade::Proved, 10)]);
    assert_eq!(follower.step(fence(7)), [standing(7, made[0].next(), Grade::Proved, 10)], "asked again");
    assert_eq!(follower.step(fence(6)), [told(3, Answer::HigherPromise { attempt: 6, promised: 7 })]);
}

#[test]
fn a_fence_that_another_overtakes_is_told_so() {
    let (mut follower, _) = with_frames(1);
    follower.step(fence(7));
    let higher = Event::Asked(envelope(4), Request::Fence { attempt: 8, base: span(3, 2).base });
    let effects = follower.step(higher);
    assert_eq!(
        effects,
        [Effect::Keep { promised: 8 }, told(3, Answer::HigherPromise { attempt: 7, promised: 8 })]
    );
}

#[test]
fn a_fence_of_an_unknown_span_promises_and_tells_the_base() {
    let mut follower = Follower::new(replica(2), Recovered::default());
    follower.step(fence(7));
    let effects = follower.step(Event::Kept { promised: 7 });
    assert_eq!(effects, [standing(7, span(3, 2).base, Grade::Proved, 10)]);
    follower.step(Event::Viewed(view(span(3, 2), 1)));
    let refused = Answer::Refused(Refusal::Fenced { promised: 7 });
    assert_eq!(follower.step(append(10, frames(span(3, 2).base, 1, 0))), [told(1, refused)]);
}

#[test]
fn what_is_sent_again_is_answered_again_and_a_gap_is_told() {
    let (mut follower, made) = with_frames(2);
    assert_eq!(follower.step(append(10, made.clone())), [told(1, Answer::Appended { durable: 12 })]);
    let later = frames(Place { lsn: 14, chain: 0 }, 1, 0);
    assert_eq!(follower.step(append(14, later)), [told(1, Answer::Refused(Refusal::Gap { end: 12 }))]);
}

#[test]
fn other_frames_at_the_same_place_are_never_taken() {
    let (mut follower, _) = with_frames(2);
    let effects = follower.step(append(10, frames(span(3, 2).base, 2, 1)));
    assert_eq!(effects, [Effect::Quarantine { epoch: 5 }]);
    follower.step(fence(7));
    let effects = follower.step(Event::Kept { promised: 7 });
    assert!(matches!(
        effects[..],
        [Effect::Answer { answer: Answer::Fenced(Standing { grade: Grade::Suspect, .. }), .. }]
    ));
}

#[test]
fn only_the_leader_that_the_metadata_names_may_append() {
    let mut follower = holder();
    let mut envelope = envelope(1);
    envelope.from.incarnation = 2;
    let made = frames(span(3, 2).base, 1, 0);
    let event = Event::Asked(envelope, Request::Append { base: 10, committed: 10, frames: made });
    let effects = follower.step(event);
    let refused =
        Effect::Answer { to: envelope.from, epoch: 5, answer: Answer::Refused(Refusal::UnknownSpan) };
    assert_eq!(effects, [refused]);
}

#[test]
fn an_append_alone_never_makes_a_span() {
    let mut follower = Follower::new(replica(2), Recovered::default());
    let effects = follower.step(append(10, frames(span(3, 2).base, 1, 0)));
    let refused = told(1, Answer::Refused(Refusal::UnknownSpan));
    assert_eq!(effects, [Effect::Refresh { version: 1 }, refused.clone()]);
    let sealing = Span { state: SpanState::Sealing { attempt: 6 }, ..span(3, 2) };
    follower.step(Event::Viewed(view(sealing, 2)));
    let effects = follower.step(append(10, frames(span(3, 2).base, 1, 0)));
    assert_eq!(effects, [refused], "it is not open any more");
    let elsewhere = Span { replicas: vec![replica(1), replica(3)], ..span(3, 2) };
    follower.step(Event::Viewed(view(elsewhere, 3)));
    assert_eq!(follower.step(append(10, Vec::new())), [told(1, Answer::Refused(Refusal::UnknownSpan))]);
}

fn found(grade: Grade, end: Place, reach: u64) -> Recovered {
    let found = Found { epoch: 5, held: Some((span(3, 2).base, end)), grade, reach, committed: 10 };
    Recovered { promised: 5, open: vec![found], ..Recovered::default() }
}

#[test]
fn a_torn_end_is_unproved_until_what_may_have_been_acknowledged_is_there_again() {
    let made = frames(span(3, 2).base, 20, 0);
    let mut follower = Follower::new(replica(2), found(Grade::Unproved, made[0].next(), 11));
    follower.step(Event::Viewed(view(span(3, 2), 1)));
    for at in 1..17 {
        let effects = follower.step(append(11 + at as u64 - 1, made[at..=at].to_vec()));
        let doubted = at < 16;
        let write = Effect::Write { epoch: 5, frames: made[at..=at].to_vec(), doubted };
        assert_eq!(effects, [write], "frame {at}: a restart must find the doubt again");
        if at == 16 {
            // Not there yet: the write that takes the doubt away is in flight.
            follower.step(fence(7));
            assert_eq!(follower.step(Event::Kept { promised: 7 }), []);
        }
        follower.step(Event::Written { epoch: 5 });
    }
    let effects = follower.step(fence(7));
    assert_eq!(effects, [standing(7, made[16].next(), Grade::Proved, 26)]);
}

#[test]
fn a_doubted_end_says_so() {
    let end = frames(span(3, 2).base, 1, 0)[0].next();
    let mut follower = Follower::new(replica(2), found(Grade::Unproved, end, end.lsn));
    follower.step(fence(7));
    assert_eq!(follower.step(Event::Kept { promised: 7 }), [standing(7, end, Grade::Unproved, 10)]);
}

#[test]
fn a_damaged_tail_offers_what_is_behind_the_damage_and_seals_what_is_before_it() {
    let made = frames(span(3, 2).base, 5, 0);
    let mut follower = Follower::new(replica(2), found(Grade::Suspect, made[1].next(), 15));
    follower.step(fence(7));
    let (end, grade) = (made[1].next(), Grade::Suspect);
    let said = Standing { attempt: 7, end, reach: 15, grade, committed: 10 };
    assert_eq!(follower.step(Event::Kept { promised: 7 }), [told(3, Answer::Fenced(said))]);
    let asked = Event::Asked(envelope(3), Request::FetchTail { attempt: 7, from: 12, to: 15 });
    let reader = process(3);
    let read = Effect::Read { epoch: 5, from: 12, to: 15, reader, attempt: 7 };
    assert_eq!(follower.step(asked), [read]);
    let (from, to, frames) = (12, 15, made[3..].to_vec());
    let event = Event::Read { epoch: 5, from, to, reader, attempt: 7, frames: frames.clone() };
    assert_eq!(follower.step(event), [told(3, Answer::Tail { attempt: 7, from, to, frames })]);
    let sealed = Span { state: SpanState::Sealed { end }, ..span(3, 2) };
    assert_eq!(follower.step(Event::Viewed(view(sealed, 4))), [Effect::Seal { epoch: 5, end }]);
}

#[test]
fn a_file_without_its_first_frame_is_an_unproved_base() {
    let found = Found { epoch: 5, held: None, grade: Grade::Unproved, reach: 0, committed: 0 };
    let recovered = Recovered { promised: 5, open: vec![found], ..Recovered::default() };
    let mut follower = Follower::new(replica(2), recovered);
    follower.step(fence(7));
    let effects = follower.step(Event::Kept { promised: 7 });
    assert_eq!(effects, [standing(7, span(3, 2).base, Grade::Unproved, 10)]);
}

#[test]
fn a_repair_is_taken_from_the_newest_attempt_only_and_fences() {
    let (mut follower, made) = (holder(), frames(span(3, 2).base, 2, 0));
    let repair = |attempt| {
        let base = span(3, 2).base;
        Event::Asked(envelope(3), Request::RepairAppend { attempt, base, frames: made.clone() })
    };
    assert_eq!(follower.step(repair(7)), [Effect::Keep { promised: 7 }, written(&made[..1])]);
    assert!(
        !follower
            .step(Event::Written { epoch: 5 })
            .iter()
            .any(|effect| matches!(effect, Effect::Answer { .. }))
    );
    let repaired = |durable| told(3, Answer::Repaired { attempt: 7, durable });
    assert_eq!(follower.step(Event::Kept { promised: 7 }), [repaired(11)]);
    assert_eq!(follower.step(Event::Written { epoch: 5 }), [repaired(12)]);
    assert_eq!(follower.step(repair(6)), [told(3, Answer::HigherPromise { attempt: 6, promised: 7 })]);
    let refused = told(1, Answer::Refused(Refusal::Fenced { promised: 7 }));
    assert_eq!(follower.step(append(10, made)), [refused], "repaired frames are no acknowledgement");
}

#[test]
fn a_repair_of_a_span_that_is_not_known_yet_is_written_when_the_metadata_shows_it() {
    let (mut follower, made) =
        (Follower::new(replica(2), Recovered::default()), frames(span(3, 2).base, 1, 0));
    let base = span(3, 2).base;
    let repair = Request::RepairAppend { attempt: 7, base, frames: made.clone() };
    let effects = follower.step(Event::Asked(envelope(3), repair));
    assert_eq!(effects, [Effect::Keep { promised: 7 }, Effect::Refresh { version: 1 }]);
    let repaired = |durable| told(3, Answer::Repaired { attempt: 7, durable });
    assert_eq!(follower.step(Event::Kept { promised: 7 }), [repaired(10)]);
    assert_eq!(follower.step(Event::Viewed(view(span(3, 2), 1))), [written(&made)]);
    assert_eq!(follower.step(Event::Written { epoch: 5 }), [repaired(11)]);
}

#[test]
fn a_write_of_a_span_that_was_dropped_before_it_began_holds_up_nothing() {
    let (mut follower, made) = (holder(), frames(span(3, 2).base, 1, 0));
    follower.step(append(10, made));
    follower.step(Event::Kept { promised: 5 });
    let gone = |version| Event::Viewed(View { version, current: true, first: 6, spans: BTreeMap::new() });
    assert_eq!(follower.step(gone(2)), [], "the file may be in use");
    let refused = told(1, Answer::Refused(Refusal::UnknownSpan));
    assert_eq!(follower.step(Event::Dropped { epoch: 5 }), [refused]);
    assert_eq!(follower.step(gone(3)), [Effect::Delete { epoch: 5 }]);
}

#[test]
fn a_message_seals_nothing_and_the_metadata_does() {
    let (mut follower, made) = with_frames(2);
    let hint = Event::Asked(Envelope { version: 4, ..envelope(3) }, Request::SpanSealed);
    assert_eq!(follower.step(hint), [Effect::Refresh { version: 4 }]);
    let end = made[0].next();
    let sealed = Span { state: SpanState::Sealed { end }, ..span(3, 2) };
    assert_eq!(follower.step(Event::Viewed(view(sealed, 4))), [Effect::Seal { epoch: 5, end }]);
    assert_eq!(follower.step(Event::Sealed { epoch: 5 }), []);
    assert_eq!((follower.end(5), follower.readable(5)), (Some(end), Some(11)));
}

#[test]
fn a_short_holder_of_a_sealed_span_copies_it() {
    let (mut follower, made) = with_frames(1);
    let end = frames(made[0].next(), 1, 0)[0].next();
    let sealed = Span { state: SpanState::Sealed { end }, ..span(3, 2) };
    assert_eq!(follower.step(Event::Viewed(view(sealed.clone(), 4))), [Effect::Copy { epoch: 5, end }]);
    let mut nothing = Follower::new(replica(2), Recovered::default());
    assert_eq!(nothing.step(Event::Viewed(view(sealed, 4))), [Effect::Copy { epoch: 5, end }]);
    nothing.step(Event::Copied { epoch: 5, end });
    assert!(nothing.is_whole(5));
}

#[test]
fn files_are_deleted_only_by_a_current_view_that_has_dropped_them() {
    let (mut follower, _) = with_frames(1);
    let unlisted =
        |version, current, first| Event::Viewed(View { version, current, first, spans: BTreeMap::new() });
    assert_eq!(follower.step(unlisted(2, true, 5)), [], "unknown is not dropped");
    assert_eq!(follower.step(unlisted(3, false, 6)), [], "an old view may be wrong");
    assert_eq!(follower.step(unlisted(3, true, 6)), [Effect::Delete { epoch: 5 }]);
    let dropped = follower.step(append(10, frames(span(3, 2).base, 1, 0)));
    assert!(
        !dropped.iter().any(|effect| matches!(effect, Effect::Write { .. })),
        "and does not come to life again"
    );
}

#[test]
fn readers_see_what_is_committed_and_here() {
    let (mut follower, made) = with_frames(2);
    assert_eq!(follower.readable(5), Some(10));
    let told = Event::Asked(envelope(1), Request::Append { base: 12, committed: 11, frames: Vec::new() });
    follower.step(told);
    assert_eq!(follower.readable(5), Some(11));
    let ahead = Event::Asked(envelope(1), Request::Append { base: 12, committed: 99, frames: Vec::new() });
    follower.step(ahead);
    assert_eq!(follower.readable(5), Some(12), "what is committed elsewhere and not here is not here");
    drop(made);
}

#[test]
fn a_failed_store_acknowledges_nothing_more() {
    let (mut follower, made) = with_frames(1);
    follower.step(append(11, frames(made[0].next(), 1, 0)));
    let gone = told(1, Answer::Refused(Refusal::StoreGone));
    assert_eq!(follower.step(Event::Failed), std::slice::from_ref(&gone));
    assert_eq!(follower.step(append(11, Vec::new())), [gone]);
    assert_eq!(follower.step(fence(9)), [], "nor can it promise");
    let sealed = Span { state: SpanState::Sealed { end: made[0].next() }, ..span(3, 2) };
    assert_eq!(follower.step(Event::Viewed(view(sealed, 4))), [], "nor is it sealed or copied over");
}

#[test]
fn a_full_disk_takes_no_frames_and_still_promises() {
    let (mut follower, made) = with_frames(1);
    follower.step(Event::Room(false));
    let effects = follower.step(append(11, frames(made[0].next(), 1, 0)));
    assert_eq!(effects, [told(1, Answer::Refused(Refusal::ReadOnly))]);
    assert_eq!(follower.step(fence(7)), [Effect::Keep { promised: 7 }]);
}

#[test]
fn a_write_that_found_no_room_is_as_if_it_was_never_sent_and_no_fence_waits_for_it() {
    let (mut follower, _) = with_frames(1);
    let end = follower.end(5).unwrap();
    let more = frames(end, 3, 0);
    assert_eq!(follower.step(append(11, more.clone())), [written(&more[..1])]);
    assert_eq!(follower.step(Event::Full { epoch: 5 }), [told(1, Answer::Refused(Refusal::ReadOnly))]);
    assert_eq!(follower.step(append(11, more.clone())), [told(1, Answer::Refused(Refusal::ReadOnly))]);
    follower.step(Event::Room(true));
    assert_eq!(follower.step(append(11, more.clone())), [written(&more[..1])], "the same frames again");
    follower.step(fence(7));
    assert_eq!(follower.step(Event::Kept { promised: 7 }), [], "a write is in flight");
    let said = standing(7, end, Grade::Proved, 11);
    assert_eq!(follower.step(Event::Full { epoch: 5 }), [said], "it did not begin: the end is where it was");
}

#[test]
fn damage_that_a_read_finds_ends_the_trust_and_a_sealed_span_is_copied() {
    let (mut follower, made) = with_frames(3);
    follower.step(Event::Damaged { epoch: 5, intact: made[0].next() });
    let gone = told(1, Answer::Refused(Refusal::StoreGone));
    assert_eq!(follower.step(append(13, Vec::new())), [gone]);
    follower.step(fence(7));
    let (end, grade) = (made[0].next(), Grade::Suspect);
    let said = told(3, Answer::Fenced(Standing { attempt: 7, end, reach: 13, grade, committed: 13 }));
    assert_eq!(follower.step(Event::Kept { promised: 7 }), [said], "what is intact may still be used");
    let end = made[2].next();
    let sealed = Span { state: SpanState::Sealed { end }, ..span(3, 2) };
    assert_eq!(follower.step(Event::Viewed(view(sealed, 4))), [Effect::Copy { epoch: 5, end }]);
    follower.step(Event::Copied { epoch: 5, end });
    let effects = follower.step(Event::Damaged { epoch: 5, intact: made[0].next() });
    assert_eq!(effects, [Effect::Copy { epoch: 5, end }]);
    assert!(!follower.is_whole(5));
}

#[test]
fn files_that_are_sealed_and_end_elsewhere_are_not_the_whole_span() {
    let made = frames(span(3, 2).base, 3, 0);
    let sealed = BTreeMap::from([(5, made[1].next())]);
    let mut follower = Follower::new(replica(2), Recovered { sealed, ..Recovered::default() });
    let end = made[2].next();
    let view_sealed = view(Span { state: SpanState::Sealed { end }, ..span(3, 2) }, 4);
    assert_eq!(follower.step(Event::Viewed(view_sealed)), [Effect::Copy { epoch: 5, end }]);
    assert!(!follower.is_whole(5));
}

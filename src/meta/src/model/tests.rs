//! The model is as bad as it says, and no worse.

use super::*;
use crate::{Illegal, Retention};

const BAD: Faults = Faults { delay: 20, patience: 50, lost: 6, unclear: 4, unread: 5, unhinted: 3 };

fn bump(incarnation: u64) -> Command {
    Command::BumpIncarnation { incarnation }
}

fn open(shard: u64) -> Command {
    Command::OpenShard { shard, class: Retention::default() }
}

fn all(model: &mut Model, until: u64) -> Vec<(u64, Answer)> {
    std::iter::from_fn(|| model.next(until)).collect()
}

/// A run of askers that watch, ask for shards and read, as text.
fn story(seed: u64) -> String {
    let mut model = Model::new(State::default(), seed, BAD);
    let mut told = String::new();
    for asker in 0..3 {
        model.watch(asker);
    }
    for now in 0..300 {
        if now % 7 == 0 {
            let next = model.truth().next_shard;
            model.propose(now, now % 3, open(next));
            model.read(now, (now + 1) % 3);
        }
        while let Some((asker, answer)) = model.next(now) {
            told += &match answer {
                Answer::Read(ticket, state) => {
                    format!("{now} {asker} {ticket:?} {:?}\n", state.map(|state| state.version))
                }
                other => format!("{now} {asker} {other:?}\n"),
            };
        }
    }
    told
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_one_another() {
    assert_eq!(story(5), story(5));
    assert_ne!(story(5), story(6));
}

#[test]
fn without_faults_two_that_want_the_same_get_one_yes_and_one_no() {
    let mut model = Model::new(State::default(), 1, Faults::default());
    let (first, second) = (model.propose(0, 1, open(1)), model.propose(0, 2, open(1)));
    let answers = all(&mut model, 10);
    let applied = Outcome::Applied { applied: crate::Applied::Changed, version: 1 };
    let illegal = Outcome::Illegal(Illegal::ShardNumber { given: 1, next: 2 });
    assert_eq!(answers, [(1, Answer::Proposed(first, applied)), (2, Answer::Proposed(second, illegal))]);
    assert_eq!(model.next_at(), None);
}

#[test]
fn a_command_without_a_clear_answer_took_effect_before_it_after_it_or_never() {
    let (mut before, mut after, mut never) = (0, 0, 0);
    for seed in 0..400 {
        let mut model = Model::new(State::default(), seed, BAD);
        model.propose(0, 1, bump(1));
        if let Some((1, Answer::Proposed(_, Outcome::Indeterminate))) = (0..).find_map(|now| model.next(now))
        {
            let took_effect = model.truth().incarnation == 1;
            assert!(all(&mut model, 1000).is_empty(), "one answer to one question");
            match (took_effect, model.truth().incarnation) {
                (true, _) => before += 1,
                (false, 1) => after += 1,
                _ => never += 1,
            }
        }
    }
    assert!(before > 5 && after > 5 && never > 5, "{before} before, {after} after, {never} never");
}

#[test]
fn a_read_sees_all_that_was_answered_before_it_was_asked() {
    let mut model = Model::new(State::default(), 9, BAD);
    let (mut known, mut asked, mut seen) = (0, BTreeMap::new(), 0);
    for now in 0..5000 {
        if now % 5 == 0 {
            let next = model.truth().next_shard;
            model.propose(now, 1, open(next));
            asked.insert(model.read(now, 2), known);
        }
        while let Some((_, answer)) = model.next(now) {
            match answer {
                Answer::Proposed(_, Outcome::Applied { version, .. }) => known = known.max(version),
                Answer::Read(ticket, Some(state)) => {
                    assert!(state.version >= asked[&ticket]);
                    seen += 1;
                }
                _ => {}
            }
        }
    }
    assert!(known > 100 && seen > 100);
}

#[test]
fn hints_are_late_mixed_up_or_missing_and_nothing_else_is_watched_for() {
    let mut model = Model::new(State::default(), 4, Faults { delay: 30, unhinted: 3, ..Faults::default() });
    model.watch(7);
    let mut hints = Vec::new();
    for now in 0..2000 {
        if now % 3 == 0 && now < 900 {
            let next = model.truth().next_shard;
            model.propose(now, 1, open(next));
        }
        while let Some((asker, answer)) = model.next(now) {
            if let Answer::Hint(version) = answer {
                assert_eq!(asker, 7);
                hints.push(version);
            }
        }
    }
    assert!(!hints.is_sorted(), "mixed up");
    assert!((hints.len() as u64) < model.truth().version, "some are missing");
}

#[test]
fn who_is_cut_off_learns_nothing_and_without_a_quorum_nobody_does() {
    let mut model = Model::new(State::default(), 2, Faults::default());
    model.watch(1);
    model.set_reach(1, false);
    let (read, proposal) = (model.read(0, 1), model.propose(0, 1, bump(1)));
    model.propose(5, 2, bump(7));
    let answers: Vec<_> = all(&mut model, 1000).into_iter().filter(|(asker, _)| *asker == 1).collect();
    assert_eq!(answers.len(), 2);
    assert!(answers.contains(&(1, Answer::Read(read, None))));
    assert!(answers.contains(&(1, Answer::Proposed(proposal, Outcome::Indeterminate))));
    assert_eq!(model.truth().incarnation, 7);
    model.set_reach(1, true);
    model.set_quorum(false);
    let (read, proposal) = (model.read(1000, 1), model.propose(1000, 1, bump(9)));
    let answers = all(&mut model, 1200);
    assert!(answers.contains(&(1, Answer::Read(read, None))));
    assert!(answers.contains(&(1, Answer::Proposed(proposal, Outcome::Indeterminate))));
    assert_eq!(model.truth().incarnation, 7);
}

#[test]
fn a_command_that_waits_for_a_quorum_may_count_once_there_is_one() {
    let (mut counted, mut dropped) = (0, 0);
    for seed in 0..50 {
        let mut model = Model::new(State::default(), seed, Faults::default());
        model.set_quorum(false);
        model.propose(0, 1, bump(9));
        all(&mut model, 10);
        model.set_quorum(true);
        all(&mut model, 10_000);
        if model.truth().incarnation == 9 { counted += 1 } else { dropped += 1 }
    }
    assert!(counted > 5 && dropped > 5, "{counted} counted, {dropped} dropped");
}

//! The rules of a group, as sentences.

use std::sync::Arc;

use bytes::Bytes;
use tidelog_proto::consumer_protocol::encode_subscription;

use super::error::GroupError;
use super::event::*;
use super::group::{Group, GroupState};
use super::settings::GroupSettings;

const SESSION: i32 = 10_000;
const REBALANCE: i32 = 60_000;

/// A group with a clock and numbered requests.
struct Table {
    group: Group,
    now: i64,
    last: Ticket,
    answers: Vec<(Ticket, Answer)>,
}

fn join(id: &str) -> Join {
    Join {
        member_id: id.to_owned(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_ms: SESSION,
        rebalance_ms: REBALANCE,
        protocol_type: "consumer".into(),
        protocols: protocols(&["range"]),
        id_round_trip: false,
        skips_assignment: false,
        new_id: String::new(),
    }
}

fn protocols(names: &[&str]) -> Vec<Protocol> {
    let one = |name: &&str| Protocol {
        name: (*name).to_owned(),
        metadata: Bytes::from(encode_subscription(["t"])),
    };
    names.iter().map(one).collect()
}

fn new(id: &str) -> Join {
    Join { new_id: id.to_owned(), ..join("") }
}

fn statically(instance: &str, id: &str) -> Join {
    Join { instance_id: Some(instance.into()), ..new(id) }
}

fn caller(id: &str, generation: i32) -> Caller {
    Caller { member_id: id.into(), instance_id: None, generation }
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl Table {
    fn new(settings: GroupSettings) -> Table {
        Table { group: Group::new(Arc::new(settings)), now: 1_000, last: 0, answers: Vec::new() }
    }

    fn event(&mut self, event: impl FnOnce(Ticket) -> Event) -> Ticket {
        self.last += 1;
        let event = event(self.last);
        for effect in self.group.step(self.now, event) {
            if let Effect::Answer(ticket, answer) = effect {
                self.answers.push((ticket, answer));
            }
        }
        self.last
    }

    fn pass(&mut self, ms: i64) {
        // Not beyond a deadline in one step, as the driver does it.
        let end = self.now + ms;
        while let Some(at) = self.group.next_deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.event(|_| Event::Tick);
        }
        self.now = end;
    }

    fn answer(&mut self, ticket: Ticket) -> Option<Answer> {
        let at = self.answers.iter().position(|(one, _)| *one == ticket)?;
        Some(self.answers.remove(at).1)
    }

    fn join(&mut self, join: Join) -> Ticket {
        self.event(|ticket| Event::Join(ticket, join))
    }

    fn joined(&mut self, ticket: Ticket) -> Joined {
        match self.answer(ticket) {
            Some(Answer::Join(Ok(joined))) => *joined,
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, ticket: Ticket) -> GroupError {
        match self.answer(ticket) {
            Some(Answer::Join(Err(refused))) => refused.error,
            Some(Answer::Sync(Err(error)) | Answer::Done(Err(error))) => error,
            other => panic!("{other:?}"),
        }
    }

    fn sync(&mut self, caller: Caller, assignments: &[(&str, &str)]) -> Ticket {
        let assignments = assignments.iter().map(|(id, bytes)| ((*id).to_owned(), text(bytes))).collect();
        let sync = Sync { caller, protocol_type: None, protocol: None, assignments };
        self.event(|ticket| Event::Sync(ticket, sync))
    }

    fn assigned(&mut self, ticket: Ticket) -> Bytes {
        match self.answer(ticket) {
            Some(Answer::Sync(Ok(synced))) => synced.assignment,
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(&mut self, id: &str, generation: i32) -> Result<(), GroupError> {
        let ticket = self.event(|ticket| Event::Heartbeat(ticket, caller(id, generation)));
        self.done(ticket)
    }

    fn done(&mut self, ticket: Ticket) -> Result<(), GroupError> {
        match self.answer(ticket) {
            Some(Answer::Done(result)) => result,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, leavers: &[(&str, Option<&str>)]) -> Vec<Result<(), GroupError>> {
        let one = |(id, instance): &(&str, Option<&str>)| Leaver {
            member_id: (*id).to_owned(),
            instance_id: instance.map(str::to_owned),
        };
        let leavers = leavers.iter().map(one).collect();
        let ticket = self.event(|ticket| Event::Leave(ticket, leavers));
        match self.answer(ticket) {
            Some(Answer::Leave(Ok(left))) => left,
            other => panic!("{other:?}"),
        }
    }

    /// A stable group of these members; the first (by id) leads, each is assigned its own id.
    fn stable(&mut self, joins: Vec<Join>) -> i32 {
        let tickets: Vec<Ticket> = joins.into_iter().map(|join| self.join(join)).collect();
        self.pass(200);
        let joined: Vec<Joined> = tickets.into_iter().map(|ticket| self.joined(ticket)).collect();
        let (leader, generation) = (joined[0].leader.clone(), joined[0].generation);
        let named: Vec<(&str, &str)> =
            joined.iter().map(|one| (one.member_id.as_str(), one.member_id.as_str())).collect();
        for one in joined.iter().filter(|one| one.member_id != leader) {
            self.sync(caller(&one.member_id, generation), &[]);
        }
        self.sync(caller(&leader, generation), &named);
        self.answers.clear();
        assert_eq!(self.group.state(), GroupState::Stable);
        generation
    }
}

fn table() -> Table {
    Table::new(GroupSettings::default())
}

#[test]
fn members_that_come_within_the_first_delay_share_the_first_generation() {
    let mut table = table();
    let a = table.join(new("a"));
    table.pass(150);
    let b = table.join(new("b"));
    table.pass(150);
    assert_eq!(table.group.state(), GroupState::PreparingRebalance, "b made it wait anew");
    table.pass(50);
    let (a, b) = (table.joined(a), table.joined(b));
    assert_eq!((a.generation, b.generation), (1, 1));
    assert_eq!((a.leader.as_str(), b.leader.as_str()), ("a", "a"));
    assert_eq!((a.members.len(), b.members.len()), (2, 0), "only the leader learns who there is");
}

#[test]
fn the_first_delay_ends_with_the_rebalance_time_out_however_many_come() {
    let mut table = table();
    let first = table.join(Join { rebalance_ms: 1_000, ..new("a00") });
    for n in 1..20 {
        table.pass(100);
        table.join(Join { rebalance_ms: 1_000, ..new(&format!("a{n:02}")) });
    }
    assert!(table.joined(first).generation >= 1);
}

#[test]
fn a_client_that_knows_the_round_trip_gets_its_id_first() {
    let mut table = table();
    let ticket = table.join(Join { id_round_trip: true, ..new("a") });
    let refused = JoinRefused { error: GroupError::MemberIdRequired, member_id: "a".into() };
    assert_eq!(table.answer(ticket), Some(Answer::Join(Err(refused))));
    assert_eq!((table.group.state(), table.group.is_idle()), (GroupState::Empty, false));
    let ticket = table.join(Join { id_round_trip: true, ..join("a") });
    table.pass(200);
    assert_eq!(table.joined(ticket).member_id, "a");
}

#[test]
fn an_id_that_does_not_come_back_is_forgotten() {
    let mut table = table();
    table.join(Join { id_round_trip: true, ..new("a") });
    table.pass(i64::from(SESSION));
    assert!(table.group.is_idle());
    let ticket = table.join(join("a"));
    assert_eq!(table.refused(ticket), GroupError::UnknownMember);
}

#[test]
fn a_rebalance_waits_for_ids_that_were_given_out() {
    let mut table = table();
    let generation = table.stable(vec![new("a")]);
    table.join(Join { id_round_trip: true, ..new("b") });
    table.join(new("c"));
    let a = table.join(join("a"));
    assert_eq!(table.answer(a), None, "b is still expected");
    table.join(join("b"));
    assert_eq!(table.joined(a).generation, generation + 1);
    assert_eq!(table.group.len(), 3);
}

#[test]
fn the_protocol_is_the_one_that_all_know_and_most_prefer() {
    let cases: [(&[&[&str]], &str); 4] = [
        (&[&["range", "sticky"], &["sticky", "range"], &["sticky", "range"]], "sticky"),
        (&[&["range", "sticky"], &["sticky", "range"]], "range"),
        (&[&["sticky", "range"], &["range"]], "range"),
        (&[&["x", "sticky", "range"], &["y", "range", "sticky"], &["y", "range", "sticky"]], "range"),
    ];
    for (members, chosen) in cases {
        let mut table = table();
        let join =
            |(n, names): (usize, &&[&str])| Join { protocols: protocols(names), ..new(&format!("m{n}")) };
        table.stable(members.iter().enumerate().map(join).collect());
        assert_eq!(table.group.protocol(), chosen, "{members:?}");
    }
}

#[test]
fn a_member_without_a_protocol_in_common_is_refused() {
    let mut table = table();
    table.stable(vec![new("a")]);
    for bad in [
        Join { protocols: protocols(&["other"]), ..new("b") },
        Join { protocols: Vec::new(), ..new("b") },
        Join { protocol_type: "connect".into(), ..new("b") },
        Join { protocol_type: String::new(), ..new("b") },
    ] {
        let ticket = table.join(bad);
        assert_eq!(table.refused(ticket), GroupError::InconsistentProtocol);
    }
    assert_eq!(table.group.state(), GroupState::Stable, "the others notice nothing");
    table.join(Join { protocols: protocols(&["other"]), ..join("a") });
    assert_eq!(table.group.protocol_type(), "consumer");
}

#[test]
fn followers_get_their_assignment_when_the_leader_has_spoken() {
    let mut table = table();
    let (a, b) = (table.join(new("a")), table.join(new("b")));
    table.pass(200);
    let generation = table.joined(a).generation;
    table.joined(b);
    let follower = table.sync(caller("b", generation), &[]);
    assert_eq!(table.answer(follower), None);
    let leader = table.sync(caller("a", generation), &[("b", "for b"), ("stranger", "x")]);
    assert_eq!(table.assigned(follower), "for b");
    assert_eq!(table.assigned(leader), "", "who is not named gets nothing");
    let again = table.sync(caller("b", generation), &[("a", "stolen")]);
    assert_eq!(table.assigned(again), "for b", "later syncs change nothing");
}

#[test]
fn wrong_generations_members_and_protocols_are_told_apart() {
    let mut table = table();
    let generation = table.stable(vec![new("a"), new("b")]);
    assert_eq!(table.heartbeat("a", generation), Ok(()));
    assert_eq!(table.heartbeat("a", generation - 1), Err(GroupError::IllegalGeneration));
    assert_eq!(table.heartbeat("x", generation), Err(GroupError::UnknownMember));
    let ticket = table.sync(caller("a", generation + 1), &[]);
    assert_eq!(table.refused(ticket), GroupError::IllegalGeneration);
    let ticket = table.sync(caller("x", generation), &[]);
    assert_eq!(table.refused(ticket), GroupError::UnknownMember);
    let sync = |caller| Sync { caller, protocol_type: None, protocol: None, assignments: Vec::new() };
    for wrong in [
        Sync { protocol: Some("sticky".into()), ..sync(caller("a", generation)) },
        Sync { protocol_type: Some("connect".into()), ..sync(caller("a", generation)) },
    ] {
        let ticket = table.event(|ticket| Event::Sync(ticket, wrong));
        assert_eq!(table.refused(ticket), GroupError::InconsistentProtocol);
    }
}

#[test]
fn a_new_member_makes_the_others_join_again() {
    let mut table = table();
    let generation = table.stable(vec![new("a"), new("b")]);
    let c = table.join(new("c"));
    assert_eq!(table.heartbeat("a", generation), Err(GroupError::RebalanceInProgress));
    let ticket = table.sync(caller("a", generation), &[]);
    assert_eq!(table.refused(ticket), GroupError::RebalanceInProgress);
    let (a, b) = (table.join(join("a")), table.join(join("b")));
    for ticket in [a, b, c] {
        assert_eq!(table.joined(ticket).generation, generation + 1);
    }
}

#[test]
fn those_who_wait_for_the_leader_are_told_when_a_rebalance_begins() {
    let mut table = table();
    let (a, b) = (table.join(new("a")), table.join(new("b")));
    table.pass(200);
    let generation = table.joined(a).generation;
    table.joined(b);
    let waiting = table.sync(caller("b", generation), &[]);
    table.join(new("c"));
    assert_eq!(table.refused(waiting), GroupError::RebalanceInProgress);
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    let mut table = table();
    let generation = table.stable(vec![new("a"), new("b")]);
    let c = table.join(new("c"));
    let a = table.join(join("a"));
    for _ in 0..12 {
        table.pass(5_000);
        let alive = table.heartbeat("b", generation);
        assert!(matches!(alive, Err(GroupError::RebalanceInProgress | GroupError::UnknownMember)));
    }
    assert_eq!(table.joined(a).members.len(), 2, "b lived but did not join within the rebalance time-out");
    assert_eq!(table.joined(c).generation, generation + 1);
}

#[test]
fn who_is_silent_is_out_after_its_session_and_the_others_rebalance() {
    let mut table = table();
    let generation = table.stable(vec![new("a"), new("b")]);
    table.pass(6_000);
    assert_eq!(table.heartbeat("a", generation), Ok(()));
    table.pass(5_000);
    assert_eq!(table.heartbeat("a", generation), Err(GroupError::RebalanceInProgress));
    let a = table.join(join("a"));
    assert_eq!(table.joined(a).members.len(), 1);
}

#[test]
fn who_joins_and_never_asks_for_its_assignment_is_out() {
    let mut table = table();
    let (a, b) = (table.join(new("a")), table.join(new("b")));
    table.pass(200);
    let generation = table.joined(a).generation;
    table.joined(b);
    table.sync(caller("a", generation), &[]);
    for _ in 0..12 {
        table.pass(5_000);
        let _ = (table.heartbeat("a", generation), table.heartbeat("b", generation));
    }
    assert_eq!((table.group.len(), table.group.state()), (1, GroupState::PreparingRebalance));
}

#[test]
fn a_leader_that_dies_before_it_assigns_is_replaced() {
    let mut table = table();
    let (a, b) = (table.join(new("a")), table.join(new("b")));
    table.pass(200);
    let generation = table.joined(a).generation;
    table.joined(b);
    let waiting = table.sync(caller("b", generation), &[]);
    table.pass(i64::from(SESSION));
    assert_eq!(table.refused(waiting), GroupError::RebalanceInProgress);
    let b = table.join(join("b"));
    assert_eq!(table.joined(b).leader, "b");
}

#[test]
fn a_follower_that_joins_again_unchanged_keeps_its_place_and_a_leader_rebalances() {
    let mut table = table();
    let generation = table.stable(vec![new("a"), new("b")]);
    let b = table.join(join("b"));
    assert_eq!(table.joined(b).generation, generation);
    let b = table.join(Join { protocols: protocols(&["sticky", "range"]), ..join("b") });
    assert_eq!((table.answer(b), table.group.state()), (None, GroupState::PreparingRebalance));
    let a = table.join(join("a"));
    assert_eq!((table.joined(a).generation, table.joined(b).generation), (generation + 1, generation + 1));
    let generation = table.joined_all_stable(generation + 1);
    let a = table.join(join("a"));
    assert_eq!(table.answer(a), None, "a leader that joins again wants to assign anew");
    assert_eq!(table.heartbeat("b", generation), Err(GroupError::RebalanceInProgress));
}

impl Table {
    fn joined_all_stable(&mut self, generation: i32) -> i32 {
        self.sync(caller("b", generation), &[]);
        self.sync(caller("a", generation), &[]);
        generation
    }
}

#[test]
fn the_last_to_leave_leaves_an_empty_group_and_strangers_cannot_leave() {
    let mut table = table();
    table.stable(vec![new("a"), new("b"), statically("i", "c")]);
    let left = table.leave(&[("a", None), ("x", None), ("b", Some("i")), ("", Some("i")), ("", Some("j"))]);
    let expected = [
        Ok(()),
        Err(GroupError::UnknownMember),
        Err(GroupError::FencedInstance),
        Ok(()),
        Err(GroupError::UnknownMember),
    ];
    assert_eq!(left, expected);
    assert_eq!(table.leave(&[("b", None)]), [Ok(())]);
    assert_eq!((table.group.state(), table.group.is_idle()), (GroupState::Empty, true));
}

#[test]
fn a_static_member_that_comes_back_keeps_its_assignment_without_a_rebalance() {
    let mut table = table();
    let generation = table.stable(vec![statically("i", "a"), statically("j", "b")]);
    let ticket = table.join(statically("j", "b2"));
    let joined = table.joined(ticket);
    assert_eq!((joined.generation, joined.member_id.as_str()), (generation, "b2"));
    let ticket = table.sync(caller("b2", generation), &[]);
    assert_eq!(table.assigned(ticket), "b");
    let stale = Caller { instance_id: Some("j".into()), ..caller("b", generation) };
    let ticket = table.event(|ticket| Event::Heartbeat(ticket, stale));
    assert_eq!(table.done(ticket), Err(GroupError::FencedInstance));
    assert_eq!(table.group.state(), GroupState::Stable);
}

#[test]
fn a_static_member_that_comes_back_with_other_topics_rebalances() {
    let mut table = table();
    table.stable(vec![statically("i", "a"), statically("j", "b")]);
    let metadata = Bytes::from(encode_subscription(["t", "u"]));
    let protocols = vec![Protocol { name: "range".into(), metadata }];
    table.join(Join { protocols, ..statically("j", "b2") });
    assert_eq!(table.group.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_static_leader_that_comes_back_does_not_assign_again() {
    for skips_assignment in [false, true] {
        let mut table = table();
        table.stable(vec![statically("i", "a"), statically("j", "b")]);
        let ticket = table.join(Join { skips_assignment, ..statically("i", "a2") });
        let joined = table.joined(ticket);
        let believes = joined.leader == joined.member_id && !joined.skip_assignment;
        assert!(!believes, "{joined:?}");
        assert_eq!(joined.skip_assignment, skips_assignment);
        assert_eq!(table.group.leader(), "a2");
    }
}

#[test]
fn a_waiting_request_of_a_replaced_static_member_is_fenced() {
    let mut table = table();
    let first = table.join(statically("i", "a"));
    let second = table.join(statically("i", "a2"));
    assert_eq!(table.refused(first), GroupError::FencedInstance);
    table.pass(200);
    assert_eq!(table.joined(second).member_id, "a2");
}

#[test]
fn a_static_member_that_is_away_stays_through_a_rebalance_until_its_session_ends() {
    let mut table = table();
    let long = Join { session_ms: 100_000, ..statically("i", "a") };
    let generation = table.stable(vec![long, new("b")]);
    table.join(new("c"));
    let b = table.join(join("b"));
    table.pass(i64::from(REBALANCE));
    let joined = table.joined(b);
    assert_eq!((joined.generation, joined.members.len()), (generation + 1, 3));
    assert_eq!(joined.leader, "b", "one that is away does not lead");
}

#[test]
fn a_group_takes_as_many_members_as_it_may_have() {
    let mut table = Table::new(GroupSettings { members: 2, ..GroupSettings::default() });
    table.stable(vec![new("a"), new("b")]);
    for extra in [new("c"), Join { id_round_trip: true, ..new("c") }, statically("i", "c")] {
        let ticket = table.join(extra);
        assert_eq!(table.refused(ticket), GroupError::GroupFull);
    }
    assert_eq!(table.group.state(), GroupState::Stable);
}

#[test]
fn time_outs_and_sizes_out_of_bounds_are_refused() {
    let mut table = Table::new(GroupSettings { member_bytes: 100, ..GroupSettings::default() });
    for session_ms in [5_999, 1_800_001, 0, -1] {
        let ticket = table.join(Join { session_ms, ..new("a") });
        assert_eq!(table.refused(ticket), GroupError::InvalidSessionTimeout);
    }
    let large = vec![Protocol { name: "range".into(), metadata: Bytes::from(vec![0; 100]) }];
    let ticket = table.join(Join { protocols: large, ..new("a") });
    assert_eq!(table.refused(ticket), GroupError::OverLimit);
}

#[test]
fn offsets_are_committed_by_members_in_their_generation_and_by_others_while_there_are_none() {
    let mut table = table();
    let ask = |table: &mut Table, id: &str, generation| {
        let ticket = table.event(|ticket| Event::Commit(ticket, caller(id, generation)));
        table.done(ticket)
    };
    assert_eq!(ask(&mut table, "", -1), Ok(()));
    assert_eq!(ask(&mut table, "a", 1), Err(GroupError::UnknownMember));
    let generation = table.stable(vec![new("a"), new("b")]);
    assert_eq!(ask(&mut table, "a", generation), Ok(()));
    assert_eq!(ask(&mut table, "", -1), Err(GroupError::UnknownMember));
    assert_eq!(ask(&mut table, "a", generation - 1), Err(GroupError::IllegalGeneration));
    let c = table.join(new("c"));
    assert_eq!(ask(&mut table, "a", generation), Ok(()), "what it read before it joins again");
    table.join(join("a"));
    table.join(join("b"));
    table.joined(c);
    assert_eq!(ask(&mut table, "a", generation + 1), Err(GroupError::RebalanceInProgress));
}

#[test]
fn only_an_empty_group_is_deleted_and_nobody_joins_it_afterwards() {
    let mut table = table();
    table.stable(vec![new("a")]);
    let ticket = table.event(Event::Delete);
    assert_eq!(table.done(ticket), Err(GroupError::NonEmpty));
    table.leave(&[("a", None)]);
    let ticket = table.event(Event::Delete);
    assert_eq!(table.done(ticket), Ok(()));
    let ticket = table.join(new("b"));
    assert_eq!(table.refused(ticket), GroupError::CoordinatorNotAvailable);
}

#[test]
fn a_client_that_hangs_up_while_it_waits_is_out_after_its_session() {
    let mut table = table();
    let generation = table.stable(vec![new("a")]);
    let b = table.join(new("b"));
    table.event(|_| Event::Abandon(b));
    let a = table.join(join("a"));
    assert_eq!(table.answer(a), None, "b may come back");
    table.pass(i64::from(SESSION));
    let joined = table.joined(a);
    assert_eq!((joined.generation, joined.members.len()), (generation + 1, 1));
}

#[test]
fn a_join_that_is_sent_again_takes_the_place_of_the_first() {
    let mut table = table();
    table.stable(vec![new("a"), new("b")]);
    let first = table.join(join("a"));
    let second = table.join(join("a"));
    assert_eq!(table.refused(first), GroupError::RebalanceInProgress);
    table.join(join("b"));
    assert_eq!(table.joined(second).member_id, "a");
}

//! Many clients that do anything in any order: what must hold all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::event::*;
use super::group::{Group, GroupState};
use super::settings::GroupSettings;

/// A small generator, the same numbers for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

struct World {
    chance: Chance,
    group: Group,
    now: i64,
    last: Ticket,
    next_id: u32,
    /// Requests without an answer yet.
    open: BTreeSet<Ticket>,
    joins: BTreeSet<Ticket>,
    /// What clients know: their id and the newest generation they were told of.
    clients: Vec<(String, i32, Option<String>)>,
    asked: BTreeMap<Ticket, usize>,
    leaders: BTreeMap<i32, String>,
    assigned: BTreeMap<(i32, String), Bytes>,
    generation: i32,
}

impl World {
    fn new(seed: u64) -> World {
        let settings = GroupSettings { members: 6, ..GroupSettings::default() };
        let clients =
            (0..8).map(|n| (String::new(), 0, (n % 3 == 0).then(|| format!("instance-{}", n % 2)))).collect();
        World {
            chance: Chance(seed),
            group: Group::new(Arc::new(settings)),
            now: 0,
            last: 0,
            next_id: 0,
            open: BTreeSet::new(),
            joins: BTreeSet::new(),
            clients,
            asked: BTreeMap::new(),
            leaders: BTreeMap::new(),
            assigned: BTreeMap::new(),
            generation: 0,
        }
    }

    fn event(&mut self, client: usize, event: impl FnOnce(Ticket) -> Event) {
        self.last += 1;
        let event = event(self.last);
        if !matches!(event, Event::Tick | Event::Abandon(_)) {
            self.open.insert(self.last);
            self.asked.insert(self.last, client);
        }
        if let Event::Join(ticket, _) = &event {
            self.joins.insert(*ticket);
        }
        for effect in self.group.step(self.now, event) {
            self.effect(effect);
        }
        self.check();
    }

    fn effect(&mut self, effect: Effect) {
        let Effect::Answer(ticket, answer) = effect else { return };
        assert!(self.open.remove(&ticket), "{ticket} is answered twice, or nobody asked");
        let client = self.asked[&ticket];
        match answer {
            Answer::Join(Ok(joined)) => {
                assert!(self.joins.contains(&ticket));
                if !joined.members.is_empty() && !joined.skip_assignment {
                    let leader = self.leaders.entry(joined.generation).or_insert(joined.leader.clone());
                    assert_eq!(*leader, joined.member_id, "two lead one generation");
                }
                self.clients[client].0 = joined.member_id;
                self.clients[client].1 = joined.generation;
            }
            Answer::Join(Err(refused)) => {
                self.clients[client].0 = match refused.error {
                    super::error::GroupError::MemberIdRequired => refused.member_id,
                    super::error::GroupError::RebalanceInProgress => return,
                    _ => String::new(),
                }
            }
            Answer::Sync(Ok(synced)) if !synced.assignment.is_empty() => {
                let text = String::from_utf8(synced.assignment.to_vec()).unwrap();
                let generation = self.group.generation();
                assert!(
                    self.assigned
                        .iter()
                        .any(|((of, _), bytes)| *of == generation && *bytes == synced.assignment),
                    "{text} was not assigned by the leader of {generation}"
                );
            }
            _ => {}
        }
    }

    fn check(&mut self) {
        let group = &self.group;
        assert!(group.generation() >= self.generation, "generations grow");
        self.generation = group.generation();
        let members: BTreeSet<String> = group.describe().into_iter().map(|one| one.member_id).collect();
        match group.state() {
            GroupState::Empty => assert!(members.is_empty()),
            GroupState::Stable | GroupState::CompletingRebalance => {
                assert!(members.contains(group.leader()), "the leader is a member");
                assert!(!group.protocol().is_empty());
            }
            GroupState::PreparingRebalance => assert!(!members.is_empty()),
            GroupState::Dead => unreachable!("nobody deletes here"),
        }
        assert!(members.len() <= 6);
        assert!(self.open.is_empty() || group.next_deadline().is_some(), "who waits, waits for something");
    }

    fn act(&mut self) {
        let client = self.chance.below(self.clients.len() as u64) as usize;
        let (id, generation, instance) = self.clients[client].clone();
        let caller = Caller { member_id: id.clone(), instance_id: instance.clone(), generation };
        match self.chance.below(12) {
            0..=3 => self.join(client, id, instance),
            4..=6 => self.sync(client, caller),
            7 => self.event(client, |ticket| Event::Heartbeat(ticket, caller)),
            8 => {
                let leaver = Leaver { member_id: id, instance_id: instance };
                if self.chance.below(4) == 0 {
                    self.event(client, |ticket| Event::Leave(ticket, vec![leaver]));
                }
            }
            9 => {
                let waiting: Vec<Ticket> = self.open.iter().copied().collect();
                if !waiting.is_empty() && self.chance.below(4) == 0 {
                    let ticket = waiting[self.chance.below(waiting.len() as u64) as usize];
                    self.open.remove(&ticket);
                    self.event(client, |_| Event::Abandon(ticket));
                }
            }
            _ => {
                self.now += self.chance.below(3_000) as i64;
                self.event(client, |_| Event::Tick);
            }
        }
    }

    fn join(&mut self, client: usize, member_id: String, instance_id: Option<String>) {
        self.next_id += 1;
        let metadata = Bytes::from(vec![self.chance.below(3) as u8; 8]);
        let names = [["a", "b"], ["b", "a"], ["a", "c"]][self.chance.below(3) as usize];
        let protocol = |name: &str| Protocol { name: name.to_owned(), metadata: metadata.clone() };
        let join = Join {
            member_id,
            instance_id,
            client_id: "c".into(),
            client_host: "h".into(),
            session_ms: 6_000 + self.chance.below(10_000) as i32,
            rebalance_ms: self.chance.below(20_000) as i32,
            protocol_type: "consumer".into(),
            protocols: names.into_iter().map(protocol).collect(),
            id_round_trip: self.chance.below(2) == 0,
            skips_assignment: self.chance.below(2) == 0,
            new_id: format!("m{}", self.next_id),
        };
        self.event(client, |ticket| Event::Join(ticket, join));
    }

    fn sync(&mut self, client: usize, caller: Caller) {
        let leads = self.group.leader() == caller.member_id
            && self.group.generation() == caller.generation
            && self.group.state() == GroupState::CompletingRebalance;
        let mut assignments = Vec::new();
        for member in self.group.describe() {
            let bytes =
                Bytes::from(format!("{}/{}/{}", caller.generation, caller.member_id, member.member_id));
            if leads {
                self.assigned.insert((caller.generation, member.member_id.clone()), bytes.clone());
            }
            assignments.push((member.member_id, bytes));
        }
        let sync = Sync { caller, protocol_type: None, protocol: None, assignments };
        self.event(client, |ticket| Event::Sync(ticket, sync));
    }

    /// Everyone falls silent: time alone must answer all and empty the group.
    fn end(&mut self) {
        for _ in 0..1_000 {
            let Some(at) = self.group.next_deadline() else { break };
            self.now = self.now.max(at);
            self.event(0, |_| Event::Tick);
        }
        assert_eq!(self.group.next_deadline(), None);
        assert!(self.open.is_empty(), "without an answer: {:?}", self.open);
        assert!(self.group.is_idle());
    }
}

#[test]
fn whatever_clients_do_one_leads_generations_grow_and_everyone_is_answered() {
    let mut generations = 0;
    let mut stable = 0;
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..400 {
            world.act();
            stable += u32::from(world.group.state() == GroupState::Stable);
        }
        world.end();
        generations += world.generation;
    }
    assert!(generations > 1_000 && stable > 500, "the test does something: {generations}, {stable}");
}

#[test]
fn the_same_events_have_the_same_effects() {
    let run = || {
        let mut world = World::new(7);
        (0..500).for_each(|_| world.act());
        (world.generation, world.leaders, world.open)
    };
    assert_eq!(run(), run());
}

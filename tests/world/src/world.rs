//! A world: its machines and clients, and one event after the other.

use std::collections::{BTreeMap, BTreeSet};

use tidelog_meta::{Command, Leader, NewSpan, NodeState, Retention};

use crate::client::Client;
use crate::fabric::{Fabric, Happening, MS, Message, Net, Time};
use crate::machine::{Machine, Status};

/// How long things break.
const CHAOS: Time = 6_000 * MS;
/// How long a healed world may take to come to rest.
const PATIENCE: Time = 90_000 * MS;

/// What became of a seed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What is wrong, if anything.
    pub wrong: Option<String>,
    /// Hash of the trace.
    pub hash: u64,
    /// Events.
    pub events: u64,
    /// Acknowledged batches.
    pub acknowledged: usize,
    /// Commands of the metadata.
    pub commands: u64,
}

pub(crate) struct World {
    pub(crate) fabric: Fabric,
    pub(crate) machines: Vec<Machine>,
    pub(crate) clients: Vec<Client>,
    pub(crate) shards: u64,
    /// The machine with the bad disk.
    pub(crate) bad: usize,
    /// Instead of that: frames rot on any disk, of each frame one copy at most.
    pub(crate) scattered: bool,
    /// Leaders end their spans without leaving a producer unanswered, or when a successor has everything.
    pub(crate) gentle: bool,
    /// Frames that rotted so, by shard, span and LSN.
    pub(crate) hurt: BTreeSet<(u64, u32, u64)>,
    /// Machines on which they did, by shard and span.
    pub(crate) damaged: BTreeMap<(u64, u32), BTreeSet<usize>>,
    chaos: bool,
}

/// Runs a seed.
pub fn run(seed: u64, shown: bool) -> Outcome {
    let mut world = World::new(seed, shown);
    // The rules' own assertions are findings like those of the judge.
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.live()));
    if let Err(panic) = lived {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        world.fabric.judge.accuse(|| format!("an assertion: {}", text.unwrap_or_default()));
    }
    let fabric = &world.fabric;
    Outcome {
        seed,
        wrong: fabric.judge.wrong.clone(),
        hash: fabric.trace.hash(),
        events: fabric.trace.events(),
        acknowledged: fabric.judge.acknowledged.len(),
        commands: fabric.truth.state().version,
    }
}

impl World {
    fn new(seed: u64, shown: bool) -> World {
        let mut size = crate::chance::Chance::new(!seed);
        let count = [3, 3, 4, 5, 5, 7][size.index(6)];
        let spread = if count >= 5 && size.percent(25) { 5 } else { 3 };
        let shards = 1 + size.below(2);
        let mut fabric = Fabric::new(seed, count, shown);
        let bad = size.index(count);
        // There must be nodes left that take copies.
        let scattered = count > spread && size.percent(40);
        // Of the seed itself, so that those that once found something are the runs that they were.
        let gentle = seed % 4 == 3;
        let machines = (0..count).map(|at| Machine::new(at, spread)).collect();
        let clients: Vec<Client> = (0..3 * shards as usize)
            .map(|number| {
                let partition = 1 + number as u64 / 2 % (2 * shards);
                Client::new(number, 1 + (partition - 1) % shards, partition)
            })
            .collect();
        for at in 0..count {
            fabric.after(0, Happening::Boot { at });
        }
        for number in 0..clients.len() {
            fabric.after(500 * MS, Happening::Client(number));
        }
        fabric.after(700 * MS, Happening::Fault);
        let (hurt, damaged) = (BTreeSet::new(), BTreeMap::new());
        World { fabric, machines, clients, shards, bad, scattered, gentle, hurt, damaged, chaos: true }
    }

    /// Shards and topics, as soon as enough nodes have joined.
    fn found(&mut self) -> bool {
        let state = std::rc::Rc::clone(self.fabric.truth.state());
        if !state.chains.is_empty() {
            return true;
        }
        if state.nodes.len() < self.machines.len() {
            return false;
        }
        for shard in 1..=self.shards {
            self.fabric.apply(&Command::OpenShard { shard, class: Retention::default() });
        }
        for partition in 1..=2 * self.shards {
            let (name, id) = (format!("t{partition}"), format!("{partition:032x}"));
            let shards = vec![1 + (partition - 1) % self.shards];
            self.fabric.apply(&Command::CreateTopic { name, id, retention: Retention::default(), shards });
        }
        for shard in 1..=self.shards {
            let nodes: Vec<u64> = state.nodes.keys().copied().take(self.machines[0].spread).collect();
            let lead = nodes[self.fabric.chance.index(nodes.len())];
            let leader = Leader { node: lead, incarnation: state.nodes[&lead].incarnation };
            let replicas: Vec<_> = nodes.iter().map(|node| state.nodes[node].replica(*node)).collect();
            let quorum = (replicas.len() / 2 + 1) as u8;
            let salt = self.fabric.chance.salt();
            let span = NewSpan { replicas, quorum, leader, salt };
            self.fabric.apply(&Command::OpenFirstSpan { shard, span, base: 0 });
        }
        true
    }

    fn live(&mut self) {
        while let Some(happening) = self.fabric.pop() {
            if self.fabric.judge.wrong.is_some() {
                return;
            }
            if self.chaos && self.fabric.now > CHAOS {
                self.heal();
            }
            if !self.chaos && self.is_at_rest() {
                return self.last_look();
            }
            if self.fabric.now > CHAOS + PATIENCE {
                let why = self.unrest();
                return self.fabric.judge.accuse(|| format!("liveness: {why}"));
            }
            self.happens(happening);
        }
    }

    fn happens(&mut self, happening: Happening) {
        let now = self.fabric.now;
        match happening {
            Happening::Arrives { from, to, message } => {
                self.fabric.trace.note(&[1, now, from as u64, to as u64]);
                self.arrives(from, to, message);
            }
            Happening::Disk { at, life, operation, failed } => {
                self.fabric.trace.note(&[2, now, at as u64, operation]);
                if self.machines[at].life == life {
                    self.machines[at].disk_done(&mut self.fabric, operation, failed);
                }
            }
            Happening::Tick { at, life } => {
                self.fabric.trace.note(&[3, now, at as u64]);
                if self.machines[at].life == life {
                    self.machines[at].tick(&mut self.fabric);
                }
            }
            Happening::Boot { at } => {
                self.fabric.trace.note(&[4, now, at as u64]);
                self.machines[at].boot(&mut self.fabric);
            }
            Happening::Proposed { at, life, token, command } => {
                self.fabric.trace.note(&[5, now, at as u64, token]);
                self.fabric.decide(at, life, token, command);
            }
            Happening::Decided { at, life, token, outcome } => {
                self.fabric.trace.note(&[6, now, at as u64, token]);
                if self.machines[at].life == life {
                    self.machines[at].decided(&mut self.fabric, token, outcome);
                }
            }
            Happening::Watched { at, state } => {
                self.fabric.trace.note(&[7, now, at as u64, state.version]);
                self.machines[at].look(&mut self.fabric, &state, false);
            }
            Happening::Client(number) => {
                self.fabric.trace.note(&[8, now, number as u64]);
                if self.found() {
                    self.clients[number].act(&mut self.fabric, self.chaos);
                } else {
                    self.fabric.after(100 * MS, Happening::Client(number));
                }
            }
            Happening::Fault => {
                self.fabric.trace.note(&[9, now]);
                if self.chaos && self.found() {
                    self.fault();
                } else if self.chaos {
                    self.fabric.after(100 * MS, Happening::Fault);
                }
            }
        }
    }

    fn arrives(&mut self, from: usize, to: usize, message: Message) {
        if to < self.machines.len() {
            return self.machines[to].arrives(&mut self.fabric, from, message);
        }
        if let Message::Produced { client, batch, acknowledged } = message {
            self.clients[client].answered(&mut self.fabric, batch, acknowledged);
        }
    }

    /// Everything that was broken runs again, and nothing breaks any more.
    fn heal(&mut self) {
        self.chaos = false;
        self.fabric.trace.say(self.fabric.now, || "everything heals".to_owned());
        self.fabric.net = Net::calm();
        for at in 0..self.machines.len() {
            self.fabric.slowness[at] = 1;
            self.fabric.failing[at] = 0;
            let poisoned = self.machines[at].running().is_some_and(|running| running.poisoned);
            if poisoned {
                self.machines[at].crash(&mut self.fabric);
            }
            self.fabric.after(MS, Happening::Boot { at });
            for shard in 1..=self.shards {
                let room = tidelog_replica::follower::Event::Room(true);
                self.machines[at].follow(&mut self.fabric, shard, room);
            }
            self.scrub(at);
        }
    }

    fn is_at_rest(&mut self) -> bool {
        for at in 0..self.machines.len() {
            // An operation that was under way when everything healed may have failed after all.
            if self.machines[at].running().is_some_and(|running| running.poisoned) {
                self.machines[at].crash(&mut self.fabric);
                self.fabric.after(MS, Happening::Boot { at });
            }
        }
        let settled = self.fabric.now > CHAOS + 15_000 * MS;
        if settled {
            self.accept_tails();
        }
        if !self.unrest().is_empty() {
            return false;
        }
        // What rotted while nobody looked is found before the last look.
        (0..self.machines.len()).for_each(|at| self.scrub(at));
        self.unrest().is_empty()
    }

    /// An operator accepts what is left where a holder is lost for ever and too few of the others are sure of their end, and
    /// where all of them are damaged and a gap is left.
    fn accept_tails(&mut self) {
        let state = std::rc::Rc::clone(self.fabric.truth.state());
        for machine in &mut self.machines {
            for shard in 1..=self.shards {
                let Some((epoch, missing)) = machine.seals(shard) else { continue };
                let Some(span) = state.span(shard, epoch) else { continue };
                let lost = span.replicas.iter().any(|replica| !state.nodes[&replica.node].state.counts());
                let all = missing == span.replicas.len();
                if all || lost && span.replicas.len() < span.fence_quorum() + missing {
                    self.fabric.judge.excuse(shard, epoch);
                    machine.seal(&mut self.fabric, shard, tidelog_replica::sealer::Event::AcceptTail);
                }
            }
        }
    }

    /// What is not as it must be when nothing breaks any more; empty when all is.
    fn unrest(&self) -> String {
        let state = self.fabric.truth.state();
        if self.machines.iter().any(|machine| machine.running().is_none()) {
            return "a machine does not start".to_owned();
        }
        let live = state.nodes.values().filter(|node| node.state == NodeState::ReadWrite).count();
        for (shard, span) in state.spans() {
            let name = format!("shard {shard}, span {}", span.epoch);
            let holders: Vec<_> = span
                .replicas
                .iter()
                .filter(|replica| state.nodes[&replica.node].state.counts())
                .filter_map(|replica| self.holder(replica.node))
                .collect();
            if let Some((end, _)) = span.sealed() {
                let wanted = span.replicas.len().min(live);
                let whole = |running: &&crate::machine::Running| {
                    let follower = running.followers.get(&shard);
                    follower.is_some_and(|follower| {
                        follower.is_whole(span.epoch)
                            && follower.end(span.epoch).is_some_and(|at| at.lsn == end)
                    })
                };
                if holders.iter().filter(|running| whole(running)).count() < wanted {
                    let states: Vec<String> = holders
                        .iter()
                        .map(|running| {
                            let follower = running.followers.get(&shard);
                            let end = follower.and_then(|follower| follower.end(span.epoch));
                            let whole = follower.is_some_and(|follower| follower.is_whole(span.epoch));
                            format!("node {} ends at {end:?}, whole: {whole}", running.me.node)
                        })
                        .collect();
                    return format!("{name} is not whole on {wanted} holders: it ends at {end}, {states:?}");
                }
                continue;
            }
            let leads = holders.iter().filter_map(|running| running.leads.get(&shard));
            let mut leads =
                leads.filter(|lead| lead.leader.span().epoch == span.epoch && lead.leader.leads());
            let Some(lead) = leads.next() else {
                return format!("{name} has no leader: {}", self.why_unled(shard, span));
            };
            let end = lead.leader.next();
            let same = |running: &&crate::machine::Running| {
                let follower = running.followers.get(&shard);
                follower.is_some_and(|follower| {
                    follower.end(span.epoch) == Some(end)
                        || (end.lsn == span.base && follower.end(span.epoch).is_none())
                })
            };
            if !holders.iter().all(same) || lead.leader.committed() != end.lsn {
                return format!("{name} has holders that lag");
            }
        }
        self.clients.iter().find_map(crate::client::Client::waits).unwrap_or_default()
    }

    /// What the leader of a span would have to hold, and what it has of that.
    fn why_unled(&self, shard: u64, span: &tidelog_meta::Span) -> String {
        let view = crate::truth::view(self.fabric.truth.state(), shard, false);
        let needed = tidelog_replica::succession::needed(&view.spans, span.epoch);
        let has = |epoch: u32| {
            let follower = self.holder(span.leader.node).and_then(|running| running.followers.get(&shard));
            follower.is_some_and(|follower| follower.is_whole(epoch))
        };
        let needed = needed.iter().map(|span| {
            let holders: Vec<u64> = span.replicas.iter().map(|replica| replica.node).collect();
            format!("span {} of {holders:?}, whole there: {}", span.epoch, has(span.epoch))
        });
        format!("{:?} is to lead, and needs {:?}", span.leader, needed.collect::<Vec<_>>())
    }

    pub(crate) fn holder(&self, node: u64) -> Option<&crate::machine::Running> {
        let at = self.fabric.homes.get(&node)?;
        match &self.machines.get(*at)?.process {
            Status::Running(running) if running.me.node == node => Some(running),
            _ => None,
        }
    }

    pub(crate) fn machine_of(&self, node: u64) -> Option<&Machine> {
        self.machines.get(*self.fabric.homes.get(&node)?)
    }
}

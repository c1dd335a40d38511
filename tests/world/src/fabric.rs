//! What everybody in the world shares: time, the queue of what will happen, the network, the metadata, the judge.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use tidelog_meta::{Applied, Command, Illegal, State};
use tidelog_replica::copier::SealedFile;
use tidelog_replica::frame::Frame;
use tidelog_replica::message::{Envelope, From, Request};
use tidelog_replica::span::Process;

use crate::chance::Chance;
use crate::judge::Judge;
use crate::record::Batch;
use crate::trace::Trace;
use crate::truth::Truth;

/// Microseconds.
pub type Time = u64;
/// A millisecond.
pub const MS: Time = 1000;

/// What travels between machines, clients among them.
#[derive(Clone, Debug)]
pub enum Message {
    /// A request to a holder.
    Ask {
        /// The node that is meant.
        node: u64,
        /// Its envelope.
        envelope: Envelope,
        /// The request.
        request: Request,
    },
    /// A holder's answer.
    Tell {
        /// Who asked.
        to: Process,
        /// The answer.
        from: From,
    },
    /// A producer's batch; its offset is not known yet.
    Produce {
        /// Which client.
        client: usize,
        /// The shard of its partition.
        shard: u64,
        /// The batch.
        batch: Batch,
    },
    /// To a producer.
    Produced {
        /// Which client.
        client: usize,
        /// The batch, with the offset that it got; `None`: not here, or nobody knows.
        batch: Batch,
        /// Whether it is acknowledged.
        acknowledged: bool,
    },
    /// Which files have you of a sealed span?
    List {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
    },
    /// The files.
    Listed {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// Who has them.
        node: u64,
        /// The files.
        files: Vec<SealedFile>,
    },
    /// Bytes of a file, please.
    Fetch {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// The file.
        number: u64,
        /// From where.
        at: u64,
        /// How many at most.
        len: u64,
    },
    /// Intact frames of a span, please.
    Gather {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// First LSN.
        from: u64,
        /// Behind the last.
        to: u64,
    },
    /// Intact frames of a span.
    Gathered {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// Who has them.
        node: u64,
        /// From where it was asked.
        from: u64,
        /// The frames.
        frames: Vec<Frame>,
    },
    /// Bytes of a file.
    Piece {
        /// The shard.
        shard: u64,
        /// The span.
        epoch: u32,
        /// The file.
        number: u64,
        /// From where.
        at: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
}

/// What will happen.
#[derive(Clone, Debug)]
pub enum Happening {
    /// A message arrives.
    Arrives {
        /// From which machine.
        from: usize,
        /// At which.
        to: usize,
        /// The message.
        message: Message,
    },
    /// A disk is done.
    Disk {
        /// The machine.
        at: usize,
        /// Its life.
        life: u64,
        /// The operation.
        operation: u64,
        /// Whether it failed.
        failed: bool,
    },
    /// A machine's clock.
    Tick {
        /// The machine.
        at: usize,
        /// Its life.
        life: u64,
    },
    /// A machine is switched on.
    Boot {
        /// The machine.
        at: usize,
    },
    /// A command, or a read, reaches the metadata.
    Proposed {
        /// From which machine.
        at: usize,
        /// Its life.
        life: u64,
        /// Its question.
        token: u64,
        /// `None`: a linearizable read.
        command: Option<Command>,
    },
    /// The metadata's answer.
    Decided {
        /// To which machine.
        at: usize,
        /// Its life.
        life: u64,
        /// Its question.
        token: u64,
        /// What became of it; `None`: nobody knows.
        outcome: Option<(Result<Applied, Illegal>, Rc<State>)>,
    },
    /// A hint: the metadata may be so.
    Watched {
        /// The machine.
        at: usize,
        /// A state that was.
        state: Rc<State>,
    },
    /// A client acts.
    Client(usize),
    /// Something breaks, or is mended.
    Fault,
}

#[derive(Debug)]
struct Queued(Time, u64, Happening);

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// How bad the network is.
#[derive(Clone, Debug)]
pub struct Net {
    /// Percent of messages that are lost.
    pub lost: u64,
    /// Percent that come twice.
    pub twice: u64,
    /// Percent that come very late.
    pub late: u64,
    /// Most of the usual delay.
    pub delay: Time,
    /// Ways that are cut, by from and to.
    pub cut: Vec<(usize, usize)>,
    /// Machines that do not reach the metadata.
    pub without_meta: Vec<usize>,
}

impl Net {
    /// Nothing is lost.
    pub fn calm() -> Net {
        Net { lost: 0, twice: 0, late: 0, delay: 3 * MS, cut: Vec::new(), without_meta: Vec::new() }
    }
}

/// What everybody shares.
pub struct Fabric {
    /// Now.
    pub now: Time,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    /// Choices.
    pub chance: Chance,
    /// The network.
    pub net: Net,
    /// The metadata.
    pub truth: Truth,
    /// Old states of it, for hints.
    pub past: Vec<Rc<State>>,
    /// The judge.
    pub judge: Judge,
    /// The trace.
    pub trace: Trace,
    /// Machine of each node, last one first known.
    pub homes: std::collections::BTreeMap<u64, usize>,
    /// Machines.
    pub machines: usize,
    /// Times the usual time of a disk, by machine.
    pub slowness: Vec<u64>,
    /// Percent of disk operations that fail, by machine.
    pub failing: Vec<u64>,
}

impl Fabric {
    /// An empty world.
    pub fn new(seed: u64, machines: usize, shown: bool) -> Fabric {
        Fabric {
            now: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            chance: Chance::new(seed),
            net: Net::calm(),
            truth: Truth::default(),
            past: Vec::new(),
            judge: Judge::default(),
            trace: Trace::new(shown),
            homes: std::collections::BTreeMap::new(),
            machines,
            slowness: vec![1; machines],
            failing: vec![0; machines],
        }
    }

    /// The time as the rules take it.
    pub fn clock(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// Something will happen.
    pub fn after(&mut self, delay: Time, happening: Happening) {
        self.queued += 1;
        self.queue.push(Reverse(Queued(self.now + delay, self.queued, happening)));
    }

    /// What happens next.
    pub fn pop(&mut self) -> Option<Happening> {
        let Reverse(Queued(at, _, happening)) = self.queue.pop()?;
        self.now = at;
        Some(happening)
    }

    /// Sends a message to a machine, if the network lets it through.
    pub fn send(&mut self, from: usize, to: usize, message: Message) {
        if from == to {
            return self.after(10, Happening::Arrives { from, to, message });
        }
        if self.net.cut.contains(&(from, to)) || self.chance.percent(self.net.lost) {
            return;
        }
        let delay = self.delay();
        if self.chance.percent(self.net.twice) {
            let delay = self.delay();
            self.after(delay, Happening::Arrives { from, to, message: message.clone() });
        }
        self.after(delay, Happening::Arrives { from, to, message });
    }

    fn delay(&mut self) -> Time {
        let late = if self.chance.percent(self.net.late) { 400 * MS } else { 0 };
        200 + self.chance.below(self.net.delay + late)
    }

    /// Sends a message to a node, wherever it lives.
    pub fn send_node(&mut self, from: usize, node: u64, message: Message) {
        if let Some(to) = self.homes.get(&node).copied() {
            self.send(from, to, message);
        }
    }

    /// Asks the metadata. The question or the answer may be lost, or come too late to be an answer.
    pub fn propose(&mut self, at: usize, life: u64, token: u64, command: Option<Command>) {
        let reached = !self.net.without_meta.contains(&at) && !self.chance.percent(self.net.lost / 2);
        if reached {
            let delay = 500 + self.delay();
            self.after(delay, Happening::Proposed { at, life, token, command });
        }
        self.after(300 * MS, Happening::Decided { at, life, token, outcome: None });
    }

    /// Applies a command that comes from outside of the world's machines.
    pub fn apply(&mut self, command: &Command) {
        if self.truth.apply(command).is_ok() {
            let (state, now) = (Rc::clone(self.truth.state()), self.now);
            self.trace.say(now, || format!("metadata v{}: {command:?}", state.version));
            self.judge.metadata(&state, command);
            self.past.push(state);
        }
    }

    /// A question reaches the metadata.
    pub fn decide(&mut self, at: usize, life: u64, token: u64, command: Option<Command>) {
        let result = match &command {
            Some(command) => self.truth.apply(command),
            None => Ok(Applied::Changed),
        };
        let state = Rc::clone(self.truth.state());
        if let (Some(command), Ok(_)) = (&command, &result) {
            let now = self.now;
            self.trace.say(now, || format!("metadata v{}: {command:?}", state.version));
            self.past.push(Rc::clone(&state));
            self.judge.metadata(&state, command);
            for to in 0..self.machines {
                if !self.net.without_meta.contains(&to) && self.chance.percent(70) {
                    let delay = self.delay() * 4;
                    self.after(delay, Happening::Watched { at: to, state: Rc::clone(&state) });
                }
            }
        }
        if !self.net.without_meta.contains(&at) && !self.chance.percent(self.net.lost / 2) {
            let delay = self.delay();
            self.after(delay, Happening::Decided { at, life, token, outcome: Some((result, state)) });
        }
    }

    /// How long a disk takes for one operation.
    pub fn disk_time(&mut self, at: usize) -> Time {
        (100 + self.chance.below(400)) * self.slowness[at]
    }
}

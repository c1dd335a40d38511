//! What can happen next, and what it does: the rules put together as a model for the checker.

use std::fmt;

use stateright::{Model, Property};

use crate::bug::Bug;
use crate::config::Config;
use crate::disk::Remains;
use crate::frames::{Frames, Lsn};
use crate::invariants;
use crate::message::{Grade, Message, Node, SpanNumber};
use crate::metadata::SpanState;
use crate::sealer::Sealer;
use crate::state::State;

/// One step of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "fields are what the messages call them")]
pub enum Action {
    /// A leader frames the next record.
    Produce { span: SpanNumber },
    /// A message arrives.
    Arrive { node: Node, message: Message },
    /// A write has returned from a disk.
    Written { node: Node, span: SpanNumber },
    /// A leader acknowledges one more frame.
    Acknowledge { span: SpanNumber },
    /// A leader stops and asks to close its span.
    Close { span: SpanNumber },
    /// The close is applied or refused.
    CommitClose { span: SpanNumber, frames: Frames },
    /// A coordinator begins to seal.
    BeginSeal { coordinator: usize, span: SpanNumber },
    /// A coordinator has enough answers.
    Settle { coordinator: usize, frames: Frames },
    /// A coordinator's seal is applied or refused.
    CommitSeal { coordinator: usize },
    /// A process crashes and starts again.
    Restart { node: Node, remains: Remains },
    /// A disk is lost.
    LoseDisk { node: Node },
    /// A disk goes back in time.
    RollBack { node: Node },
    /// A frame rots.
    Rot { node: Node, span: SpanNumber, lsn: Lsn },
    /// A replica serves a reader.
    Read { node: Node, span: SpanNumber, frames: Frames },
}

/// The model: a configuration in which everything that can happen is tried.
#[derive(Clone, Copy, Debug)]
pub struct World(pub Config);

impl World {
    fn nodes(&self) -> impl Iterator<Item = Node> + use<> {
        0..self.0.nodes
    }

    fn leaders_act(&self, state: &State, actions: &mut Vec<Action>) {
        for span in state.spans() {
            let leader = state.leader(span);
            if !leader.up {
                continue;
            }
            if leader.frames.end() < self.0.frames && !leader.closing {
                actions.push(Action::Produce { span });
            }
            if state.can_acknowledge(&self.0, span) {
                actions.push(Action::Acknowledge { span });
            }
            if self.0.closes && !leader.closing {
                actions.push(Action::Close { span });
            }
        }
    }

    fn messages_arrive(&self, state: &State, actions: &mut Vec<Action>) {
        for message in state.network.iter() {
            match message {
                Message::LeaderClose { span, frames }
                    if !is_sealed(state, span) || self.0.has(Bug::BelievesClose) =>
                {
                    actions.push(Action::CommitClose { span, frames });
                }
                Message::Committed { .. } if !self.0.reports => {}
                Message::Append { .. }
                | Message::Committed { .. }
                | Message::Fence { .. }
                | Message::RepairAppend { .. } => {
                    actions.extend(self.nodes().map(|node| Action::Arrive { node, message }));
                }
                // Leaders and coordinators look for answers in the network itself.
                _ => {}
            }
        }
    }

    fn sealers_act(&self, state: &State, actions: &mut Vec<Action>) {
        let attempts = usize::from(self.0.attempts);
        for (coordinator, &stands) in state.sealers[..attempts].iter().enumerate() {
            match stands {
                Sealer::Fencing { span, attempt } => {
                    let decisions = state.decisions(&self.0, span, attempt).into_iter();
                    actions.extend(decisions.map(|frames| Action::Settle { coordinator, frames }));
                }
                Sealer::Repairing { .. } if state.can_seal(&self.0, coordinator) => {
                    actions.push(Action::CommitSeal { coordinator });
                }
                _ => {}
            }
        }
        // Coordinators are alike, so the next one to begin is always the first idle one.
        let idle = state.sealers[..attempts].iter().position(|&stands| stands == Sealer::Idle);
        if let Some(coordinator) = idle {
            let open = |&span: &SpanNumber| !is_sealed(state, span);
            let spans = state.spans().filter(open);
            actions.extend(spans.map(|span| Action::BeginSeal { coordinator, span }));
        }
    }

    fn disks_act(&self, state: &State, node: Node, actions: &mut Vec<Action>) {
        let tails = state.spans().map(|span| (span, state.follower(node).tail(span)));
        for (span, tail) in tails {
            if tail.writing() {
                actions.push(Action::Written { node, span });
            }
            let rotten = (0..tail.end).filter(|&lsn| state.may_rot(&self.0, node, span, lsn));
            actions.extend(rotten.map(|lsn| Action::Rot { node, span, lsn }));
            let frames = state.readable(&self.0, node, span);
            if self.0.readers && frames.end() > state.told[usize::from(span)].read.end() {
                actions.push(Action::Read { node, span, frames });
            }
        }
        self.processes_end(state, node, actions);
        if state.may_lose_disk(&self.0) {
            actions.push(Action::LoseDisk { node });
            if self.0.has(Bug::RolledBackRejoins) {
                actions.push(Action::RollBack { node });
            }
        }
    }

    fn processes_end(&self, state: &State, node: Node, actions: &mut Vec<Action>) {
        if state.faults.crashes == self.0.crashes {
            return;
        }
        if state.follower(node).tails().iter().any(|tail| tail.writing()) {
            let all = [Remains::Whole, Remains::Nothing, Remains::Torn];
            actions.extend(all.map(|remains| Action::Restart { node, remains }));
        } else if Bug::NEEDS_RESTARTS.iter().any(|&bug| self.0.has(bug)) {
            // Without a planted bug a restart with nothing in flight changes nothing that matters: what a stopped leader
            // does not do is explored already, since no step is ever forced.
            actions.push(Action::Restart { node, remains: Remains::Nothing });
        }
    }

    fn arrive(&self, state: &mut State, node: Node, message: Message) {
        match message {
            Message::Append { span, prev, frame } => state.append(&self.0, node, span, prev, frame),
            Message::Committed { span, end } => state.learn_committed(node, span, end),
            Message::Fence { span, attempt } => state.fence(&self.0, node, span, attempt),
            Message::RepairAppend { span, attempt, frames } => {
                state.repair(&self.0, node, span, attempt, frames)
            }
            _ => {}
        }
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::first(&self.0)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.leaders_act(state, actions);
        self.messages_arrive(state, actions);
        self.sealers_act(state, actions);
        for node in self.nodes() {
            self.disks_act(state, node, actions);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let (mut next, config) = (state.clone(), &self.0);
        match action {
            Action::Produce { span } => next.produce(span),
            Action::Arrive { node, message } => self.arrive(&mut next, node, message),
            Action::Written { node, span } => next.written(node, span),
            Action::Acknowledge { span } => next.acknowledge(config, span),
            Action::Close { span } => next.close(config, span),
            Action::CommitClose { span, frames } => next.commit_close(config, span, frames),
            Action::BeginSeal { coordinator, span } => next.begin_seal(coordinator, span),
            Action::Settle { coordinator, frames } => next.settle(coordinator, frames),
            Action::CommitSeal { coordinator } => next.commit_seal(config, coordinator),
            Action::Restart { node, remains } => next.restart(config, node, remains),
            Action::LoseDisk { node } => next.lose_disk(config, node),
            Action::RollBack { node } => next.roll_back(config, node),
            Action::Rot { node, span, lsn } => next.rot(config, node, span, lsn),
            Action::Read { span, frames, .. } => next.read(span, frames),
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        invariants::all()
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Action::Produce { span } => write!(f, "leader of span {span}: frames the next record"),
            Action::Arrive { node, message } => write!(f, "node {node}: receives {message}"),
            Action::Written { node, span } => write!(f, "node {node}: the write to span {span} has returned"),
            Action::Acknowledge { span } => write!(f, "leader of span {span}: acknowledges one more frame"),
            Action::Close { span } => write!(f, "leader of span {span}: stops, to close the span"),
            Action::CommitClose { span, frames } => {
                write!(f, "metadata: LeaderClose of span {span} with {frames}")
            }
            Action::BeginSeal { coordinator, span } => {
                write!(f, "coordinator {coordinator}: begins to seal span {span}")
            }
            Action::Settle { coordinator, frames } => {
                write!(f, "coordinator {coordinator}: settles on {frames}")
            }
            Action::CommitSeal { coordinator } => write!(f, "coordinator {coordinator}: CommitSeal"),
            Action::Restart { node, remains } => {
                write!(f, "node {node}: crashes and restarts; of the write in flight remains: {remains:?}")
            }
            Action::LoseDisk { node } => write!(f, "node {node}: loses its disk"),
            Action::RollBack { node } => write!(f, "node {node}: its disk goes back in time"),
            Action::Rot { node, span, lsn } => write!(f, "node {node}: frame {lsn} of span {span} rots"),
            Action::Read { node, span, frames } => {
                write!(f, "node {node}: serves {frames} of span {span} to a reader")
            }
        }
    }
}

fn is_sealed(state: &State, span: SpanNumber) -> bool {
    matches!(state.metadata.span(span).state, SpanState::Sealed { .. })
}

/// How a grade is written in a trace.
pub(crate) fn grade(grade: Grade) -> &'static str {
    match grade {
        Grade::Proved => "proved",
        Grade::Unproved => "unproved",
        Grade::Suspect => "suspect",
    }
}

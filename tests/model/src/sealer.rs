//! The rules of a failover: fence, decide the end, repair, seal. Any node may run it, and stop anywhere.

use crate::bug::Bug;
use crate::config::Config;
use crate::frames::{Frames, Lsn};
use crate::message::{Epoch, Grade, Message, Replica, SpanNumber};
use crate::state::State;

/// One attempt to seal a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sealer {
    /// Not begun.
    #[default]
    Idle,
    /// Waits for the answers to its fence.
    Fencing {
        /// The span to seal.
        span: SpanNumber,
        /// The attempt.
        attempt: Epoch,
    },
    /// Has decided what the span holds, and waits for Q replicas to have it.
    Repairing {
        /// The span to seal.
        span: SpanNumber,
        /// The attempt.
        attempt: Epoch,
        /// What the span will hold.
        frames: Frames,
    },
    /// Has written the seal.
    Sealed,
    /// Was told that another attempt was there before: reads again, and stops.
    Lost,
}

/// An answer to a fence.
#[derive(Clone, Copy)]
struct Answer {
    from: Replica,
    frames: Frames,
    grade: Grade,
    committed: Lsn,
}

impl State {
    /// `BeginSeal`, then `Fence` to all.
    pub fn begin_seal(&mut self, coordinator: usize, span: SpanNumber) {
        if let Some(attempt) = self.metadata.begin_seal(span) {
            self.sealers[coordinator] = Sealer::Fencing { span, attempt };
            self.network.send(Message::Fence { span, attempt });
        }
    }

    /// Every content that the coordinator may settle on, depending on which answers have arrived.
    pub fn decisions(&self, config: &Config, span: SpanNumber, attempt: Epoch) -> Vec<Frames> {
        let answers = self.answers(config, span, attempt);
        let mut found = Vec::new();
        for arrived in 1_u32..1 << answers.len() {
            let here = (0..answers.len()).filter(|at| arrived & 1 << at != 0);
            let here: Vec<Answer> = here.map(|at| answers[at]).collect();
            if let Some(frames) = decide(config, &here)
                && !found.contains(&frames)
            {
                found.push(frames);
            }
        }
        found
    }

    /// Answers to an attempt, from holders only: a node with a new store knows nothing of this span.
    fn answers(&self, config: &Config, span: SpanNumber, attempt: Epoch) -> Vec<Answer> {
        let answer = |message| match message {
            Message::Fenced { attempt: to, from, frames, grade, committed } if to == attempt => {
                let believed = config.has(Bug::FirstBadIsEnd) && grade == Grade::Unproved;
                let grade = if believed { Grade::Proved } else { grade };
                let held = from.store == self.metadata.store_of(span, from.node);
                let votes = config.has(Bug::SubstituteVotes) && self.may_substitute(config, span, from);
                (held || votes).then_some(Answer { from, frames, grade, committed })
            }
            _ => None,
        };
        self.network.iter().filter_map(answer).collect()
    }

    /// The end is settled: `RepairAppend` to all.
    pub fn settle(&mut self, coordinator: usize, frames: Frames) {
        if let Sealer::Fencing { span, attempt } = self.sealers[coordinator] {
            self.sealers[coordinator] = Sealer::Repairing { span, attempt, frames };
            self.network.send(Message::RepairAppend { span, attempt, frames });
        }
    }

    /// Who has promised this attempt and holds all of `frames`, by their answers: replicas, and substitutes for those
    /// whose disk is lost. One for each node, the newest.
    fn holders(&self, config: &Config, span: SpanNumber, attempt: Epoch, frames: Frames) -> Vec<Replica> {
        let fenced = self.answers(config, span, attempt).into_iter();
        let fenced = fenced.filter(|answer| frames.begins(&answer.frames)).map(|answer| answer.from);
        let repaired = self.network.iter().filter_map(|message| match message {
            Message::Repaired { attempt: to, from, end } if to == attempt && end >= frames.end() => {
                let held = from.store == self.metadata.store_of(span, from.node);
                (held || self.may_substitute(config, span, from)).then_some(from)
            }
            _ => None,
        });
        let mut holders: Vec<Replica> = fenced.chain(repaired).collect();
        holders.sort_unstable_by_key(|holder| (holder.node, std::cmp::Reverse(holder.store)));
        holders.dedup_by_key(|holder| holder.node);
        holders
    }

    /// Whether Q replicas have what is to be sealed.
    pub fn can_seal(&self, config: &Config, coordinator: usize) -> bool {
        let Sealer::Repairing { span, attempt, frames } = self.sealers[coordinator] else {
            return false;
        };
        let holders = self.holders(config, span, attempt, frames).len();
        holders >= usize::from(config.ack_quorum) || config.has(Bug::NoTailRepair)
    }

    /// `CommitSeal`, with the next span in the same command. A lost condition ends the attempt.
    pub fn commit_seal(&mut self, config: &Config, coordinator: usize) {
        let Sealer::Repairing { span, attempt, frames } = self.sealers[coordinator] else {
            return;
        };
        let holders = self.holders(config, span, attempt, frames);
        let done = self.metadata.commit_seal(config, span, attempt, frames);
        self.sealers[coordinator] = if done { Sealer::Sealed } else { Sealer::Lost };
        if done {
            for &holder in &holders {
                if self.may_substitute(config, span, holder) {
                    self.metadata.substitute(span, holder);
                }
            }
            let old = self.leader(span).node;
            let next = holders.iter().map(|holder| holder.node).find(|&node| node != old).unwrap_or(old);
            self.after_seal(config, span, next);
        }
    }
}

/// What the span holds by these answers, if they are enough to say so.
///
/// F proved answers are enough, since any Q replicas have one of them in common. Where all have answered,
/// unproved ends count too, and each frame may come from whoever has it intact.
fn decide(config: &Config, answers: &[Answer]) -> Option<Frames> {
    let nodes = answers.iter().fold(0_u8, |seen, answer| seen | 1 << answer.from.node);
    if nodes.count_ones() as usize != answers.len() {
        return None;
    }
    let proved: Vec<Answer> =
        answers.iter().copied().filter(|answer| answer.grade == Grade::Proved).collect();
    let usable = if answers.len() == usize::from(config.nodes) {
        answers
    } else if proved.len() >= usize::from(config.fence_quorum()) {
        &proved
    } else {
        return None;
    };
    let frames = content(config, usable);
    // An end below what somebody knows to be committed would be a loss: wait for more answers.
    let known = answers.iter().map(|answer| answer.committed).max().unwrap_or(0);
    (frames.end() >= known).then_some(frames)
}

/// The longest run of frames of which each is intact with somebody.
fn content(config: &Config, usable: &[Answer]) -> Frames {
    let longest = usable.iter().map(|answer| answer.frames.end()).max().unwrap_or(0);
    let end = if config.has(Bug::ShortestEnd) {
        usable.iter().map(|answer| answer.frames.end()).min().unwrap_or(0)
    } else if config.has(Bug::CommittedEnd) {
        usable.iter().map(|answer| answer.committed).max().unwrap_or(0)
    } else {
        longest
    };
    let mut frames = Frames::default();
    for lsn in 0..end {
        let whole = |answer: &Answer| !config.has(Bug::PrefixOnly) || answer.frames.intact().end() > lsn;
        let held = usable.iter().filter(|answer| whole(answer)).find_map(|answer| answer.frames.at(lsn));
        let Some(writer) = held else { break };
        frames.push(writer);
    }
    frames
}

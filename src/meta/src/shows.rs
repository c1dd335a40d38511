//! Whether a state shows what a command does, for a proposer that got no clear answer.

use crate::command::Command;
use crate::span::SpanState;
use crate::state::{Applied, State};
use crate::topic::Partition;

impl State {
    /// What the command did, if this state shows that it was carried out: by what only this proposer can have said (a
    /// salt, a token, a topic's id, a directory's start), or because what it wants holds, whoever brought it about.
    ///
    /// `None` proves nothing: the command was not carried out yet, never will be, or leaves no trace that is its own.
    pub fn shows(&self, command: &Command) -> Option<Applied> {
        let changed = |holds: bool| holds.then_some(Applied::Changed);
        match command {
            Command::RegisterNode { node, store, .. } => {
                changed(self.nodes.get(node).is_some_and(|known| known.store == *store))
            }
            Command::StartNode { node, store, incarnation, .. } => changed(
                self.nodes
                    .get(node)
                    .is_some_and(|known| known.store == *store && known.incarnation == *incarnation),
            ),
            Command::RaiseGeneration { node, store, generation } => changed(
                self.nodes
                    .get(node)
                    .is_some_and(|known| known.store == *store && known.generation >= *generation),
            ),
            Command::SetNodeState { node, state, .. } => {
                changed(self.nodes.get(node).is_some_and(|known| known.state == *state))
            }
            Command::SetFeatureLevel { level, .. } => changed(self.feature_level >= *level),
            Command::CreateTopic { name, id, .. } => {
                changed(self.topics.get(name).is_some_and(|topic| topic.id == *id))
            }
            Command::DeleteTopic { name, id } => {
                changed(self.topics.get(name).is_none_or(|topic| topic.id != *id))
            }
            Command::SetTopicConfig { name, id, retention, .. } => changed(
                self.topics.get(name).is_some_and(|topic| topic.id == *id && topic.retention == *retention),
            ),
            Command::Trim { name, partition, offset, .. } => {
                changed(self.partition(name, *partition).is_some_and(|known| known.start() >= *offset))
            }
            Command::MovePartition { name, partition, to, at, .. } => {
                let there = |known: &Partition| {
                    known.placed().iter().any(|placed| (placed.from, placed.shard) == (*at, *to))
                };
                changed(self.partition(name, *partition).is_some_and(there))
            }
            Command::TakePartition { name, partition, shard, .. } => {
                let there = |known: &Partition| known.shard() == *shard && known.handed().is_none();
                changed(self.partition(name, *partition).is_some_and(there))
            }
            Command::OpenFirstSpan { shard, span, .. } | Command::OpenNextSpan { shard, span, .. } => {
                self.opened_with(*shard, span.salt)
            }
            Command::LeaderClose { shard, next, .. } => self.opened_with(*shard, next.salt),
            Command::BeginSeal { shard, epoch, token } => match self.span(*shard, *epoch)?.state {
                SpanState::Sealing { attempt, token: known } if known == *token => {
                    Some(Applied::Attempt(attempt))
                }
                _ => None,
            },
            Command::CommitSeal { shard, epoch, end, chain, next, .. } => {
                let sealed = self.span(*shard, *epoch)?.sealed() == Some((*end, *chain));
                match next {
                    Some(next) => self.opened_with(*shard, next.salt).filter(|_| sealed),
                    None => changed(sealed),
                }
            }
            Command::BumpIncarnation { .. }
            | Command::OpenShard { .. }
            | Command::SetShardClass { .. }
            | Command::AddPartitions { .. }
            | Command::AllocProducerIds { .. }
            | Command::SwapReplica { .. }
            | Command::DropSpan { .. }
            | Command::CheckState { .. } => None,
        }
    }

    /// The span whose first segment has this salt: nobody else chose it.
    fn opened_with(&self, shard: u64, salt: tidelog_format::Salt) -> Option<Applied> {
        let spans = &self.chains.get(&shard)?.spans;
        spans.iter().find(|span| span.salt == salt).map(|span| Applied::Opened(span.epoch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_tests::{cluster, span_on, store};
    use crate::topic::Retention;

    fn create(id: &str) -> Command {
        let (name, retention) = ("t".to_owned(), Retention::default());
        Command::CreateTopic { name, id: id.repeat(32), retention, shards: vec![1] }
    }

    fn commit(end: u64) -> Command {
        let (substitutes, next) = (vec![], Some(span_on(&[2, 3, 4], 9)));
        Command::CommitSeal { shard: 1, epoch: 1, attempt: 2, end, chain: end * 10, substitutes, next }
    }

    #[test]
    fn a_command_that_was_carried_out_shows_with_what_it_did_and_one_that_was_not_does_not() {
        let mut state = cluster();
        state.apply(&Command::OpenShard { shard: 2, class: Retention::default() }).unwrap();
        let (name, id) = ("t".to_owned(), "a".repeat(32));
        let commands = [
            (Command::RaiseGeneration { node: 1, store: store(1), generation: 70 }, Applied::Changed),
            (create("a"), Applied::Changed),
            (Command::Trim { name: name.clone(), id: id.clone(), partition: 0, offset: 5 }, Applied::Changed),
            (Command::BeginSeal { shard: 1, epoch: 1, token: 77 }, Applied::Attempt(2)),
            (commit(9), Applied::Opened(2)),
            (Command::OpenFirstSpan { shard: 2, span: span_on(&[1], 1), base: 1 }, Applied::Opened(3)),
            (Command::DeleteTopic { name, id }, Applied::Changed),
        ];
        for (command, does) in commands {
            assert_eq!(state.shows(&command), None, "{command:?}");
            assert_eq!(state.apply(&command), Ok(does), "{command:?}");
            assert_eq!(state.shows(&command), Some(does), "{command:?}");
        }
    }

    #[test]
    fn what_somebody_else_did_is_not_taken_for_ones_own() {
        let mut state = cluster();
        state.apply(&create("a")).unwrap();
        assert_eq!(state.shows(&create("b")), None);
        state.apply(&Command::BeginSeal { shard: 1, epoch: 1, token: 1 }).unwrap();
        assert_eq!(state.shows(&Command::BeginSeal { shard: 1, epoch: 1, token: 2 }), None);
        state.apply(&commit(9)).unwrap();
        assert_eq!(state.shows(&commit(8)), None);
    }
}

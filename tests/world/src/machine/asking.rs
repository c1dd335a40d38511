//! A node asks the metadata, and takes what it says.

use std::rc::Rc;

use tidelog_meta::{Applied, Command, Illegal, State};
use tidelog_replica::follower::Event;

use crate::fabric::Fabric;
use crate::machine::{Call, Machine, Status};
use crate::truth;

impl Machine {
    /// Reads the metadata, if it is not being read.
    pub(crate) fn read_metadata(&mut self, fabric: &mut Fabric) {
        let Status::Running(running) = &mut self.process else { return };
        if !running.reading {
            running.reading = true;
            self.call(fabric, Call::Read, None);
        }
    }

    pub(super) fn call(&mut self, fabric: &mut Fabric, call: Call, command: Option<Command>) {
        let Status::Running(running) = &mut self.process else { return };
        running.next_token += 1;
        running.calls.insert(running.next_token, call);
        fabric.propose(self.at, self.life, running.next_token, command);
    }

    /// The metadata has answered, or has not.
    pub fn decided(
        &mut self,
        fabric: &mut Fabric,
        token: u64,
        outcome: Option<(Result<Applied, Illegal>, Rc<State>)>,
    ) {
        let Status::Running(running) = &mut self.process else {
            return self.boot_decided(fabric, outcome);
        };
        let Some(call) = running.calls.remove(&token) else { return };
        if matches!(call, Call::Read) {
            running.reading = false;
            running.read_at = fabric.now;
        }
        let result = outcome.map(|(result, state)| {
            self.look(fabric, &state, true);
            result
        });
        match call {
            Call::Read | Call::Other => {}
            Call::BeginSeal(shard, epoch, token) => self.seal_begun(fabric, shard, epoch, token, result),
            Call::CommitSeal(shard) => self.seal_committed(fabric, shard, result),
            Call::Close(shard) => self.closed(fabric, shard, result),
        }
    }

    /// Takes a state of the metadata, if it is newer than the one at hand.
    pub fn look(&mut self, fabric: &mut Fabric, state: &Rc<State>, current: bool) {
        let Status::Running(running) = &mut self.process else { return };
        if state.version < running.state.version {
            return;
        }
        running.state = Rc::clone(state);
        let shards: Vec<u64> = state.chains.keys().copied().collect();
        for shard in shards {
            let view = truth::view(state, shard, current);
            let last = view.spans.values().next_back().cloned();
            self.follow(fabric, shard, Event::Viewed(view));
            if let Some(last) = last {
                self.look_at_last(fabric, shard, &last);
            }
        }
    }
}

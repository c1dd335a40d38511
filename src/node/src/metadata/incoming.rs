//! What other nodes ask of this one about the metadata.

use std::sync::{Arc, Weak};

use tidelog_proto::peer::Message;

use super::member::Member;
use crate::peers::{Handler, Peer, Reply};

/// Takes the messages of the metadata's lane.
#[derive(Debug)]
pub(super) struct Incoming(pub(super) Weak<Member>);

impl Handler for Incoming {
    fn take(&self, from: Peer, message: Message, reply: Reply) {
        // Nobody is there once the node has stopped.
        let Some(member) = self.0.upgrade() else { return };
        // The reply's share of what a connection may have unanswered bounds how many of these there are.
        tokio::spawn(answer(member, from, message, reply));
    }
}

async fn answer(member: Arc<Member>, from: Peer, message: Message, reply: Reply) {
    let kind = message.kind().name();
    let answered = match message {
        Message::Group(body) => member.group.answer(body).await.map(Message::GroupAnswer),
        Message::Propose(body) => member.group.ask_bytes(&body).await.map(Message::Proposed),
        Message::Heartbeat { from, version: _, load } => {
            member.hears(from.node, load);
            Ok(Message::Heard { version: member.recent().version })
        }
        _ => return,
    };
    match answered {
        Ok(answer) => reply.send(&answer),
        Err(error) => tracing::warn!(node = from.replica.node, kind, %error, "a message is not understood"),
    }
}

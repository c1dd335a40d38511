//! Questions of one connection that wait for their answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tidelog_proto::peer::Message;
use tokio::sync::oneshot;

/// Questions that wait. They end with the connection.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    closed: bool,
    questions: HashMap<u64, oneshot::Sender<Message>>,
}

/// A question that waits, for as long as this is kept.
#[derive(Debug)]
pub(crate) struct Question {
    pub(super) correlation: u64,
    answer: oneshot::Receiver<Message>,
    pending: Arc<Pending>,
}

impl Pending {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question to be sent; `None` when the connection has ended.
    pub(super) fn ask(self: &Arc<Pending>) -> Option<Question> {
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.closed {
            return None;
        }
        waiting.last += 1;
        let correlation = waiting.last;
        waiting.questions.insert(correlation, sender);
        Some(Question { correlation, answer, pending: Arc::clone(self) })
    }

    /// Brings an answer to its question; gives the message back when nobody has asked.
    pub(super) fn answer(&self, correlation: u64, message: Message) -> Option<Message> {
        let asked = self.waiting().questions.remove(&correlation);
        match asked {
            // Whoever asked may have given up meanwhile.
            Some(asked) => asked.send(message).err().and(None),
            None => Some(message),
        }
    }

    /// Nothing comes any more.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        waiting.questions.clear();
    }
}

impl Question {
    /// The answer; `None` when the connection broke before it came.
    pub(super) async fn answer(mut self) -> Option<Message> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.pending.waiting().questions.remove(&self.correlation);
    }
}

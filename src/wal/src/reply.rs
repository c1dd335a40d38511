//! Where an answer goes: a place that the shard and whoever waits share, and that is used again when its answer has been
//! taken, so that an append allocates nothing.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use crossbeam::queue::ArrayQueue;

use crate::error::AppendError;
use crate::wal::Durable;

type Answer = Result<Durable, AppendError>;

enum State {
    /// Nobody has answered; who is to be woken then.
    Open(Option<Waker>),
    Answered(Answer),
    /// The answer was taken, or nobody waits for one.
    Done,
}

/// One place. At most one [`Reply`] and one [`Appending`] refer to it.
struct Place(Mutex<State>);

impl Place {
    fn replace(&self, with: State) -> State {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *state, with)
    }
}

/// The places of a shard that are free.
pub(crate) struct Replies(ArrayQueue<Arc<Place>>);

impl Replies {
    /// Keeps at most `most` free places.
    pub(crate) fn keeping(most: usize) -> Arc<Replies> {
        Arc::new(Replies(ArrayQueue::new(most)))
    }

    /// A place for one answer: the end that gives it, and the end that waits for it.
    pub(crate) fn open(self: &Arc<Self>) -> (Reply, Appending) {
        let place = self.0.pop().unwrap_or_else(|| Arc::new(Place(Mutex::new(State::Done))));
        place.replace(State::Open(None));
        (Reply(Some(Arc::clone(&place))), Appending { place: Some(place), home: Arc::clone(self) })
    }
}

/// Gives the answer. Dropped without one, it says that the shard is closed.
pub(crate) struct Reply(Option<Arc<Place>>);

impl Reply {
    /// Answers. A producer that is gone needs no answer.
    pub(crate) fn send(mut self, answer: Answer) {
        self.give(answer);
    }

    fn give(&mut self, answer: Answer) {
        // The place may be in use for another answer as soon as this one was given: nothing is done with it behind that.
        if let Some(place) = self.0.take()
            && let State::Open(Some(waker)) = place.replace(State::Answered(answer))
        {
            waker.wake();
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.give(Err(AppendError::Closed));
    }
}

/// An append on its way, see [`crate::Wal::begin_append`].
pub struct Appending {
    /// Until the answer was taken.
    place: Option<Arc<Place>>,
    home: Arc<Replies>,
}

impl std::fmt::Debug for Appending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appending").field("over", &self.place.is_none()).finish_non_exhaustive()
    }
}

impl Future for Appending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(place) = &self.place else { return Poll::Ready(Err(AppendError::Closed)) };
        let answer = {
            let mut state = place.0.lock().unwrap_or_else(PoisonError::into_inner);
            match &mut *state {
                State::Open(Some(waker)) => {
                    waker.clone_from(cx.waker());
                    return Poll::Pending;
                }
                State::Open(none) => {
                    *none = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                State::Answered(_) => std::mem::replace(&mut *state, State::Done),
                State::Done => State::Done,
            }
        };
        // The other end has given its answer and will not come back to the place.
        if let Some(place) = self.place.take() {
            // When so many are free already, this one is not kept.
            drop(self.home.0.push(place));
        }
        match answer {
            State::Answered(answer) => Poll::Ready(answer),
            State::Open(_) | State::Done => Poll::Ready(Err(AppendError::Closed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;

    use super::*;

    const STORED: Durable = Durable { lsn: 7, base_offset: 3, append_time: None, duplicate: false };

    fn poll(appending: &mut Appending) -> Poll<Answer> {
        Pin::new(appending).poll(&mut Context::from_waker(&noop_waker()))
    }

    #[test]
    fn an_answer_arrives_once_whether_it_was_waited_for_before_or_not() {
        let replies = Replies::keeping(4);
        for wait_first in [false, true] {
            let (reply, mut appending) = replies.open();
            if wait_first {
                assert!(poll(&mut appending).is_pending());
            }
            reply.send(Ok(STORED));
            assert!(matches!(poll(&mut appending), Poll::Ready(Ok(STORED))));
            assert!(matches!(poll(&mut appending), Poll::Ready(Err(AppendError::Closed))), "only once");
        }
    }

    #[test]
    fn a_place_is_used_again_and_an_answer_never_reaches_the_one_who_had_it_before() {
        let replies = Replies::keeping(4);
        let (reply, mut first) = replies.open();
        let place = Arc::as_ptr(first.place.as_ref().unwrap());
        reply.send(Ok(STORED));
        assert!(matches!(poll(&mut first), Poll::Ready(Ok(STORED))));
        let (reply, mut second) = replies.open();
        assert_eq!(Arc::as_ptr(second.place.as_ref().unwrap()), place);
        assert!(poll(&mut second).is_pending(), "the answer before was taken");
        reply.send(Err(AppendError::Full));
        assert!(matches!(poll(&mut first), Poll::Ready(Err(AppendError::Closed))));
        assert!(matches!(poll(&mut second), Poll::Ready(Err(AppendError::Full))));
    }

    #[test]
    fn whoever_gave_up_leaves_a_place_that_nobody_gets_before_its_answer_came() {
        let replies = Replies::keeping(4);
        let (reply, gone) = replies.open();
        drop(gone);
        let (_other, mut waiting) = replies.open();
        reply.send(Ok(STORED));
        assert!(poll(&mut waiting).is_pending(), "the late answer went nowhere");
        assert!(replies.0.is_empty());
    }

    #[test]
    fn a_reply_that_is_dropped_says_closed_and_wakes() {
        let replies = Replies::keeping(4);
        let (reply, mut appending) = replies.open();
        assert!(poll(&mut appending).is_pending());
        drop(reply);
        assert!(matches!(poll(&mut appending), Poll::Ready(Err(AppendError::Closed))));
    }

    #[test]
    fn no_more_places_are_kept_than_agreed() {
        let replies = Replies::keeping(2);
        let (sent, waiting): (Vec<_>, Vec<_>) = (0..5).map(|_| replies.open()).unzip();
        sent.into_iter().for_each(|reply| reply.send(Ok(STORED)));
        for mut appending in waiting {
            assert!(poll(&mut appending).is_ready());
        }
        assert_eq!(replies.0.len(), 2);
    }
}

//! Counterexamples and figures as text.

use std::fmt;

use crate::explore::{Explored, Path};
use crate::message::Message;
use crate::metadata::SpanState;
use crate::state::State;
use crate::step::grade;

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Message::Append { span, prev, frame } => {
                write!(f, "Append of span {span}: frame {} by {frame}, behind {prev}", prev.end())
            }
            Message::Appended { span, from, end } => {
                write!(
                    f,
                    "Appended of span {span} from node {} store {}: durable to {end}",
                    from.node, from.store
                )
            }
            Message::Committed { span, end } => write!(f, "Committed of span {span}: below {end}"),
            Message::Fence { span, attempt } => write!(f, "Fence of span {span}, attempt {attempt}"),
            Message::Fenced { attempt, from, frames, grade: how, committed } => write!(
                f,
                "Fenced of attempt {attempt} from node {} store {}: {frames}, {}, committed {committed}",
                from.node,
                from.store,
                grade(how)
            ),
            Message::RepairAppend { span, attempt, frames } => {
                write!(f, "RepairAppend of span {span}, attempt {attempt}: {frames}")
            }
            Message::Repaired { attempt, from, end } => write!(
                f,
                "Repaired of attempt {attempt} from node {} store {}: durable to {end}",
                from.node, from.store
            ),
            Message::LeaderClose { span, frames } => write!(f, "LeaderClose of span {span}: {frames}"),
        }
    }
}

/// A way through the world, one line for each step, and what it led to.
pub fn told(violated: &str, path: &Path) -> String {
    let mut text = format!("{violated}\n");
    for (number, (_, action)) in path.iter().enumerate() {
        if let Some(action) = action {
            text.push_str(&format!("{:>4}  {action}\n", number + 1));
        }
    }
    if let Some((state, _)) = path.last() {
        text.push_str(&outcome(state));
    }
    text
}

/// What is where.
fn outcome(state: &State) -> String {
    let mut text = String::new();
    for span in state.spans() {
        let (record, told) = (state.metadata.span(span), &state.told[usize::from(span)]);
        let stands = match record.state {
            SpanState::Open => "open".to_owned(),
            SpanState::Sealing(attempt) => format!("being sealed by attempt {attempt}"),
            SpanState::Sealed { frames, attempt: Some(attempt) } => {
                format!("sealed by attempt {attempt} with {frames}")
            }
            SpanState::Sealed { frames, attempt: None } => format!("closed by its leader with {frames}"),
        };
        text.push_str(&format!("      span {span} (epoch {}): {stands}\n", record.epoch));
        text.push_str(&format!("        acknowledged {}, read {}\n", told.acked, told.read));
        for (node, follower) in state.followers.iter().enumerate() {
            let tail = follower.tail(span);
            text.push_str(&format!(
                "        node {node} store {}: {}, durable to {}, {}, promised {}\n",
                follower.store,
                tail.frames,
                tail.end,
                grade(tail.grade()),
                follower.promised
            ));
        }
    }
    text
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<34} {:>10} unique states, {:>11} reached, depth {}",
            self.config.name, self.unique, self.reached, self.depth
        )
    }
}

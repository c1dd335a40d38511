//! Body of the fuzz target.

use bytes::BytesMut;

use super::head::{HEAD_LEN, Head};
use super::message::Message;

/// A connection's bytes between nodes: the first byte picks the size of the pieces in which they arrive. The outcome does
/// not depend on it, and every message that is understood is written as the same bytes again.
pub fn fuzz_peer(data: &[u8]) {
    let Some((first, input)) = data.split_first() else { return };
    let input = with_checksums(input);
    let whole = outcome(&input, input.len().max(1));
    let pieces = outcome(&input, usize::from(*first) + 1);
    assert_eq!(whole, pieces, "the outcome depends on how the bytes arrive");
}

/// Puts the right checksums into the heads that stand where heads are expected, so that what is behind them is reached.
fn with_checksums(input: &[u8]) -> Vec<u8> {
    let (mut out, mut at) = (input.to_vec(), 0);
    while let Some(raw) = out.get(at..).and_then(|rest| rest.first_chunk::<HEAD_LEN>()) {
        let Ok(head) = Head::decode(raw) else { break };
        let (fields, end) = (at + HEAD_LEN, at + HEAD_LEN + head.fields + head.tail);
        let Some(body) = out.get(fields..end) else { break };
        let (body, tail) = body.split_at(head.fields);
        let tail = [bytes::Bytes::copy_from_slice(tail)];
        let right = Head::encode(head.kind, head.correlation, body, &tail);
        out[at..fields].copy_from_slice(&right);
        at = end;
    }
    out
}

fn outcome(input: &[u8], piece: usize) -> Vec<String> {
    let (mut buffer, mut outcome) = (BytesMut::new(), Vec::new());
    for part in input.chunks(piece) {
        buffer.extend_from_slice(part);
        loop {
            let before = buffer.clone();
            match Message::take(&mut buffer) {
                Ok(Some((correlation, message))) => {
                    let used = &before[..before.len() - buffer.len()];
                    check_same(used, correlation, &message);
                    outcome.push(format!("{correlation} {message:?}"));
                }
                Ok(None) => break,
                Err(error) => {
                    outcome.push(error.to_string());
                    return outcome;
                }
            }
        }
        assert!(
            Message::missing(&buffer).is_ok_and(|missing| missing > 0),
            "nothing is missing, and nothing was taken"
        );
    }
    outcome
}

fn check_same(used: &[u8], correlation: u64, message: &Message) {
    let again = message.encode(correlation).map(|encoded| {
        encoded.head.iter().chain(encoded.tail.iter().flatten()).copied().collect::<Vec<u8>>()
    });
    assert!(again.as_deref() == Ok(used), "a message is not written as it was read");
}

//! # Purpose
//! What members of a consumer group say to one another through the coordinator: the subscription that each sends when
//! it joins, the assignment that the leader gives it, and the range assignor that every Kafka client has. A member
//! that speaks this shares a group with Kafka's own clients.
//!
//! # Format
//! Big-endian. Subscription: version i16, topics (count i32, each a string of length i16), user data (length i32, -1
//! for none), and from version 1 on more fields, which are not looked at. Assignment: version i16, count i32 of
//! (topic, partitions: count i32 of i32), user data. Written as version 0, which all clients read.
//!
//! # Limits
//! Nothing is allocated from a count: elements are taken as long as there are bytes.

use std::collections::{BTreeMap, BTreeSet};

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";
/// The name of the range assignor.
pub const RANGE: &str = "range";

/// Bytes that are neither a subscription nor an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {what} of a consumer ends at byte {at} or is not understood there")]
pub struct ConsumerProtocolError {
    /// What was read.
    pub what: &'static str,
    /// Where, in bytes from its beginning.
    pub at: usize,
}

/// Partitions by topic.
pub type Assignment = BTreeMap<String, BTreeSet<i32>>;

/// The topics of a subscription; later fields are not looked at.
///
/// # Errors
/// When the bytes end early or a name is not UTF-8.
pub fn decode_subscription(bytes: &[u8]) -> Result<BTreeSet<String>, ConsumerProtocolError> {
    let mut from = Cursor { bytes, at: 0, what: "subscription" };
    from.i16()?;
    let count = from.i32()?;
    let mut topics = BTreeSet::new();
    for _ in 0..count {
        topics.insert(from.string()?);
    }
    Ok(topics)
}

/// A subscription to these topics, without user data. Names longer than 32,767 bytes are left out: there are none.
pub fn encode_subscription<'a>(topics: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
    let topics: Vec<&str> = topics.into_iter().filter(|name| i16::try_from(name.len()).is_ok()).collect();
    let mut out = vec![0, 0];
    out.extend_from_slice(&count(topics.len()));
    for topic in topics {
        put_string(&mut out, topic);
    }
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    out
}

/// The partitions of an assignment. No bytes at all are an empty one.
///
/// # Errors
/// When the bytes end early or a name is not UTF-8.
pub fn decode_assignment(bytes: &[u8]) -> Result<Assignment, ConsumerProtocolError> {
    let mut assignment = Assignment::new();
    if bytes.is_empty() {
        return Ok(assignment);
    }
    let mut from = Cursor { bytes, at: 0, what: "assignment" };
    from.i16()?;
    for _ in 0..from.i32()? {
        let topic = from.string()?;
        let partitions = assignment.entry(topic).or_default();
        for _ in 0..from.i32()? {
            partitions.insert(from.i32()?);
        }
    }
    Ok(assignment)
}

/// An assignment, without user data.
pub fn encode_assignment(assignment: &Assignment) -> Vec<u8> {
    let mut out = vec![0, 0];
    let named = || assignment.iter().filter(|(topic, _)| i16::try_from(topic.len()).is_ok());
    out.extend_from_slice(&count(named().count()));
    for (topic, partitions) in named() {
        put_string(&mut out, topic);
        out.extend_from_slice(&count(partitions.len()));
        for partition in partitions {
            out.extend_from_slice(&partition.to_be_bytes());
        }
    }
    out.extend_from_slice(&(-1_i32).to_be_bytes());
    out
}

/// The range assignor: topic by topic, consecutive partitions to the subscribed members in the order of their ids; the
/// first ones take one more when it does not divide. `partitions` names how many each topic has.
pub fn assign_range(
    members: &BTreeMap<String, BTreeSet<String>>,
    partitions: &BTreeMap<String, u32>,
) -> BTreeMap<String, Assignment> {
    let mut assigned: BTreeMap<String, Assignment> =
        members.keys().map(|member| (member.clone(), Assignment::new())).collect();
    for (topic, partitions) in partitions {
        let subscribed: Vec<&String> =
            members.iter().filter(|(_, topics)| topics.contains(topic)).map(|(member, _)| member).collect();
        let Ok(count @ 1..) = u32::try_from(subscribed.len()) else { continue };
        let (each, more) = (partitions / count, partitions % count);
        let mut next = 0;
        for (place, member) in (0..).zip(subscribed) {
            let take = each + u32::from(place < more);
            let range = (next..next + take).filter_map(|number| i32::try_from(number).ok());
            next += take;
            if let (1.., Some(assignment)) = (take, assigned.get_mut(member)) {
                assignment.insert(topic.clone(), range.collect());
            }
        }
    }
    assigned
}

fn count(len: usize) -> [u8; 4] {
    i32::try_from(len).unwrap_or(i32::MAX).to_be_bytes()
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&i16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    what: &'static str,
}

impl<'a> Cursor<'a> {
    fn error(&self) -> ConsumerProtocolError {
        ConsumerProtocolError { what: self.what, at: self.at }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ConsumerProtocolError> {
        let end = self.at.checked_add(len).ok_or_else(|| self.error())?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| self.error())?;
        self.at = end;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], ConsumerProtocolError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.error())
    }

    fn i16(&mut self) -> Result<i16, ConsumerProtocolError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    fn i32(&mut self) -> Result<i32, ConsumerProtocolError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    fn string(&mut self) -> Result<String, ConsumerProtocolError> {
        let len = usize::try_from(self.i16()?).map_err(|_| self.error())?;
        let text = std::str::from_utf8(self.take(len)?).map_err(|_| self.error())?;
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn subscriptions_and_assignments_read_back() {
        assert_eq!(decode_subscription(&encode_subscription(["b", "a"])).unwrap(), topics(&["a", "b"]));
        let assignment = Assignment::from([("t".into(), [0, 2].into()), ("u".into(), [].into())]);
        assert_eq!(decode_assignment(&encode_assignment(&assignment)).unwrap(), assignment);
        assert_eq!(decode_assignment(b"").unwrap(), Assignment::new());
    }

    #[test]
    fn a_subscription_of_a_real_client_is_read_without_its_later_fields() {
        // kafka-python, version 1: one topic, no user data, one owned partition.
        let bytes = b"\0\x01\0\0\0\x01\0\x03abc\xff\xff\xff\xff\0\0\0\x01\0\x03abc\0\0\0\x01\0\0\0\x05";
        assert_eq!(decode_subscription(bytes).unwrap(), topics(&["abc"]));
    }

    #[test]
    fn bytes_that_end_early_or_count_wrong_are_errors_and_allocate_nothing() {
        let whole = encode_assignment(&Assignment::from([("topic".into(), [1, 2, 3].into())]));
        for len in 1..whole.len() - 4 {
            assert!(decode_assignment(&whole[..len]).is_err(), "{len}");
        }
        assert!(decode_subscription(b"\0\0\x7f\xff\xff\xff").is_err());
        assert!(decode_subscription(b"\0\0\0\0\0\x01\xff\xff").is_err());
        assert_eq!(decode_subscription(b"\0\0\xff\xff\xff\xff").unwrap(), topics(&[]));
    }

    #[test]
    fn ranges_are_consecutive_complete_and_only_for_subscribers() {
        let members = BTreeMap::from([
            ("m1".to_owned(), topics(&["t", "u"])),
            ("m2".to_owned(), topics(&["t"])),
            ("m3".to_owned(), topics(&["t", "gone"])),
        ]);
        let partitions = BTreeMap::from([("t".to_owned(), 7), ("u".to_owned(), 1)]);
        let assigned = assign_range(&members, &partitions);
        assert_eq!(assigned["m1"]["t"], BTreeSet::from([0, 1, 2]));
        assert_eq!(assigned["m2"]["t"], BTreeSet::from([3, 4]));
        assert_eq!(assigned["m3"]["t"], BTreeSet::from([5, 6]));
        assert_eq!(assigned["m1"]["u"], BTreeSet::from([0]));
        assert_eq!((assigned["m2"].len(), assigned["m3"].len()), (1, 1));
        let few = assign_range(&members, &BTreeMap::from([("t".to_owned(), 2)]));
        assert!(few["m3"].is_empty());
    }
}

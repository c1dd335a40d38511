//! The beginning of a produce request that is too long to be read: enough to answer it.

use super::api::{ApiKey, RequestHeader};
use super::field::Field;
use super::wire::{Layout, Reader};

/// Whom an answer would go to, and the first partition that it would be about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProduceStart {
    /// The request's header.
    pub header: RequestHeader,
    /// With 0 no answer is wanted.
    pub acks: i16,
    /// Name of the first topic.
    pub topic: String,
    /// The first partition of it.
    pub partition: i32,
}

impl ProduceStart {
    /// Reads what stands there; `None` when it is another request, or too little is at hand.
    pub fn read(start: &[u8]) -> Option<ProduceStart> {
        let mut reader = Reader::new(start);
        let api = ApiKey::from_number(i16::from_be_bytes(reader.array().ok()?))?;
        let version = i16::from_be_bytes(reader.array().ok()?);
        if api != ApiKey::Produce || !api.versions().contains(&version) {
            return None;
        }
        let (layout, classic) = (api.layout(version), Layout { version: 0, flexible: false });
        let correlation_id = i32::from_be_bytes(reader.array().ok()?);
        let client_id = Option::<String>::read(&mut reader, classic).ok()?;
        if layout.flexible {
            reader.tagged(|_, _| Ok(())).ok()?;
        }
        if version >= 3 {
            reader.text(layout).ok()?;
        }
        let acks = i16::from_be_bytes(reader.array().ok()?);
        // The time-out.
        reader.array::<4>().ok()?;
        reader.count(layout).ok()?.filter(|topics| *topics > 0)?;
        let topic = reader.text(layout).ok()??.to_owned();
        reader.count(layout).ok()?.filter(|partitions| *partitions > 0)?;
        let partition = i32::from_be_bytes(reader.array().ok()?);
        let header = RequestHeader { api, version, correlation_id, client_id };
        Some(ProduceStart { header, acks, topic, partition })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_says_whom_to_answer_and_less_of_it_says_nothing() {
        // Version 7: key, version, correlation id, client id, no transaction, acks, time-out, one topic `t` with one
        // partition 5, and the length of its records.
        let start = b"\0\0\0\x07\0\0\0\x09\0\x02me\xff\xff\xff\xff\0\0\x03\xe8\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\x01\0\0\0";
        let read = ProduceStart::read(start).unwrap();
        assert_eq!((read.acks, read.topic.as_str(), read.partition), (-1, "t", 5));
        assert_eq!((read.header.version, read.header.correlation_id), (7, 9));
        for len in 0..start.len() - 4 {
            assert_eq!(ProduceStart::read(&start[..len]), None, "{len}");
        }
        let mut fetch = start.to_vec();
        fetch[1] = 1;
        assert_eq!(ProduceStart::read(&fetch), None);
    }

    #[test]
    fn what_stands_behind_a_request_without_topics_or_partitions_is_none() {
        let without_topics =
            b"\0\0\0\x07\0\0\0\x09\0\x02me\xff\xff\xff\xff\0\0\x03\xe8\0\0\0\0\0\x01t\0\0\0\x01\0\0\0\x05";
        assert_eq!(ProduceStart::read(without_topics), None);
        let without_partitions =
            b"\0\0\0\x07\0\0\0\x09\0\x02me\xff\xff\xff\xff\0\0\x03\xe8\0\0\0\x01\0\x01t\0\0\0\0\0\0\0\x05";
        assert_eq!(ProduceStart::read(without_partitions), None);
    }
}

//! Every message there and back, and what is refused.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;

fn envelope() -> Envelope {
    Envelope { shard: 3, epoch: 9, from: Process { node: 1, incarnation: 4 }, version: 77 }
}

/// One of each message, of each request and of each answer.
fn examples() -> Vec<Message> {
    let replica = Replica { node: 2, store: [7; 16] };
    let place = Place { lsn: 10, chain: 11 };
    let frames = vec![Bytes::from(vec![1; 4096]), Bytes::from(vec![2; 8192])];
    let piece = Piece { shard: 3, epoch: 9, number: 5, at: 4096, len: 3 };
    let requests = [
        Request::Append { base: 10, committed: 9, frames: frames.clone() },
        Request::Append { base: 10, committed: 9, frames: Vec::new() },
        Request::Fence { attempt: 12, base: place },
        Request::FetchTail { attempt: 12, from: 10, to: 14 },
        Request::RepairAppend { attempt: 12, base: place, frames: frames.clone() },
        Request::SpanSealed,
    ];
    let standing =
        |grade| Answer::Fenced(Standing { attempt: 12, end: place, reach: 15, grade, committed: 9 });
    let answers = [
        Answer::Appended { durable: 12 },
        Answer::Refused(Refusal::Fenced { promised: 12 }),
        Answer::Refused(Refusal::Gap { end: 10 }),
        Answer::Refused(Refusal::ReadOnly),
        Answer::Refused(Refusal::StoreGone),
        Answer::Refused(Refusal::UnknownSpan),
        standing(Grade::Proved),
        standing(Grade::Unproved),
        standing(Grade::Suspect),
        Answer::HigherPromise { attempt: 12, promised: 13 },
        Answer::Tail { attempt: 12, from: 10, to: 14, frames: frames.clone() },
        Answer::Repaired { attempt: 12, durable: 14 },
    ];
    let hello = Hello {
        protocol: PROTOCOL,
        features: 1,
        cluster: [1; 16],
        replica,
        process: Process { node: 2, incarnation: 3 },
        generation: 8,
        to: Some(Replica { node: 1, store: [9; 16] }),
        seen: 5,
        address: "node-2:9094".into(),
    };
    let mut examples = vec![
        Message::Hello(Hello { to: None, ..hello.clone() }),
        Message::Hello(hello),
        Message::Refused { why: "another cluster".into() },
        Message::Alive,
        Message::ListFiles { shard: 3, epoch: 9, from: 1 },
        Message::Files {
            shard: 3,
            epoch: 9,
            files: vec![SealedFile { number: 1, len: 8192, digest: [3; 16] }; 2],
            more: true,
        },
        Message::FetchFile(piece),
        Message::Piece(piece, Bytes::from_static(b"abc")),
        Message::FetchFrames { shard: 3, epoch: 9, from: 10, to: 14 },
        Message::Frames { shard: 3, epoch: 9, from: 10, frames },
        Message::Heartbeat {
            from: Process { node: 2, incarnation: 3 },
            version: 77,
            load: Load { free_bytes: 1, disk_bytes: 2, write_rate: 3, disk_p99_us: 4 },
        },
        Message::Heard { version: 78 },
        Message::Group(Bytes::from_static(b"{}")),
        Message::GroupAnswer(Bytes::from_static(b"[]")),
        Message::Propose(Bytes::new()),
        Message::Proposed(Bytes::from_static(b"1")),
    ];
    examples.extend(requests.map(|request| Message::Request(envelope(), request)));
    examples.extend(answers.map(|answer| Message::Answer(From { shard: 3, epoch: 9, replica, answer })));
    examples
}

fn bytes(message: &Message, correlation: u64) -> Vec<u8> {
    let encoded = message.encode(correlation).unwrap();
    let bytes: Vec<u8> = encoded.head.iter().chain(encoded.tail.iter().flatten()).copied().collect();
    assert_eq!(bytes.len(), encoded.len());
    bytes
}

#[test]
fn every_message_comes_back_as_it_was() {
    let examples = examples();
    let kinds: std::collections::BTreeSet<Kind> = examples.iter().map(Message::kind).collect();
    assert_eq!(kinds.len(), Kind::ALL.len(), "one example of each kind");
    let mut buffer = BytesMut::new();
    for (correlation, message) in examples.iter().enumerate() {
        buffer.extend_from_slice(&bytes(message, correlation as u64));
    }
    for (correlation, message) in examples.into_iter().enumerate() {
        assert_eq!(Message::take(&mut buffer), Ok(Some((correlation as u64, message))));
    }
    assert!(buffer.is_empty());
}

#[test]
fn frames_and_files_are_not_copied() {
    let frame = Bytes::from(vec![1; 4096]);
    let request = Request::Append { base: 1, committed: 1, frames: vec![frame.clone()] };
    let encoded = Message::Request(envelope(), request).encode(1).unwrap();
    assert_eq!(encoded.tail[0].as_ptr(), frame.as_ptr());
}

#[test]
fn a_message_waits_until_it_is_whole() {
    for message in examples() {
        let whole = bytes(&message, 5);
        for len in (0..whole.len()).filter(|len| *len < 300 || len % 1009 == 0) {
            let mut buffer = BytesMut::from(&whole[..len]);
            assert_eq!(Message::take(&mut buffer), Ok(None), "{message:?} after {len} bytes");
            assert_eq!(buffer.len(), len, "nothing is taken");
            let missing = Message::missing(&buffer).unwrap();
            assert!(missing > 0 && missing <= whole.len() - len);
        }
    }
}

#[test]
fn a_flipped_bit_in_head_or_fields_is_never_taken() {
    for message in examples() {
        let whole = bytes(&message, 5);
        let own = message.encode(5).unwrap().head.len();
        for bit in 0..own * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // A longer length makes it wait for bytes that then do not fit.
            flipped.resize(whole.len() + 4096, 0);
            let taken = Message::take(&mut BytesMut::from(&flipped[..]));
            assert!(!matches!(taken, Ok(Some(_))), "{message:?}, bit {bit}");
        }
    }
}

#[test]
fn a_changed_tail_is_found_where_it_has_no_checksum_of_its_own() {
    for message in examples() {
        let own = message.encode(5).unwrap().head.len();
        let mut changed = bytes(&message, 5);
        if changed.len() == own || !message.kind().checks_tail() {
            continue;
        }
        changed[own] ^= 1;
        let taken = Message::take(&mut BytesMut::from(&changed[..]));
        assert_eq!(taken, Err(MessageError::Head(HeadError::Checksum)), "{message:?}");
    }
}

#[test]
fn what_is_too_long_is_neither_sent_nor_waited_for() {
    let long = Bytes::from(vec![0; MAX_TAIL + 1]);
    let sent = Message::Group(long).encode(1);
    assert_eq!(sent, Err(MessageError::TooLong { fields: 0, tail: MAX_TAIL + 1 }));
    let many = Request::Append { base: 1, committed: 1, frames: vec![Bytes::new(); MAX_FRAMES + 1] };
    assert!(Message::Request(envelope(), many).encode(1).is_err());
    for (field, len) in [(12, MAX_FIELDS), (16, MAX_TAIL)] {
        let mut head = bytes(&Message::Group(Bytes::new()), 1);
        head[field..field + 4].copy_from_slice(&(len as u32 + 1).to_le_bytes());
        let refused = Message::take(&mut BytesMut::from(&head[..]));
        assert!(matches!(refused, Err(MessageError::Head(HeadError::TooLong { .. }))), "{refused:?}");
    }
}

#[test]
fn another_program_and_a_newer_node_are_told_apart() {
    let refused = |change: fn(&mut Vec<u8>)| {
        let mut changed = bytes(&Message::Heard { version: 1 }, 1);
        change(&mut changed);
        Message::take(&mut BytesMut::from(&changed[..])).unwrap_err()
    };
    assert_eq!(refused(|bytes| bytes[..4].copy_from_slice(b"GET ")), HeadError::Magic.into());
    assert_eq!(refused(|bytes| bytes[8] = 99), HeadError::Kind(99).into());
    assert_eq!(refused(|bytes| bytes[10] = 3), HeadError::Flags(3).into());
}

#[test]
fn the_examples_pass_the_fuzz_body() {
    for piece in [0, 1, 30, 255] {
        let mut data = vec![piece];
        examples().iter().for_each(|message| data.extend(bytes(message, 5)));
        fuzz_peer(&data);
    }
}

proptest! {
    #[test]
    fn no_bytes_break_the_decoder(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_peer(&data);
    }

    #[test]
    fn no_change_of_an_example_breaks_the_decoder(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let examples = examples();
        let mut data = vec![100];
        data.extend(bytes(&examples[which.index(examples.len())], 5));
        for (at, value) in changes {
            let at = at.index(data.len());
            data[at] = value;
        }
        fuzz_peer(&data);
    }
}

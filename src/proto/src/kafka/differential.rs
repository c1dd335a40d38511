//! Another implementation of the protocol as oracle: what it decodes from our bytes and encodes again must be the same
//! bytes, for every API, version and direction.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::field::{Batches, Place};
use super::wire::{Layout, Reader, Writer};
use super::{ApiKey, Request, RequestError, RequestHeader, Response};

const SAMPLES: usize = 40;

/// Where samples come from.
pub(crate) struct Source {
    pub(crate) layout: Layout,
    nulls: bool,
    random: TestRng,
}

impl Source {
    pub(crate) fn new(layout: Layout, nulls: bool) -> Source {
        Source { layout, nulls, random: TestRng::deterministic_rng(RngAlgorithm::ChaCha) }
    }

    fn below(&mut self, end: u32) -> u32 {
        self.random.next_u32() % end
    }

    fn bytes(&mut self) -> Vec<u8> {
        // Now and then longer than one digit of a compact length says.
        let len = if self.below(16) == 0 { 200 } else { self.below(5) };
        (0..len).map(|_| self.random.next_u32().to_le_bytes()[0]).collect()
    }
}

/// What a test can make up.
pub(crate) trait Sample: Sized {
    fn sample(source: &mut Source) -> Self;
}

macro_rules! sampled {
    ($($type:ty: $sample:expr;)*) => {$(
        impl Sample for $type {
            fn sample(source: &mut Source) -> Self {
                let sample: fn(&mut Source) -> $type = $sample;
                sample(source)
            }
        }
    )*};
}
sampled! {
    bool: |source| source.below(2) == 1;
    i8: |source| i8::from_le_bytes([source.random.next_u32().to_le_bytes()[0]]);
    i16: |source| i16::try_from(source.below(0x8000)).unwrap();
    i32: |source| source.random.next_u32().cast_signed();
    i64: |source| source.random.next_u64().cast_signed();
    [u8; 16]: |source| (u128::from(source.random.next_u64()) << 64 | u128::from(source.random.next_u64())).to_be_bytes();
    String: |source| source.bytes().into_iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    Bytes: |source| source.bytes().into();
    Batches: |source| Batches(vec![source.bytes().into()]);
    Place: |_| Place(None);
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source) -> Self {
        (0..source.below(4)).map(|_| T::sample(source)).collect()
    }
}

impl<T: Sample> Sample for Option<T> {
    fn sample(source: &mut Source) -> Self {
        (!source.nulls || source.below(3) > 0).then(|| T::sample(source))
    }
}

fn every_version() -> impl Iterator<Item = (ApiKey, i16)> {
    ApiKey::ALL.iter().flat_map(|api| api.versions().map(|version| (*api, version)))
}

fn their_key(api: ApiKey) -> theirs::ApiKey {
    theirs::ApiKey::try_from(api.number()).unwrap()
}

/// Versions that the oracle has given up.
fn too_old(api: ApiKey, version: i16) -> bool {
    version < their_key(api).valid_versions().min
}

#[test]
fn requests_are_read_as_another_implementation_reads_them() {
    for (api, version) in every_version() {
        let layout = api.layout(version);
        for nulls in [false, true] {
            let mut source = Source::new(layout, nulls);
            for _ in 0..SAMPLES {
                let request = Request::sample(api, &mut source);
                let mut writer = Writer::new();
                request.write(&mut writer, layout);
                let ours = BytesMut::from(&writer.into_frame().concat()[4..]);
                if !too_old(api, version) {
                    let decoded =
                        theirs::RequestKind::decode(their_key(api), &mut ours.clone().freeze(), version);
                    match decoded {
                        Ok(decoded) => {
                            let mut again = BytesMut::new();
                            decoded.encode(&mut again, version).unwrap();
                            assert_eq!(again, ours, "{request:?} {version}");
                        }
                        // Null is not allowed everywhere.
                        Err(error) => assert!(nulls, "{request:?} {version}: {error}"),
                    }
                }
                if matches!(request, Request::Produce(_)) {
                    // Its batches are places, which only a reader makes.
                    continue;
                }
                let (_, read) = RequestHeader::decode(&framed(api, version, &ours)).unwrap();
                assert_eq!(read, request, "{version}");
            }
        }
    }
}

/// A request with a client id of two letters.
fn framed(api: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&api.number().to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&7i32.to_be_bytes());
    frame.extend_from_slice(b"\0\x02me");
    if api.layout(version).flexible {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    frame
}

#[test]
fn responses_are_read_by_another_implementation_as_they_were_meant() {
    for (api, version) in every_version() {
        let layout = api.layout(version);
        for nulls in [false, true] {
            let mut source = Source::new(layout, nulls);
            for _ in 0..SAMPLES {
                let response = Response::sample(api, &mut source);
                let frame = response.encode(version, 7).concat();
                let len = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
                assert_eq!(usize::try_from(len).unwrap(), frame.len() - 4);
                assert_eq!(frame[4..8], 7i32.to_be_bytes());
                let tagged = usize::from(layout.flexible && api != ApiKey::ApiVersions);
                let ours = Bytes::copy_from_slice(&frame[8 + tagged..]);
                let mut reader = Reader::new(&ours);
                let again = Response::read(api, &mut reader, layout).unwrap();
                reader.finish().unwrap();
                assert_eq!(again.encode(version, 7).concat(), frame);
                if too_old(api, version) {
                    continue;
                }
                match theirs::ResponseKind::decode(their_key(api), &mut ours.clone(), version) {
                    Ok(decoded) => {
                        let mut again = BytesMut::new();
                        decoded.encode(&mut again, version).unwrap();
                        assert_eq!(again, ours, "{response:?} {version}");
                    }
                    Err(error) => assert!(nulls, "{response:?} {version}: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_request_cut_anywhere_is_malformed_and_bytes_behind_it_are_ignored() {
    for (api, version) in every_version() {
        let layout = api.layout(version);
        let mut source = Source::new(layout, false);
        for _ in 0..3 {
            let mut writer = Writer::new();
            Request::sample(api, &mut source).write(&mut writer, layout);
            let whole = framed(api, version, &writer.into_frame().concat()[4..]);
            RequestHeader::decode(&whole).unwrap();
            for len in 0..whole.len() {
                assert!(RequestHeader::decode(&whole[..len]).is_err(), "{api:?} {version} cut at {len}");
            }
            let longer = [&whole[..], &[0]].concat();
            assert_eq!(RequestHeader::decode(&longer), RequestHeader::decode(&whole), "{api:?} {version}");
        }
    }
}

#[test]
fn librdkafka_asks_for_all_topics_with_three_bytes_too_many() {
    // As confluent-kafka 2.16.1 sends it.
    let sent = framed(ApiKey::Metadata, 13, &[0, 0, 0, 0, 1, 0, 0]);
    let (_, request) = RequestHeader::decode(&sent).unwrap();
    assert!(matches!(request, Request::Metadata(asked) if asked.topics.is_none()));
}

#[test]
fn a_byte_changed_anywhere_never_panics() {
    for (api, version) in every_version() {
        let layout = api.layout(version);
        let mut source = Source::new(layout, true);
        let mut writer = Writer::new();
        Request::sample(api, &mut source).write(&mut writer, layout);
        let whole = framed(api, version, &writer.into_frame().concat()[4..]);
        for at in 0..whole.len() {
            for change in [1, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                let _ = RequestHeader::decode(&changed);
            }
        }
    }
}

#[test]
fn the_batches_of_a_produce_request_are_found_where_they_stand() {
    for version in ApiKey::Produce.versions().filter(|version| !too_old(ApiKey::Produce, *version)) {
        let partition = theirs::produce_request::PartitionProduceData::default()
            .with_index(3)
            .with_records(Some(Bytes::from_static(b"the batches")));
        let topic = theirs::produce_request::TopicProduceData::default()
            .with_name(theirs::TopicName("t".to_owned().into()))
            .with_partition_data(vec![partition]);
        let request =
            theirs::ProduceRequest::default().with_acks(-1).with_timeout_ms(5).with_topic_data(vec![topic]);
        let mut body = BytesMut::new();
        theirs::RequestKind::Produce(request).encode(&mut body, version).unwrap();
        let frame = framed(ApiKey::Produce, version, &body);
        let (header, decoded) = RequestHeader::decode(&frame).unwrap();
        assert_eq!((header.version, header.client_id.as_deref()), (version, Some("me")));
        let Request::Produce(decoded) = decoded else { panic!("another request") };
        let partition = &decoded.topic_data[0].partition_data[0];
        assert_eq!((decoded.acks, decoded.topic_data[0].name.as_str(), partition.index), (-1, "t", 3));
        assert_eq!(frame[partition.records.0.clone().unwrap()], b"the batches"[..]);
    }
}

#[test]
fn what_is_not_spoken_is_told_from_what_is_malformed() {
    let (oldest, newest) = (framed(ApiKey::Fetch, 3, &[]), framed(ApiKey::ApiVersions, 9, b"later"));
    for (frame, api, version) in [(oldest, ApiKey::Fetch, 3), (newest, ApiKey::ApiVersions, 9)] {
        let error = RequestHeader::decode(&frame).unwrap_err();
        assert_eq!(error, RequestError::Version { api, version, correlation_id: 7 });
    }
    let unknown = [&999i16.to_be_bytes()[..], &[0; 10]].concat();
    assert_eq!(RequestHeader::decode(&unknown).unwrap_err(), RequestError::UnknownApi { key: 999 });
}

//! Bodies of the fuzz targets: each takes any bytes and must neither panic nor disagree with itself.

use bytes::Bytes;

use super::api::{ApiKey, Request, RequestError, RequestHeader, Response};
use super::produce_start::ProduceStart;
use super::wire::{Reader, Writer};

/// Longest frame that [`fuzz_connection`] takes, bytes.
const LONGEST: usize = 64 * 1024;

/// One request of an API and one response to it: the first byte picks the version. What is read is written and read
/// again as the same.
pub fn fuzz_api(api: ApiKey, data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let versions = api.versions();
    let count = versions.end() - versions.start() + 1;
    let version = versions.start() + i16::from(*choice) % count;
    check_request(&framed(api, version, body));
    check_response(api, version, body);
}

/// A connection's bytes in pieces of a size that the first byte picks: length, frame, length, frame. The outcome is the
/// same as when they come at once.
pub fn fuzz_connection(data: &[u8]) {
    let Some((first, input)) = data.split_first() else { return };
    let whole = outcome(input.chunks(input.len().max(1)));
    let pieces = outcome(input.chunks(usize::from(*first) + 1));
    assert_eq!(whole, pieces, "the outcome depends on how the bytes arrive");
}

fn outcome<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<String> {
    let (mut buffer, mut outcome) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some((head, rest)) = buffer.split_first_chunk() {
            let Some(len) = usize::try_from(i32::from_be_bytes(*head)).ok().filter(|len| *len <= LONGEST)
            else {
                outcome.push("over the limit".to_owned());
                return outcome;
            };
            let Some(frame) = rest.get(..len) else { break };
            outcome.push(check_request(frame));
            buffer.drain(..head.len() + len);
        }
    }
    outcome
}

/// What the server makes of a frame.
fn check_request(frame: &[u8]) -> String {
    let start = ProduceStart::read(frame);
    match RequestHeader::decode(frame) {
        Ok((header, request)) => {
            if let (Request::Produce(whole), Some(start)) = (&request, start) {
                let first = whole.topic_data.first().map(|topic| topic.name.as_str());
                assert_eq!((Some(start.topic.as_str()), start.acks), (first, whole.acks), "another start");
                assert_eq!(start.header, header, "another start");
            }
            let again = framed(header.api, header.version, &body(&request, &header));
            let (_, read) = match RequestHeader::decode(&again) {
                Ok(read) => read,
                Err(error) => return unexpected(&error),
            };
            // Where batches stand is known only to the reader of the frame that has them.
            if !matches!(request, Request::Produce(_)) {
                assert_eq!(read, request, "a request does not read back");
            }
            format!("{header:?}")
        }
        Err(error) => {
            if let RequestError::Version { api, version, .. } = &error {
                assert!(!api.versions().contains(version), "a version that is spoken is refused");
            }
            let text = error.to_string();
            assert!(!text.contains(char::is_control), "a message holds control characters");
            text
        }
    }
}

#[expect(clippy::panic, reason = "a finding of the fuzzer")]
fn unexpected(error: &RequestError) -> String {
    panic!("a request that was read and written is refused: {error}")
}

fn check_response(api: ApiKey, version: i16, body: &[u8]) {
    let layout = api.layout(version);
    let Ok(response) = Response::read(api, &mut Reader::new(body), layout) else { return };
    let frame = response.encode(version, 7).concat();
    let header = 8 + usize::from(layout.flexible && api != ApiKey::ApiVersions);
    let read = Response::read(api, &mut Reader::new(frame.get(header..).unwrap_or_default()), layout);
    assert_eq!(read.map(|read| read.encode(version, 7).concat()), Ok(frame), "a response does not read back");
}

fn body(request: &Request, header: &RequestHeader) -> Bytes {
    let mut writer = Writer::new();
    request.write(&mut writer, header.api.layout(header.version));
    let frame: Bytes = writer.into_frame().concat().into();
    // Without the length.
    frame.slice(4..)
}

/// A request's frame, without its length.
fn framed(api: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(16 + body.len());
    frame.extend_from_slice(&api.number().to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&7_i32.to_be_bytes());
    frame.extend_from_slice(b"\0\x02me");
    if api.layout(version).flexible {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::differential::Source;
    use proptest::prelude::*;

    /// A sample of every API and version, as the fuzzer would have to find it: choice byte and body.
    fn seeds() -> Vec<(ApiKey, Vec<u8>)> {
        let mut seeds = Vec::new();
        for api in ApiKey::ALL {
            for (choice, version) in (0_u8..).zip(api.versions()) {
                let mut source = Source::new(api.layout(version), false);
                let header = RequestHeader { api: *api, version, correlation_id: 7, client_id: None };
                let body = body(&Request::sample(*api, &mut source), &header);
                seeds.push((*api, [&[choice], &body[..]].concat()));
            }
        }
        seeds
    }

    #[test]
    fn the_seeds_run_and_are_taken() {
        for (api, seed) in seeds() {
            fuzz_api(api, &seed);
            let version = api.versions().start() + i16::from(seed[0]);
            assert!(RequestHeader::decode(&framed(api, version, &seed[1..])).is_ok(), "{api:?} {version}");
        }
        let connection: Vec<u8> = seeds()
            .iter()
            .flat_map(|(api, seed)| {
                let frame = framed(*api, api.versions().start() + i16::from(seed[0]), &seed[1..]);
                let len = i32::try_from(frame.len()).unwrap().to_be_bytes();
                [&len[..], &frame].concat()
            })
            .collect();
        let connection = [&[6], &connection[..]].concat();
        fuzz_connection(&connection);
        if let Some(dir) = std::env::var_os("TIDELOG_FUZZ_SEEDS") {
            write_seeds(std::path::Path::new(&dir), &connection);
        }
    }

    /// For `fuzz/run`: a folder for each target, and for `all`, where a selector of the target stands first.
    fn write_seeds(dir: &std::path::Path, connection: &[u8]) {
        let write = |target: &str, name: &str, seed: &[u8]| {
            std::fs::create_dir_all(dir.join(target)).unwrap();
            std::fs::write(dir.join(target).join(name), seed).unwrap();
        };
        write("kafka_connection", "all", connection);
        write("all", "kafka_connection", &[&[6], connection].concat());
        for (api, seed) in seeds() {
            let (target, place) =
                (format!("kafka_{}", snake(api.name())), ApiKey::ALL.iter().position(|a| *a == api));
            write(&target, &format!("version-{}", seed[0]), &seed);
            let selector = [7, u8::try_from(place.unwrap()).unwrap()];
            write("all", &format!("{target}-{}", seed[0]), &[&selector[..], &seed].concat());
        }
    }

    fn snake(name: &str) -> String {
        name.chars().fold(String::new(), |mut out, c| {
            if c.is_ascii_uppercase() && !out.is_empty() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
            out
        })
    }

    #[test]
    fn every_bit_flip_of_a_seed_is_harmless() {
        for (api, seed) in seeds() {
            for at in 0..seed.len() {
                for bit in 0..8 {
                    let mut flipped = seed.clone();
                    flipped[at] ^= 1 << bit;
                    fuzz_api(api, &flipped);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_a_fuzz_body(
            api in 0..ApiKey::ALL.len(),
            data in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            fuzz_api(ApiKey::ALL[api], &data);
            fuzz_connection(&data);
        }
    }
}

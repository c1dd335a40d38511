//! Committed offsets as records.
//!
//! # Format
//! Kafka's own, so that its tools read the topic. Big-endian, strings with a length i16. Key: version i16 = 1, group,
//! topic, partition i32. Value: version i16 = 3, offset i64, leader epoch i32, metadata, commit time i64; no value
//! (null) lets go of the offset.

use super::offsets::{Change, Committed};

const KEY_VERSION: i16 = 1;
const VALUE_VERSION: i16 = 3;

/// A record that is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OffsetRecordError {
    #[error("a key of version {0}, probably of a newer Tidelog")]
    KeyVersion(i16),
    #[error("a value of version {0}, probably of a newer Tidelog")]
    ValueVersion(i16),
    #[error("a key or value that ends early or is not text")]
    Damaged,
}

/// The key of an offset.
pub(crate) fn encode_key(change: &Change) -> Vec<u8> {
    let mut out = KEY_VERSION.to_be_bytes().to_vec();
    put_string(&mut out, &change.group);
    put_string(&mut out, &change.place.0);
    out.extend_from_slice(&change.place.1.to_be_bytes());
    out
}

/// The value of an offset; `None` lets go of it.
pub(crate) fn encode_value(committed: Option<&Committed>) -> Option<Vec<u8>> {
    let committed = committed?;
    let mut out = VALUE_VERSION.to_be_bytes().to_vec();
    out.extend_from_slice(&committed.offset.to_be_bytes());
    out.extend_from_slice(&committed.leader_epoch.to_be_bytes());
    put_string(&mut out, &committed.metadata);
    out.extend_from_slice(&committed.at.to_be_bytes());
    Some(out)
}

/// What a record says.
pub(crate) fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Change, OffsetRecordError> {
    let mut key = key.ok_or(OffsetRecordError::Damaged)?;
    let version = i16::from_be_bytes(fixed(&mut key)?);
    if version != KEY_VERSION {
        return Err(OffsetRecordError::KeyVersion(version));
    }
    let group = string(&mut key)?;
    let place = (string(&mut key)?, i32::from_be_bytes(fixed(&mut key)?));
    let committed = value.map(decode_value).transpose()?;
    Ok(Change { group, place, committed })
}

fn decode_value(mut value: &[u8]) -> Result<Committed, OffsetRecordError> {
    let version = i16::from_be_bytes(fixed(&mut value)?);
    if version != VALUE_VERSION {
        return Err(OffsetRecordError::ValueVersion(version));
    }
    Ok(Committed {
        offset: i64::from_be_bytes(fixed(&mut value)?),
        leader_epoch: i32::from_be_bytes(fixed(&mut value)?),
        metadata: string(&mut value)?,
        at: i64::from_be_bytes(fixed(&mut value)?),
    })
}

/// Names and metadata were checked to be shorter than the length can say.
fn put_string(out: &mut Vec<u8>, text: &str) {
    let len = i16::try_from(text.len()).unwrap_or(i16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn fixed<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], OffsetRecordError> {
    let (taken, rest) = from.split_first_chunk::<N>().ok_or(OffsetRecordError::Damaged)?;
    *from = rest;
    Ok(*taken)
}

fn string(from: &mut &[u8]) -> Result<String, OffsetRecordError> {
    let len = usize::try_from(i16::from_be_bytes(fixed(from)?)).map_err(|_| OffsetRecordError::Damaged)?;
    let (text, rest) = from.split_at_checked(len).ok_or(OffsetRecordError::Damaged)?;
    *from = rest;
    std::str::from_utf8(text).map(str::to_owned).map_err(|_| OffsetRecordError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        let committed = Committed { offset: 42, leader_epoch: 7, metadata: "mark".into(), at: 9 };
        Change { group: "g".into(), place: ("t".into(), 3), committed: Some(committed) }
    }

    #[test]
    fn offsets_read_back_and_the_bytes_on_disk_stay_as_they_are() {
        let change = change();
        let (key, value) = (encode_key(&change), encode_value(change.committed.as_ref()).unwrap());
        assert_eq!(key, b"\0\x01\0\x01g\0\x01t\0\0\0\x03");
        assert_eq!(value, b"\0\x03\0\0\0\0\0\0\0\x2a\0\0\0\x07\0\x04mark\0\0\0\0\0\0\0\x09");
        assert_eq!(decode(Some(&key), Some(&value)), Ok(change.clone()));
        assert_eq!(decode(Some(&key), None), Ok(Change { committed: None, ..change }));
    }

    #[test]
    fn what_is_cut_or_newer_is_not_half_understood() {
        let (key, value) = (encode_key(&change()), encode_value(change().committed.as_ref()).unwrap());
        for len in 0..key.len() {
            assert_eq!(decode(Some(&key[..len]), None), Err(OffsetRecordError::Damaged));
        }
        for len in 0..value.len() {
            assert_eq!(decode(Some(&key), Some(&value[..len])), Err(OffsetRecordError::Damaged));
        }
        assert_eq!(decode(None, None), Err(OffsetRecordError::Damaged));
        assert_eq!(decode(Some(b"\0\x02"), None), Err(OffsetRecordError::KeyVersion(2)));
        assert_eq!(decode(Some(&key), Some(b"\0\x09")), Err(OffsetRecordError::ValueVersion(9)));
    }
}

//! Bytes as hex digits, the way identities are journalled: 32 for sixteen bytes.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// For `#[serde(with = "hex")]`.
pub(crate) fn serialize<S: Serializer>(bytes: &[u8; 16], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&text(bytes))
}

/// For `#[serde(with = "hex")]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 16], D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).ok_or_else(|| D::Error::custom("not of 32 lower-case hex digits"))
}

/// 32 lower-case digits.
pub(crate) fn text(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

/// Reads what [`text`] wrote, and nothing else.
pub(crate) fn parse(text: &str) -> Option<[u8; 16]> {
    is_id(text).then(|| u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)).flatten()
}

/// Two lower-case digits for each byte.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from_digit(four.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads what [`text_of`] wrote, and nothing else.
pub(crate) fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Whether a text is 32 lower-case hex digits.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bytes_read_back_and_nothing_else_does() {
        let bytes = [0, 1, 2, 0xff, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xef];
        assert_eq!(text(&bytes), "000102ff0405060708090a0b0c0d0eef");
        assert_eq!(parse(&text(&bytes)), Some(bytes));
        for bad in ["", "00", "+00102ff0405060708090a0b0c0d0eef", "000102FF0405060708090a0b0c0d0eef"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}

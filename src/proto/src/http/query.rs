//! # Purpose
//! The pairs of a query string, percent-decoded.

use std::borrow::Cow;

/// Name and value of each pair, in order; a pair without `=` has an empty value. Bytes that are not UTF-8 after
/// decoding become U+FFFD, a `%` without two hex digits stands for itself.
pub fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// Percent-decodes one part of a query string; `+` is a space.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, behind @ ..]) => match hex(*high).zip(hex(*low)) {
                Some((high, low)) => {
                    out.push(high << 4 | low);
                    rest = behind;
                }
                None => out.push(b'%'),
            },
            (byte, _) => out.push(*byte),
        }
    }
    match String::from_utf8(out) {
        Ok(text) => Cow::Owned(text),
        Err(error) => Cow::Owned(String::from_utf8_lossy(error.as_bytes()).into_owned()),
    }
}

/// The value of one hex digit.
pub(crate) fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_come_in_order_with_and_without_values() {
        let read: Vec<_> = pairs("details&sync_timeout=5&&a=b=c&x=").collect();
        let known = [("details", ""), ("sync_timeout", "5"), ("a", "b=c"), ("x", "")];
        assert_eq!(read, known.map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v))));
    }

    #[test]
    fn escapes_are_decoded_and_broken_ones_stand_for_themselves() {
        for (text, decoded) in [
            ("a%20b+c", "a b c"),
            ("%e4%B8%9C", "东"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decode(text), decoded);
        }
    }

    proptest! {
        #[test]
        fn every_text_survives_percent_encoding(text in ".*") {
            let encoded: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(decode(&encoded), text);
        }
    }
}

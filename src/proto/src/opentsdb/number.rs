//! # Purpose
//! The two numbers of a data point: its timestamp and its value. Both are checked; the value is kept as its text.

use crate::shown::shown;

use super::point::PointError;

/// The largest timestamp that still means seconds (2106-02-07).
pub const MAX_SECONDS: u64 = 4_294_967_295;
/// Milliseconds have exactly 13 digits: 2001-09-09 to 2286-11-20.
const MIN_MILLIS: u64 = 1_000_000_000_000;
/// Longest text of a value, in bytes: the largest f64 written out in full, with room for decimals.
pub const MAX_VALUE_TEXT: usize = 400;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberKind {
    /// A signed 64-bit integer: no `.`, `e` or `E` in the text.
    Integer,
    /// A finite 64-bit float.
    Float,
}

/// A timestamp's text as milliseconds since 1970.
pub fn timestamp_ms(text: &[u8]) -> Result<i64, PointError> {
    parse_timestamp(text)
        .and_then(|ms| i64::try_from(ms).map_err(|_| "too large"))
        .map_err(|why| PointError::Timestamp { shown: shown(text), why })
}

fn parse_timestamp(text: &[u8]) -> Result<u64, &'static str> {
    let point = text.iter().position(|b| *b == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let number = digits(whole)?;
    if let Some(fraction) = fraction {
        if fraction.len() > 3 {
            return Err("more than three decimals; timestamps end at milliseconds");
        }
        if number > MAX_SECONDS {
            return Err("decimals belong to a timestamp in seconds, at most 4294967295");
        }
        let scale = [1000, 100, 10, 1].get(fraction.len()).copied().unwrap_or(1);
        let ms = number * 1000 + digits(fraction)? * scale;
        return if ms == 0 { Err("must be greater than zero") } else { Ok(ms) };
    }
    match number {
        0 => Err("must be greater than zero"),
        1..=MAX_SECONDS => Ok(number * 1000),
        MIN_MILLIS.. => Ok(number),
        _ => Err("neither seconds (at most 4294967295) nor milliseconds (13 digits)"),
    }
}

/// At most 13 digits, nothing else.
fn digits(text: &[u8]) -> Result<u64, &'static str> {
    if text.is_empty() {
        return Err("empty");
    }
    if text.len() > 13 {
        return Err("more than 13 digits, or not a number");
    }
    let mut number = 0_u64;
    for byte in text {
        if !byte.is_ascii_digit() {
            return Err(if *byte == b'-' { "negative or not a number" } else { "not a number" });
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    Ok(number)
}

/// Checks a value's text and says what kind of number it is.
pub fn value_kind(text: &[u8]) -> Result<NumberKind, PointError> {
    check_value(text).map_err(|why| PointError::Value { shown: shown(text), why })
}

fn check_value(text: &[u8]) -> Result<NumberKind, &'static str> {
    if text.len() > MAX_VALUE_TEXT {
        return Err("longer than 400 bytes");
    }
    let unsigned = match text {
        [] => return Err("empty value"),
        [b'+' | b'-', rest @ ..] => rest,
        _ => text,
    };
    let whole = digit_run(unsigned);
    let rest = &unsigned[whole..];
    if rest.is_empty() {
        if whole == 0 {
            return Err("a sign without digits");
        }
        // Eighteen digits always fit; more are left to the exact parser.
        return if whole <= 18 || parses_as::<i64>(text) {
            Ok(NumberKind::Integer)
        } else {
            Err("does not fit a signed 64-bit integer; add .0 to send a float")
        };
    }
    check_float(text, rest, whole)
}

/// `rest` is what follows the `whole` digits of `text`.
fn check_float(text: &[u8], mut rest: &[u8], whole: usize) -> Result<NumberKind, &'static str> {
    const NOT: &str = "not a number (NaN and infinity cannot be stored)";
    let mut decimals = 0;
    if let [b'.', after @ ..] = rest {
        decimals = digit_run(after);
        rest = &after[decimals..];
    }
    if whole + decimals == 0 {
        return Err(NOT);
    }
    if rest.is_empty() && whole <= 300 {
        return Ok(NumberKind::Float); // below 1e300, whatever the decimals are
    }
    if let [b'e' | b'E', after @ ..] = rest {
        let exponent = match after {
            [b'+' | b'-', digits @ ..] => digits,
            _ => after,
        };
        if exponent.is_empty() || digit_run(exponent) != exponent.len() {
            return Err("an exponent without digits");
        }
    } else if !rest.is_empty() {
        return Err(NOT);
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    match number {
        Some(number) if number.is_finite() => Ok(NumberKind::Float),
        _ => Err("too large for a 64-bit float"),
    }
}

fn digit_run(text: &[u8]) -> usize {
    text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len())
}

fn parses_as<T: std::str::FromStr>(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<T>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seconds_milliseconds_and_seconds_with_decimals_become_milliseconds() {
        let known: [(&str, i64); 8] = [
            ("1", 1000),
            ("4294967295", 4_294_967_295_000),
            ("1364410924250", 1_364_410_924_250),
            ("9999999999999", 9_999_999_999_999),
            ("1364410924.250", 1_364_410_924_250),
            ("1364410924.25", 1_364_410_924_250),
            ("1364410924.2", 1_364_410_924_200),
            ("0.001", 1),
        ];
        for (text, ms) in known {
            assert_eq!(timestamp_ms(text.as_bytes()), Ok(ms), "{text}");
        }
    }

    #[test]
    fn a_timestamp_that_is_neither_seconds_nor_milliseconds_is_refused() {
        for text in [
            "0",
            "",
            "-1",
            "+1",
            "0.000",
            "4294967296",
            "999999999999",
            "10000000000000",
            "1364410924.2501",
            "1364410924.",
            ".250",
            "1364410924250.0",
            "1e9",
            "now",
            "1 ",
            "99999999999999999999999999",
            "1.2.3",
        ] {
            assert!(matches!(timestamp_ms(text.as_bytes()), Err(PointError::Timestamp { .. })), "{text}");
        }
    }

    #[test]
    fn integers_and_floats_are_told_apart_by_their_text() {
        for text in ["0", "-0", "+5", "42", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(value_kind(text.as_bytes()), Ok(NumberKind::Integer), "{text}");
        }
        for text in
            ["0.0", "-4.5", "5.", ".5", "1e3", "1E-3", "-1.5e+300", "9223372036854775808.0", "1e-9999"]
        {
            assert_eq!(value_kind(text.as_bytes()), Ok(NumberKind::Float), "{text}");
        }
    }

    #[test]
    fn what_is_no_finite_number_is_refused() {
        let long = "1".repeat(MAX_VALUE_TEXT + 1);
        let huge = format!("{}.0", "9".repeat(350));
        for text in [
            "",
            "-",
            "+",
            ".",
            "-.",
            "NaN",
            "nan",
            "Inf",
            "-Infinity",
            "1e999",
            "1e",
            "1e+",
            "1.5f",
            "0x10",
            "1,5",
            "1 2",
            "--1",
            "e5",
            ".e5",
            "9223372036854775808",
            "-9223372036854775809",
            &long,
            &huge,
        ] {
            assert!(matches!(value_kind(text.as_bytes()), Err(PointError::Value { .. })), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_finite_float_that_rust_prints_is_a_value(number in proptest::num::f64::NORMAL | proptest::num::f64::ZERO) {
            for text in [format!("{number:e}"), format!("{number:.3}")] {
                prop_assert!(value_kind(text.as_bytes()).is_ok(), "{}", text);
            }
        }

        #[test]
        fn a_text_is_accepted_only_if_rust_reads_the_same_finite_number(text in "[-+0-9.eEnaif]{0,12}") {
            let finite = text.parse::<f64>().is_ok_and(f64::is_finite);
            if value_kind(text.as_bytes()).is_ok() {
                prop_assert!(finite);
            }
        }
    }
}

//! Zig-zag varints: signed numbers in 7-bit groups, lowest first, the top bit of a byte meaning "more follows".
//!
//! A reader takes at most 5 bytes for an i32 and 10 for an i64. It refuses more, bits that do not fit, and
//! overlong forms (a last group of zero), so that each number has one encoding.

/// Most bytes of an i32.
pub const MAX_I32_LEN: usize = 5;
/// Most bytes of an i64.
pub const MAX_I64_LEN: usize = 10;

/// Reads an i32 and says how many bytes it took; `None` when the bytes end early or are no valid varint.
#[inline]
pub fn read_i32(bytes: &[u8]) -> Option<(i32, usize)> {
    let (value, len) = read_u64(bytes, MAX_I32_LEN)?;
    let value = u32::try_from(value).ok()?;
    // Zig-zag: the lowest bit is the sign.
    let value = (value >> 1) ^ (value & 1).wrapping_neg();
    Some((i32::from_ne_bytes(value.to_ne_bytes()), len))
}

/// Reads an i64 and says how many bytes it took; `None` when the bytes end early or are no valid varint.
#[inline]
pub fn read_i64(bytes: &[u8]) -> Option<(i64, usize)> {
    let (value, len) = read_u64(bytes, MAX_I64_LEN)?;
    let value = (value >> 1) ^ (value & 1).wrapping_neg();
    Some((i64::from_ne_bytes(value.to_ne_bytes()), len))
}

#[inline]
fn read_u64(bytes: &[u8], most: usize) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    read_long(bytes, most)
}

fn read_long(bytes: &[u8], most: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (index, &byte) in bytes.iter().take(most).enumerate() {
        let group = u64::from(byte & 0x7F);
        let shift = 7 * index;
        // The tenth byte has room for one bit only.
        if shift == 63 && group > 1 {
            return None;
        }
        value |= group << shift;
        if byte < 0x80 {
            return (byte != 0).then_some((value, index + 1));
        }
    }
    None
}

/// Appends an i64; an i32 has the same encoding as the i64 of its value.
#[inline]
pub fn write(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.push(low_group(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_group(rest));
}

/// How many bytes [`write()`] takes, 1 to 10.
#[inline]
pub const fn len(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[inline]
const fn low_group(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7F
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: i64) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, value);
        out
    }

    #[test]
    fn known_numbers_have_their_known_bytes() {
        for (value, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7E]),
            (-64, &[0x7F]),
            (64, &[0x80, 0x01]),
            (300, &[0xD8, 0x04]),
            (i64::from(i32::MAX), &[0xFE, 0xFF, 0xFF, 0xFF, 0x0F]),
            (i64::from(i32::MIN), &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
            (i64::MAX, &[0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
            (i64::MIN, &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]),
        ] {
            assert_eq!(written(value), bytes);
            assert_eq!(len(value), bytes.len());
            assert_eq!(read_i64(bytes), Some((value, bytes.len())));
        }
    }

    #[test]
    fn what_does_not_end_does_not_fit_or_is_overlong_is_refused() {
        for bytes in [
            &[][..],
            &[0x80],
            &[0xFF; 9],
            &[0xFF; 10],
            &[0xFF; 11],
            &[0x80, 0x00],
            &[0x81, 0x80, 0x00],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x02],
            &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F],
        ] {
            assert_eq!(read_i64(bytes), None, "{bytes:02x?}");
            assert_eq!(read_i32(bytes), None, "{bytes:02x?}");
        }
        assert_eq!(read_i32(&[0xFF, 0xFF, 0xFF, 0xFF, 0x1F]), None, "33 bits");
        assert_eq!(read_i32(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]), None, "six bytes");
    }

    proptest! {
        #[test]
        fn every_i64_comes_back(value: i64, tail: Vec<u8>) {
            let mut bytes = written(value);
            let wrote = bytes.len();
            prop_assert_eq!(wrote, len(value));
            bytes.extend(tail);
            prop_assert_eq!(read_i64(&bytes), Some((value, wrote)));
        }

        #[test]
        fn every_i32_comes_back_and_wider_numbers_do_not(value: i64) {
            let bytes = written(value);
            let expected = i32::try_from(value).ok().map(|value| (value, bytes.len()));
            prop_assert_eq!(read_i32(&bytes), expected);
            let narrow = i32::try_from(value >> 32).unwrap();
            let bytes = written(i64::from(narrow));
            prop_assert_eq!(read_i32(&bytes), Some((narrow, bytes.len())));
        }

        #[test]
        fn random_bytes_are_read_as_written_or_refused(bytes: Vec<u8>) {
            if let Some((value, took)) = read_i64(&bytes) {
                prop_assert_eq!(&written(value)[..], &bytes[..took]);
            }
        }
    }
}

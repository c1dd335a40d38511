//! # Purpose
//! Bytes from the wire as they may stand in a message: UTF-8, one line, no escape sequences, of bounded length.

use tidelog_format::record_format::is_unsafe;

/// `bytes` for a message: invalid UTF-8 replaced, control characters escaped, cut after 64 characters.
pub(crate) fn shown(bytes: &[u8]) -> String {
    cut(bytes, 64)
}

/// A parser's message, which may repeat what was sent: the same, cut after 300 characters.
pub(crate) fn message(text: &str) -> String {
    cut(text.as_bytes(), 300)
}

/// The longest beginning of a text that has at most `most` bytes.
pub(crate) fn beginning(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn cut(bytes: &[u8], max_chars: usize) -> String {
    // Four bytes a character at most; one more character tells that something is missing.
    let head = bytes.get(..(max_chars + 1) * 4).unwrap_or(bytes);
    let text = String::from_utf8_lossy(head);
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == max_chars {
            out.push_str("...");
            break;
        }
        if is_unsafe(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_a_terminal() {
        assert_eq!(shown(b"a\x1b[31mb\n"), "a\\u{1b}[31mb\\u{a}");
        assert_eq!(shown("x\u{202e}y".as_bytes()), "x\\u{202e}y");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(shown(&[b'a'; 64]), "a".repeat(64));
        assert_eq!(shown(&[b'a'; 1_000_000]), "a".repeat(64) + "...");
        assert_eq!(shown("ä".repeat(500).as_bytes()), "ä".repeat(64) + "...");
    }
}

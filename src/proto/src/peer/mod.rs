//! # Purpose
//! What nodes of a cluster say to each other, as bytes. The rules behind the words are `src/replica`'s and `src/meta`'s;
//! here they have numbers, lengths and checksums.
//!
//! # Format
//! A connection is a stream of messages in each direction, all little-endian. A message is a head of 32 bytes, its fields,
//! and its tail: bytes that are passed on as they are (frames, pieces of files, bodies of the metadata's group).
//!
//! | at | field | meaning |
//! |---|---|---|
//! | 0 | magic u32 | `TLp1` |
//! | 4 | crc u32 | CRC-32C of bytes 8 to 32 and of the fields |
//! | 8 | kind u16 | [`Kind`]: numbers for ever |
//! | 10 | flags u16 | 1: the tail has a checksum. Others are refused |
//! | 12 | fields u32 | length of the fields, at most [`MAX_FIELDS`] |
//! | 16 | tail u32 | length of the tail, at most [`MAX_TAIL`] |
//! | 20 | tail_crc u32 | CRC-32C of the tail; 0 without one: frames carry checksums of their own |
//! | 24 | correlation u64 | chosen by who asks, repeated in the answer |
//!
//! # Invariants
//! - A head is believed only after its checksum, lengths only after their bounds, and nothing is allocated before that.
//! - The first message of each side is [`Hello`]; the other side compares cluster and protocol before it takes more.
//! - Unknown fields cannot be skipped: what differs between versions has another kind, sent after both sides said that
//!   they know it ([`Hello::features`]).
//!
//! # Limits
//! [`MAX_FIELDS`], [`MAX_TAIL`], [`MAX_FRAMES`] in one message.

mod field;
mod fuzz;
mod head;
mod hello;
mod message;
#[cfg(test)]
mod tests;
mod words;

pub use field::FieldError;
pub use fuzz::fuzz_peer;
pub use head::{HEAD_LEN, Head, HeadError, Kind, MAX_FIELDS, MAX_TAIL};
pub use hello::{Hello, PROTOCOL};
pub use message::{Encoded, MAX_FRAMES, Message, MessageError};
pub use words::{
    Answer, Envelope, From, Grade, Load, Piece, Place, Process, Refusal, Replica, Request, SealedFile,
    Standing,
};

//! The codecs of a RecordBatch v2 body.
//!
//! # Format
//! | codec | bytes |
//! |---|---|
//! | gzip | RFC 1952, one or more members |
//! | snappy | read: one raw snappy block, or xerial framing; written: xerial framing |
//! | lz4 | one LZ4 frame (not the legacy one) |
//! | zstd | one or more zstd frames; written at level 1 |
//!
//! # Limits
//! Decompression writes at most the limit it is given and stops there, whatever the input claims. Sizes from
//! the input are hints: they are believed only as far as the bytes at hand could bear them out. Scratch memory
//! of the decoders themselves is bounded by their formats: 12 MiB for lz4, 128 MiB of address space (touched
//! only as far as data arrives) for zstd.

mod xerial;

use std::io::{self, Read, Write};

/// How the records of a batch are compressed. The numbers are Kafka's, in bits 0 to 2 of the attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Records stand as they are.
    None = 0,
    /// gzip.
    Gzip = 1,
    /// snappy, raw or in xerial framing.
    Snappy = 2,
    /// LZ4 frame.
    Lz4 = 3,
    /// zstd; what Tidelog itself writes.
    #[default]
    Zstd = 4,
}

impl Codec {
    /// Every codec, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of that number (0 to 4), if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.number() == number)
    }

    /// The codec's number, 0 to 4.
    pub const fn number(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The name Kafka's configuration uses: `none`, `gzip`, `snappy`, `lz4`, `zstd`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    /// The bytes decompress to more than the limit.
    #[error("{codec} data decompress to more than {limit} bytes; send smaller batches")]
    TooLarge {
        /// The codec in use.
        codec: Codec,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The bytes are not what the codec writes.
    #[error("damaged {codec} data: {source}")]
    Corrupt {
        /// The codec in use.
        codec: Codec,
        /// What the decoder said.
        source: io::Error,
    },
    /// The encoder failed, which only a lack of memory explains.
    #[error("{codec} encoder failed: {source}")]
    Encoder {
        /// The codec in use.
        codec: Codec,
        /// What the encoder said.
        source: io::Error,
    },
}

/// The level Tidelog compresses at: speed first, the ratio of level 3 is only some percent better.
const ZSTD_LEVEL: i32 = 1;
/// The widest zstd window accepted, as a power of two. Level 22 of a streaming client uses this one.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// First size of the output, and the least it grows by.
const CHUNK: usize = 64 * 1024;
/// Magic of an LZ4 frame. Legacy and skippable frames have others and no place in a batch.
const LZ4_MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();

/// Compresses `plain` and appends the result to `out`.
///
/// # Errors
/// [`CompressionError::Encoder`] when the codec's library fails; `out` then holds an unspecified tail.
pub fn compress(codec: Codec, plain: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let done = match codec {
        Codec::None => {
            out.extend_from_slice(plain);
            Ok(())
        }
        Codec::Gzip => compress_gzip(plain, out),
        Codec::Snappy => xerial::compress(plain, out),
        Codec::Lz4 => compress_lz4(plain, out),
        Codec::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL).map(|packed| out.extend_from_slice(&packed)),
    };
    done.map_err(|source| CompressionError::Encoder { codec, source })
}

/// Decompresses `packed` into `out`, whose former content is dropped and whose memory is reused.
/// At most `limit` bytes are written.
///
/// # Errors
/// [`CompressionError::TooLarge`] when there would be more than `limit` bytes, [`CompressionError::Corrupt`]
/// when `packed` is not whole and valid. `out` then holds an unspecified part.
pub fn decompress(
    codec: Codec,
    packed: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), CompressionError> {
    out.clear();
    let done = match codec {
        Codec::None => read_bounded(packed, out, packed.len(), limit),
        Codec::Gzip => {
            read_bounded(flate2::bufread::MultiGzDecoder::new(packed), out, packed.len() * 4, limit)
        }
        Codec::Snappy => xerial::decompress(packed, out, limit),
        Codec::Lz4 => decompress_lz4(packed, out, limit),
        Codec::Zstd => decompress_zstd(packed, out, limit),
    };
    done.map_err(|stop| match stop {
        Stop::TooLarge => CompressionError::TooLarge { codec, limit },
        Stop::Corrupt(source) => CompressionError::Corrupt { codec, source },
    })
}

/// Why a decoder stopped early.
enum Stop {
    TooLarge,
    Corrupt(io::Error),
}

impl From<io::Error> for Stop {
    fn from(source: io::Error) -> Self {
        Self::Corrupt(source)
    }
}

impl From<&'static str> for Stop {
    fn from(what: &'static str) -> Self {
        Self::Corrupt(io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

/// Reads to the end into the empty `out`, growing it as data come. `expect` sizes the first piece.
fn read_bounded(mut from: impl Read, out: &mut Vec<u8>, expect: usize, limit: usize) -> Result<(), Stop> {
    grow(out, expect.max(CHUNK).min(limit), limit);
    let mut filled = 0;
    loop {
        let read = if filled < out.len() {
            from.read(&mut out[filled..])?
        } else {
            // Full: see whether there is more before growing for it.
            let mut probe = [0; 64];
            let read = from.read(&mut probe)?;
            if read > limit - filled {
                return Err(Stop::TooLarge);
            }
            let grown =
                if read == 0 { filled } else { filled.saturating_mul(2).max(filled + read).min(limit) };
            out.reserve_exact(grown - filled);
            out.resize(grown, 0);
            out[filled..filled + read].copy_from_slice(&probe[..read]);
            read
        };
        if read == 0 {
            out.truncate(filled);
            return Ok(());
        }
        filled += read;
    }
}

/// Makes `out` that long, its memory at least twice as large as before but not over the limit.
fn grow(out: &mut Vec<u8>, len: usize, limit: usize) {
    if len > out.capacity() {
        let room = out.capacity().saturating_mul(2).min(limit).max(len);
        out.reserve_exact(room - out.len());
    }
    out.resize(len, 0);
}

fn compress_gzip(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    encoder.write_all(plain)?;
    encoder.finish().map(|_| ())
}

fn compress_lz4(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    // Java's reader knows independent blocks only.
    let info = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Independent)
        .block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
    encoder.write_all(plain)?;
    encoder.finish().map(|_| ()).map_err(io::Error::from)
}

fn decompress_lz4(packed: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
    if !packed.starts_with(&LZ4_MAGIC) {
        return Err("no LZ4 frame".into());
    }
    let mut decoder = lz4_flex::frame::FrameDecoder::new(packed);
    read_bounded(&mut decoder, out, packed.len() * 2, limit)?;
    // The decoder takes a missing end mark for the end, and stops early at an empty block.
    if !decoder.get_ref().is_empty() {
        return Err("bytes behind the end of the LZ4 frame".into());
    }
    Ok(())
}

fn decompress_zstd(packed: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
    // With the whole content fitting into the first read, zstd decodes in one pass without a window.
    // The claim is believed up to a ratio of 256; more than that grows as data come.
    let claimed = match zstd::zstd_safe::get_frame_content_size(packed) {
        Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
        Ok(None) => packed.len() * 4,
        Err(_) => return Err("no zstd frame".into()),
    };
    let expect = claimed.min(packed.len() * 256);
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    read_bounded(decoder, out, expect, limit)
}

#[cfg(test)]
mod tests;

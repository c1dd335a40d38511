use proptest::prelude::*;

use super::*;

const PACKING: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn packed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    compress(codec, plain, &mut out).unwrap();
    out
}

fn unpacked(codec: Codec, packed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let mut out = Vec::new();
    let done = decompress(codec, packed, &mut out, limit);
    assert!(out.len() <= limit, "{codec} wrote {} bytes over a limit of {limit}", out.len());
    done.map(|()| out)
}

#[test]
fn codecs_have_their_kafka_numbers() {
    for (number, codec) in (0..).zip(Codec::ALL) {
        assert_eq!(codec.number(), number);
        assert_eq!(codec as u16, number);
        assert_eq!(Codec::from_number(number), Some(codec));
    }
    assert_eq!(Codec::from_number(5), None);
    assert_eq!(Codec::ALL.map(Codec::name), ["none", "gzip", "snappy", "lz4", "zstd"]);
}

#[test]
fn the_limit_itself_is_allowed_and_one_byte_more_is_too_large() {
    // Beyond, at and below the size of a chunk, of a snappy block, of an lz4 block.
    for len in [0, 1, 63, 64, 65, 1000, 32 * 1024, CHUNK - 1, CHUNK, CHUNK + 1, 300_000] {
        let plain: Vec<u8> = (0..len).map(|n| u8::try_from(n / 7 % 251).unwrap()).collect();
        for codec in Codec::ALL {
            let packed = packed(codec, &plain);
            assert_eq!(unpacked(codec, &packed, len).unwrap(), plain, "{codec}, {len}");
            assert_eq!(unpacked(codec, &packed, usize::MAX).unwrap(), plain, "{codec}, {len}");
            if let Some(less) = len.checked_sub(1) {
                let error = unpacked(codec, &packed, less).unwrap_err();
                assert!(
                    matches!(error, CompressionError::TooLarge { limit, .. } if limit == less),
                    "{codec}: {error}"
                );
            }
        }
    }
}

#[test]
fn a_bomb_stops_at_the_limit_and_takes_no_more_memory_than_that() {
    let zeros = vec![0; 4 * 1024 * 1024];
    for codec in PACKING {
        let packed = packed(codec, &zeros);
        assert!(packed.len() < 256 * 1024);
        let mut out = Vec::new();
        let error = decompress(codec, &packed, &mut out, 1_000_000).unwrap_err();
        assert!(matches!(error, CompressionError::TooLarge { limit: 1_000_000, .. }), "{codec}: {error}");
        assert!(out.capacity() <= 1_000_000, "{codec}: {}", out.capacity());
    }
}

#[test]
fn a_claimed_size_is_not_allocated() {
    let raw_snappy_of_60_mib = [0x80, 0x80, 0x80, 0x1E, 0, 0, 0];
    // Magic, single segment with an 8 byte content size of 60 MiB, nothing behind it.
    let zstd_of_60_mib = [0x28, 0xB5, 0x2F, 0xFD, 0xE0, 0, 0, 0xC0, 0x03, 0, 0, 0, 0];
    // A xerial block of 2 GiB.
    let xerial = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\x7F\xFF\xFF\xFF\x00";
    for (codec, bytes) in [
        (Codec::Snappy, &raw_snappy_of_60_mib[..]),
        (Codec::Zstd, &zstd_of_60_mib[..]),
        (Codec::Snappy, &xerial[..]),
    ] {
        let mut out = Vec::new();
        let error = decompress(codec, bytes, &mut out, 64 * 1024 * 1024).unwrap_err();
        assert!(matches!(error, CompressionError::Corrupt { .. }), "{codec}: {error}");
        assert!(out.capacity() <= CHUNK, "{codec}: {}", out.capacity());
    }
    let four_gib = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0];
    assert!(matches!(unpacked(Codec::Snappy, &four_gib, CHUNK), Err(CompressionError::TooLarge { .. })));
}

#[test]
fn snappy_is_read_raw_and_framed_and_written_framed() {
    let plain = b"snappy, snappy, snappy, and some more snappy".repeat(2000);
    let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
    assert_eq!(unpacked(Codec::Snappy, &raw, plain.len()).unwrap(), plain);
    let framed = packed(Codec::Snappy, &plain);
    assert_eq!(framed[..16], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    assert_eq!(unpacked(Codec::Snappy, &framed, plain.len()).unwrap(), plain);
    // By hand: two blocks, "abc" and "d", each a length and a literal.
    let by_hand = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x05\x03\x08abc\0\0\0\x03\x01\0d";
    assert_eq!(unpacked(Codec::Snappy, by_hand, 4).unwrap(), b"abcd");
}

#[test]
fn every_cut_is_refused_where_the_format_can_show_it() {
    let plain: Vec<u8> = (0..2000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    for codec in PACKING {
        let whole = packed(codec, &plain);
        for len in 0..whole.len() {
            match unpacked(codec, &whole[..len], 1_000_000) {
                Err(CompressionError::Corrupt { .. }) => {}
                // A framing of blocks ends wherever a block ends, and then holds less; an lz4 end mark may be gone.
                Ok(out) if codec == Codec::Snappy => assert!(out.len() < plain.len()),
                Ok(out) if codec == Codec::Lz4 && len + 4 >= whole.len() => assert_eq!(out, plain),
                Ok(out) if codec == Codec::Lz4 => assert!(out.len() < plain.len()),
                other => panic!("{codec} cut to {len}: {other:?}"),
            }
        }
    }
}

#[test]
fn bytes_behind_the_data_are_refused() {
    for codec in PACKING {
        let mut bytes = packed(codec, b"some text");
        bytes.extend_from_slice(b"garbage");
        let error = unpacked(codec, &bytes, 1000).unwrap_err();
        assert!(matches!(error, CompressionError::Corrupt { .. }), "{codec}: {error}");
    }
}

#[test]
fn lz4_with_linked_blocks_and_checksums_is_read() {
    let plain = b"linked blocks refer to what came before them; ".repeat(10_000);
    let info = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Linked)
        .block_checksums(true)
        .content_checksum(true)
        .content_size(Some(u64::try_from(plain.len()).unwrap()));
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(&plain).unwrap();
    assert_eq!(unpacked(Codec::Lz4, &encoder.finish().unwrap(), plain.len()).unwrap(), plain);
}

#[test]
fn zstd_without_a_content_size_and_in_several_frames_is_read() {
    let plain = b"a stream does not know its length; ".repeat(20_000);
    let mut bytes = Vec::new();
    for part in plain.chunks(300_000) {
        let mut encoder = zstd::stream::write::Encoder::new(&mut bytes, 3).unwrap();
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap();
    }
    assert!(matches!(zstd::zstd_safe::get_frame_content_size(&bytes), Ok(None)));
    assert_eq!(unpacked(Codec::Zstd, &bytes, plain.len()).unwrap(), plain);
}

proptest! {
    #[test]
    fn everything_comes_back(parts in prop::collection::vec((any::<Vec<u8>>(), 0..300_usize), 0..6)) {
        let plain: Vec<u8> = parts.iter().flat_map(|(bytes, times)| bytes.repeat(*times)).collect();
        for codec in Codec::ALL {
            let mut out = vec![1, 2, 3];
            compress(codec, &plain, &mut out).unwrap();
            prop_assert_eq!(&out[..3], &[1, 2, 3], "compress appends");
            prop_assert_eq!(&unpacked(codec, &out[3..], plain.len()).unwrap(), &plain);
        }
    }

    #[test]
    fn random_bytes_never_panic_and_keep_the_limit(bytes: Vec<u8>, limit in 0..2000_usize) {
        for codec in Codec::ALL {
            let _ = unpacked(codec, &bytes, limit);
            let with_magic = match codec {
                Codec::None => vec![],
                Codec::Gzip => vec![0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF],
                Codec::Snappy => b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec(),
                Codec::Lz4 => vec![0x04, 0x22, 0x4D, 0x18, 0x40, 0x40, 0xC0],
                Codec::Zstd => vec![0x28, 0xB5, 0x2F, 0xFD],
            };
            let _ = unpacked(codec, &[with_magic, bytes.clone()].concat(), limit);
        }
    }

    #[test]
    fn changed_bytes_never_panic(
        text in "[ab]{0,4000}",
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        linked: bool,
    ) {
        let mode = if linked { lz4_flex::frame::BlockMode::Linked } else { lz4_flex::frame::BlockMode::Independent };
        let info = lz4_flex::frame::FrameInfo::new().block_mode(mode);
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(text.repeat(40).as_bytes()).unwrap();
        let lz4 = (Codec::Lz4, encoder.finish().unwrap());
        let all = PACKING.map(|codec| (codec, packed(codec, text.as_bytes())));
        for (codec, mut bytes) in all.into_iter().chain([lz4]) {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let _ = unpacked(codec, &bytes, 200_000);
        }
    }
}

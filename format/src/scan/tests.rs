use super::*;
use crate::entry::Row;
use crate::frame::{FrameBuilder, Stamp};

const STAMP: Stamp =
    Stamp { salt: [0x5A; 16], lsn: 9, committed_lsn: 9, chain: 77, append_time: 1, epoch: 3, block_index: 6 };

fn frame() -> Vec<u8> {
    let mut buffer = vec![0; BLOCK];
    let mut builder = FrameBuilder::default();
    let row = Row { partition: 0, base_offset: 0, length: 1, count: 0, kind: 200 };
    builder.push(&mut buffer, row, b"x");
    builder.close(&mut buffer, &STAMP);
    buffer
}

fn expect() -> Expect {
    Expect { block_index: 6, salt: Some(STAMP.salt), epoch: Some(3), lsn: Some(9), chain: Some(77) }
}

#[test]
fn a_frame_is_taken_only_where_all_that_is_known_fits() {
    assert!(matches!(scan(&frame(), &expect()), Found::Frame(_)));
    let with = |expect: Expect| match scan(&frame(), &expect) {
        Found::DamagedHeader(damage) => damage,
        other => panic!("{other:?}"),
    };
    assert_eq!(with(Expect { block_index: 7, ..expect() }), Damage::Misplaced { says: 6, at: 7 });
    assert_eq!(with(Expect { epoch: Some(4), ..expect() }), Damage::Epoch { found: 3, expected: 4 });
    assert_eq!(with(Expect { lsn: Some(8), ..expect() }), Damage::Lsn { found: 9, expected: 8 });
    assert_eq!(with(Expect { chain: Some(78), ..expect() }), Damage::Chain { found: 77, expected: 78 });
}

#[test]
fn another_salt_is_stale_even_when_the_rest_is_wrong_or_newer() {
    let other = Expect { salt: Some([1; 16]), lsn: Some(1), block_index: 0, ..expect() };
    assert!(matches!(scan(&frame(), &other), Found::Stale(salt) if salt == STAMP.salt));
    let mut newer = frame();
    newer[15] = 9;
    let crc = crc32c::crc32c(&newer[12..128]);
    newer[8..12].copy_from_slice(&crc.to_le_bytes());
    assert!(
        matches!(scan(&newer, &other), Found::Stale(_)),
        "a producer's bytes can't pass for a newer version"
    );
    assert!(matches!(scan(&newer, &expect()), Found::Unsupported(_)));
    assert!(matches!(scan(&newer, &Expect { salt: None, ..other }), Found::Unsupported(_)));
}

#[test]
fn a_former_opening_frame_is_stale_where_no_salt_is_known() {
    let mut buffer = frame();
    buffer[68..72].fill(0);
    let crc = crc32c::crc32c(&buffer[12..128]);
    buffer[8..12].copy_from_slice(&crc.to_le_bytes());
    let first = Expect { block_index: 0, salt: None, lsn: Some(10), ..expect() };
    assert!(matches!(scan(&buffer, &first), Found::Stale(_)));
    assert!(matches!(scan(&buffer, &Expect { epoch: Some(4), ..first }), Found::Stale(_)));
    for other in [
        Expect { epoch: Some(2), ..first },
        Expect { lsn: Some(8), ..first },
        Expect { chain: Some(1), lsn: Some(9), ..first },
        Expect { block_index: 1, ..first },
    ] {
        assert!(matches!(scan(&buffer, &other), Found::DamagedHeader(_)), "{other:?}");
    }
}

#[test]
fn what_follows_a_frame_is_expected_behind_it() {
    let bytes = frame();
    let Found::Frame(frame) = scan(&bytes, &expect()) else { panic!("not read") };
    let after = Expect::after(&frame);
    assert_eq!((after.block_index, after.lsn, after.chain), (7, Some(10), Some(frame.next_chain())));
}

#[test]
fn an_end_block_ends_only_the_segment_that_it_names() {
    let end = EndBlock {
        salt: STAMP.salt,
        next_lsn: 9,
        first_lsn: 8,
        chain: 77,
        epoch: 3,
        block_index: 6,
        synced: false,
        clean: false,
    };
    let mut block = [0; BLOCK];
    end.encode(&mut block);
    assert!(matches!(scan(&block, &expect()), Found::End(found) if found == end));
    assert!(matches!(scan(&block, &Expect { lsn: Some(10), ..expect() }), Found::DamagedHeader(_)));
    assert!(matches!(scan(&block, &Expect { chain: Some(1), ..expect() }), Found::DamagedHeader(_)));
}

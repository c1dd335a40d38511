//! Beside a running node: files grow, roll and vanish while they are read.

use std::sync::atomic::{AtomicBool, Ordering};

use tidelog_format::BLOCK;

use crate::chain::five;
use crate::place::{Place, Shard, run};
use crate::support::batches::{batch, created};

#[test]
fn a_segment_that_is_written_while_it_is_read_is_never_called_corrupt() {
    use std::os::unix::fs::FileExt;
    let place = Place::new();
    let mut shard = Shard::new(1);
    shard.writer.file.resize(4096 * BLOCK, 0);
    shard.writer.write(&[created(7, "m/0")]);
    let start = shard.writer.clone();
    shard.finish(&place);
    let path = place.segment(1, 1);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            let mut writer = start;
            for offset in 0..3000 {
                let pending = writer.prepare(&[batch(7, offset, 1000, &[b"x"])]);
                file.write_all_at(&pending.bytes, u64::try_from(pending.at).unwrap()).unwrap();
                writer.apply(&pending);
                writer.took(&pending);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let _done = Done(&done);
        for _ in 0..10 {
            for args in [&["verify"][..], &["stat"], &["dump", "--records"]] {
                let ran = run(args, &place.shard(1));
                assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.out, ran.err);
            }
        }
    });
}

/// Ends a thread's loop, also when the test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_segment_that_vanishes_while_others_are_read_is_no_corruption() {
    let place = five(3);
    let segments = [place.segment(1, 2), place.segment(1, 3)];
    let bytes: Vec<Vec<u8>> = segments.iter().map(|path| std::fs::read(path).unwrap()).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Retention; and all over again.
            while !done.load(Ordering::Relaxed) {
                for path in &segments {
                    std::fs::remove_file(path).unwrap();
                }
                for (path, bytes) in segments.iter().zip(&bytes).rev() {
                    let spare = place.path().join("spare");
                    std::fs::write(&spare, bytes).unwrap();
                    std::fs::rename(&spare, path).unwrap();
                }
            }
        });
        let _done = Done(&done);
        for _ in 0..30 {
            let ran = run(&["verify"], &place.shard(1));
            assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        }
    });
}

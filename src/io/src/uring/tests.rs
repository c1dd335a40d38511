//! Who owns memory when futures, tasks and runtimes end early. Worth running under AddressSanitizer too.

use super::{Uring, UringFile};
use crate::conformance::tests::on_ring;
use crate::{Access, BLOCK, Buf, Disk, DiskFile, block_on_posix};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

const LARGE: usize = 256 * BLOCK;

async fn file_of(disk: &Uring, dir: &Path, len: usize) -> UringFile {
    let file = disk.create(&dir.join("f"), Access::Durable).await.unwrap();
    let mut buf = disk.buffer(len);
    buf.fill(1);
    file.write_at(buf, len, 0).await.0.unwrap();
    file
}

fn filled(disk: &Uring, len: usize, byte: u8) -> Buf {
    let mut buf = disk.buffer(len);
    buf.fill(byte);
    buf
}

fn arena_free(disk: &Uring) -> usize {
    disk.ring.arena().map_or(0, |arena| arena.free_bytes())
}

/// Polls a future once and says whether it is still pending.
fn start<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[test]
fn the_arena_is_registered_here_or_the_heap_is_used() {
    on_ring(async |disk| {
        println!("registered: {} bytes", disk.registered_bytes());
        assert!(disk.registered_bytes() <= 4 << 20);
        assert_eq!(arena_free(&disk), disk.registered_bytes());
    });
}

#[test]
fn buffers_return_to_the_arena_after_use_and_after_a_dropped_future() {
    let dir = tempfile::tempdir().unwrap();
    on_ring(async |disk| {
        let file = file_of(&disk, dir.path(), LARGE).await;
        let whole = disk.registered_bytes();
        assert_eq!(arena_free(&disk), whole, "after a write that ended well");
        for round in 2..12 {
            assert!(start(pin!(file.write_at(filled(&disk, LARGE, round), LARGE, 0))), "cannot be done yet");
            if whole > 0 {
                assert_eq!(
                    arena_free(&disk),
                    whole - LARGE,
                    "the kernel still has the dropped write's buffer"
                );
            }
            // The ring tells about completions in order of arrival; a sync after them all is a way to wait.
            while disk.ring.oldest_since(0).is_some() {
                file.sync().await.unwrap();
            }
            assert_eq!(arena_free(&disk), whole, "and now it is back");
            let (count, buf) = file.read_at(disk.buffer(LARGE), LARGE, 0).await;
            assert_eq!(count.unwrap(), LARGE);
            assert!(buf[..LARGE].iter().all(|byte| *byte == round), "the dropped write took place");
        }
    });
}

#[test]
fn a_forgotten_future_keeps_its_buffer_and_hurts_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    on_ring(async |disk| {
        let file = file_of(&disk, dir.path(), LARGE).await;
        let before = arena_free(&disk);
        let mut read = Box::pin(file.read_at(disk.buffer(LARGE), LARGE, 0));
        assert!(start(read.as_mut()));
        std::mem::forget(read);
        for _ in 0..20 {
            file.write_at(filled(&disk, BLOCK, 2), BLOCK, 0).await.0.unwrap();
        }
        if before > 0 {
            assert_eq!(arena_free(&disk), before - LARGE);
        }
    });
}

#[test]
fn the_runtime_ends_while_operations_are_in_flight() {
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let arena = on_ring(async |disk| {
            let file = file_of(&disk, dir.path(), 2 * LARGE).await;
            for at in 0..24 {
                let (file, disk) = (file.clone(), disk.clone());
                tokio::task::spawn_local(async move {
                    // The later ones do not fit the arena and come from the heap.
                    let buf = disk.buffer(LARGE);
                    let pos = at % 2 * LARGE as u64;
                    drop(if at % 3 == 0 {
                        file.write_at(buf, LARGE, pos).await.1
                    } else {
                        file.read_at(buf, LARGE, pos).await.1
                    });
                });
            }
            for _ in 0..round % 4 {
                tokio::task::yield_now().await;
            }
            assert!(start(pin!(file.read_at(disk.buffer(LARGE), LARGE, 0))));
            disk.ring.arena().map(Arc::downgrade)
        });
        assert!(arena.flatten().is_none_or(|arena| arena.upgrade().is_none()), "all memory was given back");
    }
}

#[test]
fn a_panic_with_operations_in_flight_comes_out_as_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let result = std::panic::catch_unwind(|| {
        on_ring(async |disk| {
            let file = file_of(&disk, dir.path(), LARGE).await;
            let mut read = pin!(file.read_at(disk.buffer(LARGE), LARGE, 0));
            assert!(start(read.as_mut()));
            panic!("on purpose");
        })
        .ok_or(())
        .unwrap_or_else(|()| panic!("on purpose"))
    });
    let message = result.unwrap_err();
    assert_eq!(message.downcast_ref::<&str>(), Some(&"on purpose"));
}

#[test]
fn a_file_kept_beyond_its_runtime_answers_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let kept = on_ring(async |disk| file_of(&disk, dir.path(), BLOCK).await);
    let Some(file) = kept else { return };
    block_on_posix(async |_| {
        let (done, buf) = file.write_at(Buf::heap(BLOCK), BLOCK, 0).await;
        assert!(done.unwrap_err().to_string().contains("has ended"));
        assert_eq!(buf.capacity(), BLOCK);
    })
    .unwrap();
}

#[test]
fn a_buffer_of_another_ring_is_used_unregistered() {
    let dir = tempfile::tempdir().unwrap();
    let other = std::thread::spawn(|| on_ring(async |disk| filled(&disk, BLOCK, 9))).join().unwrap();
    let Some(foreign) = other else { return };
    on_ring(async |disk| {
        let file = file_of(&disk, dir.path(), BLOCK).await;
        let (done, foreign) = file.write_at(foreign, BLOCK, 0).await;
        done.unwrap();
        drop(foreign);
        let (count, buf) = file.read_at(disk.buffer(BLOCK), BLOCK, 0).await;
        assert_eq!((count.unwrap(), buf[0], buf[BLOCK - 1]), (BLOCK, 9, 9));
    });
}

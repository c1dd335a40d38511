//! Many tasks at once, and futures that are dropped.

use super::{is_pattern, new_file, pattern, read};
use crate::{Access, BLOCK, Disk, DiskFile};
use std::cell::Cell;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use tokio::task::spawn_local;

const BLOCK64: u64 = BLOCK as u64;

/// 64 tasks, each with its own file.
pub async fn many_files_at_once_do_not_mix<D: Disk>(disk: &D, dir: &Path) {
    let work = async |disk: D, path: std::path::PathBuf, tag: u8| {
        let file = new_file(&disk, &path, Access::Durable, 4, tag).await;
        file.write_at(pattern(&disk, 4, tag), 4 * BLOCK, 4 * BLOCK64).await.0.unwrap();
        file.sync().await.unwrap();
        let bytes = read(&disk, &file, 8 * BLOCK, 0).await;
        assert_eq!(bytes.len(), 8 * BLOCK);
        assert!(bytes.chunks(BLOCK).enumerate().all(|(number, block)| is_pattern(block, number % 4, tag)));
    };
    let tasks: Vec<_> =
        (0..64).map(|tag| spawn_local(work(disk.clone(), dir.join(format!("{tag}")), tag))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(disk.list(dir).await.unwrap().len(), 64);
}

/// More writes in one go than a ring takes at once (1,000 blocks in any order).
pub async fn one_file_takes_many_writes_at_once<D: Disk>(disk: &D, dir: &Path) {
    let file = Rc::new(disk.create(&dir.join("f"), Access::Bulk).await.unwrap());
    file.set_len(1000 * BLOCK64).await.unwrap();
    let work = async |file: Rc<D::File>, disk: D, number: u64| {
        let mut buf = disk.buffer(BLOCK);
        super::fill(&mut buf, number as usize, 1);
        file.write_at(buf, BLOCK, number * BLOCK64).await.0.unwrap();
    };
    let tasks: Vec<_> =
        (0..1000).map(|number| spawn_local(work(Rc::clone(&file), disk.clone(), number))).collect();
    for task in tasks {
        task.await.unwrap();
    }
    let bytes = read(disk, &file, 1000 * BLOCK, 0).await;
    assert!(bytes.chunks(BLOCK).enumerate().all(|(number, block)| is_pattern(block, number, 1)));
}

/// Submission starvation: while another task yields without end, writes still get through.
pub async fn a_task_that_keeps_yielding_does_not_hold_back_a_write<D: Disk>(disk: &D, dir: &Path) {
    const TOO_MANY: u64 = 20_000_000;
    let file = new_file(disk, &dir.join("f"), Access::Durable, 1, 1).await;
    let (stop, yields) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_u64)));
    let (asked, counted) = (Rc::clone(&stop), Rc::clone(&yields));
    let hog = spawn_local(async move {
        while !asked.get() && counted.get() < TOO_MANY {
            counted.set(counted.get() + 1);
            tokio::task::yield_now().await;
        }
    });
    for round in 0..8 {
        let before = yields.get();
        file.write_at(pattern(disk, 1, 2), BLOCK, round * BLOCK64).await.0.unwrap();
        file.sync().await.unwrap();
        assert!(yields.get() < TOO_MANY, "round {round} came only after {} yields", yields.get() - before);
    }
    stop.set(true);
    hog.await.unwrap();
}

/// The dropped write happens or not, block by block; everything else goes on.
pub async fn dropping_a_future_mid_write_harms_nobody<D: Disk>(disk: &D, dir: &Path) {
    let file = new_file(disk, &dir.join("f"), Access::Durable, 64, 1).await;
    for round in 0..20_u8 {
        {
            let mut write = pin!(file.write_at(pattern(disk, 64, 2), 64 * BLOCK, 0));
            assert!(round % 4 == 0 || once(write.as_mut()).is_none_or(|(done, _)| done.is_ok()));
        }
        // New buffers, likely at the place of the dropped one, must not show up in what it wrote.
        let other = pattern(disk, 64, 3);
        file.write_at(other, 64 * BLOCK, 64 * BLOCK64).await.0.unwrap();
    }
    file.sync().await.unwrap();
    let bytes = read(disk, &file, 128 * BLOCK, 0).await;
    for (number, block) in bytes.chunks(BLOCK).enumerate() {
        let fits = |tag| is_pattern(block, number % 64, tag);
        assert!(if number < 64 { fits(1) || fits(2) } else { fits(3) }, "block {number}");
    }
}

/// The kernel may still be filling the dropped read's buffer: nobody else may have been given that memory.
pub async fn dropping_a_future_mid_read_harms_nobody<D: Disk>(disk: &D, dir: &Path) {
    let file = new_file(disk, &dir.join("f"), Access::Durable, 64, 1).await;
    for _ in 0..50 {
        {
            let mut lost = pin!(file.read_at(disk.buffer(64 * BLOCK), 64 * BLOCK, 0));
            assert!(once(lost.as_mut()).is_none_or(|(count, _)| count.is_ok()));
        }
        let mut fresh = disk.buffer(64 * BLOCK);
        fresh.fill(0x5A);
        assert!(is_pattern(&read(disk, &file, BLOCK, 0).await, 0, 1));
        tokio::task::yield_now().await;
        assert!(
            fresh.iter().all(|byte| *byte == 0x5A),
            "a dropped read wrote into a buffer of somebody else"
        );
    }
}

/// Polls once; the value if that was enough.
fn once<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

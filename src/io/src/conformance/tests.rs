//! The suite against the three backends of this crate.

use crate::posix::Posix;
use crate::sim::{Sim, block_on_sim};
use crate::uring::Uring;
use crate::{Disk, Fault, block_on_posix, block_on_uring};
use std::path::PathBuf;

/// Runs a test on a ring; says that it was skipped where none can be made.
pub(crate) fn on_ring<T>(body: impl AsyncFnOnce(Uring) -> T) -> Option<T> {
    match block_on_uring(body) {
        Ok(value) => Some(value),
        Err(error) => {
            let missing = error.cause().raw_os_error() == Some(libc::ENOSYS);
            assert!(missing || error.kind() == Fault::Denied, "{error}");
            println!("SKIPPED: no io_uring here: {error}");
            None
        }
    }
}

fn on_uring(case: impl AsyncFnOnce(Uring, PathBuf)) {
    let dir = tempfile::tempdir().unwrap();
    on_ring(async |disk| case(disk, dir.path().to_owned()).await);
}

fn on_posix(case: impl AsyncFnOnce(Posix, PathBuf)) {
    let dir = tempfile::tempdir().unwrap();
    block_on_posix(async |disk| case(disk, dir.path().to_owned()).await).unwrap();
}

/// Where O_DIRECT may be refused or emulated.
fn on_posix_in_memory(case: impl AsyncFnOnce(Posix, PathBuf)) {
    let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
        println!("SKIPPED: no /dev/shm here");
        return;
    };
    block_on_posix(async |disk| case(disk, dir.path().to_owned()).await).unwrap();
}

fn on_sim(case: impl AsyncFnOnce(Sim, PathBuf)) {
    let sim = Sim::new(0xC0FFEE);
    let body = async |sim: Sim| {
        sim.create_dir_all("/data".as_ref()).await.unwrap();
        case(sim, PathBuf::from("/data")).await;
    };
    block_on_sim(&sim, body).unwrap();
}

mod uring {
    crate::disk_conformance!(super::on_uring);
}

mod posix {
    crate::disk_conformance!(super::on_posix);
}

mod posix_in_memory {
    crate::disk_conformance!(super::on_posix_in_memory);
}

mod sim {
    crate::disk_conformance!(super::on_sim);
}

//! Tests that limit what a whole process may do: each runs itself again as a child.

use crate::conformance::tests::on_ring;
use crate::{Access, BLOCK, BackendKind, Disk, DiskFile, Fault, block_on_posix, block_on_uring, choose};
use std::path::Path;
use std::process::Command;

const CHILD: &str = "TIDELOG_IO_TEST_CHILD";

fn in_child(test: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let mut child = Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", &name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn limit_file_size(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: changes this child process only; the pointer is valid for the call.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
}

/// A real short write, made by a file size limit.
async fn write_over_the_limit<D: Disk>(disk: &D, dir: &Path) {
    limit_file_size(3 * BLOCK as u64);
    let file = disk.create(&dir.join("f"), Access::Durable).await.unwrap();
    let (done, buf) = file.write_at(disk.buffer(4 * BLOCK), 4 * BLOCK, BLOCK as u64).await;
    let error = done.unwrap_err();
    assert_eq!(error.kind(), Fault::ShortWrite, "{error}");
    assert!(error.to_string().contains("only 8192 bytes"), "{error}");
    let (done, _) = file.write_at(buf, BLOCK, 3 * BLOCK as u64).await;
    assert_eq!(done.unwrap_err().kind(), Fault::Full, "at the limit nothing is written");
}

#[test]
fn posix_reports_a_short_write() {
    in_child("posix_reports_a_short_write", || {
        let dir = tempfile::tempdir().unwrap();
        block_on_posix(async |disk| write_over_the_limit(&disk, dir.path()).await).unwrap();
    });
}

#[test]
fn uring_reports_a_short_write() {
    in_child("uring_reports_a_short_write", || {
        let dir = tempfile::tempdir().unwrap();
        on_ring(async |disk| write_over_the_limit(&disk, dir.path()).await);
    });
}

/// Limits locked memory, giving up the privilege that would override the limit. The kernel counts by user, so each
/// test should be another one.
fn limit_locked_memory(bytes: u64, user: libc::uid_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: changes this child process only; the pointer is valid for the call.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit), 0);
        if libc::geteuid() == 0 {
            assert_eq!(libc::setuid(user), 0);
        }
    }
}

/// Writes and reads back with more buffers than the arena has room for; returns the size of the arena.
fn registered_under_limit(bytes: u64, user: libc::uid_t) -> Option<usize> {
    limit_locked_memory(bytes, user);
    let dir = tempfile::tempdir().unwrap();
    on_ring(async |disk| {
        let file = disk.create(&dir.path().join("f"), Access::Durable).await.unwrap();
        let mut buffers: Vec<_> = (0..5).map(|_| disk.buffer(1 << 20)).collect();
        for (byte, mut buf) in (1..).zip(buffers.drain(..)) {
            buf.fill(byte);
            let (done, buf) = file.write_at(buf, BLOCK, u64::from(byte) * BLOCK as u64).await;
            done.unwrap();
            let (count, buf) = file.read_at(buf, BLOCK, u64::from(byte) * BLOCK as u64).await;
            assert_eq!((count.unwrap(), buf[0]), (BLOCK, byte));
        }
        disk.registered_bytes()
    })
}

#[test]
fn a_smaller_arena_is_registered_when_locked_memory_is_scarce() {
    in_child("a_smaller_arena_is_registered_when_locked_memory_is_scarce", || {
        assert!(matches!(registered_under_limit(3 << 20, 65534), None | Some(0x20_0000)));
    });
}

#[test]
fn the_heap_is_used_when_too_little_memory_may_be_locked() {
    in_child("the_heap_is_used_when_too_little_memory_may_be_locked", || {
        assert!(matches!(registered_under_limit(512 << 10, 65533), None | Some(0)));
    });
}

/// As the default seccomp profile of container runtimes does it.
fn forbid_io_uring() {
    let statement = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        // The number of the system call is the first field of what a filter is given.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::SYS_io_uring_setup as u32, 0, 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32, 0, 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: changes this child process only; the program lives until the call returns.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0);
    }
}

#[test]
fn where_io_uring_is_forbidden_posix_is_chosen_and_the_reason_told() {
    in_child("where_io_uring_is_forbidden_posix_is_chosen_and_the_reason_told", || {
        forbid_io_uring();
        let dir = tempfile::tempdir().unwrap();
        let chosen = choose(dir.path(), None).unwrap();
        assert_eq!(chosen.kind, BackendKind::Posix);
        let reason = chosen.reason.unwrap();
        assert!(reason.contains("io_uring") && reason.contains("not permitted"), "{reason}");
        let refused = choose(dir.path(), Some(BackendKind::Uring)).unwrap_err();
        assert_eq!(refused.kind(), Fault::Denied, "an explicit wish is not overridden: {refused}");
        assert_eq!(block_on_uring(async |_| ()).unwrap_err().kind(), Fault::Denied);
    });
}

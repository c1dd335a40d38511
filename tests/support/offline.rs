//! `tidelog-inspect verify` on the directory of a stopped server.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::node::program;
use super::peers::skip;

/// The inspector: `TIDELOG_INSPECT_BIN`, or the one beside the server.
pub(crate) fn inspector() -> Option<PathBuf> {
    let given = std::env::var_os("TIDELOG_INSPECT_BIN").map(PathBuf::from);
    let path = given.unwrap_or_else(|| program().with_file_name("tidelog-inspect"));
    if path.exists() {
        return Some(path);
    }
    skip("tidelog-inspect is not built; try `cargo build -p tidelog-inspect`");
    None
}

/// Fails unless the inspector finds the directory sound.
pub(crate) fn verify(inspector: &Path, data: &Path) {
    let run = Command::new(inspector).arg("verify").arg(data).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "tidelog-inspect verify: {}\n{out}\n{err}", run.status);
}

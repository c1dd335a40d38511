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
    find(inspector, data, &[]).unwrap_or_else(|found| panic!("{found}"));
}

/// What the inspector finds in the directory, but for files that may be damaged; it may be of a server that runs.
pub(crate) fn find(inspector: &Path, data: &Path, damaged: &[PathBuf]) -> Result<(), String> {
    let run = Command::new(inspector).arg("verify").arg(data).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    let known = |line: &str| damaged.iter().any(|file| line.contains(&*file.to_string_lossy()));
    let mut found = out.lines().filter(|line| line.starts_with("CORRUPT ")).peekable();
    let excused = found.peek().is_some() && found.all(known);
    if run.status.success() || excused {
        return Ok(());
    }
    Err(format!("tidelog-inspect verify: {}\n{out}\n{err}", run.status))
}

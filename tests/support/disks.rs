//! Disks that fail as they are told.

use std::io::Write;

/// A disk of the rig; `None` after saying that the test is skipped.
pub(crate) fn rig() -> Option<fault::Rig> {
    fault::Rig::mount()
        .map_err(|error| skip(&format!("no disk can be mounted through FUSE here: {error}")))
        .ok()
}

/// Says that a test does not run, past the test runner's capture; a failure when everything has to run.
pub(crate) fn skip(why: &str) {
    let required = std::env::var_os("TIDELOG_REQUIRE_DISKS").is_some_and(|required| required != "0");
    assert!(!required, "TIDELOG_REQUIRE_DISKS is set, and {why}");
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

//! Disks that fail as they are told.

/// A disk of the rig; `None` after saying that the test is skipped.
pub(crate) fn rig() -> Option<fault::Rig> {
    fault::Rig::mount()
        .map_err(|error| skip(&format!("no disk can be mounted through FUSE here: {error}")))
        .ok()
}

/// Says that a test does not run for want of a disk that can fail.
pub(crate) fn skip(why: &str) {
    super::skip("TIDELOG_REQUIRE_DISKS", why);
}

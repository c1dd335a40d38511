//! Programs of others. A test that needs one which is not installed says so and passes, unless `TIDELOG_REQUIRE_PEERS`
//! is set, as CI does.

use std::path::PathBuf;
use std::process::Child;

use super::node::terminate;
use super::wait;

/// The path of a program, or of a directory that a package brings; `None` after saying that the test is skipped.
pub(crate) fn find(name: &str, places: &[&str]) -> Option<PathBuf> {
    let found = places.iter().map(PathBuf::from).find(|place| place.exists());
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

/// Says that a test does not run for want of a program.
pub(crate) fn skip(why: &str) {
    super::skip("TIDELOG_REQUIRE_PEERS", why);
}

/// A peer that runs; dropping it kills it.
pub(crate) struct Peer(pub(crate) Child);

impl Peer {
    /// Whether it still runs.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.0.try_wait().unwrap();
        assert!(ended.is_none(), "the peer ended by itself: {ended:?}");
    }

    /// SIGTERM, so that it sends what it still holds, and waits for its end.
    pub(crate) fn stop(mut self) {
        terminate(&self.0);
        wait::until("the peer to stop", || self.0.try_wait().unwrap());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

//! openraft's own suite for what it builds on.

use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};

use super::Types;
use super::journal::Journal;
use super::machine::Machine;
use crate::test_wal::TestWal;

struct Builder;

impl StoreBuilder<Types, Journal, Machine, (TestWal, tempfile::TempDir)> for Builder {
    async fn build(&self) -> Result<((TestWal, tempfile::TempDir), Journal, Machine), StorageError<u64>> {
        let dir = tempfile::tempdir().unwrap();
        let wal = TestWal::open(dir.path(), 1, 256 << 10);
        let (journal, found) = Journal::open(wal.wal.clone()).await.unwrap();
        let machine = Machine::new(journal.clone(), found);
        Ok(((wal, dir), journal, machine))
    }
}

#[test]
fn openraft_s_suite_passes() {
    Suite::test_all(Builder).unwrap();
}

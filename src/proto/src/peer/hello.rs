//! Who speaks.

use super::field::fields;
use super::words::{Process, Replica};

/// The version of the protocol between nodes. Raised when an older node could not go on: with a message, or with what it would
/// have to read in the metadata. 2: nodes tell the metadata where clients find them.
pub const PROTOCOL: u16 = 2;

fields! {
    /// The first message of each side. Whoever gets it compares before it takes anything else: another cluster, another
    /// directory than meant, or a directory that fell back in time, are refused.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Hello {
        /// [`PROTOCOL`] of the sender.
        pub protocol: u16,
        /// The highest feature level that the sender's program knows.
        pub features: u32,
        /// The cluster.
        pub cluster: [u8; 16],
        /// The sender, with its directory.
        pub replica: Replica,
        /// The sender, in this life.
        pub process: Process,
        /// Generation of the sender's superblock.
        pub generation: u64,
        /// Whom the sender means to reach, as far as it knows; absent when it knows an address only.
        pub to: Option<Replica>,
        /// The latest generation of the receiver's directory that the sender knows of; 0 for none.
        pub seen: u64,
        /// HOST:PORT where the sender is reached by other nodes.
        pub address: String,
    }
}

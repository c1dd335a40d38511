//! What the operator may set about consumer groups: `[groups]` in the configuration file.

use serde::Deserialize;

/// `[groups]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GroupSettings {
    /// How long the first generation of a group waits for more members, milliseconds, 0 to 60,000; each one that comes
    /// meanwhile makes it wait so long again. Default 200: members that are started together come within it, and nobody
    /// notices it. (Kafka waits 3,000, which is felt by everyone who runs one consumer.)
    pub(crate) initial_delay_ms: u32,
    /// The shortest session time-out that a member may ask for, milliseconds. Default 6,000, as Kafka.
    pub(crate) min_session_ms: u32,
    /// The longest one. Default 1,800,000, as Kafka.
    pub(crate) max_session_ms: u32,
    /// Members that a group may have, 1 to 10,000. Default 1,000.
    pub(crate) members: usize,
    /// Bytes of protocols and metadata that one member may send. Default 1 MiB.
    pub(crate) member_bytes: usize,
    /// Bytes of metadata and assignments that all members of a group together may have. Default 32 MiB.
    pub(crate) group_bytes: usize,
    /// Groups that may have members at once. Default 10,000.
    pub(crate) groups: usize,
    /// Committed offsets of all groups together, one per group and partition. Default 1,000,000.
    pub(crate) offsets: usize,
    /// Bytes of metadata that may stand beside a committed offset, 0 to 32,767. Default 4,096, as Kafka.
    pub(crate) offset_metadata_bytes: usize,
    /// Bytes of commits after which all offsets are written anew and what was before is let go. Default 4 MiB.
    pub(crate) snapshot_bytes: u64,
}

impl GroupSettings {
    /// Each setting with its name, least and greatest value.
    pub(crate) fn ranges(&self) -> [(&'static str, u64, u64, u64); 10] {
        let longest = u64::from(i32::MAX.unsigned_abs());
        let min_session = u64::from(self.min_session_ms);
        [
            ("groups.initial_delay_ms", self.initial_delay_ms.into(), 0, 60_000),
            ("groups.min_session_ms", min_session, 100, longest),
            ("groups.max_session_ms", self.max_session_ms.into(), min_session, longest),
            ("groups.members", self.members as u64, 1, 10_000),
            ("groups.member_bytes", self.member_bytes as u64, 1_024, 16 * 1024 * 1024),
            ("groups.group_bytes", self.group_bytes as u64, 1_024, 1024 * 1024 * 1024),
            ("groups.groups", self.groups as u64, 1, 1_000_000),
            ("groups.offsets", self.offsets as u64, 1, 100_000_000),
            ("groups.offset_metadata_bytes", self.offset_metadata_bytes as u64, 0, 32_767),
            ("groups.snapshot_bytes", self.snapshot_bytes, 1_024, 1024 * 1024 * 1024),
        ]
    }
}

impl Default for GroupSettings {
    fn default() -> GroupSettings {
        GroupSettings {
            initial_delay_ms: 200,
            min_session_ms: 6_000,
            max_session_ms: 1_800_000,
            members: 1_000,
            member_bytes: 1024 * 1024,
            group_bytes: 32 * 1024 * 1024,
            groups: 10_000,
            offsets: 1_000_000,
            offset_metadata_bytes: 4_096,
            snapshot_bytes: 4 * 1024 * 1024,
        }
    }
}

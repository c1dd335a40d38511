//! Why the coordinator refuses.

/// A refusal; each is one error code of the Kafka protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(crate) enum GroupError {
    #[error("the group coordinator is not available now; try again")]
    CoordinatorNotAvailable,
    #[error("another node coordinates the consumer groups")]
    NotCoordinator,
    #[error("the committed offsets are being read; try again")]
    Loading,
    #[error("the group id is empty or not allowed here")]
    InvalidGroupId,
    #[error("the generation is not the group's current one; join again")]
    IllegalGeneration,
    #[error("the group knows no such member; join again as a new one")]
    UnknownMember,
    #[error("another member with the same group.instance.id has taken this one's place")]
    FencedInstance,
    #[error("the group is rebalancing; join again")]
    RebalanceInProgress,
    #[error("come back with the member id of this answer")]
    MemberIdRequired,
    #[error("the member's protocols or protocol type do not fit those of the group")]
    InconsistentProtocol,
    #[error("the session time-out is outside of groups.min_session_ms to groups.max_session_ms")]
    InvalidSessionTimeout,
    #[error("the group has as many members as it may have (groups.members)")]
    GroupFull,
    #[error(
        "a limit of the node is reached: groups.groups, groups.offsets, or the bytes of a group's members"
    )]
    OverLimit,
    #[error("the group has members")]
    NonEmpty,
    #[error("there is no such group")]
    NotFound,
    #[error("the offset's metadata is longer than groups.offset_metadata_bytes")]
    OffsetMetadataTooLarge,
    #[error("there is no such topic or partition")]
    UnknownPartition,
    #[error("the offset is negative")]
    InvalidOffset,
}

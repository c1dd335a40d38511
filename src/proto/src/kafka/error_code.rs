//! Kafka's error codes: clients decide by them whether to retry, to look for another server, or to give up.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// An error code of Kafka's protocol.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl ErrorCode {
            /// All that are used.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)*];

            /// Its number on the wire.
            pub fn number(self) -> i16 {
                match self { $(ErrorCode::$name => $code,)* }
            }
        }
    };
}

codes! {
    /// A failure that no other code describes.
    UnknownServerError = -1,
    /// Success.
    None = 0,
    /// Outside of what is stored: the client starts again as its settings say.
    OffsetOutOfRange = 1,
    /// A batch fails its checksum or is not one: the client sends it again.
    CorruptMessage = 2,
    /// No such topic or partition: the client refreshes its metadata and tries again.
    UnknownTopicOrPartition = 3,
    /// Nobody leads the partition at present: the client asks again.
    LeaderNotAvailable = 5,
    /// This server does not lead the partition: the client looks for the leader.
    NotLeaderOrFollower = 6,
    /// The commit did not come to an end in time; it may be stored.
    RequestTimedOut = 7,
    /// A batch is larger than the server takes: the client splits it or gives up.
    MessageTooLarge = 10,
    /// Metadata of a committed offset is too long.
    OffsetMetadataTooLarge = 12,
    /// The coordinator is not ready; the client tries again.
    CoordinatorLoadInProgress = 14,
    /// The coordinator is stopping; the client looks for another.
    CoordinatorNotAvailable = 15,
    /// Not the coordinator of this group.
    NotCoordinator = 16,
    /// A topic's name is not allowed.
    InvalidTopicException = 17,
    /// `acks` is none of 0, 1, -1.
    InvalidRequiredAcks = 21,
    /// The member belongs to an older generation.
    IllegalGeneration = 22,
    /// The member's protocols do not go with those of the group.
    InconsistentGroupProtocol = 23,
    /// An empty or overlong group id.
    InvalidGroupId = 24,
    /// The member is not known: it joins anew.
    UnknownMemberId = 25,
    /// The session time-out is outside of what is allowed.
    InvalidSessionTimeout = 26,
    /// The group is rebalancing: the member joins again.
    RebalanceInProgress = 27,
    /// A version that is not spoken.
    UnsupportedVersion = 35,
    /// The topic exists.
    TopicAlreadyExists = 36,
    /// A number of partitions that cannot be.
    InvalidPartitions = 37,
    /// A replication factor that cannot be.
    InvalidReplicationFactor = 38,
    /// An assignment of replicas that cannot be.
    InvalidReplicaAssignment = 39,
    /// A setting that is not supported.
    InvalidConfig = 40,
    /// A request that makes no sense.
    InvalidRequest = 42,
    /// A message format that is not supported.
    UnsupportedForMessageFormat = 43,
    /// A rule of this server forbids it.
    PolicyViolation = 44,
    /// A batch of an idempotent producer does not follow the one before.
    OutOfOrderSequenceNumber = 45,
    /// A batch that was stored before, too long ago to know where.
    DuplicateSequenceNumber = 46,
    /// Another instance of this producer has taken over.
    InvalidProducerEpoch = 47,
    /// Transactions are not there.
    TransactionalIdAuthorizationFailed = 53,
    /// The disk failed: the client tries again elsewhere.
    KafkaStorageError = 56,
    /// The producer's state is gone.
    UnknownProducerId = 59,
    /// The group has members or what is asked needs none.
    NonEmptyGroup = 68,
    /// No such group.
    GroupIdNotFound = 69,
    /// A fetch session that is not known.
    FetchSessionIdNotFound = 70,
    /// The client knows an older leader epoch than this server.
    FencedLeaderEpoch = 74,
    /// The client knows a newer leader epoch than this server.
    UnknownLeaderEpoch = 75,
    /// A codec that is not known.
    UnsupportedCompressionType = 76,
    /// The member is to join again with the id that it is given.
    MemberIdRequired = 79,
    /// The group takes no more members.
    GroupMaxSizeReached = 81,
    /// Another instance has the member's static id.
    FencedInstanceId = 82,
    /// A record that is not allowed.
    InvalidRecord = 87,
    /// No topic of this id.
    UnknownTopicId = 100,
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> i16 {
        code.number()
    }
}

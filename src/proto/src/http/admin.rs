//! # Purpose
//! Topic administration as JSON: `/v1/topics` and below.
//!
//! # Limits
//! A topic has 1 to 10,000 partitions. Its name has 1 to 249 of `a-z A-Z 0-9 . _ -`, is not `.` or `..`; names that
//! start with `__` are reserved.

use serde::{Deserialize, Serialize};

use crate::shown::shown;

/// The most partitions of one topic.
pub const MAX_PARTITIONS: u32 = 10_000;
/// The longest topic name, in bytes.
pub const MAX_TOPIC_NAME: usize = 249;
/// What an acknowledgement means: a record is durable on so many of the disks that hold it.
pub fn durability(quorum: usize, holders: usize) -> String {
    format!("fdatasync on {quorum} of {holders}")
}

/// A topic name against the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    /// Empty.
    #[error("the topic name is empty; give it 1 to {MAX_TOPIC_NAME} of a-z A-Z 0-9 . _ -")]
    Empty,
    /// Too long.
    #[error("the topic name has {0} bytes, the limit is {MAX_TOPIC_NAME}")]
    TooLong(usize),
    /// `.` or `..`.
    #[error("the topic name must not be `.` or `..`")]
    Dots,
    /// A character that is not allowed.
    #[error("the topic name `{name}` holds `{found}`; allowed are a-z A-Z 0-9 . _ -")]
    Character {
        /// The name, shortened.
        name: String,
        /// The first character that is not allowed.
        found: String,
    },
    /// Starts with `__`.
    #[error("topic names that start with `__`, like `{0}`, are reserved for Tidelog itself")]
    Reserved(String),
}

/// Checks a topic name as Kafka does. Reserved names pass: clients may read such topics.
pub fn check_topic_name(name: &str) -> Result<(), TopicNameError> {
    if name.is_empty() {
        return Err(TopicNameError::Empty);
    }
    if name.len() > MAX_TOPIC_NAME {
        return Err(TopicNameError::TooLong(name.len()));
    }
    if name == "." || name == ".." {
        return Err(TopicNameError::Dots);
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))) {
        Some(c) => Err(TopicNameError::Character {
            name: shown(name.as_bytes()),
            found: shown(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }),
        None => Ok(()),
    }
}

/// Checks the name of a topic that a client wants to create, write, trim or delete.
pub fn check_writable_topic_name(name: &str) -> Result<(), TopicNameError> {
    check_topic_name(name)?;
    if name.starts_with("__") { Err(TopicNameError::Reserved(name.to_owned())) } else { Ok(()) }
}

/// `POST /v1/topics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// 1 to 10,000, default 1.
    #[serde(default = "one")]
    pub partitions: u32,
    /// What differs from the defaults.
    #[serde(default)]
    pub config: TopicConfig,
}

fn one() -> u32 {
    1
}

/// Settings of a topic. Absent means without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TopicConfig {
    /// Records older than this may be deleted; milliseconds, at least 1.
    pub retention_ms: Option<u64>,
    /// Each partition keeps about so many of its newest bytes; at least 1.
    pub retention_bytes: Option<u64>,
}

/// A request of topic administration that cannot be carried out as sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// Not the JSON expected.
    #[error("the body is not what it should be: {0}")]
    Json(String),
    /// The name.
    #[error(transparent)]
    Name(#[from] TopicNameError),
    /// The number of partitions.
    #[error("a topic has 1 to {MAX_PARTITIONS} partitions, not {0}")]
    Partitions(u32),
    /// A setting.
    #[error("config.{0} must be at least 1; leave it out to keep records without that limit")]
    Config(&'static str),
}

impl AdminError {
    /// The code of the answer.
    pub fn code(&self) -> super::error::ErrorCode {
        use super::error::ErrorCode;
        match self {
            AdminError::Json(_) => ErrorCode::InvalidBody,
            AdminError::Name(TopicNameError::Reserved(_)) => ErrorCode::ReservedTopic,
            AdminError::Name(_) => ErrorCode::InvalidTopic,
            AdminError::Partitions(_) => ErrorCode::InvalidParameter,
            AdminError::Config(_) => ErrorCode::InvalidConfig,
        }
    }
}

impl CreateTopic {
    /// Decodes and checks a body.
    pub fn decode(body: &[u8]) -> Result<CreateTopic, AdminError> {
        let request: CreateTopic = from_json(body)?;
        request.check()?;
        Ok(request)
    }

    /// Checks name, number of partitions and settings.
    pub fn check(&self) -> Result<(), AdminError> {
        check_writable_topic_name(&self.name)?;
        if !(1..=MAX_PARTITIONS).contains(&self.partitions) {
            return Err(AdminError::Partitions(self.partitions));
        }
        self.config.check()
    }
}

impl TopicConfig {
    /// Checks the settings.
    pub fn check(&self) -> Result<(), AdminError> {
        match self {
            TopicConfig { retention_ms: Some(0), .. } => Err(AdminError::Config("retention_ms")),
            TopicConfig { retention_bytes: Some(0), .. } => Err(AdminError::Config("retention_bytes")),
            _ => Ok(()),
        }
    }
}

/// `POST /v1/topics/T/partitions/P/trim`: drop what lies before an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trim {
    /// The oldest offset to keep. Beyond the end is refused, below the start changes nothing.
    pub offset: u64,
}

impl Trim {
    /// Decodes a body.
    pub fn decode(body: &[u8]) -> Result<Trim, AdminError> {
        from_json(body)
    }
}

/// Decodes a body that is JSON.
pub(super) fn from_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, AdminError> {
    serde_json::from_slice(body).map_err(|error| AdminError::Json(crate::shown::message(&error.to_string())))
}

/// Answer to trimming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trimmed {
    /// The oldest offset that is kept now.
    pub start_offset: u64,
}

/// Answer to `GET /v1/topics`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TopicList {
    /// Sorted by name.
    pub topics: Vec<TopicSummary>,
}

/// One topic of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicSummary {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
}

/// Answer to `GET /v1/topics/T`, to creating and to deleting it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Its id: never used again for another topic.
    pub id: String,
    /// What an acknowledgement means, see [`durability`].
    pub durability: String,
    /// Its settings.
    pub config: TopicConfig,
    /// By number.
    pub partitions: Vec<PartitionDescription>,
}

/// One partition. `start <= committed <= durable <= end` on a single node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionDescription {
    /// Its number within the topic.
    pub partition: u32,
    /// The shard that carries it.
    pub shard: u32,
    /// The oldest offset kept.
    pub start_offset: u64,
    /// Readers see what lies below: durable on a quorum.
    pub committed_offset: u64,
    /// Durable on this node below.
    pub durable_offset: u64,
    /// The offset that the next record gets.
    pub end_offset: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn topic_names_follow_the_rules_of_kafka() {
        let longest = "x".repeat(MAX_TOPIC_NAME);
        for name in ["a", "A-z_0.9", "...", "_", "-", longest.as_str()] {
            assert_eq!(check_writable_topic_name(name), Ok(()), "{name}");
        }
        assert_eq!(check_topic_name(""), Err(TopicNameError::Empty));
        assert_eq!(check_topic_name(&(longest + "x")), Err(TopicNameError::TooLong(250)));
        assert_eq!(check_topic_name("."), Err(TopicNameError::Dots));
        assert_eq!(check_topic_name(".."), Err(TopicNameError::Dots));
        for name in ["a b", "a/b", "../x", "ä", "a\n", "a\0", "a:b"] {
            assert!(matches!(check_topic_name(name), Err(TopicNameError::Character { .. })), "{name}");
        }
        assert_eq!(check_topic_name("__tidelog"), Ok(()));
        assert!(matches!(check_writable_topic_name("__tidelog"), Err(TopicNameError::Reserved(_))));
    }

    #[test]
    fn a_topic_needs_only_a_name() {
        let request = CreateTopic::decode(br#"{"name":"t"}"#).unwrap();
        assert_eq!((request.partitions, request.config), (1, TopicConfig::default()));
        let body = br#"{"name":"t","partitions":10000,"config":{"retention_ms":5,"retention_bytes":null}}"#;
        let request = CreateTopic::decode(body).unwrap();
        assert_eq!(request.config, TopicConfig { retention_ms: Some(5), retention_bytes: None });
    }

    #[test]
    fn every_bad_request_says_what_is_wrong() {
        use crate::http::error::ErrorCode;
        for (body, why, code) in [
            ("", "EOF", ErrorCode::InvalidBody),
            ("{}", "missing field `name`", ErrorCode::InvalidBody),
            (r#"{"name":"t","partition":2}"#, "unknown field `partition`", ErrorCode::InvalidBody),
            (r#"{"name":"t","config":{"retention":2}}"#, "unknown field `retention`", ErrorCode::InvalidBody),
            (r#"{"name":"t","partitions":-1}"#, "integer `-1`", ErrorCode::InvalidBody),
            (r#"{"name":"t","partitions":0}"#, "1 to 10000 partitions, not 0", ErrorCode::InvalidParameter),
            (r#"{"name":"t","partitions":10001}"#, "not 10001", ErrorCode::InvalidParameter),
            (r#"{"name":"t","config":{"retention_ms":0}}"#, "config.retention_ms", ErrorCode::InvalidConfig),
            (
                r#"{"name":"t","config":{"retention_bytes":0}}"#,
                "config.retention_bytes",
                ErrorCode::InvalidConfig,
            ),
            (r#"{"name":"a b"}"#, "holds ` `", ErrorCode::InvalidTopic),
            (r#"{"name":"__t"}"#, "reserved", ErrorCode::ReservedTopic),
        ] {
            let error = CreateTopic::decode(body.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(why), "{body}: {error}");
            assert_eq!(error.code(), code, "{body}");
        }
        assert_eq!(Trim::decode(br#"{"offset":5}"#), Ok(Trim { offset: 5 }));
        assert!(Trim::decode(br#"{"offset":-5}"#).is_err());
    }

    #[test]
    fn a_description_reads_back() {
        let partition = PartitionDescription {
            partition: 0,
            shard: 1,
            start_offset: 2,
            committed_offset: 3,
            durable_offset: 3,
            end_offset: 4,
        };
        let topic = TopicDescription {
            name: "t".to_owned(),
            id: "i".to_owned(),
            durability: durability(1, 1),
            config: TopicConfig::default(),
            partitions: vec![partition],
        };
        let json = serde_json::to_string(&topic).unwrap();
        assert_eq!(serde_json::from_str::<TopicDescription>(&json).unwrap(), topic);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = CreateTopic::decode(&body);
            let _ = Trim::decode(&body);
        }
    }
}

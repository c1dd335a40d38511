//! # Purpose
//! Pure codecs of Tidelog's front ends: bytes in, requests and answers out. No threads, sockets, clocks or files.
//!
//! | module | speaks |
//! |---|---|
//! | [`opentsdb`] | OpenTSDB's put, over telnet and HTTP |
//! | [`kafka`] | Kafka's protocol: produce, fetch, groups, administration |
//! | [`http`] | the native HTTP interface: records, reads, topic administration |
//! | [`peer`] | what nodes of a cluster say to each other |
//! | [`consumer_protocol`] | what members of a consumer group tell one another: subscriptions, assignments |
//! | [`partitioner`] | which partition a record goes to |
//! | [`offset_spec`] | "from where": offsets as people write them |
//! | [`limits`] | every limit, with its default and range |
//!
//! Format strings for records (`-f '%o %k %s\n'`) are [`tidelog_format::record_format`], shared with the inspector.
//!
//! # Invariants
//! No decoder panics on any input, and none allocates from a length it has not checked. Every error says what is
//! wrong, where, and what to do; what came from the wire is shown shortened and with control characters escaped.

#![forbid(unsafe_code)]

pub mod consumer_protocol;
#[doc(hidden)]
pub mod fuzz;
pub mod http;
pub mod kafka;
pub mod limits;
pub mod offset_spec;
pub mod opentsdb;
pub mod partitioner;
pub mod peer;
mod shown;

//! # Purpose
//! Kafka's protocol: connections, and what each request does. What bytes mean is in [`tidelog_proto::kafka`].
//!
//! # Durability
//! A produce request is answered when its batches are durable, also with `acks=1`.

mod admin;
mod configs;
mod connection;
mod dispatch;
mod epochs;
mod failure;
mod fetch;
mod groups_api;
mod list_offsets;
mod lowered;
mod metadata;
mod offsets_api;
mod oversize;
mod produce;
mod producer_ids;
mod rope;

pub(crate) use connection::serve;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod refusal_tests;

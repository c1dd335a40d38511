//! # Purpose
//! The native client: topic administration, a [`Producer`] and a [`Consumer`] over HTTP/1.1 with connections kept
//! alive, and a [`GroupConsumer`] that shares a topic with others. Records travel as batches of our own, so that what is compressed once stays so down to the disk.
//!
//! ```no_run
//! # async fn example() -> Result<(), tidelog_client::Error> {
//! use tidelog_client::{Client, ProducerOptions};
//! use tidelog_format::batch::Record;
//!
//! let client = Client::connect("127.0.0.1:4242").await?;
//! let mut producer = client.producer("metrics", ProducerOptions::default()).await?;
//! let record = Record { timestamp: 1_700_000_000_000, value: Some(b"42"), ..Record::default() };
//! producer.send(&record, None).await?;
//! producer.flush().await;
//! for delivery in producer.take_deliveries() {
//!     println!("partition {}: durable from offset {}", delivery.partition, delivery.result?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//! A request that may have taken effect is never sent again when sending it twice would do harm: a batch whose outcome
//! is unknown is reported as such ([`Error::outcome_unknown`]).

#![forbid(unsafe_code)]

mod address;
mod chunk;
mod client;
mod consumer;
mod error;
#[cfg(test)]
mod fake_topic;
mod group;
mod options;
mod producer;
#[cfg(test)]
mod scripted;
mod transport;

pub use chunk::Chunk;
pub use client::Client;
pub use consumer::{Consumer, ConsumerOptions};
pub use error::Error;
pub use group::{GroupConsumer, GroupOptions};
pub use options::Options;
pub use producer::{Delivery, Producer, ProducerOptions};

//! The Kafka port asked with single requests: what is refused and by which code, and what reading promises. The page
//! `docs/kafka.md` shows the refusals to people, with the tests of this directory that prove them.

mod connection;
mod fetch;
mod groups;
mod page;
mod produce;
mod topics;

//! The native HTTP interface: record bodies and answers ([`records`], [`answers`]), parameters ([`query`],
//! [`read_query`]), body encodings ([`body`]), topic
//! administration ([`admin`]), consumer groups ([`groups`]), the cluster ([`cluster`]) and errors ([`error`]).

pub mod admin;
pub mod answers;
pub mod body;
pub mod cluster;
pub mod error;
pub mod groups;
mod header_json;
pub mod query;
pub mod read_query;
mod record_json;
pub mod records;

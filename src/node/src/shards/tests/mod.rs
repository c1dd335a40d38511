//! Nodes in one process: real logs in directories of their own, real connections, one metadata store that they share.

mod chaos;
mod cluster;
mod copies;
mod failover;
mod moves;
mod room;

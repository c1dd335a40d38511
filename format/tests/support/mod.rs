//! A writer that lays segments down in memory as SPEC.md's write rules say, and a walk over such a file.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod batches;
pub(crate) mod random;
pub(crate) mod walking;
pub(crate) mod writer;

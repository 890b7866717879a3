//! The restic repository format, versions 1 and 2.

pub mod id;
pub mod json;
pub mod quote;
pub mod snapshot;
pub mod time;
pub mod tree;

pub use id::Id;
